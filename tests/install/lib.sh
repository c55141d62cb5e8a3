# What the tests of an installation share. Sourced, with set -euo pipefail.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cache=${UNDERSTORY_TEST_CACHE:-/var/tmp/understory-sync-tests}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
passed=0 failed=0 skipped= children=() folders=()
secret="s3cr~t-of-the-test-$$"

say() { printf '%s\n' "$*" >&2; }
pass() { passed=$((passed + 1)); say "  ok    $*"; }
fail() { failed=$((failed + 1)); say "  FAIL  $*"; }

# expect WHAT COMMAND...: the command shall succeed.
expect() {
    local what=$1
    shift
    if "$@" >/tmp/understory-expect.$$ 2>&1; then pass "$what"; else fail "$what"; sed 's/^/        /' /tmp/understory-expect.$$ >&2; fi
    rm -f /tmp/understory-expect.$$
}

# same WHAT IS SHALL
same() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1: '$2' instead of '$3'"; fi; }

# at_most WHAT IS LIMIT: numbers, fractions allowed.
at_most() { if awk -v is="$2" -v limit="$3" 'BEGIN { exit !(is != "" && is + 0 <= limit + 0) }'; then pass "$1: $2 (at most $3)"; else fail "$1: $2, more than $3"; fi; }

# until_true SECONDS COMMAND...: polls.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

now() { date +%s.%N; }
since() { awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f", to - from }'; }

finish() {
    local code=$?
    set +e
    cleanup_more 2>/dev/null
    for child in "${children[@]}"; do kill "$child" 2>/dev/null; done
    for folder in "${folders[@]}"; do rm -rf --one-file-system "$folder"; done
    if [ -n "$skipped" ] && [ $failed -eq 0 ]; then exit $code; fi
    if [ $code -ne 0 ]; then say "ended early with $code"; exit $code; fi
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ] || exit 1
}
cleanup_more() { :; }
trap finish EXIT

# skip WHY: said loudly, and no failure; with UNDERSTORY_TESTS_MUST_RUN=1 it is one.
skip() {
    say "################################################################"
    say "## NOT RUN: $(basename "$0"): $*"
    say "################################################################"
    skipped=yes
    [ "${UNDERSTORY_TESTS_MUST_RUN:-0}" != 1 ] || exit 1
    exit 0
}

# need TOOL PACKAGE: whether it is there; on a machine of the gate's, Debian's package is installed for it.
need() {
    command -v "$1" >/dev/null && return
    if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$2"; } >&2
    fi
    command -v "$1" >/dev/null || skip "$1 is not installed (apt-get install $2)"
}

# root_file_system SUITE NAME PACKAGES: prints the folder of a debootstrapped Debian, made once and kept for the next time.
root_file_system() {
    local folder=$cache/$1-$2
    if [ ! -e "$folder.complete" ]; then
        rm -rf --one-file-system "$folder"
        mkdir -p "$cache"
        say "debootstrap $1 with $3"
        debootstrap --variant=minbase --include="$3" "$1" "$folder" "$mirror" >"$folder.log" 2>&1 || { tail -5 "$folder.log" >&2; return 1; }
        rm -rf "$folder"/var/cache/apt/archives/*.deb
        touch "$folder.complete"
    fi
    echo "$folder"
}

# start_stand_in: sets stand_in to its URL.
start_stand_in() {
    local told
    told=$(mktemp)
    python3 "$repository/tests/install/stand_in.py" "$secret" >"$told" &
    children+=($!)
    until_true 10 test -s "$told"
    stand_in=http://127.0.0.1:$(cat "$told")
    rm -f "$told"
}

# control KEY=VALUE...: of the stand-in.
control() {
    local form=()
    for pair in "$@"; do form+=(--data-urlencode "$pair"); done
    curl --silent --fail --noproxy "*" "${form[@]}" "$stand_in/control" >/dev/null
}

# write_config FILE [LINE...]: a configuration for the stand-in; more lines go to its end.
write_config() {
    local file=$1
    shift
    {
        printf '[auth]\nclient_id = "test"\ntoken_url = "%s/oauth2/token"\n[api]\nbase_url = "%s"\nrequests_per_second = 0\n' "$stand_in" "$stand_in"
        printf '%s\n' "$@"
    } >"$file"
}
