use super::*;
use crate::observe::sample::now;

type ToldOf<'a> = &'a [(&'a str, i64, i64)];

fn state(withheld: i64, failures: i64, told: ToldOf<'_>) -> NotificationState {
    let remembered = |(event, amount, hours_ago): &(&str, i64, i64)| Notification {
        event: (*event).to_owned(),
        since: now(),
        sent_at: Some(now().plus_millis(-3_600_000 * hours_ago)),
        amount: *amount,
        failed_at: None,
        error: None,
    };
    NotificationState {
        withheld,
        deferred: false,
        failures,
        active: 10_345,
        company: Some("north".to_owned()),
        last_error: Some("the API answered 503 & <b>stopped</b>.".to_owned()),
        told: told.iter().map(remembered).collect(),
    }
}

fn events(state: &NotificationState) -> Vec<&'static str> {
    let due = due(state, 3, now(), Invocation::current());
    due.notices.iter().map(|notice| notice.event.name()).collect()
}

#[test]
fn each_trouble_is_told_once_again_after_a_day_and_at_once_when_it_has_doubled() {
    const W: &str = "removals_withheld";
    const F: &str = "runs_failing";
    let cases: [(i64, i64, ToldOf<'_>, &[&str]); 15] = [
        (0, 0, &[], &[]),
        (7, 0, &[], &[W]),
        (7, 0, &[(W, 7, 23)], &[]),
        (7, 0, &[(W, 7, 24)], &[W]),
        (13, 0, &[(W, 7, 1)], &[]),
        (14, 0, &[(W, 7, 1)], &[W]),
        (0, 2, &[], &[]),
        (0, 3, &[], &[F]),
        (0, 6, &[(F, 3, 3)], &[]),
        (0, 30, &[(F, 3, 24)], &[F]),
        (7, 3, &[], &[W, F]),
        (7, 3, &[(W, 7, 1)], &[F]),
        // Well again only when nothing is wrong at all.
        (0, 1, &[(F, 3, 1)], &[]),
        (0, 0, &[(F, 3, 1), (W, 7, 50)], &["recovered"]),
        // Ended and back while the other goes on.
        (7, 3, &[(W, 0, 1), (F, 3, 1)], &[W]),
    ];
    for (withheld, failures, told, expected) in cases {
        assert_eq!(events(&state(withheld, failures, told)), expected, "{withheld} {failures} {told:?}");
    }
}

#[test]
fn a_trouble_that_was_never_told_is_forgotten_and_not_recovered_from() {
    let mut silent = state(0, 0, &[("runs_failing", 3, 1)]);
    silent.told[0].sent_at = None;
    let nothing = due(&silent, 3, now(), Invocation::current());
    assert!(nothing.notices.is_empty() && nothing.forget);
    // After that, and after all is well again, a good run has nothing to write.
    for told in [&[][..], &[("recovered", 0, 30)]] {
        assert_eq!(due(&state(0, 0, told), 3, now(), Invocation::current()), Due::default(), "{told:?}");
    }
    let deferred = NotificationState { deferred: true, ..state(0, 0, &[("removals_withheld", 7, 1)]) };
    assert_eq!(due(&deferred, 3, now(), Invocation::current()), Due::default());
    let over = due(
        &state(0, 3, &[("removals_withheld", 7, 1), ("runs_failing", 3, 1)]),
        3,
        now(),
        Invocation::current(),
    );
    assert_eq!(over.ended, ["removals_withheld"]);
}

#[test]
fn the_three_formats() {
    let due = due(&state(1_004, 3, &[]), 3, now(), Invocation::current());
    let bodies: Vec<String> = due
        .notices
        .iter()
        .flat_map(|notice| {
            [NotifyFormat::Json, NotifyFormat::Slack, NotifyFormat::Text].map(|format| notice.body(format))
        })
        .map(|(content_type, text)| format!("{content_type}\n{text}"))
        .collect();
    insta::assert_snapshot!(bodies.join("\n\n"));
    let json: Value = serde_json::from_str(&due.notices[0].body(NotifyFormat::Json).1).unwrap_or_default();
    let mut keys: Vec<&String> = json.as_object().into_iter().flat_map(serde_json::Map::keys).collect();
    keys.sort();
    assert_eq!(keys, ["at", "company_id", "counts", "event", "message", "next_step"]);
}
