//! The pages of single consents: what they say decides about removals, and never about the run.

use understory_mock_api::{Endpoint, Fault, FaultRule, Step, When};

use super::scenario::{After, CLEAN, Scenario};

/// Look-ups from the second on: the first one is the control, which finds its page.
fn behind_the_control(fault: Fault) -> FaultRule {
    FaultRule::on(Endpoint::Single, fault).when(When::FromNth(2)).always()
}

pub(super) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    let scenario = |name: &str, more: usize, state: &'static str, fault: Fault| {
        let rule = behind_the_control(fault);
        Scenario::new(format!("look-up: {name}"), 0, CLEAN + more, move |stage| {
            stage.play(rule.clone());
        })
        .leaving()
        .with("schedule.run_timeout", "5m")
        .check(move |after| are(after, state))
    };
    let unclear = |name: &str, more: usize, fault: Fault| scenario(name, more, "missing", fault);
    // The control and two look-ups, each of them tried three times where that may help. A 429 ends them.
    for (status, more) in [(403, 3), (405, 3), (429, 4), (500, 7), (501, 3), (503, 7)] {
        let one = unclear(&format!("status {status}"), more, Fault::status(status));
        all.push(if status == 500 { one.on_both() } else { one });
    }
    all.push(unclear("status 401, a new token each", 7, Fault::status(401)).on_both());
    all.push(unclear("status 204", 3, Fault::status(204)));
    all.push(unclear("reset", 7, Fault::Reset));
    all.push(unclear("silence", 7, Fault::Hang).impatient());
    let raw = |text: &[u8]| Fault::Raw(vec![Step::Send(text.to_vec())]);
    all.push(unclear("a body cut short", 7, raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")));
    all.push(unclear(
        "an endless body",
        3,
        Fault::Endless { prefix: b"{".to_vec(), then: vec![b' '; 10_000] },
    ));
    all.push(unclear("200 with another object", 3, Fault::json("{}")));
    all.push(
        Scenario::new("look-up: a redirect to another host", 0, CLEAN + 3, |stage| {
            let location = stage.elsewhere.url();
            stage.play(behind_the_control(Fault::Redirect { status: 307, location }));
        })
        .leaving()
        .with("schedule.run_timeout", "5m")
        .check(|after| are(after, "missing")),
    );
    for status in [400, 404, 410] {
        let name = format!("{status}, the removal is recorded");
        all.push(scenario(&name, 3, "removed", Fault::status(status)).on_both());
    }
    all.push(scenario(
        "404 with a body cut short",
        3,
        "removed",
        raw(b"HTTP/1.1 404 Not Found\r\ncontent-length: 100\r\n\r\n{"),
    ));
    for status in [400, 404, 501] {
        let rule = FaultRule::on(Endpoint::Single, Fault::status(status)).always();
        let name = format!("look-up: {status} for those who are listed, too, so that no page decides");
        all.push(
            Scenario::new(name, 0, CLEAN + 3, move |stage| stage.play(rule.clone()))
                .leaving()
                .with("schedule.run_timeout", "5m")
                .check(|after| are(after, "missing")),
        );
    }
    all
}

/// The two who left are in this state.
fn are(after: &After<'_>, state: &str) -> Result<(), String> {
    let end = format!("|{state}");
    let count = after.rows.iter().filter(|row| row.ends_with(&end)).count();
    (count == 2).then_some(()).ok_or_else(|| format!("{count} of 2 are {state}"))
}
