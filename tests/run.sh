#!/usr/bin/env bash
# Runs every test on both databases. No test is skipped: without PostgreSQL this fails and says what to install.
#
# PostgreSQL is the server of TEST_POSTGRES_URL if that is set (its user must be allowed to create databases), else a throwaway
# one from the installed server's own programs, else Debian's package is installed where that is allowed. Arguments go to
# `cargo test`: a name runs the tests that hold it.
set -euo pipefail
cd "$(dirname "$0")/.."

server=tests/throwaway-postgres.sh
job=
tests_end=

# The job is a process group of its own, so that nothing of it outlives us.
cleanup() {
    local code=$?
    trap - EXIT INT TERM HUP
    if [ -n "$job" ]; then kill -TERM -- "-$job" 2>/dev/null || true; fi
    if [ -n "$tests_end" ]; then
        eval "exec $tests_end>&-"
        wait "$postgres" 2>/dev/null || true
    fi
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The tools of the tests of faults. Without strace one part of them says that it cannot run; without PgBouncer its test fails.
find_tools() {
    local missing=()
    command -v strace >/dev/null || missing+=(strace)
    [ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || missing+=(pgbouncer)
    command -v openssl >/dev/null || missing+=(openssl)
    if [ "${#missing[@]}" = 0 ]; then return; fi
    install "${missing[@]}" ||
        echo "run.sh: not installed, and may not be by this user: ${missing[*]}; tests that need them say so" >&2
}

install() {
    local root=()
    if [ "$(id -u)" != 0 ]; then
        if ! sudo -n true 2>/dev/null; then return 1; fi
        root=(sudo -n)
    fi
    command -v apt-get >/dev/null || return 1
    echo "run.sh: not installed: $*; installing Debian's packages" >&2
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q update >&2 &&
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@" >&2
}

find_tools
if [ -z "${TEST_POSTGRES_URL:-}" ]; then
    if ! "$server" --find >/dev/null 2>&1 && ! install postgresql; then
        echo "run.sh: the tests need PostgreSQL 13 or newer: \`apt-get install postgresql\` as root, or set TEST_POSTGRES_URL to a server whose user may create databases" >&2
        exit 1
    fi
    # It ends when we close the pipe to it, or when we are gone.
    coproc POSTGRES { exec "$server"; }
    postgres=$POSTGRES_PID
    tests_end=${POSTGRES[1]}
    if ! read -r -t 120 TEST_POSTGRES_URL <&"${POSTGRES[0]}"; then
        echo "run.sh: the throwaway PostgreSQL server did not start" >&2
        exit 1
    fi
    export TEST_POSTGRES_URL
fi

set -m
cargo test --locked "$@" </dev/null &
job=$!
set +m
code=0
wait "$job" || code=$?
job=
exit "$code"
