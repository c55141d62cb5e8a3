//! Checks that this machine does not allow are recorded, so that the last line of `tests/run.sh` and of the gate names them.
//! The same rules as in `tests/lib.sh`.

use std::io::Write as _;

fn variable_is(name: &str, value: &str) -> bool {
    std::env::var(name).is_ok_and(|found| found == value)
}

/// It could run on this machine, with a tool more. Fails in CI and with `UNDERSTORY_TESTS_MUST_RUN=1`.
#[track_caller]
fn not_run(what: &str, why: &str) {
    record(what, why);
    assert!(!variable_is("CI", "true"), "not run, and it could have been: {what}: {why}");
}

/// This machine makes it impossible. Fails with `UNDERSTORY_TESTS_MUST_RUN=1` only.
#[track_caller]
pub(crate) fn cannot_run(what: &str, why: &str) {
    record(what, &format!("impossible here: {why}"));
}

/// Whether strace is here and may trace and inject faults; if not, `what` is recorded as not run.
#[track_caller]
pub(crate) fn strace_may_run(what: &str) -> bool {
    let tried = std::process::Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1", "true"])
        .output();
    match tried {
        Ok(output) if output.status.success() => return true,
        Ok(_) => cannot_run(what, "strace may not trace"),
        Err(_) => not_run(what, "strace is not installed; Debian: apt-get install strace"),
    }
    false
}

#[track_caller]
fn record(what: &str, why: &str) {
    crate::bench::say_loudly(&format!("NOT RUN: {what}: {why}"));
    if let Some(ledger) = std::env::var_os("UNDERSTORY_NOT_RUN") {
        let mut ledger = std::fs::OpenOptions::new().append(true).open(ledger).unwrap();
        writeln!(ledger, "not run: {what} ({why})").unwrap();
    }
    assert!(!variable_is("UNDERSTORY_TESTS_MUST_RUN", "1"), "not run: {what}: {why}");
}
