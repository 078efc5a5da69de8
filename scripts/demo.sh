#!/usr/bin/env bash
# A server in a fresh directory, a million synthetic records for twenty sites, the monthly active
# users of each site, and an exact comparison of every figure with the sender's own count.
#
#   scripts/demo.sh [options of `blindtally load`]   e.g. scripts/demo.sh --records 5000000
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
(cd "$root" && cargo build --release --locked)
metadata=$(cd "$root" && cargo metadata --format-version 1 --no-deps --locked)
target=$(sed 's/.*"target_directory":"\([^"]*\)".*/\1/' <<<"$metadata")
blindtally=$target/release/blindtally

place=$(mktemp -d)
server=
finish() {
    status=$?
    trap - EXIT
    if [ -n "$server" ] && kill -TERM "$server" 2>/dev/null; then
        wait "$server" || status=$?
    fi
    [ $status -eq 0 ] || tail -n 20 "$place/log" >&2 || true
    rm -rf "$place"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

echo "Starting a server in a temporary directory on a free port."
BLINDTALLY__LOG__FORMAT=json "$blindtally" serve --data "$place/data" --listen 127.0.0.1:0 \
    2>"$place/log" &
server=$!

# The log says the address once the port is open.
url=
until [ -n "$url" ]; do
    kill -0 "$server" 2>/dev/null || { echo "The server did not start." >&2; exit 1; }
    address=$(sed -n 's/.*"message":"ready","address":"\([^"]*\)".*/\1/p' "$place/log" | head -1)
    if [ -n "$address" ] && curl -fsS "http://$address/readyz" >/dev/null 2>&1; then
        url=http://$address
    else
        sleep 0.05
    fi
done

"$blindtally" load --url "$url" --operator-token-file "$place/data-keys/operator.token" \
    --usage --check "$@"
echo "Every figure is equal. Stopping the server."
