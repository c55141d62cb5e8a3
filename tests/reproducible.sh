#!/usr/bin/env bash
# Builds what is released twice, in two folders and compares every byte.
#
#   tests/reproducible.sh [OPTIONS OF .ci/release]
set -euo pipefail
title="reproducible release"
source "$(dirname "$0")/install/lib.sh"

cargo_tool cargo-cyclonedx || skip_not_run "cargo-cyclonedx could not be built from the registry"
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
