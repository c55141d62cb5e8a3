#!/usr/bin/env bash
# What is read by programs of others: the workflows against the schema that check-jsonschema brings, the configuration's own schema
# against what the program accepts, the actions against the rule that each is pinned, the formula of a release against what it should
# say. Ends with "N passed, N failed".
#
# Needs cargo, and check-jsonschema (PyPI), which is put into the cache where it is missing.
set -euo pipefail
title="schemas"
source "$(dirname "$0")/install/lib.sh"

work=$(mktemp -d)
folders+=("$work")

say "the schema of workflows"
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

    say "the schema of the configuration"
    (cd "$repository" && cargo build --locked --quiet)
    program=${CARGO_TARGET_DIR:-$repository/target}/debug/understory-sync
    schema=$work/config.schema.json
    "$program" config --schema >"$schema"
    expect "it is a schema" check-jsonschema --quiet --check-metaschema "$schema"
    config=$work/config.toml
    by_schema() { check-jsonschema --quiet --schemafile "$schema" "$config"; }
    by_program() { env UNDERSTORY_SYNC__AUTH__CLIENT_ID=id UNDERSTORY_SYNC__AUTH__CLIENT_SECRET=secret "$program" --config "$config" config; }
    both_accept() { expect "the schema accepts $1" by_schema; expect "the program accepts $1" by_program; }
    "$program" config --example >"$config"
    both_accept "the example"
    # Every default as if somebody had written it; what has none is "…" or a file there.
    sed -E '/= ("…"|"\/run)/!s/^#([a-z_]+ = )/\1/' "$repository/config.example.toml" >"$config"
    same "they are many" "$(grep -cE '^[a-z_]+ = ' "$config")" "$(grep -E '^#[a-z_]+ = ' "$repository/config.example.toml" | grep -cvE '"…"|"/run')"
    both_accept "every default"
    while read -r section line; do
        printf '[%s]\n%s\n' "$section" "$line" >"$config"
        fails_with 1 "" check-jsonschema --schemafile "$schema" "$config"
        fails_with 78 "problem" by_program
    done <<'WRONG'
api pagesize = 100
api page_size = "100"
api page_size = 0
api page_size = 101
auht client_id = "x"
auth scopes = [1]
database url = 7
health stale_after = "two hours"
http allowed_hosts = [true]
log level = "loud"
removal confirm_runs = 1
removal max_percent = 101
removal min_count = -1
retention history = "off"
schedule jitter = "5 m"
schedule run_at_start = "true"
schedule run_timeout = "never"
WRONG
else
    not_run "the schemas of workflows and configuration" "check-jsonschema could not be installed"
fi

say "alerts and dashboard"
examples=$repository/docs/examples
if have promtool prometheus; then
    expect "the alert rules are rules" promtool check rules "$examples/prometheus-alerts.yml"
    sed 's/> 7800/> > 7800/' "$examples/prometheus-alerts.yml" >"$work/alerts.yml"
    fails_with 1 "parse error" promtool check rules "$work/alerts.yml"
else
    not_run "the alert rules" "promtool is not installed (apt-get install prometheus)"
fi
# Read into Grafana's own types and written again, nothing of it is lost: what the types do not know, they drop.
cat >"$work/dashboard.py" <<'PYTHON'
import json, sys
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(given, kept, path):
    if isinstance(given, dict):
        for key, value in given.items():
            if isinstance(kept, dict) and key in kept:
                yield from lost(value, kept[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for at, value in enumerate(given):
            yield from lost(value, kept[at], f"{path}[{at}]")
    elif given != kept:
        yield path


given = json.load(open(sys.argv[1]))
kept = json.loads(json.dumps(Dashboard.from_json(given), cls=JSONEncoder))
sys.exit("\n".join(f"lost: {path}" for path in lost(given, kept, "")) or 0)
PYTHON
[ -x "$cache/python/bin/python" ] || python3 -m venv "$cache/python" >&2 || true
if [ -x "$cache/python/bin/python" ] && { "$cache/python/bin/python" -c 'import grafana_foundation_sdk' 2>/dev/null ||
    "$cache/python/bin/pip" install --quiet 'grafana-foundation-sdk==1769699998!10.1.0' >&2; }; then
    dashboard() { "$cache/python/bin/python" "$work/dashboard.py" "$1"; }
    expect "Grafana's types know all of the dashboard" dashboard "$examples/grafana-dashboard.json"
    sed 's/"gridPos"/"gridPosition"/' "$examples/grafana-dashboard.json" >"$work/dashboard.json"
    fails_with 1 "gridPosition" dashboard "$work/dashboard.json"
else
    not_run "the dashboard" "grafana-foundation-sdk could not be installed (PyPI)"
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
