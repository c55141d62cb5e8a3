//! Every status that matters, once and always.

use understory_mock_api::{BodyKind, Endpoint, Fault, FaultRule, Route};

use super::scenario::{CLEAN, ENDS_AT_THIRD, NEVER_THIRD, Scenario};

/// What may pass by itself, what gateways make up included.
const PASSING: [u16; 14] = [408, 425, 429, 500, 502, 503, 504, 507, 508, 511, 520, 522, 529, 599];
/// What says that the other side will go on like this.
const LASTING: [u16; 23] = [
    402, 404, 405, 406, 407, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 426, 428, 431, 451,
    501, 505,
];
const REDIRECTS: [u16; 9] = [300, 301, 302, 303, 304, 305, 306, 307, 308];

pub(super) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for status in PASSING {
        let fault = || Fault::status(status);
        all.push(Scenario::passes(&format!("status {status}"), fault()));
        all.push(Scenario::wears_out(&format!("status {status}"), 75, fault()));
    }
    for status in LASTING {
        let fault = Fault::status(status);
        all.push(Scenario::ends(&format!("status {status}"), 69, fault));
    }
    for status in [201, 202, 203, 204, 206, 226] {
        let fault = Fault::status(status);
        all.push(Scenario::ends(&format!("status {status}"), 65, fault));
    }
    for status in REDIRECTS {
        all.push(redirect(status));
    }
    all.extend(refusals());
    all.extend(odd_bodies());
    all.extend(gone());
    all
}

fn redirect(status: u16) -> Scenario {
    let name = format!("redirect {status} to another host, always");
    Scenario::new(name, 69, ENDS_AT_THIRD, move |stage| {
        let location = format!("{}/v1/grow/consents", stage.elsewhere.url());
        let rule = FaultRule::on(Endpoint::List, Fault::Redirect { status, location });
        stage.play(rule.page(3).always());
    })
}

fn refusals() -> Vec<Scenario> {
    vec![
        Scenario::once("status 401", 0, CLEAN + 2, Fault::status(401)).on_both(),
        Scenario::always("status 401", 77, CLEAN, Fault::status(401)).on_both(),
        Scenario::ends("status 403", 77, Fault::status(403)).on_both(),
        Scenario::once("status 400 to a cursor", 0, CLEAN + 3, Fault::status(400)),
        Scenario::always("status 400 to a cursor", 75, 1 + 9, Fault::status(400)).on_both(),
        Scenario::new("status 400 to the first page, always", 69, 2, |stage| {
            let rule = FaultRule::on(Endpoint::List, Fault::status(400));
            stage.play(rule.page(1).always());
        }),
        Scenario::ends("status 600", 69, Fault::status(600)),
        Scenario::ends("status 999", 69, Fault::status(999)),
    ]
}

/// Errors are judged by their status, whatever their body is.
fn odd_bodies() -> Vec<Scenario> {
    let html = |status| Fault::with_body(status, BodyKind::Html);
    vec![
        Scenario::passes("status 502 with HTML", html(502)),
        Scenario::wears_out("status 503 with nothing", 75, Fault::with_body(503, BodyKind::Empty)),
        Scenario::ends("status 403 with HTML", 77, html(403)),
        Scenario::ends("status 404 with plain text", 69, Fault::with_body(404, BodyKind::Plain)),
        Scenario::wears_out(
            "status 500 with a good page in its body",
            75,
            Fault::with_body(500, BodyKind::Json(serde_json::json!({"items": [], "next": ""}))),
        ),
    ]
}

fn gone() -> Vec<Scenario> {
    let at_third = |status| {
        Scenario::always(
            &format!("the list's path is gone in mid-pass ({status})"),
            69,
            NEVER_THIRD,
            Fault::status(status),
        )
    };
    let mut all = vec![at_third(404), at_third(410)];
    for status in [404, 410] {
        let name = format!("the list's path is gone ({status}), the other one works");
        all.push(Scenario::new(name, 0, CLEAN + 1, move |stage| {
            stage.configure(|settings| settings.grow = Route::Gone(status));
        }));
        let name = format!("both paths of the list are gone ({status})");
        all.push(Scenario::new(name, 69, 3, move |stage| {
            stage.configure(|settings| {
                settings.grow = Route::Gone(status);
                settings.marketing = Route::Gone(status);
            });
        }));
    }
    all.push(
        Scenario::new("the only configured path is gone", 69, 2, |stage| {
            stage.configure(|settings| settings.grow = Route::Gone(404));
        })
        .with("api.consents_path", "/v1/grow/consents"),
    );
    all
}
