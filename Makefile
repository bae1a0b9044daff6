# `make` builds, `make run` starts everything, `make test` runs all tests.
# CONTRIBUTING.md says more.

.DEFAULT_GOAL := build
.PHONY: build webphone generate run test unit race integration engines nodes bench bench-sip microbench lint fuzz fuzz-long fuzz-calls soak soak-engines kill check clean

export CGO_ENABLED ?= 0
STATICCHECK := bin/staticcheck
STATICCHECK_VERSION := v0.8.2
FUZZTIME ?= 20s
WEBPHONE := proxy/internal/webphone
# Packages whose tests start goroutines run once more under the race detector
# (which needs cgo); the packet path is among them.
RACE := ./ng-protocol/... ./pkg/... ./mediad/... ./proxy/...
# go vet runs by itself, and test binaries that nobody debugs are linked faster without DWARF.
TEST := go test -vet=off -ldflags=-w

build: webphone
	go build -trimpath -o bin/ ./proxy ./mediad ./deploy/demo-phone ./deploy/demo ./ng-protocol/conformance/cmd/ng-conformance

# The page is embedded into the proxy, so it is built first.
webphone: $(WEBPHONE)/dist/index.html

$(WEBPHONE)/node_modules/.package-lock.json: $(WEBPHONE)/package-lock.json
	cd $(WEBPHONE) && npm ci --no-audit --no-fund
	@touch $@

$(WEBPHONE)/dist/index.html: $(WEBPHONE)/node_modules/.package-lock.json $(WEBPHONE)/build.mjs $(wildcard $(WEBPHONE)/src/*)
	cd $(WEBPHONE) && npm run --silent build
	@touch $@

run: build
	@exec bin/demo

# What a change must pass; .ci/run calls it.
test: build
	integration/install.sh
	$(MAKE) unit
	$(MAKE) race
	$(MAKE) integration

unit: webphone
	go vet ./...
	$(TEST) ./...
	cd $(WEBPHONE) && npm test --silent

race: webphone
	CGO_ENABLED=1 $(TEST) -race -short $(RACE)

# Those that measure, or have a browser, go one at a time: they share two or four
# cores with SIPp and Chromium. The others mostly wait.
WAITING := $(addprefix ./integration/,acme behaviours dropin kamailio kill mission nodes storm trunk) \
	./ng-protocol/conformance ./ng-protocol/ngclient ./proxy/internal/bridge \
	./mediad ./mediad/internal/app ./mediad/internal/engine/... ./mediad/internal/negotiate ./mediad/internal/secure ./mediad/internal/settings

integration: webphone
	go vet -tags integration ./...
	$(TEST) -p 1 -tags integration -count=1 -timeout 12m \
		$$(go list -tags integration ./integration/... | grep -v -x -F "$$(go list -tags integration $(WAITING))")
	$(TEST) -p 2 -tags integration -count=1 -timeout 12m $(WAITING)

# The exams with media, with each engine of mediad forced in turn. It wants root.
ENGINES ?= sockets steer kernel
ENGINE_EXAMS ?= ./integration ./integration/nat ./integration/load ./integration/kamailio ./ng-protocol/conformance

engines: build
	@for engine in $(ENGINES); do \
		printf '#!/bin/sh\nexec %s --engine=%s "$$@"\n' $(CURDIR)/bin/mediad $$engine > bin/mediad-$$engine; \
		chmod +x bin/mediad-$$engine; \
		echo "engine $$engine"; \
		EXAM_MEDIAD=$(CURDIR)/bin/mediad-$$engine go test -p 1 -tags integration -count=1 -timeout 12m $(ENGINE_EXAMS) || exit 1; \
	done

# One of two media daemons killed 200 times under load, with mediad, rtpengine and one of each; about an hour.
nodes: build
	NODES_ROUNDS=200 NODES_CALLS=60 go test -tags integration -count=1 -v -timeout 2h -run UnderLoad ./integration/nodes

# The eBPF programs are committed as objects; whoever changes their sources needs
# clang and libbpf-dev.
generate:
	go generate ./mediad/...

# rtpengine and each engine of mediad side by side, about 20 minutes on a quiet
# machine, as root; docs/performance.md takes the tables and plots. For a look:
# make bench BENCH="-quick -only relay"
BENCH ?= -out docs

bench:
	go run ./integration/bench $(BENCH)

# Kamailio and the proxy side by side, about 12 minutes on a quiet machine, as root.
bench-sip:
	go run ./integration/sipbench -out docs

microbench:
	go test -run '^$$' -bench . -benchmem ./ng-protocol/... ./pkg/... ./mediad/... ./proxy/...

lint: $(STATICCHECK)
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt would change: $$unformatted"; exit 1; }
	go vet -tags integration ./...
	$(STATICCHECK) -tags integration ./...

# Kept out of go.mod: a tool, not a dependency.
$(STATICCHECK):
	GOBIN=$(CURDIR)/bin go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

# Each fuzz target for FUZZTIME.
fuzz:
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

# The same for half an hour each, which takes a day: by hand, beside other work.
fuzz-long:
	nice -n 19 $(MAKE) fuzz FUZZTIME=30m

# Random conversations to rtpengine and mediad, half of them calls and half
# commands of all kinds; what differs is printed as minimal cases.
SEED ?= $(shell date +%s)
fuzz-calls: build
	@echo "seed $(SEED)"
	-nice -n 19 bin/ng-conformance fuzz -seed $(SEED) -count 10000000 -for $(FUZZTIME) bin/mediad
	-nice -n 19 bin/ng-conformance fuzz -commands -seed $(SEED) -count 10000000 -for $(FUZZTIME) bin/mediad

# Ten million cookies and call-ids from a hostile client, by hand; a quarter of an hour.
soak:
	HOSTILE_COUNT=10000000 go test -tags integration -count=1 -timeout 4h -v -run TestHostileNGClient ./integration/hostile

# Storms of calls that come, change and go beside steady ones, with each engine
# for SOAK_TIME, by hand and as root: what a day's calls do, in less.
SOAK_TIME ?= 30m

soak-engines:
	SOAK_TIME=$(SOAK_TIME) go test -tags integration -count=1 -timeout 4h -v -run TestStormsLeaveNothing ./integration/soak

# The proxy, its disk and its upstream killed under load, KILL_ROUNDS times, by
# hand and as root: half an hour.
KILL_ROUNDS ?= 200

kill:
	KILL_ROUNDS=$(KILL_ROUNDS) go test -tags integration -count=1 -timeout 4h -v ./integration/kill

check: lint unit

clean:
	rm -rf bin $(WEBPHONE)/dist/app.js $(WEBPHONE)/dist/index.html $(WEBPHONE)/dist/style.css
