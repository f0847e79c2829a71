# quorumd: build, test, show.
#
#   make demo    three etcd members, three agents, an emulated auto scaling group, on this machine, not root
#   make test    unit tests, the adapters against real etcd, and the simulator
#   make e2e     real systemd hosts in network namespaces (root)
#   make faults  agents killed after every single action, and all else that goes wrong
#   make fuzz    the parsers of what others send or leave on disk
#   make bench   speed and cost, in one run
#   make etcd-versions   the adapters against every etcd that is supported
#   make emulator-check  the emulated AWS by others' clients, and against others' emulators
#   make check   everything but bench

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.revision=$(COMMIT)
SIZE    := 25000000
HISTORIES ?= 1000
SEEDS   ?= 2000
FUZZTIME ?= 60s
# Every etcd that is supported, oldest first; each is a directory of test/etcd.
ETCDS   := 3.5 3.6 3.7
# All of make check, what is quick to fail first.
CHECKS  := fmt vet size staticcheck test cloud-config-check race etcd-versions emulator-check sim demo fuzz faults e2e
# Where the figures of make faults go; README.md: into the README.
REPORT  ?= bin/faults.md

.PHONY: all build demo test lock-histories sim e2e e2e-repeat faults fuzz cloud-config-check emulator-check bench check checks fmt vet staticcheck size race clean etcd etcds etcd-versions

all: build

# One static binary for machines whose /usr is read-only: /opt/bin/quorumd.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/quorumd ./cmd/quorumd

# The one that most tests use; etcds are all of them (a minute each, once).
etcd:
	@test/etcd/build.sh 3.6

etcds:
	@for v in $(ETCDS); do test/etcd/build.sh $$v || exit 1; done

demo: build etcd
	$(GO) build -o bin/quorumd-demo ./cmd/quorumd-demo
	bin/quorumd-demo run --quorumd bin/quorumd

test: etcd
	$(GO) test ./...

# What speaks to etcd or reads its disk, against the real thing in every version.
# The one of make test is left out: it has its run there, and most histories of the lock.
etcd-versions: etcds
	@for v in $(filter-out 3.6,$(ETCDS)); do echo "etcd $$v:"; $(GO) test -count=1 -short ./agent/etcd/... -etcd $$v || exit 1; done

# What 20 clients did to the lock at once while members were killed and paused and
# answers got lost, checked for having happened one after another. make test has 200.
lock-histories: etcd
	$(GO) test ./agent/etcd -run TestHistories -count=1 -timeout 60m -v -histories $(HISTORIES)

# Every seed is 24 virtual hours of a group under faults. The broken variants are
# caught in make test.
sim:
	$(GO) test ./agent/sim -run TestSeeds -count=1 -seeds $(SEEDS)

# The simulator has one goroutine a seed: its many seeds and its broken variants have
# their runs without the race detector; so have the histories of the lock, whose checking it
# slows tenfold (those of the broken locks run the same code with it).
race: etcd
	$(GO) test -race -short -skip '^(TestVariants|TestHistories)$$' ./...

e2e: build etcd
	@test "$$(id -u)" = 0 || { echo 'make e2e needs root: it boots real systemd hosts in network namespaces (try: sudo make e2e)'; exit 1; }
	$(GO) test -tags e2e -count=1 -p 1 -timeout 40m -v ./test/lab ./test/e2e ./cloud-config

# No flake: leave, replace and bootstrap, N times in a row.
N ?= 10
e2e-repeat: build etcd
	$(GO) test -tags e2e -count=$(N) -run 'TestBootstrap|TestTerminateLeader|TestLoseMachine' -timeout 60m -v ./test/e2e

# Agents killed after every single action, and everything else that goes wrong, with
# real processes on this machine, not root.
faults: build etcds
	$(GO) test -tags faults -count=1 -p 1 -timeout 40m -v ./test/faults -report $(abspath $(REPORT))

# Each of the parsers, FUZZTIME.
fuzz:
	FUZZTIME=$(FUZZTIME) GO=$(GO) test/fuzz/run.sh

# What is rendered for user-data, read by Ignition's, Butane's and cloud-init's own parsers.
cloud-config-check:
	@test/cloudinit/prepare.sh || test $$? = 3
	test/ignition/check.sh

# The emulator's suite through the SDK for Go, boto3 and the aws command, against moto_server,
# and its metadata against Amazon's mock; what this machine does not have is skipped, and said.
emulator-check:
	$(GO) test -count=1 -run 'TestSuite|TestMoto' -v ./lifecycle/fakeaws
	test/imdsmock/check.sh

bench: build etcd
	$(GO) run ./test/bench

fmt:
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "not formatted (gofmt -w):"; echo "$$out"; exit 1; }

vet:
	$(GO) vet ./...
	$(GO) vet -tags e2e,faults ./test/... ./cloud-config

staticcheck:
	$(GO) tool staticcheck ./...
	$(GO) tool staticcheck -tags e2e,faults ./test/...

size: build
	$(GO) run ./test/size bin/quorumd $(SIZE)

check: $(CHECKS)

checks:
	@echo $(CHECKS)

clean:
	rm -rf bin
