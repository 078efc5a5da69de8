#!/usr/bin/env bash
# All tests. The unit tests are built without optimization: that takes a fifth of the time, and what
# they look at is the same. They run while the program is built as it is shipped, which is what the
# integration tests start; what they print comes when these are through.
#
#   scripts/test.sh      after make setup; honors CARGO_TARGET_DIR
set -uo pipefail
cd "$(dirname "$0")/.."

# Of this crate only: RocksDB and the other dependencies stay those of the one profile.
unoptimized=(--config 'profile.release.package.blindtally.opt-level=0'
    --config 'profile.release.package.blindtally.codegen-units=16')
unit() { cargo test --release --locked --lib "${unoptimized[@]}" "$@"; }

# Built first, because two builds cannot share a target directory.
unit --no-run || exit

printed=$(mktemp)
unit >"$printed" 2>&1 &
running=$!
trap 'kill "$running" 2>/dev/null; rm -f "$printed"' EXIT

status=0
cargo test --release --locked --bins --test it || status=$?
cargo test --release --locked --doc || status=$?
wait "$running" || status=$?
cat "$printed"
exit "$status"
