//! From a request to its answer: which faults play, what the true answer is, and how it goes out.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State as Shares};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::deliver::{Delivery, deliver};
use super::fault::{BodyKind, Fault, PageHook};
use super::list;
use super::oauth::{decode_pairs, grant, refusal};
use super::settings::Route;
use super::state::{Endpoint, Flight, Seen, Shared, State};
use super::wire::{Wire, play};

const GROW: &str = "/v1/grow/consents";
const MARKETING: &str = "/v1/marketing-consents";

/// Bytes of a request's body that are read; a token request has some hundred.
const MAX_REQUEST_BODY: usize = 65_536;

/// An answer before it goes out.
#[derive(Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string().into_bytes())
    }

    pub(super) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(super) fn error(status: u16, message: &str) -> Self {
        Self::json(status, &json!({"code": code(status), "message": message}))
    }

    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(Bytes::from(self.body)));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                response.headers_mut().append(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// The documented codes are `UNAUTHORIZED` and `INTERNAL_SERVER_ERROR`; the others are made up in their manner.
const fn code(status: u16) -> &'static str {
    match status {
        400 => "BAD_REQUEST",
        401 | 403 => "UNAUTHORIZED",
        404 => "NOT_FOUND",
        405 => "METHOD_NOT_ALLOWED",
        410 => "GONE",
        429 => "TOO_MANY_REQUESTS",
        500.. => "INTERNAL_SERVER_ERROR",
        _ => "ERROR",
    }
}

pub(super) async fn answer(
    Shares(shared): Shares<Arc<Shared>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_REQUEST_BODY).await.unwrap_or_default();
    let flight = Flight::begin(&shared);
    let (number, call, faults) = {
        let mut state = shared.lock();
        let call = read_call(&state, &parts, &body);
        let faults = state.faults_for(&call);
        (state.note(call.clone()), call, faults)
    };
    wait(&shared, &faults).await;
    let delivery = deliver(&shared, &call, &faults, flight.count);
    settle(&shared, number, &faults, &delivery);
    match delivery {
        Delivery::Whole(reply) => reply.into_response(),
        Delivery::Raw(_, steps) => {
            if let Some(stream) = wire.take() {
                tokio::spawn(async move {
                    play(stream, steps).await;
                    drop(flight);
                });
            }
            Response::default()
        }
    }
}

/// The latency of every answer, then what the faults add.
async fn wait(shared: &Shared, faults: &[Fault]) {
    let latency = shared.latency();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    for fault in faults {
        if let Fault::Delay(delay) = fault {
            tokio::time::sleep(*delay).await;
        }
    }
}

/// Notes the answer, and plays what comes after it.
fn settle(shared: &Shared, number: usize, faults: &[Fault], delivery: &Delivery) {
    let mut state = shared.lock();
    state.note_status(number, delivery.status());
    for fault in faults {
        match fault {
            Fault::RevokeTokens => state.revoke_tokens(),
            Fault::ExpireCursors => state.expire_cursors(),
            _ => {}
        }
    }
}

fn read_call(state: &State, parts: &Parts, body: &[u8]) -> Seen {
    let path = parts.uri.path().to_owned();
    let raw_query = parts.uri.query().unwrap_or_default().to_owned();
    let endpoint = endpoint(&path);
    let raw_body = String::from_utf8_lossy(body).into_owned();
    let mut call = Seen {
        endpoint,
        at: std::time::Instant::now(),
        method: parts.method.to_string(),
        query: decode_pairs(&raw_query),
        raw_query,
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| {
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), text)
            })
            .collect(),
        form: match endpoint {
            Endpoint::Token => decode_pairs(&raw_body),
            _ => Vec::new(),
        },
        path,
        raw_body,
        page: None,
        token: None,
        status: None,
    };
    call.token = bearer(&call).and_then(|text| state.token_index(text));
    if endpoint == Endpoint::List {
        call.page = match call.query("cursor").unwrap_or_default() {
            "" => Some(1),
            cursor => state.place(cursor).map(|place| place.page),
        };
    }
    call
}

fn endpoint(path: &str) -> Endpoint {
    match path {
        "/oauth2/token" => Endpoint::Token,
        GROW | MARKETING => Endpoint::List,
        "/v1/me" => Endpoint::Me,
        "/heartbeat" => Endpoint::Heartbeat,
        _ if single_id(path).is_some() => Endpoint::Single,
        _ => Endpoint::Other,
    }
}

/// The id as it stands in the path of a single consent.
fn single_id(path: &str) -> Option<&str> {
    let id = path.strip_prefix(MARKETING)?.strip_prefix('/')?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

fn bearer(call: &Seen) -> Option<&str> {
    let (scheme, token) = call.header("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

pub(super) fn true_reply(shared: &Shared, call: &Seen, faults: &[Fault], in_flight: usize) -> Reply {
    let mut state = shared.lock();
    if let Some(reply) = refuse_crowd(&mut state, call, in_flight) {
        return reply;
    }
    match call.endpoint {
        Endpoint::Token if call.header("user-agent").is_none() => {
            refusal(400, "invalid_request", "User-Agent is missing.")
        }
        Endpoint::Token => {
            let hook = faults.iter().find_map(|fault| match fault {
                Fault::Token(hook) => Some(hook),
                _ => None,
            });
            grant(&mut state, call, hook)
        }
        Endpoint::Heartbeat => Reply::new(200, "text/plain", b"OK".to_vec()),
        _ => {
            if let Err(reply) = admit(&state, call) {
                return reply;
            }
            match call.endpoint {
                Endpoint::List => {
                    let hooks = page_hooks(&state, faults);
                    let with_ids = list::with_ids(&state, call.path == MARKETING);
                    match list::draft(&mut state, call, faults) {
                        Ok(draft) => {
                            // A hook may ask the mock API itself, so that none runs under the lock.
                            drop(state);
                            draft.into_reply(&hooks, with_ids)
                        }
                        Err(reply) => reply,
                    }
                }
                Endpoint::Single => single(&mut state, call),
                _ => me(&state),
            }
        }
    }
}

/// Too many at one time, or too fast.
fn refuse_crowd(state: &mut State, call: &Seen, in_flight: usize) -> Option<Reply> {
    let crowded = state.settings.max_concurrent.is_some_and(|most| in_flight > most);
    let limit = state.settings.rate_limit.clone();
    let fast = limit.as_ref().is_some_and(|limit| state.is_too_fast(limit, call.at));
    if !crowded && !fast {
        return None;
    }
    let reply = Reply::error(429, "Too many requests.");
    Some(match limit.and_then(|limit| limit.retry_after) {
        Some(text) => reply.with_header("retry-after", &text),
        None => reply,
    })
}

/// What stands before every endpoint of the API: a User-Agent, a route that exists, a good token that may read, a GET.
fn admit(state: &State, call: &Seen) -> Result<(), Reply> {
    if call.header("user-agent").is_none() {
        return Err(Reply::error(400, "User-Agent is missing."));
    }
    let route = match call.endpoint {
        Endpoint::Other => Route::Gone(404),
        Endpoint::List if call.path == GROW => state.settings.grow,
        Endpoint::List => state.settings.marketing,
        Endpoint::Single => state.settings.single,
        _ => Route::Works,
    };
    if let Route::Gone(status) = route {
        return Err(Reply::error(status, "There is no such route."));
    }
    let Some(scopes) = call.token.and_then(|index| state.scopes_of(index)) else {
        return Err(Reply::error(401, "The access token is missing or not valid."));
    };
    if call.endpoint != Endpoint::Me && !scopes.iter().any(|scope| scope == "marketing.read") {
        return Err(Reply::error(403, "The key lacks the permission."));
    }
    if call.method != "GET" {
        return Err(Reply::error(405, "The method must be GET."));
    }
    Ok(())
}

fn page_hooks(state: &State, faults: &[Fault]) -> Vec<PageHook> {
    let played = faults.iter().filter_map(|fault| match fault {
        Fault::Rewrite(hook) => Some(Arc::clone(hook)),
        _ => None,
    });
    state.page_hook.iter().cloned().chain(played).collect()
}

fn single(state: &mut State, call: &Seen) -> Reply {
    let id = single_id(&call.path).unwrap_or_default();
    let id = percent_encoding::percent_decode_str(id).decode_utf8_lossy();
    state.singles += 1;
    let failing = state.settings.failing_pages.filter(|(every, _)| state.singles.is_multiple_of(*every));
    let played = failing.map(|(_, status)| status).or_else(|| state.settings.page_status.get(&*id).copied());
    match (played, state.roster.by_id(&id)) {
        (Some(status), _) => Reply::error(status, "Played by the mock API."),
        (None, Some(item)) => Reply::new(200, "application/json", item.into()),
        (None, None) => Reply::error(state.settings.gone_status, "There is no such marketing consent."),
    }
}

fn me(state: &State) -> Reply {
    let mut who = json!({
        "company_id": state.settings.company_id,
        "user_id": "5e1f0f7a-94a7-4d4b-8c6e-2f3b9a60d1c8",
        "email": "integration@example.com",
    });
    if let Some(name) = &state.settings.company_name {
        who["company_name"] = name.as_str().into();
    }
    Reply::json(200, &who)
}

/// A status that is played, with the body asked for.
pub(super) fn played(endpoint: Endpoint, status: u16, retry_after: Option<&str>, body: &BodyKind) -> Reply {
    let reply = match body {
        BodyKind::Documented if endpoint == Endpoint::Token => {
            refusal(status, "server_error", "Played by the mock API.")
        }
        BodyKind::Documented => Reply::error(status, "Played by the mock API."),
        BodyKind::Html => Reply::new(
            status,
            "text/html; charset=utf-8",
            b"<!DOCTYPE html>\n<html><head><title>Gateway</title></head><body><h1>Gateway</h1></body></html>\n"
                .to_vec(),
        ),
        BodyKind::Plain => Reply::new(status, "text/plain", b"upstream connect error\n".to_vec()),
        BodyKind::Json(value) => Reply::json(status, value),
        BodyKind::Empty => Reply {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        },
    };
    match retry_after {
        Some(text) => reply.with_header("retry-after", text),
        None => reply,
    }
}
