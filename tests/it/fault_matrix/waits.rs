//! `Retry-After` in every form, and how long a 429 is respected.

use std::time::Duration;

use chrono::TimeDelta;
use understory_mock_api::{Endpoint, Fault, FaultRule, RateLimit};
use understory_sync::store::Timestamp;

use super::scenario::{After, CLEAN, ENDS_AT_THIRD, Scenario};

const IMF: &str = "%a, %d %b %Y %H:%M:%S GMT";
const RFC850: &str = "%A, %d-%b-%y %H:%M:%S GMT";
const ASCTIME: &str = "%a %b %e %H:%M:%S %Y";

pub(super) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    // Nothing to wait for, or nothing that can be understood: the usual wait.
    for text in ["0", "-5", "+3", "1.5", "1e3", "soon", "", "120, 240", "0x10", "１"] {
        all.push(Scenario::passes(
            &format!("status 429 with `Retry-After: {text}`"),
            Fault::retry_after(429, text),
        ));
    }
    all.push(
        Scenario::passes("status 429 with `Retry-After: 1`", Fault::retry_after(429, "1"))
            .check(waited_a_second)
            .on_both(),
    );
    all.push(
        Scenario::passes("status 503 with `Retry-After: 1`", Fault::retry_after(503, "1"))
            .check(waited_a_second),
    );
    for (name, form) in [("IMF", IMF), ("RFC 850", RFC850), ("asctime", ASCTIME)] {
        all.push(date(429, name, form, "4 s ahead", TimeDelta::seconds(4), 0).check(waited_a_second));
        all.push(date(429, name, form, "past", TimeDelta::days(-400), 0));
        all.push(date(503, name, form, "a year ahead", TimeDelta::days(365), 75).check(gave_up_at_once));
    }
    for text in ["7200", "99999999999999999999999", "18446744073709551615"] {
        let name = format!("status 429 with `Retry-After: {text}`");
        let rule = FaultRule::on(Endpoint::List, Fault::retry_after(429, text));
        let rule = rule.page(3).always();
        all.push(
            Scenario::new(name, 75, ENDS_AT_THIRD, move |stage| {
                stage.play(rule.clone());
            })
            .check(gave_up_at_once)
            .on_both(),
        );
    }
    all.push(no_deadline());
    all.push(
        Scenario::passes(
            "status 429 with `Retry-After: 0`, never earlier than rate_limit_delay",
            Fault::retry_after(429, "0"),
        )
        .with("retry.rate_limit_delay", "1200ms")
        .check(waited_a_second),
    );
    all.push(
        Scenario::new("a rate limit that is met again and again", 0, 2 * CLEAN, |stage| {
            stage.configure(|settings| {
                settings.rate_limit =
                    Some(RateLimit { requests: 3, window: Duration::from_millis(300), retry_after: None });
            });
        })
        .with("retry.rate_limit_delay", "400ms"),
    );
    all.push(
        Scenario::new("a rate that api.requests_per_second keeps below", 0, CLEAN, |stage| {
            stage.configure(|settings| {
                settings.rate_limit =
                    Some(RateLimit { requests: 3, window: Duration::from_millis(400), retry_after: None });
            });
        })
        .with("api.requests_per_second", "5"),
    );
    all
}

fn date(status: u16, name: &str, form: &'static str, when: &str, from_now: TimeDelta, exit: i32) -> Scenario {
    let name = format!("status {status} with `Retry-After` as a date ({name}), {when}");
    let most = if exit == 0 { CLEAN + 1 } else { ENDS_AT_THIRD };
    Scenario::new(name, exit, most, move |stage| {
        let text = (Timestamp::now().to_utc() + from_now).format(form).to_string();
        stage.play(FaultRule::on(Endpoint::List, Fault::retry_after(status, &text)).page(3));
    })
}

fn no_deadline() -> Scenario {
    Scenario::ends("`Retry-After: 3601` without a run_timeout", 75, Fault::retry_after(503, "3601"))
        .with("schedule.run_timeout", "off")
        .check(gave_up_at_once)
}

/// Between the two requests for the third page.
fn waited_a_second(after: &After<'_>) -> Result<(), String> {
    let third: Vec<_> = after.seen.iter().filter(|call| call.page == Some(3)).collect();
    let [first, second] = third[..] else {
        return Err("the third page was not asked for twice".to_owned());
    };
    let gap = second.at.duration_since(first.at);
    if gap < Duration::from_millis(995) {
        return Err(format!("it waited only {gap:?}"));
    }
    Ok(())
}

fn gave_up_at_once(after: &After<'_>) -> Result<(), String> {
    if after.took > Duration::from_secs(10) {
        return Err(format!("it took {:?}", after.took));
    }
    Ok(())
}
