//! Runs in words: for the log, `--run-once`, systemd and the tables. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::store::RunRow;

use super::text::{age, counted, duration, thousands};

/// How long a run took; none while it runs.
pub fn took(run: &RunRow) -> Option<Duration> {
    run.finished_at.map(|end| age(run.started_at, end))
}

/// Where a run took half of `schedule.run_timeout` or more: how long, and the limit.
pub fn near_limit(run: &RunRow, limit: Option<Duration>) -> Option<(Duration, Duration)> {
    let (took, limit) = (took(run)?, limit?);
    (took >= limit / 2).then_some((took, limit))
}

/// `ok`, `not judged`, `withheld`, `failed`, `interrupted`, `running`
pub fn outcome(run: &RunRow) -> &str {
    match (run.outcome.as_str(), run.absence.as_deref()) {
        ("succeeded", Some("withheld")) => "withheld",
        ("succeeded", Some("blocked")) => "not judged",
        ("succeeded", _) => "ok",
        (other, _) => other,
    }
}

/// `12 new, 3 changed, 1 returned`, or `none`
pub fn changes(run: &RunRow) -> String {
    let kinds = [
        (run.added, "new"),
        (run.updated, "changed"),
        (run.returned, "returned"),
        (run.missing, "missing"),
        (run.removed, "removed"),
    ];
    let told: Vec<String> = kinds
        .iter()
        .filter(|(count, _)| *count != 0)
        .map(|(count, kind)| format!("{} {kind}", thousands(*count)))
        .collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

/// What systemd's STATUS says of a complete run: `ok: 10,345 consents, 12 new, 3 changed`.
pub fn status_words(run: &RunRow) -> String {
    let mut words = format!(
        "{}: {}, {} new, {} changed",
        outcome(run),
        counted(run.active.unwrap_or(0), "consent", "consents"),
        thousands(run.added),
        thousands(run.updated),
    );
    for (count, kind) in asides(run) {
        let _ = write!(words, ", {} {kind}", thousands(count));
    }
    words
}

/// What is only worth a word where it is not nought.
fn asides(run: &RunRow) -> impl Iterator<Item = (i64, &'static str)> {
    [(run.returned, "returned"), (run.missing, "missing"), (run.removed, "removed")]
        .into_iter()
        .filter(|(count, _)| *count != 0)
        .chain(unwritten(run))
}

/// Items and rows that make no change.
fn unwritten(run: &RunRow) -> impl Iterator<Item = (i64, &'static str)> {
    [
        (run.returns_pending, "returns pending"),
        (run.rejected, "rejected"),
        (run.suppressed, "suppressed"),
        (run.foreign_items, "of another company"),
        (run.removals_withheld, "removals withheld"),
    ]
    .into_iter()
    .filter(|(count, _)| *count != 0)
}

/// The last line of a dry run.
pub fn dry_run_line(run: &RunRow) -> String {
    let changes = changes(run);
    let mut line = "dry run, nothing was written: ".to_owned();
    line.push_str(if changes == "none" { "nothing would change" } else { &changes });
    for (count, kind) in unwritten(run) {
        let _ = write!(line, ", {} {kind}", thousands(count));
    }
    line
}

/// One line about a run that has ended: the last line of `--run-once`, and the INFO line of the log.
pub fn run_line(run: &RunRow) -> String {
    let time = duration(took(run).unwrap_or_default());
    let mut line = if run.outcome == "succeeded" {
        let mut line = format!(
            "run {} {} in {time}: {} active, {} new, {} changed, {} missing, {} removed",
            run.id,
            outcome(run),
            counted(run.active.unwrap_or(0), "consent", "consents"),
            thousands(run.added),
            thousands(run.updated),
            thousands(run.missing),
            thousands(run.removed),
        );
        for (count, kind) in asides(run).filter(|(_, kind)| !["missing", "removed"].contains(kind)) {
            let _ = write!(line, ", {} {kind}", thousands(count));
        }
        let _ = write!(
            line,
            "; {}, {}",
            counted(run.pages, "page", "pages"),
            counted(run.requests, "request", "requests")
        );
        line
    } else {
        format!(
            "run {} {} after {time}, {} and {} stored, {}",
            run.id,
            run.outcome,
            counted(run.pages, "page", "pages"),
            counted(run.items, "item", "items"),
            counted(run.requests, "request", "requests"),
        )
    };
    if let Some(error) = &run.error {
        let _ = write!(line, ": {error}");
    }
    line
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
