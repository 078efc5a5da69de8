#!/usr/bin/env bash
# All tests. The unit tests are built without optimization, which takes a fifth of the time, and what
# they look at is the same. They run while the program is built with it, which is what the
# integration tests start (as it is shipped, but for being compiled in sixteen parts and not in
# one, so that each core has one). What the unit tests print comes when these are through.
#
#   scripts/test.sh      after make setup; honors CARGO_TARGET_DIR
set -uo pipefail
cd "$(dirname "$0")/.."

# Of this crate only: RocksDB and the other dependencies stay those of the one profile.
of_this_crate=profile.release.package.blindtally
in_parts=(--config "$of_this_crate.codegen-units=16")
unit() {
    cargo test --release --locked --lib "${in_parts[@]}" --config "$of_this_crate.opt-level=0" "$@"
}
optimized() { cargo test --release --locked "${in_parts[@]}" "$@"; }

unit --no-run || exit

printed=$(mktemp)
unit >"$printed" 2>&1 &
running=$!
trap 'kill "$running" 2>/dev/null; rm -f "$printed"' EXIT
# Two builds cannot share a target directory, so the next one waits until this one has nothing left
# to build.
while kill -0 "$running" 2>/dev/null && ! grep -q 'Running unittests' "$printed"; do sleep 1; done

status=0
optimized --bins --test it || status=$?
optimized --doc || status=$?
wait "$running" || status=$?
cat "$printed"
exit "$status"
