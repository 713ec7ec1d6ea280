# make            build, vet, lint, unit tests
# make test       install missing servers, then everything: race detector, real servers
# make demo       stores, sidewire and clients in one process, with Go alone; ONCE=1 ends after the account
# make bench      measure beside peers, write docs/bench.md; QUICK=1 for a short run, ONLY=expression for some loads
# make conformance  suites of others: go-control-plane's in Envoy's place; Redis's, go-sql-driver's and Kafka clients' through sidewire; Redis clients in three languages beside Go
# make fuzz       every fuzz target for FUZZTIME (10s) each; ONLY=expression for some
# make servers    only the servers, peers and load generators that `make test` and `make bench` start

GO ?= go
# Envoy's messages bring generated validation that is not used, and gRPC a tracer: together a third of the binary.
TAGS ?= disable_pgv,grpcnotrace
# The whole run ends within its own limit, so that a stuck test is named instead of a stuck build.
UNIT_TIMEOUT ?= 120s
TEST_TIMEOUT ?= 1200s

.PHONY: all build vet lint unit test race integration conformance fuzz servers demo bench clean

all: build vet lint unit

build:
	$(GO) build -trimpath -tags $(TAGS) -ldflags "-s -w" -o bin/ ./cmd/...

vet:
	$(GO) vet ./...
	cd integration && $(GO) vet ./...

lint:
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	cd integration && $(GO) tool -modfile=../tools/go.mod staticcheck ./...

unit:
	$(GO) test -timeout $(UNIT_TIMEOUT) ./...

test: build vet lint race integration

# Counts of allocations run again without the detector, with which pools forget at random.
race:
	$(GO) test -race -timeout $(TEST_TIMEOUT) ./...
	$(GO) test -timeout $(UNIT_TIMEOUT) -run 'Alloc|NoMemory' ./gateway/... ./protocols/... ./sharding/...

# What only counts (allocations, memory, pushes, answers of a pure planner) runs without the detector, which would falsify or drown it.
# -count=1: the tests build the binary themselves, so their cached results know nothing of its sources.
integration: servers
	cd integration && $(GO) test -count=1 -timeout $(TEST_TIMEOUT) ./differential
	cd integration && $(GO) test -count=1 -timeout $(TEST_TIMEOUT) -run 'AllocatesNothing|AreSmall' ./kafka
	cd integration && $(GO) test -count=1 -timeout $(TEST_TIMEOUT) -run ThousandPushes ./xds
	cd integration && $(GO) test -race -count=1 -timeout $(TEST_TIMEOUT) $$($(GO) list ./... | grep -v /differential)

demo:
	@cd integration && CGO_ENABLED=0 $(GO) run ./demo $(if $(ONCE),-once)

# A run of some loads alone is printed and not written.
bench: servers
	mkdir -p docs
	cd integration && $(GO) run ./bench $(if $(QUICK),-quick) $(if $(ONLY),-only '$(ONLY)',-out ../docs/bench.md)

conformance:
	scripts/conformance.sh
	scripts/redis-suite.sh
	scripts/redis-clients.sh
	scripts/conformance-mysql.sh
	scripts/conformance-kafka.sh
	scripts/conformance-kafka-go.sh

fuzz:
	GO=$(GO) scripts/fuzz.sh

servers:
	scripts/servers.sh

clean:
	rm -rf bin
