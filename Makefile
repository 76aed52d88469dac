# pgbake. `make` alone lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(PATH):/usr/local/go/bin
export GOTOOLCHAIN := auto
export CGO_ENABLED ?= 0
# For all of them: what is compiled without it is compiled again for what has it.
export GOFLAGS += -trimpath
VERSION ?= $(shell git describe --tags --match 'v*' 2>/dev/null | sed 's/^v//; s/-/+/' | grep . || echo 0.1.0)
LDFLAGS := -s -w -X main.version=$(VERSION)
LINT    := bin/golangci-lint
PLUGIN  := builders/packer-plugin-pgbake
# Packer wants the two apart; what is between two releases is "dev".
PLUGIN_LDFLAGS := -s -w -X main.version=$(firstword $(subst +, ,$(VERSION))) -X main.prerelease=$(if $(findstring +,$(VERSION)),dev)
SPEC    ?= examples/quickstart.yaml

.PHONY: help demo build plugin test test-all soak scenario test-packer-plugins quick bench bench-images release lint vuln golden clean setup-%

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-19s %s\n", $$1, $$2}'

demo: setup-lab build ## all the set-up, then bake, boot and show a healthy cluster (root)
	bin/pgbake -f $(SPEC) lab up
	@echo "look around, then: bin/pgbake -f $(SPEC) lab down"

build: setup-build ## bin/pgbake, with the agent for amd64 and arm64 inside
	@for arch in amd64 arm64; do \
	  GOARCH=$$arch go build -buildvcs=false -ldflags '$(LDFLAGS)' -o cmd/pgbake/agents/pgha-$$arch ./cmd/pgha || exit 1; \
	done
	@go build -ldflags '$(LDFLAGS)' -o bin/pgbake ./cmd/pgbake

plugin: build ## bin/packer-plugin-pgbake: the same for Packer
	@cd $(PLUGIN) && go build -buildvcs=false -ldflags '$(PLUGIN_LDFLAGS)' -o ../../bin/packer-plugin-pgbake .

bin/packer: test/tools/packer/go.mod
	cd test/tools/packer && go build -buildvcs=false -ldflags '-s -w' -o ../../../bin/packer github.com/hashicorp/packer
	@touch bin/packer

test: setup-test build ## all the set-up, then all tests, those on machines included (root)
	@go build -o bin/suite ./test/suite && bin/suite

test-all: setup-test build ## before a release: make test, then what waits for translated machines (root; an hour more)
	@go build -o bin/suite ./test/suite && bin/suite -all

ROUNDS ?= 5
soak: setup-test build ## every way in which a primary hangs and goes on, ROUNDS=5 times on each Debian (root; an hour)
	@go build -o bin/suite ./test/suite && bin/suite -soak $(ROUNDS)

scenario: setup-test build ## one test by its name: make scenario RUN=TestGrow, or RUN=TestVerify/failover (root)
	@test -n '$(RUN)' || { echo 'which one? make scenario RUN=TestGrow; the names: grep -rh "^func Test" test lab cloudinit' >&2; exit 2; }
	@package=$$(grep -rlE '^func $(firstword $(subst /, ,$(RUN)))\(' --include='*_test.go' test lab cloudinit builders/native | head -n 1); \
	  test -n "$$package" || { echo 'no test on machines is called $(RUN)' >&2; exit 2; }; \
	  CI=true PGBAKE_QEMU=1 go test -v -count 1 -timeout 60m -run '^$(subst /,$$/^,$(RUN))$$' ./$$(dirname $$package)

test-packer-plugins: setup-test plugin bin/packer ## the templates, judged by those plugins of others that can be built: ten minutes
	@for p in amazon googlecompute vsphere; do \
	  (cd test/tools/packer-plugins && go build -buildvcs=false -ldflags '-s -w' -o ../../../bin/others/packer-plugin-$$p github.com/hashicorp/packer-plugin-$$p) || exit 1; \
	done
	CI=true go test -count 1 -v ./test/packer16 -run '^TestTemplates$$'

release: setup-release build ## dist/release: static binaries, packages, checksums
	test/release.sh $(VERSION)

quick: build ## the tests that need neither root nor machines
	go test -short ./...
	cd $(PLUGIN) && go test ./...

bench: setup-test build ## the figures of the README, with their peers (root)
	go test -run '^$$' -bench . -benchtime 5x -timeout 30m ./packages ./cloudinit
	go test -run '^$$' -bench FirstBoot -benchtime 5x -timeout 30m ./test/e2e

bench-images: setup-test setup-peers build ## the images' figures, with mkosi, debos, vmdb2 and a script: three rounds take 25 minutes (root)
	go test -run '^$$' -bench Image -benchtime 1x -timeout 90m ./test/peers
	go test -run '^$$' -bench . -benchtime 3x -timeout 60m ./builders/native ./builders/native/disk/deflate
	go test -run '^$$' -bench QEMU -benchtime 3x -timeout 60m ./test/e2e

lint: $(LINT) ## golangci-lint with vet among its linters, shellcheck
	$(LINT) run
	cd $(PLUGIN) && ../../$(LINT) run
	shellcheck $$(git ls-files ':!*/testdata/*' | xargs grep -lE '^#!/bin/(ba)?sh')

$(LINT):
	GOTOOLCHAIN=$$(go env GOVERSION) GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.5.0

vuln: ## known vulnerabilities in what is linked (network)
	GOTOOLCHAIN=$$(go env GOVERSION) go run golang.org/x/vuln/cmd/govulncheck@v1.1.4 ./...
	cd $(PLUGIN) && GOTOOLCHAIN=$$(go env GOVERSION) go run golang.org/x/vuln/cmd/govulncheck@v1.1.4 ./...

golden: ## write the golden files anew; read the diff
	go test -short ./agent/monitor ./builders/packer ./terraform ./render ./cluster ./cloudinit ./connection ./lint ./packages ./verify ./runbook ./builders/provision -update
	cd $(PLUGIN) && go generate ./...

setup-%:
	@test/setup.sh $*

clean: ## what make built; the lab's cache stays
	rm -rf bin dist cmd/pgbake/agents/pgha-*
