#!/usr/bin/env bash
# cargo-deny: the dependencies against deny.toml, and against the RustSec advisories.
#
# Advisories that cannot be fetched are read from the copy in ../shared/advisory-db (UNDERSTORY_ADVISORY_DB), and the date of its
# newest entry is printed.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/lib.sh

copy=${UNDERSTORY_ADVISORY_DB:-../shared/advisory-db}
url=https://github.com/RustSec/advisory-db

if ! cargo_tool cargo-deny; then
    not_run "cargo-deny" "it could not be built from the registry"
    exit
fi
cargo deny --locked check bans licenses sources
if cargo deny --locked fetch db >/dev/null 2>&1; then
    cargo deny --locked check --disable-fetch advisories
    exit
fi
if [ ! -d "$copy/crates" ]; then
    cannot_run "advisories" "they cannot be fetched, and there is no copy in $copy"
    exit
fi

# cargo-deny reads a git repository only, so that the copy becomes one, which git is told to take for the real one's address.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$copy" "$work/db"
chmod -R u+w "$work/db"
rm -rf "$work/db/.git"
git -C "$work/db" init --quiet --initial-branch main
commit() {
    git -C "$work/db" add --all
    git -C "$work/db" -c user.name=gate -c user.email=gate@localhost -c commit.gpgsign=false commit --quiet --message "$1"
}
commit "copy"
sed "s|^\[advisories\]|&\ndb-path = \"$work/cache\"|" deny.toml >"$work/deny.toml"
check_against_copy() {
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$work/db.insteadOf" GIT_CONFIG_VALUE_0=$url \
        cargo deny --locked --config "$work/deny.toml" check advisories
}
newest=$(grep -rhoE '^date = "[0-9]{4}-[0-9]{2}-[0-9]{2}"' "$work/db/crates" "$work/db/rust" | cut -d'"' -f2 | sort | tail -1)
[ -n "$newest" ] || { say "no advisory in $copy has a date"; exit 1; }
check_against_copy
replaced "advisories of today" "the copy in $copy, newest entry $newest, $(find "$work/db/crates" -name '*.md' | wc -l) advisories"

# Positive control: an invented advisory against a crate in use must be found.
mkdir -p "$work/db/crates/tokio"
cat >"$work/db/crates/tokio/RUSTSEC-2099-0001.md" <<'ADVISORY'
```toml
[advisory]
id = "RUSTSEC-2099-0001"
package = "tokio"
date = "2020-01-01"

[versions]
patched = []
```

# Invented
ADVISORY
commit "control"
if check_against_copy >"$work/control" 2>&1 || ! grep -q RUSTSEC-2099-0001 "$work/control"; then
    cat "$work/control" >&2
    say "an invented advisory against tokio was not found, so the check above proves nothing"
    exit 1
fi
