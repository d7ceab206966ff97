#!/bin/sh
# Starts a server of its own and drives both SDKs against it. Needs node and npm.
# usage: tests/sdk/run.sh path/to/sandbox-coder
set -eu
binary=$(realpath "$1")
cd "$(dirname "$0")"
[ -d node_modules ] || npm install --silent
data=$(mktemp -d)
"$binary" serve --listen 127.0.0.1:0 --isolation none --data-dir "$data/d" > "$data/out" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || true; rm -rf "$data"' EXIT
tries=0
until [ "$(wc -l < "$data/out")" -ge 2 ]; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { echo "the server did not start" >&2; exit 1; }
    sleep 0.1
done
DAYTONA_API_URL=$(sed -n 's/^DAYTONA_API_URL=//p' "$data/out")
DAYTONA_API_KEY=$(sed -n 's/^DAYTONA_API_KEY=//p' "$data/out")
export DAYTONA_API_URL DAYTONA_API_KEY
node run.mjs
