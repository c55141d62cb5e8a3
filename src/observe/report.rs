//! Runs in words: for the log, `--run-once`, systemd and the tables. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::store::RunRow;

use super::text::{age, counted, duration, thousands};

pub fn took(run: &RunRow) -> Option<Duration> {
    run.finished_at.map(|end| age(run.started_at, end))
}

/// Where a run took half of `schedule.run_timeout` or more: how long, and the limit.
pub fn near_limit(run: &RunRow, limit: Option<Duration>) -> Option<(Duration, Duration)> {
    let (took, limit) = (took(run)?, limit?);
    (took >= limit / 2).then_some((took, limit))
}

/// `ok`, `deferred`, `withheld`, `failed`, `interrupted`, `running`
pub fn outcome(run: &RunRow) -> &str {
    match (run.outcome.as_str(), run.absence.as_deref()) {
        ("succeeded", Some("withheld")) => "withheld",
        ("succeeded", Some("blocked")) => "deferred",
        ("succeeded", _) => "ok",
        (other, _) => other,
    }
}

/// The counts that are not zero, in words.
fn counts<const N: usize>(kinds: [(i64, &str); N]) -> Vec<String> {
    let counted = kinds.into_iter().filter(|(count, _)| *count != 0);
    counted.map(|(count, kind)| format!("{} {kind}", thousands(count))).collect()
}

/// `12 new, 3 changed, 1 returned`, or `none`
pub fn changes(run: &RunRow) -> String {
    let counts = counts([
        (run.added, "new"),
        (run.updated, "changed"),
        (run.returned, "returned"),
        (run.missing, "missing"),
        (run.removed, "removed"),
    ]);
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// Items and rows that make no change.
fn unwritten(run: &RunRow) -> Vec<String> {
    counts([
        (run.returns_pending, "returns pending"),
        (run.rejected, "rejected"),
        (run.suppressed, "suppressed"),
        (run.foreign_items, "of another company"),
        (run.removals_withheld, "removals withheld"),
    ])
}

/// What systemd's STATUS says of a complete run: `ok: 10,345 consents, 12 new, 3 changed`.
pub fn status_words(run: &RunRow) -> String {
    let mut words = vec![
        format!("{}: {}", outcome(run), counted(run.active.unwrap_or(0), "consent", "consents")),
        format!("{} new", thousands(run.added)),
        format!("{} changed", thousands(run.updated)),
    ];
    words.extend(counts([(run.returned, "returned"), (run.missing, "missing"), (run.removed, "removed")]));
    words.extend(unwritten(run));
    words.join(", ")
}

pub fn dry_run_line(run: &RunRow) -> String {
    let changes = changes(run);
    let mut words = vec![if changes == "none" { "nothing would change".to_owned() } else { changes }];
    words.extend(unwritten(run));
    format!("dry run, nothing was written: {}", words.join(", "))
}

/// One line about a run that has ended: the last line of `--run-once`, and the INFO line of the log.
pub fn run_line(run: &RunRow) -> String {
    let time = duration(took(run).unwrap_or_default());
    let pages = counted(run.pages, "page", "pages");
    let requests = counted(run.requests, "request", "requests");
    let mut line = if run.outcome == "succeeded" {
        let active = counted(run.active.unwrap_or(0), "consent", "consents");
        let mut words = vec![format!("run {} {} in {time}: {active} active", run.id, outcome(run))];
        words.extend(
            [
                (run.added, "new"),
                (run.updated, "changed"),
                (run.missing, "missing"),
                (run.removed, "removed"),
            ]
            .map(|(count, kind)| format!("{} {kind}", thousands(count))),
        );
        words.extend(counts([(run.returned, "returned")]));
        words.extend(unwritten(run));
        format!("{}; {pages}, {requests}", words.join(", "))
    } else {
        let items = counted(run.items, "item", "items");
        format!("run {} {} after {time}, {pages} and {items} stored, {requests}", run.id, run.outcome)
    };
    if let Some(error) = &run.error {
        let _ = write!(line, ": {error}");
    }
    line
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
