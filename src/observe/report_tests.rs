use super::*;
use crate::observe::sample::{run, troubled, view, well};

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
fn one_line_about_a_run() {
    let mut ended = run(42, 0);
    assert_eq!(
        run_line(&ended),
        "run 42 ok in 3.2 s: 10,345 consents active, 6 new, 0 changed, 2 missing, 0 removed; 104 pages, 105 requests"
    );
    assert_eq!(
        status_words(&ended),
        "ok: 10,345 consents, 6 new, 0 changed, 2 missing"
    );
    ended.outcome = "failed".to_owned();
    ended.error = Some("the network is down".to_owned());
    assert_eq!(
        run_line(&ended),
        "run 42 failed after 3.2 s, 104 pages and 10,345 items stored, 105 requests: the network is down"
    );
}

#[test]
fn a_run_that_took_more_than_half_of_its_time_is_told() {
    let mut snapshot = well();
    let started = snapshot.runs[0].started_at;
    snapshot.runs[0].finished_at = Some(started.plus_millis(26 * 60_000));
    let notes = view(&snapshot).notes();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].text.contains("schedule.run_timeout"));
    let unlimited = View {
        run_timeout: None,
        ..view(&snapshot)
    };
    assert_eq!(unlimited.notes(), []);
}
