# What every script of the gate shares. Sourced, with set -euo pipefail.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${UNDERSTORY_TEST_CACHE:-/var/tmp/understory-sync-tests}

say() { printf '%s\n' "$*" >&2; }
in_ci() { [ "${CI:-}" = true ]; }
now() { date +%s.%N; }
since() { awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f", to - from }'; }

# ---- What was not run ------------------------------------------------------------------------------------------------------
#
# Every script and test adds a line to the file $UNDERSTORY_NOT_RUN for each check that it did not run or ran in another way;
# whoever made the file prints them in its last line. tests/it/support/not_run.rs does the same for the tests in Rust.

# start_ledger: makes the file unless a caller did; sets owns_ledger to "yes" for its maker.
start_ledger() {
    if [ -z "${UNDERSTORY_NOT_RUN:-}" ]; then
        UNDERSTORY_NOT_RUN=$(mktemp "${TMPDIR:-/tmp}/understory-not-run.XXXXXX")
        # Tests may run as other users.
        chmod 666 "$UNDERSTORY_NOT_RUN"
        export UNDERSTORY_NOT_RUN
        owns_ledger=yes
    fi
}

banner() {
    say "################################################################"
    say "## $*"
    say "################################################################"
}

record() { if [ -n "${UNDERSTORY_NOT_RUN:-}" ]; then printf '%s\n' "$*" >>"$UNDERSTORY_NOT_RUN"; fi; }

# not_run WHAT WHY: it could run on this machine, with a tool more. Fails in CI and with UNDERSTORY_TESTS_MUST_RUN=1.
not_run() {
    banner "NOT RUN: $1: $2"
    record "not run: $1 ($2)"
    ! in_ci && [ "${UNDERSTORY_TESTS_MUST_RUN:-0}" != 1 ]
}

# cannot_run WHAT WHY: this machine makes it impossible. Fails with UNDERSTORY_TESTS_MUST_RUN=1 only.
cannot_run() {
    banner "NOT RUN, impossible here: $1: $2"
    record "not run: $1 (impossible here: $2)"
    [ "${UNDERSTORY_TESTS_MUST_RUN:-0}" != 1 ]
}

# replaced WHAT BY: it ran, with something else in the place of what the project names.
replaced() {
    say "## REPLACED: $1 by $2"
    record "replaced: $1 by $2"
}

# not_run_summary: "not run: none (0)", or everything that was recorded and how many.
not_run_summary() {
    awk '
        sub(/^not run: /, "") { if (!seen[$0]++) { missing = missing (n++ ? ", " : "") $0 } next }
        sub(/^replaced: /, "") { if (!seen[$0]++) { other = other "; replaced: " $0 } }
        END { printf "not run: %s (%d)%s", (n ? missing : "none"), n, other }
    ' "$UNDERSTORY_NOT_RUN"
}

# ---- Tools -----------------------------------------------------------------------------------------------------------------

# install_packages PACKAGE...: Debian's, where this user may. On a terminal it asks first, unless CI=true or UNDERSTORY_TESTS_YES=1.
install_packages() {
    local root=()
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || return 1
        root=(sudo -n)
    fi
    if [ -t 0 ] && [ -t 2 ] && ! in_ci && [ "${UNDERSTORY_TESTS_YES:-0}" != 1 ]; then
        local answer
        read -r -p "Not installed: $*. Install Debian's packages with apt-get? [y/N] " answer
        case $answer in [yY] | [yY][eE][sS]) ;; *) return 1 ;; esac
    fi
    say "installing Debian's packages: $*"
    { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q update &&
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@"; } >&2
}

# have TOOL PACKAGE: whether the tool is there; Debian's package is installed for it.
have() { command -v "$1" >/dev/null || { install_packages "$2" && command -v "$1" >/dev/null; }; }

# cargo_tool NAME: puts a Cargo subcommand on the PATH, built from the registry into the cache where it is missing. Unoptimized: it
# takes two minutes instead of ten, and the tools have little to do.
cargo_tool() {
    PATH=$PATH:$cache/cargo/bin
    command -v "$1" >/dev/null && return
    local from
    from=$(now)
    say "$1 is not installed: building it into $cache/cargo"
    mkdir -p "$cache/cargo"
    if ! (cd / && env -u CARGO_TARGET_DIR CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo install --quiet --locked --root "$cache/cargo" "$1" >"$cache/$1.log" 2>&1); then
        tail -5 "$cache/$1.log" >&2
        return 1
    fi
    say "$1: built in $(since "$from") s"
}
