//! What can go wrong between us and the API: a variant for each decision that a caller takes.
//!
//! Holds no foreign text: no URL, no body, no cursor, no token; what the network's libraries say is reduced to fixed words
//! where it arrives.

use std::fmt;

use tokio::time::Instant;

use crate::exit::{Exit, Problem};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    Token,
    Consents,
    /// The page of a single consent.
    Consent,
    /// `/v1/me`.
    Me,
    Heartbeat,
    Notification,
}

impl Endpoint {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Consents => "consents",
            Self::Consent => "consent",
            Self::Me => "me",
            Self::Heartbeat => "heartbeat",
            Self::Notification => "notification",
        }
    }

    /// The configuration key that says where it is.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Token => "auth.token_url",
            Self::Consents | Self::Consent | Self::Me => "api.base_url",
            Self::Heartbeat => "health.heartbeat_url",
            Self::Notification => "notify.url",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "the token endpoint",
            Self::Consents => "the list of consents",
            Self::Consent => "the page of a single consent",
            Self::Me => "the API's /v1/me",
            Self::Heartbeat => "the heartbeat's address",
            Self::Notification => "the receiver of notifications",
        })
    }
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    Other(#[from] Problem),
    /// The token endpoint rejects the key, or what is asked for with it.
    #[error("{0}")]
    KeyRejected(Problem),
    /// A status that no retry changes.
    #[error("{problem}")]
    Status { status: u16, problem: Problem },
    /// No attempt or no time is left.
    #[error("{problem}")]
    GaveUp {
        problem: Problem,
        /// The server asked us to wait until then.
        not_before: Option<Instant>,
    },
    /// 400 to a request with a cursor: the scan must start again.
    #[error("the API refused one of its own cursors in the middle of a scan (status 400)")]
    CursorRefused,
}

impl ApiError {
    fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Other(problem)
            | Self::KeyRejected(problem)
            | Self::Status { problem, .. }
            | Self::GaveUp { problem, .. } => Some(problem),
            Self::CursorRefused => None,
        }
    }

    pub fn exit(&self) -> Exit {
        self.problem().map_or(Exit::Retry, |problem| problem.exit)
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self.problem() {
            Some(problem) => problem.next_step.as_deref().map(str::to_owned),
            None => Some(
                "the next run starts from the beginning; a larger api.requests_per_second makes cursors live long enough"
                    .to_owned(),
            ),
        }
    }

    pub const fn not_before(&self) -> Option<Instant> {
        match self {
            Self::GaveUp { not_before, .. } => *not_before,
            _ => None,
        }
    }

    /// Whether another id or secret may help; everything else may pass, or be set right outside.
    pub fn is_about_the_key(&self) -> bool {
        matches!(self, Self::KeyRejected(_)) || self.exit() == Exit::Refused
    }

    /// The URL of an endpoint cannot be put together.
    pub(super) fn bad_url(endpoint: Endpoint) -> Self {
        let message = format!("the URL of {endpoint} cannot be put together");
        let next_step = format!("look at {} and api.consents_path", endpoint.key());
        Problem::new(Exit::Config, message).next_step(next_step).into()
    }

    pub(super) fn too_large(endpoint: Endpoint, limit: usize) -> Self {
        let message = format!("the answer of {endpoint} is larger than {limit} bytes");
        let next_step = match endpoint {
            Endpoint::Token => "look at auth.token_url: is it the right address?",
            _ => "lower api.page_size, or raise api.max_page_bytes",
        };
        Problem::new(Exit::Unavailable, message).next_step(next_step).into()
    }

    pub(super) fn wrong_shape(endpoint: Endpoint, what: &'static str) -> Self {
        let message = format!("the answer of {endpoint} has a wrong shape: {what}");
        Problem::new(Exit::Data, message).next_step(not_understorys(endpoint)).into()
    }

    /// What a status means that is neither 200 nor one that may pass.
    pub(super) fn of_status(endpoint: Endpoint, status: u16) -> Self {
        let is_right_address = || format!("look at {}: is it the right address?", endpoint.key());
        let (exit, message, next_step) = match status {
            201..=299 => (
                Exit::Data,
                format!("{endpoint} answered with status {status} where 200 was expected"),
                not_understorys(endpoint),
            ),
            300..=399 => (
                Exit::Unavailable,
                format!(
                    "{endpoint} answered with the redirect {status}; redirects are never followed: they could carry the secret elsewhere"
                ),
                is_right_address(),
            ),
            401 => (
                Exit::Refused,
                refused_us("a freshly made access token was refused as well (status 401)", endpoint),
                format!(
                    "look at the key {BACKOFFICE}: is it active, and made for this company? Else make a new one"
                ),
            ),
            403 => (
                Exit::Refused,
                refused_us("the key lacks the permission (status 403)", endpoint),
                format!("give the key the permission Read on Marketing consents {BACKOFFICE}"),
            ),
            404 | 410 => (
                Exit::Unavailable,
                format!("{endpoint} is gone (status {status}); that never means that there are no consents"),
                "look at api.base_url and api.consents_path (`auto` tries both known paths)".to_owned(),
            ),
            _ => (
                Exit::Unavailable,
                format!("{endpoint} answered with status {status}, which will not pass by itself"),
                is_right_address(),
            ),
        };
        Self::Status { status, problem: Problem::new(exit, message).next_step(next_step) }
    }
}

pub(super) fn refused_us(why: &str, endpoint: Endpoint) -> String {
    format!("{endpoint} refused us: {why}")
}

/// Where keys are made.
pub(super) const BACKOFFICE: &str = "in Understory's Backoffice, Settings → Integrations";

fn not_understorys(endpoint: Endpoint) -> String {
    let key = endpoint.key();
    format!("look at {key}: is it Understory's? If so, its answers changed and this program needs an update")
}

#[cfg(test)]
mod tests;
