# Everything that is done to Blindtally, by one word each. All in one profile, so that RocksDB is
# compiled once. CARGO_TARGET_DIR is honored as by cargo itself.

CARGO := cargo
FUZZ_SECONDS ?= 60

.PHONY: help setup run test demo bench lint fuzz

help:
	@echo "make setup   install what is missing on Debian or Ubuntu (says what and why)"
	@echo "make run     build and start the server on http://127.0.0.1:8080"
	@echo "make demo    a server in a temporary directory, a million records, their counts"
	@echo "make test    all tests"
	@echo "make lint    formatting, lints, documentation"
	@echo "make bench   benchmarks"
	@echo "make fuzz    every fuzz target for FUZZ_SECONDS (60)"

setup:
	@scripts/setup.sh

run: setup
	$(CARGO) run --release --locked -- serve

demo: setup
	scripts/demo.sh

test: setup
	scripts/test.sh

lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --no-deps --document-private-items

bench: setup
	$(CARGO) bench --locked

fuzz: setup
	fuzz/run.sh $(FUZZ_SECONDS)
