#!/usr/bin/env bash
# Prints the lines of product code by folder, unit tests not counted, as they stand in a revision.
#
#   tests/measure.sh [REVISION]     HEAD, if none is named
set -euo pipefail
cd "$(dirname "$0")/.."
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git archive "${1:-HEAD}" | tar -x -C "$tree"
cd "$tree"

# Without what stands behind #[cfg(test)]: an item with a body, or the line that names a file.
rust_lines() {
    xargs -r0 awk '
        FNR == 1 { attribute = block = 0 }
        block { if (index($0, end) == 1) block = 0; next }
        attribute && /^ *#\[/ { next }
        attribute {
            attribute = 0
            if ($0 !~ /; *$/) { match($0, /^ */); end = substr($0, 1, RLENGTH) "}"; block = 1 }
            next
        }
        /^ *#\[cfg\(test\)\]/ { attribute = 1; next }
        { lines++ }
        END { print lines + 0 }'
}

total=0
print() {
    local lines=${2:-0}
    [ "$lines" = 0 ] || printf '%7d  %s\n' "$lines" "$1"
    total=$((total + lines))
}

while IFS= read -r folder; do
    print "$folder" "$(find "$folder" -maxdepth 1 -name '*.rs' ! -name 'tests.rs' ! -name '*_tests.rs' -print0 | rust_lines)"
done < <(find src -type d ! -path '*/tests' ! -path '*/tests/*' | sort)
print 'templates' "$(find src -type f ! -name '*.rs' ! -name '*.snap' -exec cat {} + | wc -l)"
print 'build.rs' "$(find . -maxdepth 1 -name build.rs -print0 | rust_lines)"
# A workspace member that the program depends on ships with it; the mock API is for tests alone.
for member in $(sed -n 's/^members = \[\(.*\)\]$/\1/p' Cargo.toml | tr -d '",'); do
    if sed '/^\[dev-dependencies/,$d' Cargo.toml | grep -q "path = \"$member\""; then
        print "$member" "$(find "$member" -name '*.rs' ! -name 'tests.rs' ! -path '*/tests/*' -print0 | rust_lines)"
    fi
done
printf '%7d  product code\n' "$total"
printf '%7d  migrations\n' "$(find migrations -name '*.sql' -exec cat {} + | wc -l)"
