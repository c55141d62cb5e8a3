#!/usr/bin/env bash
# The gate's own promises: what is not run is named or fails, nothing is installed unasked, the counts are right.
# Ends with "N passed, N failed".
set -euo pipefail
title="the gate itself"
source "$(dirname "$0")/install/lib.sh"

work=$(mktemp -d)
folders+=("$work")
# A machine without anything that the caller has set.
clean() { env -u CI -u UNDERSTORY_TESTS_MUST_RUN -u UNDERSTORY_TESTS_YES -u UNDERSTORY_NOT_RUN -u TEST_POSTGRES_URL "$@"; }
# code COMMAND...: its exit code.
code() { local code=0; "$@" >"$work/out" 2>&1 || code=$?; echo $code; }
in_lib() { clean "$@" bash -euc "source '$repository/tests/lib.sh'; $script"; }

say "what is not run"
script='not_run hadolint "not installed"'
same "not_run is no failure on a developer's machine" "$(code in_lib)" 0
same "it is one in CI" "$(code in_lib CI=true)" 1
same "and with UNDERSTORY_TESTS_MUST_RUN=1" "$(code in_lib UNDERSTORY_TESTS_MUST_RUN=1)" 1
script='cannot_run image "no container engine answers"'
same "cannot_run is no failure in CI" "$(code in_lib CI=true)" 0
same "it is one with UNDERSTORY_TESTS_MUST_RUN=1" "$(code in_lib UNDERSTORY_TESTS_MUST_RUN=1)" 1
script='start_ledger; not_run_summary; rm "$UNDERSTORY_NOT_RUN"'
same "nothing to name" "$(in_lib)" "not run: none (0)"
script='start_ledger; not_run a "no b"; cannot_run c d; not_run a "no b"; replaced e f; not_run_summary; rm "$UNDERSTORY_NOT_RUN"'
same "each is named once, and counted" "$(in_lib 2>/dev/null)" "not run: a (no b), c (impossible here: d) (2); replaced: e by f"
same "nobody has words of their own for it" \
    "$(cd "$repository" && grep -rlE 'NOT (RUN|TESTED)' .ci tests --include='*.sh' --include='*.rs' --include=run | sort | tr '\n' ' ')" \
    "tests/it/support/not_run.rs tests/lib.sh "

say "installing"
mkdir "$work/bin"
printf '#!/bin/sh\necho "$*" >>"%s"\n' "$work/installed" >"$work/bin/apt-get"
printf '#!/bin/sh\nshift; exec "$@"\n' >"$work/bin/sudo"
chmod +x "$work/bin"/*
# offered ANSWER [VARIABLE=VALUE...]: on a terminal, the answer typed; prints what apt-get was told to install.
offered() {
    local answer=$1
    shift
    : >"$work/installed"
    printf '%s\n' "$answer" | clean "$@" PATH="$work/bin:$PATH" script --quiet --return --command \
        "bash -euc 'source $repository/tests/lib.sh; install_packages hello'" /dev/null >"$work/out" 2>&1 || true
    sed -n 's/.* --no-install-recommends //p' "$work/installed"
}
same "on a terminal, no answer installs nothing" "$(offered '')" ""
expect "it asked" grep -qF 'Not installed: hello.' "$work/out"
same "no installs nothing" "$(offered n)" ""
same "yes installs" "$(offered y)" hello
same "CI does not ask" "$(offered n CI=true)" hello
same "--yes does not ask" "$(offered n UNDERSTORY_TESTS_YES=1)" hello
: >"$work/installed"
script='install_packages hello'
in_lib PATH="$work/bin:$PATH" </dev/null >/dev/null 2>&1
same "without a terminal it does not ask" "$(sed -n 's/.* --no-install-recommends //p' "$work/installed")" hello

say "the last line of the tests"
for tool in strace pgbouncer openssl; do printf '#!/bin/sh\n' >"$work/bin/$tool"; done
cat >"$work/bin/cargo" <<'CARGO'
#!/bin/sh
printf 'test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s\n'
printf 'test result: %s passed; %s failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.01s\n' "$PASSED" "$FAILED"
[ -z "${LEFT_OUT:-}" ] || echo "not run: faults (no strace)" >>"$UNDERSTORY_NOT_RUN"
exit "$CODE"
CARGO
chmod +x "$work/bin"/*
tests() { clean PATH="$work/bin:$PATH" TEST_POSTGRES_URL=none "$@" "$repository/tests/run.sh" 2>/dev/null | tail -1; }
same "sums up" "$(tests PASSED="ok. 30" FAILED=0 CODE=0)" "42 passed, 0 failed, 1 ignored; not run: none (0)"
same "counts failures" "$(tests PASSED="FAILED. 29" FAILED=1 CODE=101 || true)" \
    "41 passed, 1 failed, 1 ignored; not run: none (0); cargo test ended with 101"
same "names what was left out" "$(tests PASSED="ok. 30" FAILED=0 CODE=0 LEFT_OUT=1)" \
    "42 passed, 0 failed, 1 ignored; not run: faults (no strace) (1)"
same "its exit code is that of the tests" "$(code clean PATH="$work/bin:$PATH" TEST_POSTGRES_URL=none PASSED=ok FAILED=1 CODE=101 "$repository/tests/run.sh")" 101

say "the last line of the gate"
mkdir -p "$work/gate/.ci" "$work/gate/tests"
cp "$repository/.ci/run" "$work/gate/.ci/"
cp "$repository/tests/lib.sh" "$work/gate/tests/"
steps=$(sed -n 's|^step .*\./\(tests/[a-z]*\.sh\).*|\1|p' "$repository/.ci/run")
for script in $steps; do printf '#!/bin/sh\n' >"$work/gate/$script"; done
chmod +x "$work/gate/tests"/*.sh
printf '#!/bin/sh\n' >"$work/bin/cargo"
gate() { clean PATH="$work/bin:$PATH" "$@" "$work/gate/.ci/run" 2>/dev/null | tail -1 | sed 's/[0-9]* s\b/N s/'; }
same "everything was run" "$(gate CI=true)" "== all good, N s; not run: none (0)"
printf '#!/bin/bash\nset -e\nsource tests/lib.sh\nnot_run image "no docker"\n' >"$work/gate/tests/systemd.sh"
same "what was not is named" "$(gate)" "== all good, N s; not run: image (no docker) (1)"
same "in CI it fails" "$(gate CI=true || true)" '== FAILED in step "units under a booted systemd" after N s (exit 1)'
for script in $steps; do
    printf '#!/bin/sh\nexit 3\n' >"$work/gate/$script"
    expect "a failure of $script fails the gate" test "$(code gate)" != 0
    printf '#!/bin/sh\n' >"$work/gate/$script"
done
