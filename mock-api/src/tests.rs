//! The program's tests believe in the mock API, so that it is tested itself, over bare TCP.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod client;
mod documented;
mod faults;
mod headers;

use serde_json::{Value, json};

use crate::{MockApi, MockSettings, person};
use client::{Answer, get, post};

/// A mock API with so many people.
async fn with_people(settings: MockSettings, count: u64) -> MockApi {
    let mock_api = MockApi::start(settings).await.unwrap();
    mock_api.people(|people| people.fill(1, 0..count));
    mock_api
}

/// The form that the default settings accept.
fn form(secret: &str) -> String {
    format!(
        "grant_type=client_credentials&client_id=mock-key&client_secret={secret}\
         &scope=openid%20marketing.read&audience=https%3A%2F%2Fapi.understory.io"
    )
}

async fn token(mock_api: &MockApi) -> String {
    let answer = post(mock_api, "/oauth2/token", &form("mock~secret")).await;
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

async fn page(mock_api: &MockApi, token: &str, cursor: &str) -> Answer {
    let path = if cursor.is_empty() {
        "/v1/grow/consents".to_owned()
    } else {
        format!("/v1/grow/consents?cursor={}", escape(cursor))
    };
    get(mock_api, &path, token).await
}

fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Every item of a scan, and the cursors on the way.
async fn walk(mock_api: &MockApi, token: &str) -> (Vec<Value>, Vec<String>) {
    let (mut items, mut cursors) = (Vec::new(), vec![String::new()]);
    loop {
        let answer = page(mock_api, token, cursors.last().unwrap()).await;
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
