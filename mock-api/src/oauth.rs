//! The token endpoint: the client credentials grant, as strict as the real one was seen to be.

use percent_encoding::percent_decode_str;
use serde_json::json;

use super::answer::Reply;
use super::fault::TokenHook;
use super::state::{Seen, State};

/// A form or a query, decoded: `+` is a space, bytes that are no UTF-8 are replaced.
pub(super) fn decode_pairs(raw: &str) -> Vec<(String, String)> {
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(raw: &str) -> String {
    percent_decode_str(&raw.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// An error of RFC 6749.
pub(super) fn refusal(status: u16, error: &str, description: &str) -> Reply {
    Reply::json(status, &json!({"error": error, "error_description": description}))
}

/// Answers a request for a token.
pub(super) fn grant(state: &mut State, call: &Seen, hook: Option<&TokenHook>) -> Reply {
    if call.method != "POST" {
        return refusal(405, "invalid_request", "The method must be POST.");
    }
    if let Err(reply) = check_form(call).and_then(|()| check_client(state, call)) {
        return reply;
    }
    let scopes: Vec<String> =
        call.form("scope").unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
    if scopes.iter().any(|scope| !state.settings.scopes.contains(scope)) {
        return refusal(400, "invalid_scope", "The requested scope is invalid, unknown, or malformed.");
    }
    if call.form("audience") != Some(state.settings.audience.as_str()) {
        return refusal(400, "invalid_request", "The requested audience is not allowed.");
    }
    let mut answer = json!({
        "access_token": state.mint_token(scopes.clone()),
        "expires_in": state.settings.token_life.as_secs(),
        "scope": scopes.join(" "),
        "token_type": "bearer",
    });
    if let Some(hook) = hook {
        hook(&mut answer);
    }
    Reply::json(200, &answer).with_header("cache-control", "no-store")
}

/// A form, each field once, the grant that exists.
fn check_form(call: &Seen) -> Result<(), Reply> {
    let content_type = call.header("content-type").unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(refusal(400, "invalid_request", "The body must be application/x-www-form-urlencoded."));
    }
    let repeated = call
        .form
        .iter()
        .enumerate()
        .any(|(index, (key, _))| call.form[..index].iter().any(|(other, _)| other == key));
    if repeated {
        return Err(refusal(400, "invalid_request", "A parameter is repeated."));
    }
    match call.form("grant_type") {
        Some("client_credentials") => Ok(()),
        Some(_) => Err(refusal(400, "unsupported_grant_type", "The grant type is not supported.")),
        None => Err(refusal(400, "invalid_request", "grant_type is missing.")),
    }
}

/// The credentials stand in the body. A tilde that comes escaped is refused: a public integration had to learn that the real
/// server compares before it decodes it.
fn check_client(state: &State, call: &Seen) -> Result<(), Reply> {
    let escaped_tilde = call
        .raw_body
        .split('&')
        .filter(|pair| pair.starts_with("client_id=") || pair.starts_with("client_secret="))
        .any(|pair| pair.to_ascii_lowercase().contains("%7e"));
    let known = call.form("client_id") == Some(state.settings.client_id.as_str())
        && call.form("client_secret") == Some(state.settings.client_secret.as_str());
    if known && !escaped_tilde {
        return Ok(());
    }
    Err(refusal(
        401,
        "invalid_client",
        "Client authentication failed (unknown client, no client authentication included, or \
         unsupported authentication method).",
    ))
}
