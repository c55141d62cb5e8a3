use super::*;
use crate::observe::sample::{INSTALLATION, now, run, troubled, view, well};

fn shown(snapshot: &Snapshot) -> String {
    let View { installation, next_run, now, .. } = view(snapshot);
    let page = render(Ok(snapshot), installation, next_run, now);
    save_page(&page);
    page
}

/// Without the style sheet and the version, which would make every snapshot change with them.
fn essence(page: &str) -> String {
    page.replace(CSS, "").replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

/// For a look in a browser: `PAGES=folder cargo test page`.
fn save_page(page: &str) {
    let Some(folder) = std::env::var_os("PAGES") else {
        return;
    };
    let name = page.split("<p class=\"state ").nth(1).and_then(|rest| rest.split('"').next());
    let name = format!("{}-{}.html", name.unwrap_or("page"), page.len());
    let _ = std::fs::write(std::path::Path::new(&folder).join(name), page);
}

#[test]
fn the_page_when_all_is_well() {
    let mut snapshot = well();
    snapshot.runs.truncate(2);
    snapshot.active_over_time.drain(..395);
    insta::assert_snapshot!(essence(&shown(&snapshot)));
    shown(&well());
}

#[test]
fn the_page_in_trouble() {
    let mut snapshot = troubled();
    shown(&snapshot);
    snapshot.runs.truncate(4);
    snapshot.active_over_time.clear();
    insta::assert_snapshot!(essence(&shown(&snapshot)));
}

#[test]
fn the_page_before_the_first_run() {
    insta::assert_snapshot!(essence(&shown(&Snapshot::default())));
}

#[test]
fn the_page_while_the_database_does_not_answer() {
    let page = render(Err("connection refused"), &INSTALLATION, None, now());
    save_page(&page);
    assert!(page.contains("the database does not answer (connection refused)"));
}

#[test]
fn an_error_that_was_healed_asks_for_nothing() {
    let mut snapshot = well();
    snapshot.runs[4].outcome = "failed".to_owned();
    snapshot.runs[4].error = Some("the network was down".to_owned());
    let page = shown(&snapshot);
    assert!(page.contains("the network was down</p><p>Nothing to do: run 142 succeeded."));
}

#[test]
fn nothing_from_the_database_becomes_markup() {
    let mut evil = run(1, 0);
    let script = "<script>\"'&";
    evil.outcome = script.to_owned();
    evil.trigger = script.to_owned();
    evil.error = Some(script.to_owned());
    let snapshot = Snapshot { runs: vec![evil.clone()], last_complete: Some(evil), ..well() };
    let page = shown(&snapshot);
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;&quot;&#39;&amp;"));
}

#[test]
fn nothing_is_fetched_from_anywhere() {
    let page = shown(&well());
    for reach in ["src=", "url(", "@import", "https://", "<script", "<iframe"] {
        assert!(!page.contains(reach), "{reach}");
    }
    assert!(page.len() < 60_000, "{}", page.len());
}

#[test]
fn equal_runs_are_one_row_and_a_message_is_told_once() {
    let mut snapshot = troubled();
    for run in snapshot.runs.iter_mut().skip(10) {
        (run.added, run.updated, run.missing, run.removed) = (0, 0, 0, 0);
    }
    let page = shown(&snapshot);
    assert_eq!(page.matches("<tr role=\"row\"><th scope=\"row\"").count(), 1 + 7 + 1);
    assert!(page.contains("runs 140 to 142") && page.contains("3 runs without changes"));
    assert!(page.contains("runs 123 to 132") && page.contains("10 runs without changes"));
    snapshot.runs[1].missing = 1;
    let page = shown(&snapshot);
    let row = |page: &str| page.matches("&lt;try&gt; again later").count();
    assert_eq!(
        (row(&page), page.matches("the same message").count()),
        (2, 2),
        "once in the note, once in a row"
    );
}

#[test]
fn the_changes_of_thirty_and_ninety_days_are_summed() {
    let change = |days: i64| Change {
        started_at: now().plus_millis(-86_400_000 * days),
        added: 10,
        returned: 1,
        updated: 2,
        missing: 3,
    };
    let snapshot = Snapshot { changes: [0, 0, 29, 30, 89, 90].map(change).to_vec(), ..well() };
    let page = shown(&snapshot);
    assert!(page.contains("<dt>30 days</dt><dd>30 new, 3 returned, 6 changed, 9 left</dd>"));
    assert!(page.contains("<dt>90 days</dt><dd>50 new, 5 returned, 10 changed, 15 left</dd>"));
    assert_eq!(view(&snapshot).days(90).len(), 90);
    assert_eq!(view(&snapshot).days(90)[89].0, "2026-11-21");
}
