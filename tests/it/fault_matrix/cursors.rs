//! Cursors that lead nowhere, in a circle, or are refused.

use std::time::Duration;

use understory_mock_api::{End, Endpoint, Fault, FaultRule, When};

use super::scenario::{CLEAN, ENDS_AT_THIRD, PAGES, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let mut all = circles();
    all.extend(refused());
    all.extend(shapes());
    all
}

fn circles() -> Vec<Scenario> {
    vec![
        Scenario::ends("a cursor that repeats (A, A)", 65, Fault::RepeatCursor).on_both(),
        Scenario::new("cursors in a circle (A, B, A)", 65, 1 + 4, |stage| {
            let back = FaultRule::on(Endpoint::List, Fault::BackToPage(3));
            stage.play(back.page(4).always());
        })
        .on_both(),
        Scenario::new("cursors in a circle of the whole list", 65, 1 + PAGES, |stage| {
            let back = FaultRule::on(Endpoint::List, Fault::BackToPage(2));
            stage.play(back.page(PAGES as u64).always());
        }),
        Scenario::new("ever new cursors with empty pages", 65, 1 + 2 + 1_000, |stage| {
            let empty = FaultRule::on(Endpoint::List, Fault::EmptyPage);
            stage.play(empty.when(When::FromPage(3)).always());
        })
        .with("log.level", "info"),
        Scenario::new("999 empty pages, then the rest", 0, CLEAN + 999, |stage| {
            let empty = FaultRule::on(Endpoint::List, Fault::EmptyPage);
            stage.play(empty.when(When::FromPage(3)).times(999));
        })
        .with("log.level", "info"),
        Scenario::new("only empty pages from the first on", 65, 1 + 1_000, |stage| {
            stage.play(FaultRule::on(Endpoint::List, Fault::EmptyPage).always());
        })
        .with("log.level", "info"),
    ]
}

fn refused() -> Vec<Scenario> {
    let refuse = |times| FaultRule::on(Endpoint::List, Fault::RefuseCursor).page(4).times(times);
    vec![
        Scenario::new("a cursor refused once", 0, CLEAN + 4, move |stage| {
            stage.play(refuse(1));
        })
        .on_both(),
        Scenario::new("a cursor refused twice", 0, CLEAN + 8, move |stage| {
            stage.play(refuse(2));
        }),
        Scenario::new("a cursor refused three times", 75, 1 + 12, move |stage| {
            stage.play(refuse(3));
        })
        .on_both(),
        Scenario::new("cursors that expire in mid-pass, once", 0, CLEAN + 4, |stage| {
            stage.play(FaultRule::on(Endpoint::List, Fault::ExpireCursors).page(3));
        }),
        Scenario::new("cursors that expire after each page", 75, 1 + 6, |stage| {
            stage.play(FaultRule::on(Endpoint::List, Fault::ExpireCursors).always());
        }),
        Scenario::new("cursors that live shorter than a page takes", 75, 1 + 6, |stage| {
            stage.configure(|settings| {
                settings.cursor_life = Duration::from_millis(20);
                settings.latency = Duration::from_millis(60);
            });
        }),
        Scenario::new("a refused cursor, and the list is empty from then on", 65, 1 + 3 + 1, |stage| {
            stage.play(FaultRule::on(Endpoint::List, Fault::RefuseCursor).page(3));
            let nobody = Fault::json(r#"{"items":[],"next":""}"#);
            stage.play(FaultRule::on(Endpoint::List, nobody).when(When::FromNth(3)).always());
        }),
    ]
}

fn shapes() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("cursors that hold `+/=&%`", 0, CLEAN, |stage| {
            stage.configure(|settings| settings.awkward_cursors = true);
        })
        .on_both(),
        Scenario::new("`next` is absent at the end", 0, CLEAN, |stage| {
            stage.configure(|settings| settings.end = End::Absent);
        }),
        Scenario::new("`next` is null at the end", 0, CLEAN, |stage| {
            stage.configure(|settings| settings.end = End::Null);
        }),
        Scenario::new("an empty page at the end", 0, CLEAN + 1, |stage| {
            stage.configure(|settings| settings.empty_last_page = true);
        }),
        Scenario::new("an empty page in the middle", 0, CLEAN + 1, |stage| {
            stage.play(FaultRule::on(Endpoint::List, Fault::EmptyPage).page(3));
        }),
        Scenario::new("pages shorter than asked for", 0, 1 + 22, |stage| {
            stage.configure(|settings| settings.page_length = Some(3));
        }),
        Scenario::new("one page longer than asked for", 0, 2, |stage| {
            stage.configure(|settings| settings.page_length = Some(10_000));
        }),
    ];
    for (name, next) in
        [("a number", "7"), ("a list", "[]"), ("an object", "{\"cursor\":\"Wfk3nq\"}"), ("true", "true")]
    {
        let body = format!(r#"{{"items":[],"next":{next}}}"#);
        let name = format!("`next` is {name}");
        all.push(Scenario::always(&name, 65, ENDS_AT_THIRD, Fault::json(&body)));
    }
    let body = format!(r#"{{"items":[],"next":"{}"}}"#, "x".repeat(8_193));
    all.push(Scenario::ends("`next` is longer than any URL", 65, Fault::json(&body)));
    all
}
