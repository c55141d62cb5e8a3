#!/usr/bin/env bash
# Runs every test on both databases. Without PostgreSQL this fails and says what to install.
#
#   tests/run.sh [--yes] [ARGUMENTS OF cargo test]     a word runs the tests whose name holds it
#
# PostgreSQL is the server of TEST_POSTGRES_URL if that is set (its user must be allowed to create databases), else a throwaway
# one from the installed server's own programs, else Debian's package is installed. On a terminal it asks before it installs
# anything, unless --yes is given or CI=true. The last line sums up all test binaries and names what was not run.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/lib.sh

if [ "${1:-}" = --yes ]; then
    UNDERSTORY_TESTS_YES=1
    shift
fi
server=tests/throwaway-postgres.sh
job=
tests_end=
owns_ledger=
log=$(mktemp)
start_ledger

# The job is a process group of its own, so that nothing of it outlives us.
cleanup() {
    local code=$?
    trap - EXIT INT TERM HUP
    if [ -n "$job" ]; then kill -TERM -- "-$job" 2>/dev/null || true; fi
    if [ -n "$tests_end" ]; then
        eval "exec $tests_end>&-"
        wait "$postgres" 2>/dev/null || true
    fi
    rm -f "$log"
    [ -z "$owns_ledger" ] || rm -f "$UNDERSTORY_NOT_RUN"
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# What the tests of faults need. Without strace a part of them is not run; without PgBouncer or openssl some of them fail.
missing=()
command -v strace >/dev/null || missing+=(strace)
[ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || missing+=(pgbouncer)
command -v openssl >/dev/null || missing+=(openssl)
[ -n "${TEST_POSTGRES_URL:-}" ] || "$server" --find >/dev/null 2>&1 || missing+=(postgresql)
if [ "${#missing[@]}" != 0 ] && ! install_packages "${missing[@]}"; then
    say "run.sh: not installed: ${missing[*]}; to install them: apt-get install ${missing[*]}"
fi
if [ -z "${TEST_POSTGRES_URL:-}" ]; then
    if ! "$server" --find >/dev/null 2>&1; then
        say "run.sh: the tests need PostgreSQL 13 or newer: \`apt-get install postgresql\` as root, or set TEST_POSTGRES_URL to a server whose user may create databases"
        exit 1
    fi
    # It ends when we close the pipe to it, or when we are gone.
    coproc POSTGRES { exec "$server"; }
    postgres=$POSTGRES_PID
    tests_end=${POSTGRES[1]}
    if ! read -r -t 120 TEST_POSTGRES_URL <&"${POSTGRES[0]}"; then
        say "run.sh: the throwaway PostgreSQL server did not start"
        exit 1
    fi
    export TEST_POSTGRES_URL
fi

set -m
{ cargo test --locked "$@" </dev/null | tee "$log"; } &
job=$!
set +m
code=0
wait "$job" || code=$?
job=

counts=$(awk '/^test result: / { passed += $4; failed += $6; ignored += $8 } END { printf "%d passed, %d failed, %d ignored", passed, failed, ignored }' "$log")
[ -z "$owns_ledger" ] || counts="$counts; $(not_run_summary)"
[ $code = 0 ] || counts="$counts; cargo test ended with $code"
echo "$counts"
exit "$code"
