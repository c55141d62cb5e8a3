//! The access token: how it is asked for, what its answer means, how long it is good.
//!
//! Owns the form body (RFC 6749, 4.4) and the judgement of the answer. Sends nothing itself. The token is opaque and
//! never shown.

use std::fmt::Write as _;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::cause::{Cause, Endpoint, Refusal};
use super::error::ApiError;
use super::json::{self, BadBody, Raw};
use super::retry::Fault;
use crate::config;

/// Everything but the unreserved characters of RFC 3986. The form encoders of the web's own standard escape `~`, and
/// the server then refuses a secret that holds one; none of them is used here.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A token is renewed when less than this is left of its life …
const LEAST_LEFT: Duration = Duration::from_mins(1);
/// … or this part of it, where that is less.
const LEAST_PART: f64 = 0.2;
/// How long a token of unknown life is used, unless it is refused before.
const UNKNOWN_LIFE: Duration = Duration::from_hours(1);
/// A longer life is taken for this one: far beyond anything a run needs, and safe to reckon with.
const LONGEST_LIFE: Duration = Duration::from_hours(30 * 24);
/// A longer token fits into no header that servers take.
const MAX_TOKEN_BYTES: usize = 32 * 1024;

/// Percent-encodes everything that is not unreserved.
pub(super) fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, RESERVED)
}

/// The form that asks for a token. A secret's file is read anew, so that a changed secret needs no restart.
pub(super) fn form(auth: &config::Auth) -> SecretString {
    let secret = auth.current_secret().unwrap_or_else(|what| {
        tracing::warn!("auth.client_secret_file: {what}; the secret that was read before is used");
        auth.client_secret.clone()
    });
    let fields = [
        ("client_id", auth.client_id.as_str()),
        ("client_secret", secret.expose_secret()),
        ("scope", &auth.scopes.join(" ")),
        ("audience", &auth.audience),
    ];
    let mut body = "grant_type=client_credentials".to_owned();
    for (name, value) in fields {
        // Writing into a String never fails.
        let _ = write!(body, "&{name}={}", encoded(value));
    }
    body.into()
}

/// A token and how long it is good, on the monotonic clock.
#[derive(Debug)]
pub struct Token {
    value: SecretString,
    asked_at: Instant,
    life: Option<Duration>,
}

impl Token {
    pub fn parse(body: Vec<u8>, asked_at: Instant) -> Result<Self, BadBody> {
        let (text, _) = json::text(body)?;
        let text = json::checked(&text)?;
        let members = json::members(text).ok_or(BadBody::Shape("the answer is not an object"))?;
        let field = |name: &str| {
            let found = members.iter().rev().find(|(key, _)| key == name);
            found.map(|(_, value)| *value).filter(|value| !value.is_null())
        };
        let value = field("access_token")
            .and_then(Raw::string)
            .ok_or(BadBody::Shape("`access_token` is missing or not text"))?;
        if value.is_empty()
            || value.len() > MAX_TOKEN_BYTES
            || !value.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(BadBody::Shape("`access_token` cannot be sent in a header"));
        }
        let bearer = field("token_type")
            .is_none_or(|kind| kind.string().is_some_and(|text| text.trim().eq_ignore_ascii_case("bearer")));
        if !bearer {
            return Err(BadBody::Shape("`token_type` is not bearer"));
        }
        Ok(Self { value: value.into_owned().into(), asked_at, life: field("expires_in").and_then(life) })
    }

    /// Is enough of its life left to send it? Life counts from when it was asked for: it cannot have begun earlier.
    pub fn is_fresh(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.asked_at);
        match self.life {
            Some(life) => {
                life.checked_sub(age).is_some_and(|left| left >= LEAST_LEFT.min(life.mul_f64(LEAST_PART)))
            }
            None => age < UNKNOWN_LIFE,
        }
    }

    /// The `Authorization` header, marked so that nobody prints it.
    pub fn header(&self) -> Option<HeaderValue> {
        let text = format!("Bearer {}", self.value.expose_secret());
        let mut header = HeaderValue::from_str(&text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// Reads the answer of a token endpoint that said 200.
pub(super) fn read(body: Vec<u8>, asked_at: Instant) -> Result<Token, Fault> {
    Token::parse(body, asked_at).map_err(|bad| match bad {
        BadBody::NotJson => Cause::NotJson.into(),
        BadBody::Shape(what) => Fault::Final(ApiError::Shape { endpoint: Endpoint::Token, what }),
    })
}

/// A life in seconds: a number, or text with one. What is no positive number is unknown.
fn life(value: Raw<'_>) -> Option<Duration> {
    let text = value.string();
    let number = text.as_deref().unwrap_or(value.text).trim();
    let starts_well = number.starts_with(|first: char| first.is_ascii_digit());
    let seconds = number.parse::<f64>().ok().filter(|&seconds| starts_well && seconds > 0.0)?;
    Some(Duration::try_from_secs_f64(seconds).map_or(LONGEST_LIFE, |life| life.min(LONGEST_LIFE)))
}

/// The `error` of RFC 6749 (4.1.2.1 and 5.2). No other is ever shown: it is foreign text.
const KNOWN_CODES: [&str; 10] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "invalid_scope",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
];

/// What an answer of the token endpoint means that is neither 2xx nor 3xx nor one that passes.
pub fn refusal(status: u16, body: Vec<u8>) -> ApiError {
    let code = error_code(body);
    let why = match (code, status) {
        (Some("invalid_scope"), _) => Refusal::Scope(status),
        (Some("unauthorized_client"), _) => Refusal::Grant(status),
        (Some("access_denied"), _) => Refusal::Denied(status),
        (Some("invalid_client"), _) | (Some(_), 401) => Refusal::Client(status),
        (Some(_), 403) => Refusal::Denied(status),
        (None, 401 | 403) => return ApiError::Gateway { status },
        (_, 404 | 410) => {
            return ApiError::NoTokenEndpoint { status };
        }
        (Some(code), _) if !code.is_empty() => return ApiError::NoToken { status, code },
        _ => {
            return ApiError::Unavailable { endpoint: Endpoint::Token, status };
        }
    };
    ApiError::Refused { endpoint: Endpoint::Token, why }
}

/// RFC 6749's `error`, if the body holds one: empty where the standard does not name it.
fn error_code(body: Vec<u8>) -> Option<&'static str> {
    let (text, _) = json::text(body).ok()?;
    let text = json::checked(&text).ok()?;
    let members = json::members(text)?;
    let (_, value) = members.iter().rev().find(|(key, _)| key == "error")?;
    let code = value.string()?;
    Some(KNOWN_CODES.into_iter().find(|known| *known == code).unwrap_or_default())
}

#[cfg(test)]
mod tests;
