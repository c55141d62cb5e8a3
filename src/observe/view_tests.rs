use super::*;
use crate::observe::sample::{troubled, view, well};

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
    assert!(notes[0].text.contains("schedule.run_timeout"));
    let unlimited = View { run_timeout: None, ..view(&snapshot) };
    assert_eq!(unlimited.notes(), []);
}
