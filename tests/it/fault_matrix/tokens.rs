//! What the token endpoint can do, and what can become of a token.

use std::time::Duration;

use serde_json::{Value, json};
use understory_mock_api::{BodyKind, Endpoint, Fault, FaultRule, When};

use super::scenario::{ATTEMPTS, After, CLEAN, PAGES, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let mut all = lives();
    all.extend(kinds());
    all.extend(values());
    all.extend(refusals());
    all.extend(statuses());
    all.extend(revoked());
    all
}

/// A good answer with this field.
fn with(field: &'static str, value: Value) -> Fault {
    Fault::token(move |answer| answer[field] = value.clone())
}

fn without(field: &'static str) -> Fault {
    Fault::token(move |answer| {
        answer.as_object_mut().unwrap().remove(field);
    })
}

fn works(name: &str, fault: Fault) -> Scenario {
    Scenario::token(name, 0, CLEAN, fault)
}

fn lives() -> Vec<Scenario> {
    let mut all = vec![works("no expires_in", without("expires_in")).on_both()];
    for (name, value) in [
        ("text", json!("3599")),
        ("text that is no number", json!("soon")),
        ("zero", json!(0)),
        ("negative", json!(-3599)),
        ("null", json!(null)),
        ("a fraction", json!(3599.5)),
        ("a list", json!([3599])),
        ("enormous", json!(1e300)),
        ("ten seconds", json!(10)),
    ] {
        all.push(works(&format!("expires_in is {name}"), with("expires_in", value)));
    }
    all.push(
        Scenario::new("token: it lives two seconds, the run takes longer", 0, CLEAN + 4, |stage| {
            stage.configure(|settings| {
                settings.token_life = Duration::from_secs(2);
                settings.latency = Duration::from_millis(350);
            });
        })
        .check(|after| {
            let refused = after.seen.iter().filter(|call| call.status == Some(401)).count();
            (refused == 0).then_some(()).ok_or_else(|| format!("{refused} requests with a dead token"))
        })
        .on_both(),
    );
    all
}

fn kinds() -> Vec<Scenario> {
    let mut all = vec![
        works("no token_type", without("token_type")),
        works("token_type is Bearer", with("token_type", json!("Bearer"))),
        works("no scope", without("scope")),
        works("unknown fields", with("refresh_token", json!({"Wfk3nq": [1]}))),
    ];
    for kind in [json!("mac"), json!("DPoP"), json!(""), json!(7)] {
        let name = format!("token_type is {kind}");
        all.push(Scenario::token(&name, 65, 1, with("token_type", kind)));
    }
    all
}

fn values() -> Vec<Scenario> {
    let mut all = vec![Scenario::token("no access_token", 65, 1, without("access_token"))];
    for (name, value) in [
        ("with a line break", json!("Wfk3nq\r\nx-evil: 1")),
        ("with a space", json!("Wfk3nq Wfk3nq")),
        ("with letters beyond ASCII", json!("Wfk3nqø")),
        ("with NUL", json!("Wfk3nq\0")),
        ("empty", json!("")),
        ("a number", json!(7)),
        ("null", json!(null)),
        ("a list", json!(["Wfk3nq"])),
        ("of 100,000 bytes", json!("Wfk3nq".repeat(17_000))),
    ] {
        let name = format!("the access token is {name}");
        all.push(Scenario::token(&name, 65, 1, with("access_token", value)));
    }
    all.push(Scenario::token(
        "another token than the one that is good",
        77,
        4,
        with("access_token", json!("Wfk3nq")),
    ));
    all
}

fn refusals() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (status, error, exit) in [
        (401, "invalid_client", 77),
        (400, "invalid_client", 77),
        (400, "invalid_scope", 77),
        (400, "unauthorized_client", 77),
        (403, "access_denied", 77),
        (400, "invalid_request", 69),
        (400, "invalid_grant", 69),
        (400, "unsupported_grant_type", 69),
        (400, "Wfk3nq", 69),
    ] {
        let name =
            format!("status {status} {}", if error == "Wfk3nq" { "with an unknown error" } else { error });
        let scenario = Scenario::token(&name, exit, 1, Fault::oauth_error(status, error));
        all.push(if status == 401 { scenario.on_both() } else { scenario });
    }
    all.push(Scenario::token("status 401 with HTML", 75, 1, Fault::with_body(401, BodyKind::Html)));
    all.push(Scenario::token("status 403 with nothing", 75, 1, Fault::with_body(403, BodyKind::Empty)));
    all.push(
        Scenario::new("token: a wrong secret", 77, 1, |stage| {
            stage.set("auth.client_secret", "mock~secrets");
        })
        .check(says("auth.client_secret")),
    );
    all.push(
        Scenario::new("token: a scope that the key does not have", 77, 1, |stage| {
            stage.configure(|settings| settings.scopes = vec!["openid".into()]);
        })
        .check(says("auth.scopes")),
    );
    all.push(Scenario::new("a key without the permission", 77, 2, |stage| {
        stage.set("auth.scopes", "openid");
    }));
    all
}

/// Each complaint has to name the key that cures it; a function pointer cannot hold a text, so that there is one for each.
fn says(key: &'static str) -> fn(&After<'_>) -> Result<(), String> {
    match key {
        "auth.scopes" => |after| named(after, "auth.scopes"),
        _ => |after| named(after, "auth.client_secret"),
    }
}

fn named(after: &After<'_>, key: &str) -> Result<(), String> {
    let said = after.stderr.contains(key);
    said.then_some(()).ok_or_else(|| format!("it does not name {key}"))
}

fn statuses() -> Vec<Scenario> {
    let mut all = Vec::new();
    for status in [301, 302, 303, 307, 308] {
        let name = format!("token: redirect {status} to another host");
        let redirect = Scenario::new(name, 69, 1, move |stage| {
            let location = format!("{}/oauth2/token", stage.elsewhere.url());
            stage.play(FaultRule::on(Endpoint::Token, Fault::Redirect { status, location }).always());
        });
        all.push(redirect);
    }
    for (name, exit, fault) in [
        ("status 404", 69, Fault::status(404)),
        ("status 405", 69, Fault::status(405)),
        ("status 501", 69, Fault::status(501)),
        ("status 204", 65, Fault::status(204)),
        ("200 with `{}`", 65, Fault::json("{}")),
        ("200 with `[]`", 65, Fault::json("[]")),
    ] {
        all.push(Scenario::token(name, exit, 1, fault));
    }
    for (name, exit, fault) in [
        ("status 500", 75, Fault::status(500)),
        ("status 503 with HTML", 75, Fault::with_body(503, BodyKind::Html)),
        ("status 429", 75, Fault::status(429)),
        ("200 with HTML", 65, Fault::html()),
        ("200 with nothing", 65, Fault::json("")),
        ("reset", 75, Fault::Reset),
        ("closed without an answer", 75, Fault::Drop),
        ("body cut short", 75, Fault::CutBody { after: 20, reset: false }),
    ] {
        let always = Scenario::token(&format!("{name}, always"), exit, ATTEMPTS, fault.clone());
        all.push(always);
        let rule = FaultRule::on(Endpoint::Token, fault);
        all.push(Scenario::new(format!("token: {name}, once"), 0, CLEAN + 1, move |stage| {
            stage.play(rule.clone());
        }));
    }
    all.push(Scenario::token("silence, always", 75, ATTEMPTS, Fault::Hang).impatient());
    all.push(Scenario::token("status 429 with `Retry-After: 7200`", 75, 1, Fault::retry_after(429, "7200")));
    all
}

fn revoked() -> Vec<Scenario> {
    let revoke = || FaultRule::on(Endpoint::List, Fault::RevokeTokens);
    vec![
        Scenario::new("the token is revoked in mid-pass", 0, CLEAN + 2, move |stage| {
            stage.play(revoke().page(2));
        })
        .on_both(),
        Scenario::new("the token is revoked after every page", 0, CLEAN + 2 * PAGES, move |stage| {
            stage.play(revoke().always());
        }),
        Scenario::new("the token is revoked, and no new one is given", 77, 1 + 3 + 1, move |stage| {
            stage.play(revoke().page(2));
            let no = FaultRule::on(Endpoint::Token, Fault::oauth_error(401, "invalid_client"));
            stage.play(no.when(When::FromNth(2)).always());
        })
        .on_both(),
        Scenario::new(
            "the token is revoked, and the token endpoint is down",
            75,
            1 + 3 + ATTEMPTS,
            move |stage| {
                stage.play(revoke().page(2));
                let down = FaultRule::on(Endpoint::Token, Fault::status(503));
                stage.play(down.when(When::FromNth(2)).always());
            },
        ),
        Scenario::new(
            "the token is revoked, and the token endpoint answers 400",
            69,
            1 + 3 + 1,
            move |stage| {
                stage.play(revoke().page(2));
                let no = FaultRule::on(Endpoint::Token, Fault::status(400));
                stage.play(no.when(When::FromNth(2)).always());
            },
        ),
        Scenario::new("the token is revoked, and the token endpoint is gone", 69, 1 + 3 + 1, move |stage| {
            stage.play(revoke().page(2));
            let gone = FaultRule::on(Endpoint::Token, Fault::status(404));
            stage.play(gone.when(When::FromNth(2)).always());
        }),
        Scenario::new("401 and 500 in turn to one request: the second 401 ends it", 77, 1 + 2 + 5, |stage| {
            let at = |nth, status| FaultRule::on(Endpoint::List, Fault::status(status)).nth(nth);
            // Requests that another rule answers are not counted by the rules behind it.
            stage.play(at(3, 401));
            stage.play(at(3, 500));
            stage.play(at(3, 401));
        }),
    ]
}
