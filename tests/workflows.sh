#!/usr/bin/env bash
# The workflows against the schema that check-jsonschema brings, the actions against the rule that each is pinned, and the formula of a
# release against what it should say. Ends with "N passed, N failed".
#
# Needs check-jsonschema (PyPI), which is put into the cache where it is missing.
set -euo pipefail
title="workflows"
source "$(dirname "$0")/install/lib.sh"

work=$(mktemp -d)
folders+=("$work")

say "schema"
PATH=$PATH:$cache/python/bin
if ! command -v check-jsonschema >/dev/null; then
    { python3 -m venv "$cache/python" && "$cache/python/bin/pip" install --quiet check-jsonschema; } >&2 || true
fi
if command -v check-jsonschema >/dev/null; then
    for workflow in "$repository"/.github/workflows/*.yml; do
        expect "${workflow##*/} is a workflow" check-jsonschema --quiet --builtin-schema vendor.github-workflows "$workflow"
    done
    # Positive control.
    sed 's/runs-on:/runs_on:/' "$repository/.github/workflows/ci.yml" >"$work/wrong.yml"
    fails_with 1 "runs_on|runs-on" check-jsonschema --builtin-schema vendor.github-workflows "$work/wrong.yml"
else
    not_run "the schema of workflows" "check-jsonschema could not be installed"
fi

say "actions"
# unpinned FILE...: what is used without a commit and the version it is, or a line that says that only a tag is known.
unpinned() { grep -hE '^ *-? *uses:' "$@" | grep -vE '@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+$|@v[0-9.]+ # tag only: its commit was not read$' || true; }
same "every action is pinned" "$(unpinned "$repository"/.github/workflows/*.yml)" ""
printf '      - uses: actions/checkout@v7\n' >"$work/loose.yml"
same "a loose one would be found" "$(unpinned "$work/loose.yml" | tr -d ' ')" "-uses:actions/checkout@v7"
same "one version of each" \
    "$(grep -hoE 'uses: .*' "$repository"/.github/workflows/*.yml | sort -u | sed 's/@.*//' | uniq -d)" ""

say "formula"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml" | head -1)
mkdir "$work/dist"
for target in {aarch64,x86_64}-{apple-darwin,unknown-linux-musl}; do
    name=understory-sync-$version-$target
    printf '%s' "$target" >"$work/dist/$name.tar.gz"
    (cd "$work/dist" && sha256sum "$name.tar.gz" >"$name.sha256")
done
formula=$("$repository/.ci/formula" "$work/dist" https://example.org/owner/understory-sync)
for target in {aarch64,x86_64}-{apple-darwin,unknown-linux-musl}; do
    name=understory-sync-$version-$target.tar.gz
    sum=$(printf '%s' "$target" | sha256sum | cut -d' ' -f1)
    lines="      url \"https://example.org/owner/understory-sync/releases/download/v$version/$name\"
      sha256 \"$sum\""
    expect "names $target with its sum" grep -qF -- "$sum" <<<"$formula"
    same "below its address" "$(grep -F -A1 "$name" <<<"$formula")" "$lines"
done
rm "$work/dist/understory-sync-$version-x86_64-apple-darwin.sha256"
fails_with "[12]" "x86_64-apple-darwin" "$repository/.ci/formula" "$work/dist" https://example.org/owner/understory-sync
if command -v ruby >/dev/null; then expect "is Ruby" ruby -c <<<"$formula"; fi
