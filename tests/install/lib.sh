# What the tests of an installation share. Sourced, with set -euo pipefail. Before it: title, the step's name in the last line.

source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
passed=0 failed=0 skipped= children=() folders=()
secret="s3cr~t-of-the-test-$$"

pass() { passed=$((passed + 1)); say "  ok    $*"; }
fail() { failed=$((failed + 1)); say "  FAIL  $*"; }

# expect WHAT COMMAND...: the command shall succeed.
expect() {
    local what=$1
    shift
    if "$@" >/tmp/understory-expect.$$ 2>&1; then pass "$what"; else fail "$what"; sed 's/^/        /' /tmp/understory-expect.$$ >&2; fi
    rm -f /tmp/understory-expect.$$
}

# fails_with CODES PATTERN COMMAND...: the command ends with such a code (a regular expression), and what it says matches the pattern. A command that could not
# run at all (no such container, no such process) says something else, so that an absence is not proved by accident.
fails_with() {
    local shall=$1 pattern=$2 is=0
    shift 2
    "$@" >/tmp/understory-fails.$$ 2>&1 || is=$?
    if [[ $is =~ ^($shall)$ ]] && grep -qE "$pattern" /tmp/understory-fails.$$; then
        pass "$* fails with $shall: $pattern"
    else
        fail "$*: ended with $is instead of $shall, or did not say: $pattern"
        sed 's/^/        /' /tmp/understory-fails.$$ >&2
    fi
    rm -f /tmp/understory-fails.$$
}

# absent WHAT NEEDLE PRESENT: standard input holds PRESENT, which proves that it was read, and not NEEDLE.
absent() {
    local text
    text=$(cat)
    if ! grep -qF -- "$3" <<<"$text"; then
        fail "$1: '$3' is not there, so nothing was read"
    elif grep -qF -- "$2" <<<"$text"; then
        fail "$1: it is there"
    else
        pass "$1"
    fi
}

# promised FILE PATTERN: the figure that a document promises: what the group in the extended regular expression matches. One line only.
promised() {
    local found
    found=$(sed -nE "s/.*$2.*/\\1/p" "$repository/$1")
    if [ -z "$found" ] || [ "$(wc -l <<<"$found")" != 1 ]; then
        fail "$1 should say this once: $2"
        return
    fi
    echo "$found"
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

# The rest of the script is not run, for a reason that this machine could mend, or could not. The exit code is tests/lib.sh's.
skip_not_run() { skipped=yes; not_run "$title" "$*"; exit 0; }
skip_impossible() { skipped=yes; cannot_run "$title" "$*"; exit 0; }

# need TOOL PACKAGE: Debian's package is installed where the tool is missing.
need() { have "$1" "$2" || skip_not_run "$1 is not installed (apt-get install $2)"; }

# skip_without_archive WHAT: WHAT could not be made; that is a failure where Debian's archive answers.
skip_without_archive() {
    if curl --silent --fail --location --max-time 60 --output /dev/null "$mirror/dists/stable/Release"; then
        fail "$1 could not be made, although Debian's archive answers"
        exit 1
    fi
    skip_impossible "$1 could not be made: Debian's archive does not answer"
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

# start_mock_api: sets mock_api to its URL.
start_mock_api() {
    local told
    told=$(mktemp)
    python3 "$repository/tests/install/mock_api.py" "$secret" >"$told" &
    children+=($!)
    until_true 10 test -s "$told"
    mock_api=http://127.0.0.1:$(cat "$told")
    rm -f "$told"
}

# control KEY=VALUE...: of the mock API.
control() {
    local form=()
    for pair in "$@"; do form+=(--data-urlencode "$pair"); done
    curl --silent --fail --noproxy "*" "${form[@]}" "$mock_api/control" >/dev/null
}

# write_config FILE [LINE...]: a configuration for the mock API; more lines go to its end.
write_config() {
    local file=$1
    shift
    {
        printf '[auth]\nclient_id = "test"\ntoken_url = "%s/oauth2/token"\n[api]\nbase_url = "%s"\nrequests_per_second = 0\n' "$mock_api" "$mock_api"
        printf '%s\n' "$@"
    } >"$file"
}
