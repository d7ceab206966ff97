# `make demo` and `make test` are all a newcomer needs.
SHELL := /bin/sh
CARGO ?= cargo
BIN := target/release/sandbox-coder
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)
# Most tests wait more than they compute.
THREADS := $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) * 2 )))

CASES ?= 10000
KILLS ?= 2000

.PHONY: help build demo test model kills power check fmt lint doc deny gen agents agents-all sdk soak bench clean install

help:            ## show the targets
	@sed -n 's/^\([a-z-]*\): .*## /\1\t/p' $(MAKEFILE_LIST) | sort

build:           ## build the release binary
	$(CARGO) build --locked --release

demo: build      ## see the main job on a throwaway repository, offline
	sh docs/demo.sh $(BIN)

test:            ## run every test that needs no network
ifdef NEXTEST
	$(CARGO) nextest run --locked --all-targets --test-threads $(THREADS)
	$(CARGO) test --locked --doc
else
	$(CARGO) test --locked
endif

model:           ## hold many more random worktrees against the model of a sync (CASES=10000, SEED=1)
	SANDBOX_CODER_CASES=$(CASES) $(if $(SEED),SANDBOX_CODER_SEED=$(SEED)) \
	  $(CARGO) test --locked --test it sync::model -- --nocapture

kills:           ## kill many more syncs and applies half-way (KILLS=2000 on each side)
	SANDBOX_CODER_KILLS=$(KILLS) $(if $(SEED),SANDBOX_CODER_SEED=$(SEED)) \
	  $(CARGO) test --locked --test it kills:: -- --nocapture

power: build     ## cut the power in the middle of many pulls (CUTS=100, SEED=1); needs root for loop mounts
	tests/power/run $(BIN)

check: fmt lint doc test deny   ## all that CI checks

fmt:
	$(CARGO) fmt --check

lint:
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

deny:            ## check licences and advisories of the dependencies
	$(CARGO) deny --all-features --config .deny.toml check licenses bans sources

gen:             ## write completions, the manual and the reference pages
	SANDBOX_CODER_UPDATE=1 $(CARGO) test --locked --test it cli::generated

.PHONY: fuzz fuzz-keep
fuzz:            ## fuzz what reads a sandbox's answers: SECONDS=600 for each target, or TARGETS="names review"
	FUZZ_SECONDS=$(or $(SECONDS),600) tests/fuzz/run $(TARGETS)

fuzz-keep:       ## keep what fuzzing found for `make test`, minimised
	tests/fuzz/run keep $(TARGETS)

agents: build    ## run real agents from npm in local sandboxes against a scripted model
	sh tests/agents/run $(BIN)

agents-all: build   ## the same with every case and the agents' start scripts on their own
	sh tests/agents/run $(BIN) --all

sdk: build       ## drive the local server with the official TypeScript SDKs
	sh tests/sdk/run $(BIN)

soak:            ## run every promise many times under trouble; SOAK_RUNS=50 and the like make it shorter
	$(CARGO) test --locked --test soak -- --nocapture --test-threads=1

bench: build     ## measure, against git, rsync, tar and curl in the same run (ROWS="apply edit": only these)
	sh tests/bench/run $(BIN) $(ROWS)

install: build   ## install for this user
	install -Dm755 $(BIN) $(HOME)/.local/bin/sandbox-coder

clean:
	$(CARGO) clean
