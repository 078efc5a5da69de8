#!/usr/bin/env bash
# All tests. They are built without optimization, which takes a fifth of the time, and what they look
# at is the same. The unit tests run while the program is built with it, which is what the
# integration tests start (optimized as it is shipped, but in sixteen parts, so that each core has
# one, and each part by itself), with the library that these are linked to. Line tables would take a
# fifth of each build; a failed assertion says its line without. What the unit tests print comes when
# these are through.
#
#   scripts/test.sh      after make setup; honors CARGO_TARGET_DIR and RUST_TEST_THREADS
set -uo pipefail
cd "$(dirname "$0")/.."

# Of this crate only: RocksDB and the other dependencies stay those of the one profile.
of_this_crate=profile.release.package.blindtally
how=(--color never --release --locked)
for option in codegen-units=16 debug=false; do how+=(--config "$of_this_crate.$option"); done
plain=(--config "$of_this_crate.opt-level=0")
# Most of them wait for the disk most of the time.
threads=${RUST_TEST_THREADS:-$((3 * $(nproc)))}

printed=$(mktemp)
of_integration=$(mktemp)
running=
trap 'rm -f "$printed" "$of_integration"; [ -z "$running" ] || kill "$running" 2>/dev/null' EXIT
# Where cargo said, in a file, that the tests of another file are.
executable() { sed -n "s|^ *Executable .*$2 (\(.*\))$|\1|p" "$1"; }

cargo test "${how[@]}" "${plain[@]}" --lib --no-run 2>&1 | tee "$printed" || exit
units=$(executable "$printed" src/lib.rs)
RUST_TEST_THREADS=$threads "$units" >"$printed" 2>&1 &
running=$!

status=0
export RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/rustc-apart.sh
cargo test "${how[@]}" --test it --no-run 2>&1 | tee "$of_integration" || status=$?
integration=$(executable "$of_integration" tests/it/main.rs)
RUST_TEST_THREADS=$threads "$integration" 2>&1 | tee "$of_integration" || status=$?
cargo test "${how[@]}" --doc || status=$?
wait "$running" || status=$?
running=
cat "$printed"
# Once more at the end, where whoever reads only that finds it.
[ "$status" -eq 0 ] || sed -n '/^failures:$/,/^test result/p' "$printed" "$of_integration"
exit "$status"
