#!/usr/bin/env bash
# Retakes the README's picture of the status page, from `demo --serve`: docs/status-page.png.
#
#   docs/screenshot.sh      needs Chromium (BROWSER names another program) and cargo
set -euo pipefail
cd "$(dirname "$0")/.."

browser=${BROWSER:-chromium}
command -v "$browser" >/dev/null || { echo "no browser: apt-get install chromium, or set BROWSER" >&2; exit 1; }
cargo build --locked --quiet
program=$PWD/${CARGO_TARGET_DIR:-target}/debug/understory-sync
picture=$PWD/docs/status-page.png
folder=/tmp/understory-demo
mkdir "$folder"
daemon=
finish() {
    if [ -n "$daemon" ]; then kill -INT "$daemon" && wait "$daemon" || true; fi
    rm -rf "$folder"
}
trap finish EXIT

(cd "$folder" && exec "$program" demo --serve) >"$folder/said" &
daemon=$!
for _ in $(seq 100); do
    address=$(sed -n 's|^Status page: \(http://[^ ]*\) .*|\1|p' "$folder/said")
    [ -z "$address" ] || break
    sleep 0.2
done
"$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --force-device-scale-factor=1 --window-size=900,660 \
    --user-data-dir="$folder/profile" --virtual-time-budget=3000 --screenshot="$picture" "${address:?the demo did not start}" >"$folder/browser" 2>&1 ||
    { cat "$folder/browser" >&2; exit 1; }
echo "$picture"
