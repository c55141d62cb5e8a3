#!/usr/bin/env bash
# Builds what is released twice, in two folders and compares every byte.
#
#   tests/reproducible.sh [OPTIONS OF .ci/release]
set -euo pipefail
source "$(dirname "$0")/install/lib.sh"

command -v cargo-cyclonedx >/dev/null || skip "cargo-cyclonedx is not installed (cargo install --locked cargo-cyclonedx)"
work=$(mktemp -d /var/tmp/understory-reproducible.XXXXXX)
folders+=("$work")
for folder in "$work/one" "$work/another/much/deeper"; do
    git clone --quiet "$repository" "$folder"
    say "build in $folder"
    (cd "$folder" && .ci/release --out "$folder.dist" "$@")
done
for file in "$work/one.dist"/*; do
    same "$(basename "$file")" "$(sha256sum <"$file")" "$(sha256sum <"$work/another/much/deeper.dist/$(basename "$file")")"
done
