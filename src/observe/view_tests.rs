use super::*;
use crate::observe::sample::{INSTALLATION, now, troubled, view, well};
use crate::store::{Acceptance, Notification};

#[test]
fn status_when_all_is_well() {
    insta::assert_snapshot!(view(&well()).to_text());
}

#[test]
fn status_in_trouble() {
    insta::assert_snapshot!(view(&troubled()).to_text());
}

#[test]
fn status_before_the_first_run() {
    insta::assert_snapshot!(view(&Snapshot::default()).to_text());
}

#[test]
fn status_for_scripts() {
    let mut snapshot = troubled();
    snapshot.runs.truncate(1);
    let json = view(&snapshot).to_json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap_or_default());
}

#[test]
fn a_run_that_took_half_of_its_time_is_told() {
    let mut snapshot = well();
    let started = snapshot.runs[0].started_at;
    snapshot.runs[0].finished_at = Some(started.plus_millis(25 * 60_000));
    snapshot.last_complete = Some(snapshot.runs[0].clone());
    let notes = view(&snapshot).notes();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].detail.as_deref(), Some("schedule.run_timeout"));
    let installation = Installation { run_timeout: None, ..INSTALLATION.clone() };
    let unlimited = View { installation: &installation, ..view(&snapshot) };
    assert_eq!(unlimited.notes(), []);
}

#[test]
fn a_next_run_is_told_only_where_a_daemon_is_known() {
    let mut snapshot = well();
    let words = |snapshot: &Snapshot, minutes: Option<i64>| {
        let next_run = minutes.map(|minutes| now().plus_millis(minutes * 60_000));
        let view = View { next_run, ..view(snapshot) };
        (view.next_run_words(), view.to_json()["next_run_at"].is_string())
    };
    assert_eq!(words(&snapshot, None), ("not known: no daemon is up".to_owned(), false));
    assert_eq!(words(&snapshot, Some(3)), ("2026-11-21 12:07:00 UTC (in 3 min)".to_owned(), true));
    assert_eq!(words(&snapshot, Some(-5)), ("2026-11-21 11:59:00 UTC (5 min ago)".to_owned(), true));
    let gone = "not known: no daemon seen since 2026-11-21 11:58:00 UTC (6 min ago)".to_owned();
    assert_eq!(words(&snapshot, Some(-6)), (gone, false));
    // A run that takes long keeps the daemon from saying so anew.
    snapshot.runs[0].outcome = "running".to_owned();
    snapshot.runs[0].finished_at = None;
    assert!(words(&snapshot, Some(-6)).1);
}

#[test]
fn what_waits_is_told_with_since_when() {
    let hour_ago = now().plus_millis(-3_600_000);
    let failed = Notification {
        event: "runs_failing".to_owned(),
        failed_at: Some(hour_ago),
        error: Some("the notification was not accepted: the answer was 500".to_owned()),
        ..Notification::default()
    };
    let snapshot = Snapshot {
        acceptance: Some(Acceptance { removals: 1_004, by: "anna@web".to_owned(), at: Some(hour_ago) }),
        returns_pending: 2,
        unlisted_there: 1,
        unlisted_there_since: Some(hour_ago),
        lookups_unclear: 3,
        lookups_unclear_since: Some(hour_ago),
        notifications: vec![failed],
        ..well()
    };
    insta::assert_snapshot!(view(&snapshot).to_text());
    let silent = Installation { notifies: false, ..INSTALLATION.clone() };
    assert_eq!(View { installation: &silent, ..view(&snapshot) }.notes(), []);
}
