//! The demo's API, on loopback: a token, the list, single consents, and whose key it is.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::people::{COMPANY_ID, DemoConsent, DemoConsents};

const TOKEN: &str = "demo-token";
const PAGE: usize = 100;

type SharedConsents = Arc<Mutex<DemoConsents>>;

/// A running API. It ends when this is dropped.
pub struct DemoApi {
    address: SocketAddr,
    consents: SharedConsents,
    server: JoinHandle<io::Result<()>>,
}

impl DemoApi {
    /// Starts it on a free port; it answers when this returns.
    pub async fn start(consents: DemoConsents) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let consents = Arc::new(Mutex::new(consents));
        let router = routes(Arc::clone(&consents));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, consents, server })
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn token_url(&self) -> String {
        format!("{}/oauth2/token", self.base_url())
    }

    pub fn consents(&self) -> MutexGuard<'_, DemoConsents> {
        lock(&self.consents)
    }
}

impl Drop for DemoApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(consents: &SharedConsents) -> MutexGuard<'_, DemoConsents> {
    consents.lock().unwrap_or_else(PoisonError::into_inner)
}

fn routes(consents: SharedConsents) -> Router {
    Router::new()
        .route("/v1/me", get(me))
        .route("/v1/grow/consents", get(list))
        .route("/v1/marketing-consents", get(list))
        .route("/v1/marketing-consents/{id}", get(single))
        .route_layer(from_fn(require_token))
        .route("/oauth2/token", post(token))
        .with_state(consents)
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    answer(status, &json!({"code": code, "message": message}))
}

async fn require_token(request: Request, next: Next) -> Response {
    let sent = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if sent.and_then(|value| value.strip_prefix("Bearer ")) != Some(TOKEN) {
        return error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "The access token is not valid.");
    }
    next.run(request).await
}

async fn token() -> Response {
    let scope = "openid marketing.read";
    let token = json!({"access_token": TOKEN, "expires_in": 3_599, "scope": scope, "token_type": "bearer"});
    answer(StatusCode::OK, &token)
}

async fn me() -> Response {
    answer(StatusCode::OK, &json!({"company_id": COMPANY_ID, "company_name": "Nøkken & Co"}))
}

/// The cursor is the number of consents before the page.
async fn list(
    State(consents): State<SharedConsents>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let start = match query.get("cursor").filter(|cursor| !cursor.is_empty()).map(|cursor| cursor.parse()) {
        None => 0,
        Some(Ok(start)) => start,
        Some(Err(_)) => return error(StatusCode::BAD_REQUEST, "BAD_REQUEST", "The cursor is not valid."),
    };
    let length = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(PAGE).clamp(1, PAGE);
    let consents = lock(&consents);
    let mut rest = consents.iter().filter(|consent| consent.listed).skip(start);
    let items: Vec<Value> = rest.by_ref().take(length).map(DemoConsent::to_json).collect();
    let next = rest.next().map(|_| (start + length).to_string()).unwrap_or_default();
    answer(StatusCode::OK, &json!({"next": next, "items": items}))
}

async fn single(State(consents): State<SharedConsents>, Path(id): Path<String>) -> Response {
    match lock(&consents).iter().find(|consent| consent.id == id) {
        Some(consent) => answer(StatusCode::OK, &consent.to_json()),
        None => error(StatusCode::NOT_FOUND, "NOT_FOUND", "There is no such consent."),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn get(api: &DemoApi, path: &str, token: &str) -> (String, Value) {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        (status.to_owned(), serde_json::from_str(body).unwrap())
    }

    #[tokio::test]
    async fn it_pages_hides_and_forgets() {
        let api = DemoApi::start((0..150).map(DemoConsent::made_up).collect()).await.unwrap();
        let (status, first) = get(&api, "/v1/grow/consents?limit=100", TOKEN).await;
        assert_eq!((&*status, first["items"].as_array().unwrap().len()), ("200", 100));
        let next = format!("/v1/grow/consents?limit=100&cursor={}", first["next"].as_str().unwrap());
        let (_, last) = get(&api, &next, TOKEN).await;
        assert_eq!((last["items"].as_array().unwrap().len(), &last["next"]), (50, &json!("")));

        api.consents()[0].listed = false;
        let gone = api.consents().remove(1).id;
        let hidden = DemoConsent::made_up(0);
        let (status, item) = get(&api, &format!("/v1/marketing-consents/{}", hidden.id), TOKEN).await;
        assert_eq!((&*status, item), ("200", hidden.to_json()));
        assert_eq!(get(&api, &format!("/v1/marketing-consents/{gone}"), TOKEN).await.0, "404");
        let (_, shown) = get(&api, "/v1/marketing-consents", TOKEN).await;
        assert_eq!(shown["items"][0], DemoConsent::made_up(2).to_json());
        assert_eq!(get(&api, "/v1/me", "wrong").await.0, "401");
    }
}
