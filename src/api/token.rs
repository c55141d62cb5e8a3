//! The access token: how it is asked for, what its answer means, how long it is good.
//!
//! Owns the form body (RFC 6749, 4.4) and the judgement of the answer. Sends nothing itself. The token is opaque and
//! never shown.

use std::fmt::Write as _;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::error::{ApiError, BACKOFFICE, Endpoint, refused_us};
use super::json::{self, BadBody, Raw};
use crate::config;
use crate::exit::{Exit, Problem};

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

pub(super) fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, RESERVED)
}

/// The form that asks for a token. A secret's file is read again: a changed secret needs no restart.
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

/// The answer of a token endpoint (RFC 6749, 5.1), its values in any form.
#[derive(Deserialize)]
struct TokenAnswer<'a> {
    #[serde(borrow)]
    access_token: Option<&'a RawValue>,
    #[serde(borrow)]
    token_type: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_in: Option<&'a RawValue>,
}

impl Token {
    pub fn parse(body: Vec<u8>, asked_at: Instant) -> Result<Self, BadBody> {
        let text = json::text(body)?;
        let answer: TokenAnswer<'_> = json::object(&text)?;
        let value = answer.access_token.and_then(|value| Raw::from(value).string());
        let value = value.ok_or(BadBody::Shape("`access_token` is missing or not text"))?;
        if value.is_empty()
            || value.len() > MAX_TOKEN_BYTES
            || !value.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(BadBody::Shape("`access_token` cannot be sent in a header"));
        }
        let is_bearer = |kind: &RawValue| {
            Raw::from(kind).string().is_some_and(|text| text.trim().eq_ignore_ascii_case("bearer"))
        };
        if !answer.token_type.is_none_or(is_bearer) {
            return Err(BadBody::Shape("`token_type` is not bearer"));
        }
        let life = answer.expires_in.and_then(|value| life(Raw::from(value)));
        Ok(Self { value: value.into_owned().into(), asked_at, life })
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
    let look_at_key = || {
        format!("look at the key {BACKOFFICE}: is it active, and made for this company? Else make a new one")
    };
    let code = error_code(body);
    let is_denied = match code {
        Some("invalid_client") | None => false,
        Some(code) => code == "access_denied" || status == 403,
    };
    let (why, next_step) = match (code, status) {
        (Some("invalid_scope"), _) => (
            format!("the key does not have one of auth.scopes (invalid_scope, status {status})"),
            format!(
                "compare auth.scopes with the permissions of the key {BACKOFFICE}: it needs Read on Marketing consents"
            ),
        ),
        (Some("unauthorized_client"), _) => (
            format!(
                "the key auth.client_id may not ask for tokens this way (unauthorized_client, status {status})"
            ),
            look_at_key(),
        ),
        (Some("invalid_client"), _) | (Some(_), 401) if !is_denied => (
            format!("auth.client_id or auth.client_secret is not accepted (status {status})"),
            format!(
                "compare auth.client_id and auth.client_secret with the key {BACKOFFICE}; the secret is shown once, so make a new key if it is lost"
            ),
        ),
        _ if is_denied => {
            (format!("access is denied to the key auth.client_id (status {status})"), look_at_key())
        }
        _ => return not_refused(status, code.unwrap_or_default()),
    };
    ApiError::KeyRejected(Problem::new(Exit::Refused, refused_us(&why, Endpoint::Token)).next_step(next_step))
}

/// An answer that says nothing about the key.
fn not_refused(status: u16, code: &str) -> ApiError {
    match status {
        401 | 403 => Problem::new(
            Exit::Retry,
            format!("the token endpoint answered with status {status} and no OAuth error: a gateway or a proxy turned the request away"),
        )
        .next_step("look at auth.token_url, and at what stands between this machine and Understory; the next run tries again")
        .into(),
        404 | 410 => {
            Problem::new(Exit::Unavailable, format!("there is no token endpoint at auth.token_url (status {status})"))
                .next_step("leave auth.token_url out: its default is Understory's own, https://api.auth.understory.io/oauth2/token")
                .into()
        }
        _ if code.is_empty() => ApiError::of_status(Endpoint::Token, status),
        _ => ApiError::KeyRejected(
            Problem::new(Exit::Unavailable, format!("the token endpoint answered with status {status} and the error {code}"))
                .next_step("compare auth.token_url, auth.audience and auth.scopes with what Understory gave you"),
        ),
    }
}

/// RFC 6749's `error`, if the body holds one: empty where the standard does not name it.
fn error_code(body: Vec<u8>) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct ErrorAnswer<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let text = json::text(body).ok()?;
    let code = Raw::from(json::object::<ErrorAnswer<'_>>(&text).ok()?.error?).string()?;
    Some(KNOWN_CODES.into_iter().find(|known| *known == code).unwrap_or_default())
}

#[cfg(test)]
mod tests;
