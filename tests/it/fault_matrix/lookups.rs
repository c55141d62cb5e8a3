//! The pages of single consents: what they say decides about removals, and never about the run.

use understory_mock_api::{Endpoint, Fault, FaultRule, Route};

use super::scenario::{After, CLEAN, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    let unclear = |name: &str, more: usize, fault: Fault| {
        let rule = FaultRule::on(Endpoint::Single, fault).always();
        Scenario::new(format!("look-up: {name}"), 0, CLEAN + more, move |stage| {
            stage.play(rule.clone());
        })
        .leaving()
        .check(|after| are(after, "missing"))
    };
    for status in [400, 403, 405, 429, 500, 501, 503] {
        let one = unclear(&format!("status {status}"), 1, Fault::status(status));
        all.push(if status == 500 { one.on_both() } else { one });
    }
    all.push(unclear("status 401, one new token", 3, Fault::status(401)).on_both());
    all.push(unclear("status 204", 1, Fault::status(204)));
    all.push(unclear("reset", 1, Fault::Reset));
    all.push(unclear("silence", 1, Fault::Hang).impatient());
    all.push(unclear(
        "a body cut short",
        1,
        Fault::Raw(vec![understory_mock_api::Step::Send(
            b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec(),
        )]),
    ));
    all.push(unclear(
        "an endless body",
        1,
        Fault::Endless { prefix: b"{".to_vec(), then: vec![b' '; 10_000] },
    ));
    all.push(unclear("200 for somebody who is not listed", 2, Fault::json("{}")));
    all.push(
        Scenario::new("look-up: a redirect to another host", 0, CLEAN + 1, |stage| {
            let location = stage.elsewhere.url();
            let redirect = Fault::Redirect { status: 307, location };
            stage.play(FaultRule::on(Endpoint::Single, redirect).always());
        })
        .leaving()
        .check(|after| are(after, "missing")),
    );
    all.push(gone("404", |_| Route::Works).on_both());
    all.push(gone("410", |_| Route::Gone(410)));
    all.push(
        Scenario::new("look-up: 404 with a body cut short", 0, CLEAN + 2, |stage| {
            let steps = vec![understory_mock_api::Step::Send(
                b"HTTP/1.1 404 Not Found\r\ncontent-length: 100\r\n\r\n{".to_vec(),
            )];
            stage.play(FaultRule::on(Endpoint::Single, Fault::Raw(steps)).always());
        })
        .leaving()
        .check(|after| are(after, "removed")),
    );
    all
}

fn gone(status: &str, route: fn(u16) -> Route) -> Scenario {
    Scenario::new(format!("look-up: {status}, the removal is recorded"), 0, CLEAN + 2, move |stage| {
        stage.configure(|settings| settings.single = route(0));
    })
    .leaving()
    .check(|after| are(after, "removed"))
}

/// The two who left are in this state.
fn are(after: &After<'_>, state: &str) -> Result<(), String> {
    let end = format!("|{state}");
    let count = after.rows.iter().filter(|row| row.ends_with(&end)).count();
    (count == 2).then_some(()).ok_or_else(|| format!("{count} of 2 are {state}"))
}
