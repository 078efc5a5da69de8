#!/usr/bin/env bash
# Builds every fuzz target once, then runs each for SECONDS from its seeds and a scratch corpus.
# One line a target; exit status 1 if any target crashed, hung or ate too much memory.
#
#   fuzz/run.sh SECONDS [TARGET...]   e.g. fuzz/run.sh 60, fuzz/run.sh 600 ndjson stored
#   fuzz/run.sh --seeds               writes the generated seeds anew
#
# Needs stable cargo only. Coverage instrumentation is a pass of LLVM, and the options that ask
# for it (-C passes, -C llvm-args) are stable: there is no need of nightly, of RUSTC_BOOTSTRAP, nor
# of cargo-fuzz. What stable lacks is the address sanitizer; all but one file of the server is safe
# Rust, so panics, overflows and broken invariants are what there is to find.
#
# The flags are given by the environment of this one build, and --target keeps them away from build
# scripts. The target directory is one of its own, so nothing instrumented reaches the server's.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
if [ -n "${CARGO_TARGET_DIR:-}" ]; then target=$CARGO_TARGET_DIR/fuzz; else target=$here/target; fi
export CARGO_TARGET_DIR=$target
triple=$(rustc -vV | sed -n 's/^host: //p')

# Seconds a target below which the build is not optimized.
SHORT=30

usage() {
    sed -n '5,6s/^# *//p' "$0" >&2
    exit 64
}

[ $# -ge 1 ] || usage
seconds=$1
shift
[[ $seconds =~ ^[1-9][0-9]*$ || $seconds == --seeds ]] || usage

if [ "$seconds" = --seeds ]; then
    names=(seeds)
elif [ $# -gt 0 ]; then
    names=("$@")
else
    names=()
    for file in "$here"/targets/*.rs; do
        name=$(basename "$file" .rs)
        [ "$name" = seeds ] || names+=("$name")
    done
fi

coverage=-Cpasses=sancov-module
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    coverage+=" -Cllvm-args=-sanitizer-coverage-$option"
done
# Flags of the caller's would change what is built, the server's among them.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
bins=()
for name in "${names[@]}"; do bins+=(--bin "$name"); done
# A run that is over before an optimized build had paid for itself: our own crate without it, which
# is built in a third of the time. Seeds are tried all the same.
level=()
if [ "$seconds" != --seeds ] && [ "$seconds" -lt "$SHORT" ]; then
    level=(opt-level=0 codegen-units=16 debug=false)
    level=("${level[@]/#/--config=profile.release.package.blindtally.}")
fi
# In the directory of the workspace, where cargo finds the flags of the C++ side as well.
# Not --locked: a crate that the server gets is new to this workspace's lock file too.
(cd "$here" && RUSTFLAGS=$coverage cargo build --quiet --release --target "$triple" \
    "${level[@]}" "${bins[@]}")
built=$target/$triple/release

if [ "$seconds" = --seeds ]; then
    SEEDS=$here/seeds exec "$built/seeds"
fi

# One target: a line on what came of it, and its status.
fuzz() {
    local name=$1 corpus=$target/corpus/$1 found=$target/artifacts/$1 log=$target/$1.log
    local options words outcome runs rate status=0
    mkdir -p "$corpus" "$found"
    options=(-max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024)
    options+=(-print_final_stats=1 -artifact_prefix="$found/")
    case $name in
        ndjson | cloudevents) words=records ;;
        *) words=$name ;;
    esac
    [ ! -f "$here/dictionaries/$words.dict" ] || options+=(-dict="$here/dictionaries/$words.dict")
    # The first directory takes what is new; the seeds are only read.
    if "$built/$name" "${options[@]}" "$corpus" "$here/seeds/$name" >"$log" 2>&1; then
        outcome=ok
    else
        outcome="FAILED, see $log"
        status=1
    fi
    stat() { sed -n "s/^stat::$1: *//p" "$log" | tail -1; }
    runs=$(stat number_of_executed_units)
    rate=$(stat average_exec_per_sec)
    printf '%-12s %10s runs %8s/s  %s\n' "$name" "${runs:--}" "${rate:--}" "$outcome"
    return "$status"
}

# One on each core.
status=0
running=0
for name in "${names[@]}"; do
    if [ "$running" -eq "$(nproc)" ]; then
        wait -n || status=1
        running=$((running - 1))
    fi
    fuzz "$name" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || status=1
    running=$((running - 1))
done
exit "$status"
