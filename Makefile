# make            build, vet, lint, unit tests
# make test       install missing servers, then everything: race detector, real servers
# make bench      measure beside peers, write docs/bench.md; QUICK=1 for a short run, ONLY=expression for some loads
# make servers    only the servers, peers and load generators that `make test` and `make bench` start

GO ?= go
# The whole run ends within its own limit, so that a stuck test is named instead of a stuck build.
UNIT_TIMEOUT ?= 120s
TEST_TIMEOUT ?= 600s

.PHONY: all build vet lint unit test race integration servers bench clean

all: build vet lint unit

build:
	$(GO) build -trimpath -o bin/ ./cmd/...

vet:
	$(GO) vet ./...
	cd integration && $(GO) vet ./...

lint:
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	cd integration && $(GO) tool -modfile=../tools/go.mod staticcheck ./...

unit:
	$(GO) test -timeout $(UNIT_TIMEOUT) ./...

test: build vet lint race integration

race:
	$(GO) test -race -timeout $(TEST_TIMEOUT) ./...

integration: servers
	cd integration && $(GO) test -race -timeout $(TEST_TIMEOUT) ./...

# A run of some loads alone is printed and not written.
bench: servers
	mkdir -p docs
	cd integration && $(GO) run ./bench $(if $(QUICK),-quick) $(if $(ONLY),-only '$(ONLY)',-out ../docs/bench.md)

servers:
	scripts/servers.sh

clean:
	rm -rf bin
