#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::{Arc, Mutex};

use super::*;

fn noon() -> Timestamp {
    "2026-11-21T12:00:04.123Z".parse().unwrap()
}

/// What is written while `work` runs.
fn written(style: Style, level: Level, work: impl FnOnce()) -> String {
    let page = Arc::new(Mutex::new(Vec::new()));
    let out = Arc::clone(&page);
    let lines =
        LogLayer { style, out: move |line: &[u8]| out.lock().unwrap().extend_from_slice(line), now: noon };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter(level)));
    tracing::subscriber::with_default(subscriber, work);
    String::from_utf8(page.lock().unwrap().clone()).unwrap()
}

const TEXT: Style = Style { format: LogFormat::Text, colour: false, journal: false };
const JSON: Style = Style { format: LogFormat::Json, ..TEXT };

fn a_run() {
    let span = tracing::info_span!("run", run_id = 42, level = "mine");
    let _inside = span.enter();
    let page = tracing::info_span!("page", page = tracing::field::Empty);
    page.record("page", 7);
    page.in_scope(|| tracing::warn!(wait_ms = 250, why = "said \"no\"", "asked\nagain"));
}

#[test]
fn every_line_of_a_run_carries_its_id() {
    assert_eq!(
        written(TEXT, Level::INFO, a_run),
        "2026-11-21T12:00:04.123Z  WARN asked again level=mine page=7 run_id=42 wait_ms=250 why=\"said \\\"no\\\"\"\n"
    );
    let line = written(JSON, Level::INFO, a_run);
    assert!(line.starts_with(
        r#"{"timestamp":"2026-11-21T12:00:04.123Z","level":"WARN","target":"understory_sync::observe::logging::tests","message":"asked\nagain","#
    ));
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["run_id"], 42);
    assert_eq!(value["page"], 7);
    assert_eq!(value["level"], "WARN");
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn the_journal_gets_the_level_and_adds_the_time_itself() {
    let journal = Style { journal: true, ..TEXT };
    let line = written(journal, Level::INFO, || tracing::info!("done"));
    assert_eq!(line, "<6> INFO done\n");
}

#[test]
fn only_a_terminal_sees_colour() {
    let terminal = Style { colour: true, ..TEXT };
    let work = || tracing::error!("no");
    assert!(written(terminal, Level::INFO, work).contains("\u{1b}[31mERROR\u{1b}[0m no"));
    assert!(!written(TEXT, Level::INFO, work).contains('\u{1b}'));
}

#[test]
fn dependencies_are_heard_at_no_level() {
    let page = written(TEXT, Level::TRACE, || {
        tracing::error!(target: "sqlx::query", "select 'a@example.com'");
        tracing::trace!(target: "hyper", "authorization: Bearer x");
        tracing::trace!("ours");
    });
    assert_eq!(page, "2026-11-21T12:00:04.123Z TRACE ours\n");
}

#[test]
fn below_the_level_nothing_is_written() {
    let page = written(TEXT, Level::WARN, || tracing::info!("idle talk"));
    assert_eq!(page, "");
}
