#!/usr/bin/env bash
# All tests. They are built without optimization, which takes a fifth of the time, and what they look
# at is the same. The unit tests run while the program is built with it, which is what the
# integration tests start (as it is shipped, but for being compiled in sixteen parts and not in
# one, so that each core has one). What the unit tests print comes when these are through.
#
#   scripts/test.sh      after make setup; honors CARGO_TARGET_DIR and RUST_TEST_THREADS
set -uo pipefail
cd "$(dirname "$0")/.."

# Of this crate only: RocksDB and the other dependencies stay those of the one profile.
of_this_crate=profile.release.package.blindtally
plain=(--color never test --release --locked --config "$of_this_crate.opt-level=0")
in_parts=(build --release --locked --config "$of_this_crate.codegen-units=16")
# Most of them wait for the disk most of the time.
threads=${RUST_TEST_THREADS:-$((3 * $(nproc)))}

printed=$(mktemp)
running=
trap 'rm -f "$printed"; [ -z "$running" ] || kill "$running" 2>/dev/null' EXIT

cargo "${plain[@]}" --lib --test it --no-run 2>&1 | tee "$printed" || exit
# Where cargo says that the tests of this file are.
executable() { sed -n "s|^ *Executable .*$1 (\(.*\))$|\1|p" "$printed"; }
units=$(executable src/lib.rs)
integration=$(executable tests/it/main.rs)

RUST_TEST_THREADS=$threads "$units" >"$printed" 2>&1 &
running=$!

status=0
# In place of the program that was built with the tests.
cargo "${in_parts[@]}" --bins || status=$?
RUST_TEST_THREADS=$threads "$integration" || status=$?
cargo "${plain[@]}" --doc || status=$?
wait "$running" || status=$?
running=
cat "$printed"
exit "$status"
