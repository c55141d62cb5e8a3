#!/usr/bin/env bash
# What takes longer than two minutes and is not needed at every change. Runs everything, also after a failure.
#
#   tests/extended.sh               some two hours on two cores
#   tests/extended.sh lives fuzz    only the steps whose name holds one of these words
#
# UNDERSTORY_FUZZ_SECONDS (600) is the time for each fuzzing target. The last result, with its date, stands in docs/evidence.md.
# As in the gate, the last line names everything that was not run.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/lib.sh

began=$SECONDS
words=("$@")
failed=()
ran=0
start_ledger
[ -z "${owns_ledger:-}" ] || trap 'rm -f "$UNDERSTORY_NOT_RUN"' EXIT

# chosen NAME: whether the caller wants the step.
chosen() {
    [ ${#words[@]} -ne 0 ] || return 0
    local word
    for word in "${words[@]}"; do [[ $1 != *"$word"* ]] || return 0; done
    return 1
}

# step NAME COMMAND...
step() {
    local name=$1 since=$SECONDS result=passed
    shift
    chosen "$name" || return 0
    echo "== $name"
    ran=$((ran + 1))
    if ! "$@"; then
        result=FAILED
        failed+=("$name")
    fi
    echo "   $result: $name, $((SECONDS - since)) s"
}

tests() { ./tests/run.sh --yes "$@"; }

fuzz() {
    if ! rustup run nightly rustc --version >/dev/null 2>&1; then
        not_run "fuzzing" "it needs a nightly toolchain (rustup toolchain install nightly)"
        return
    fi
    if ! cargo_tool cargo-fuzz; then
        not_run "fuzzing" "cargo-fuzz could not be built from the registry"
        return
    fi
    local target
    for target in $(sed -n '/^\[\[bin\]\]/,/^name/s/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml); do
        echo "-- $target"
        cargo +nightly fuzz run "$target" -- -max_total_time="${UNDERSTORY_FUZZ_SECONDS:-600}" -print_final_stats=1 >"$cache/fuzz-$target.log" 2>&1 ||
            { tail -40 "$cache/fuzz-$target.log" >&2; return 1; }
        grep -E '^stat::(number_of_executed_units|peak_rss_mb)|^Done ' "$cache/fuzz-$target.log"
    done
}

a_million() {
    cargo build --release --locked || return
    UNDERSTORY_SYNC_ROWS=1000000 UNDERSTORY_SYNC_BINARY=target/release/understory-sync tests a_million -- --nocapture --test-threads 1
}

a_million_lines() {
    cargo build --release --locked || return
    UNDERSTORY_SYNC_FEED_LINES=1000000 UNDERSTORY_SYNC_BINARY=$PWD/target/release/understory-sync tests many_lines -- --nocapture --test-threads 1
}

step "100,000 lives of the simulation" env UNDERSTORY_SYNC_SEEDS=100000 ./tests/run.sh --yes ten_thousand_lives
step "3,000 lives with the real store" env UNDERSTORY_SYNC_REAL_SEEDS=3000 ./tests/run.sh --yes model_of_the_simulation
step "200 kills at random instants" env UNDERSTORY_SYNC_KILLS=200 ./tests/run.sh --yes killed_at_any_instant
step "200 kills of a reader of changes" env UNDERSTORY_SYNC_FEED_KILLS=200 ./tests/run.sh --yes feed_killed
step "2,000 lives of followers" env UNDERSTORY_SYNC_FOLLOWED=2000 ./tests/run.sh --yes followers_end
step "connections terminated for a minute" env UNDERSTORY_SYNC_TERMINATE_SECONDS=60 ./tests/run.sh --yes backends_that_are_terminated
step "silence at every message" env UNDERSTORY_SYNC_SILENCE_STEP=1 ./tests/run.sh --yes wherever_the_server_falls_silent -- --nocapture
step "a million consents" a_million
step "a million lines of changes" a_million_lines
step "tests that are marked as ignored" tests -- --ignored
step "fuzzing" fuzz
step "units under systemd 252 (Debian 12)" env SUITE=bookworm ./tests/systemd.sh
step "reproducible release" ./tests/reproducible.sh
step "image" ./tests/docker.sh

if [ $ran -eq 0 ]; then
    echo "no step's name holds: ${words[*]}"
    exit 2
fi
if [ ${#failed[@]} -ne 0 ]; then
    (IFS=,; echo "== FAILED: ${failed[*]} (${#failed[@]} of $ran steps), $((SECONDS - began)) s; $(not_run_summary)")
    exit 1
fi
echo "== all good, $ran steps, $((SECONDS - began)) s; $(not_run_summary)"
