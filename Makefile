# make            build, vet, lint, unit tests
# make test       install missing servers, then everything: race detector, real servers
# make servers    only the servers, peers and load generators that `make test` and `make bench` start

GO ?= go
# The whole run ends within its own limit, so that a stuck test is named instead of a stuck build.
UNIT_TIMEOUT ?= 120s
TEST_TIMEOUT ?= 600s

.PHONY: all build vet lint unit test race integration servers clean

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

servers:
	scripts/servers.sh

clean:
	rm -rf bin
