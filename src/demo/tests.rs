//! The program's tests believe in the stand-in, so that it is tested itself, over bare TCP.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod client;
mod documented;
mod faults;

use serde_json::{Value, json};

use super::{Settings, StandIn, person};
use client::{Answer, get, post};

/// A stand-in with so many people.
async fn with_people(settings: Settings, count: u64) -> StandIn {
    let stand_in = StandIn::start(settings).await.unwrap();
    stand_in.people(|people| people.fill(1, 0..count));
    stand_in
}

/// The form that the default settings accept.
fn form(secret: &str) -> String {
    format!(
        "grant_type=client_credentials&client_id=stand-in-key&client_secret={secret}\
         &scope=openid%20marketing.read&audience=https%3A%2F%2Fapi.understory.io"
    )
}

async fn token(stand_in: &StandIn) -> String {
    let answer = post(stand_in, "/oauth2/token", &form("stand-in~secret")).await;
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

async fn page(stand_in: &StandIn, token: &str, cursor: &str) -> Answer {
    let path = if cursor.is_empty() {
        "/v1/grow/consents".to_owned()
    } else {
        format!("/v1/grow/consents?cursor={}", escape(cursor))
    };
    get(stand_in, &path, token).await
}

fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Every item of a walk, and the cursors on the way.
async fn walk(stand_in: &StandIn, token: &str) -> (Vec<Value>, Vec<String>) {
    let (mut items, mut cursors) = (Vec::new(), vec![String::new()]);
    loop {
        let answer = page(stand_in, token, cursors.last().unwrap()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let json = answer.json();
        items.extend(json["items"].as_array().unwrap().iter().cloned());
        match json["next"].as_str() {
            Some(next) if !next.is_empty() => cursors.push(next.to_owned()),
            _ => return (items, cursors),
        }
    }
}

fn unauthorized(answer: &Answer) {
    assert_eq!(answer.status, 401);
    assert_eq!(answer.json()["code"], json!("UNAUTHORIZED"));
}
