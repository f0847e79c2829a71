# quorumd: build, test, show.
#
#   make demo    three etcd members, three agents, an emulated auto scaling group, on this machine, not root
#   make test    unit tests, the adapters against real etcd, and the simulator
#   make e2e     real systemd hosts in network namespaces (root)
#   make bench   speed and cost, in one run
#   make check   everything but bench

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.revision=$(COMMIT)
SIZE    := 25000000
SEEDS   ?= 2000

.PHONY: all build demo test sim e2e faults cloud-config-check bench check fmt vet staticcheck size race clean etcd

all: build

# One static binary for machines whose /usr is read-only: /opt/bin/quorumd.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/quorumd ./cmd/quorumd

etcd:
	@test/etcd/build.sh 3.6

demo: build etcd
	$(GO) build -o bin/quorumd-demo ./cmd/quorumd-demo
	bin/quorumd-demo run --quorumd bin/quorumd

test: etcd
	$(GO) test ./...

# Every seed is 24 virtual hours of a group under faults.
sim:
	$(GO) test ./agent/sim -count=1 -seeds $(SEEDS)

# SIM_SHORT: the simulator runs in full by itself, without the race detector.
race: etcd
	$(GO) test -race -short ./...

e2e: build etcd
	@test "$$(id -u)" = 0 || { echo 'make e2e needs root: it boots real systemd hosts in network namespaces (try: sudo make e2e)'; exit 1; }
	$(GO) test -tags e2e -count=1 -p 1 -timeout 40m -v ./test/lab ./test/e2e ./cloud-config

# Agents killed after every single action, and everything else that goes wrong, with
# real processes on this machine, not root.
faults: build etcd
	$(GO) test -tags faults -count=1 -p 1 -timeout 40m -v ./test/faults

# What is rendered for user-data, read by Ignition's and Butane's own parsers.
cloud-config-check:
	test/ignition/check.sh

bench: build etcd
	$(GO) run ./test/bench

fmt:
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "not formatted (gofmt -w):"; echo "$$out"; exit 1; }

vet:
	$(GO) vet ./...
	$(GO) vet -tags e2e ./test/...

staticcheck:
	$(GO) tool staticcheck ./...
	$(GO) tool staticcheck -tags e2e ./test/...

size: build
	$(GO) run ./test/size bin/quorumd $(SIZE)

check: fmt vet staticcheck size race sim demo e2e

clean:
	rm -rf bin
