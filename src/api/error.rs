//! What can go wrong between us and the API: a variant per decision, each with its exit code and its cure.
//!
//! Owns the words. Holds no foreign text: no URL, no body, no cursor, no token; what the network's libraries say is
//! reduced to one of a few causes.

use tokio::time::Instant;

use super::cause::{Cause, Certificate, Endpoint, Refusal, Setup};
use crate::exit::Exit;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// The client cannot be built.
    #[error("{0}")]
    Setup(Setup),
    #[error("{endpoint} could not be used: {cause} ({attempts} of {attempts} attempts failed)")]
    GaveUp {
        endpoint: Endpoint,
        /// Why the last attempt failed.
        cause: Cause,
        attempts: u32,
        /// The server named a time before which it wants no request.
        not_before: Option<Instant>,
    },
    /// The wait before the next attempt would outlast the run.
    #[error(
        "{endpoint} could not be used: {cause}; the wait of {wait_secs} s before the next attempt reaches beyond the run's deadline"
    )]
    NoTimeLeft {
        endpoint: Endpoint,
        /// Why the last attempt failed.
        cause: Cause,
        /// How long the wait would have been.
        wait_secs: u64,
        /// The server named a time before which it wants no request.
        not_before: Option<Instant>,
    },
    #[error("{endpoint} refused us: {why}")]
    Refused { endpoint: Endpoint, why: Refusal },
    /// A status that will not pass by itself.
    #[error("{endpoint} answered with status {status}, which will not pass by itself")]
    Unavailable { endpoint: Endpoint, status: u16 },
    /// The token endpoint says what it does not like.
    #[error("the token endpoint answered with status {status} and the error {code}")]
    NoToken {
        status: u16,
        /// One of those that RFC 6749 names.
        code: &'static str,
    },
    /// 404 or 410 to the request for a token.
    #[error("there is no token endpoint at auth.token_url (status {status})")]
    NoTokenEndpoint {
        /// 404 or 410.
        status: u16,
    },
    /// 401 or 403 to the request for a token, without an OAuth error.
    #[error(
        "the token endpoint answered with status {status} and no OAuth error: a gateway or a proxy turned the request away"
    )]
    Gateway { status: u16 },
    /// 404 or 410.
    #[error("{endpoint} is gone (status {status}); that never means that there are no consents")]
    Gone {
        endpoint: Endpoint,
        /// 404 or 410.
        status: u16,
    },
    /// Neither of the known paths is there.
    #[error(
        "both known paths of the list of consents are gone (status {status}); that never means that there are no consents"
    )]
    PathsGone { status: u16 },
    /// 3xx.
    #[error(
        "{endpoint} answered with the redirect {status}; redirects are never followed: they could carry the secret elsewhere"
    )]
    Redirect {
        endpoint: Endpoint,
        /// 3xx.
        status: u16,
    },
    /// More bytes than we take.
    #[error("the answer of {endpoint} is larger than {limit} bytes")]
    TooLarge {
        endpoint: Endpoint,
        /// The bytes that we take, after decompression.
        limit: usize,
    },
    /// The other side cannot prove who it is.
    #[error("the certificate of {endpoint} was refused: {why}")]
    Certificate { endpoint: Endpoint, why: Certificate },
    /// An answer of a wrong shape.
    #[error("the answer of {endpoint} has a wrong shape: {what}")]
    Shape {
        endpoint: Endpoint,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A success status that carries no answer.
    #[error("{endpoint} answered with status {status} where 200 was expected")]
    OddSuccess {
        endpoint: Endpoint,
        /// 2xx, but not 200.
        status: u16,
    },
    /// The list leads back to a page that was read already.
    #[error("the list of consents runs in a circle: a cursor came a second time in one walk")]
    CursorLoop,
    /// The list does not get on.
    #[error("the list of consents answered with {0} empty pages in a row and no end")]
    EmptyPages(u32),
    /// 400 to a request with a cursor: the walk must start anew.
    #[error("the API refused a cursor of its own in mid-pass (status 400)")]
    CursorRefused,
    /// The heartbeat did not get through.
    #[error("the heartbeat was not accepted: {0}")]
    Heartbeat(Cause),
    /// The receiver of `notify.url`.
    #[error("the notification was not accepted: {0}")]
    Notification(Cause),
}

impl ApiError {
    /// How the program ends because of it.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Setup(_) => Exit::Config,
            Self::GaveUp { cause: Cause::NotJson, .. }
            | Self::Shape { .. }
            | Self::OddSuccess { .. }
            | Self::CursorLoop
            | Self::EmptyPages(_) => Exit::Data,
            Self::GaveUp { .. }
            | Self::NoTimeLeft { .. }
            | Self::Gateway { .. }
            | Self::CursorRefused
            | Self::Heartbeat(_)
            | Self::Notification(_) => Exit::Retry,
            Self::Refused { .. } => Exit::Refused,
            Self::Unavailable { .. }
            | Self::NoToken { .. }
            | Self::NoTokenEndpoint { .. }
            | Self::Gone { .. }
            | Self::PathsGone { .. }
            | Self::Redirect { .. }
            | Self::TooLarge { .. }
            | Self::Certificate { .. } => Exit::Unavailable,
        }
    }

    /// Before when the server wants no further request.
    pub const fn not_before(&self) -> Option<Instant> {
        match self {
            Self::GaveUp { not_before, .. } | Self::NoTimeLeft { not_before, .. } => *not_before,
            _ => None,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        const BACKOFFICE: &str = "in Understory's Backoffice, Settings → Integrations";
        Some(match self {
            Self::Setup(Setup::Tls) => {
                "install the system's CA bundle (Debian: ca-certificates), or let SSL_CERT_FILE name one".to_owned()
            }
            Self::Setup(Setup::Proxy) => {
                "set HTTPS_PROXY to http://HOST:PORT, or unset it; NO_PROXY names exceptions".to_owned()
            }
            Self::Setup(Setup::UserAgent) => "use visible ASCII, such as Company/Application".to_owned(),
            Self::Setup(Setup::Url(endpoint)) => format!("look at {} and api.consents_path", endpoint.key()),
            Self::GaveUp { endpoint, cause, .. } => hint_for(*cause, *endpoint)?,
            Self::NoTimeLeft { cause, .. } => match cause {
                Cause::Status(429) => {
                    "lower api.requests_per_second, or raise schedule.run_timeout; the next run tries again".to_owned()
                }
                _ => "nothing to do at once: the next run tries again".to_owned(),
            },
            Self::Refused { why, .. } => match why {
                Refusal::Client(_) => format!(
                    "compare auth.client_id and auth.client_secret with the key {BACKOFFICE}; the secret is shown once, so make a new key if it is lost"
                ),
                Refusal::Scope(_) => format!(
                    "compare auth.scopes with the permissions of the key {BACKOFFICE}: it needs Read on Marketing consents"
                ),
                Refusal::Grant(_) | Refusal::Denied(_) | Refusal::Token => {
                    format!("look at the key {BACKOFFICE}: is it active, and made for this company? Else make a new one")
                }
                Refusal::Forbidden => {
                    format!("give the key the permission Read on Marketing consents {BACKOFFICE}")
                }
            },
            Self::NoTokenEndpoint { .. } => {
                "leave auth.token_url out: its default is Understory's own, https://api.auth.understory.io/oauth2/token".to_owned()
            }
            Self::TooLarge {
                endpoint: endpoint @ Endpoint::Token,
                ..
            }
            | Self::Redirect { endpoint, .. }
            | Self::Unavailable { endpoint, .. } => format!("look at {}: is it the right address?", endpoint.key()),
            Self::Gateway { .. } => {
                "look at auth.token_url, and at what stands between this machine and Understory; the next run tries again"
                    .to_owned()
            }
            Self::NoToken { .. } => "compare auth.token_url, auth.audience and auth.scopes with what Understory gave you".to_owned(),
            Self::Gone { .. } => "look at api.base_url and api.consents_path (`auto` tries both known paths)".to_owned(),
            Self::PathsGone { .. } => {
                "look at api.base_url, and whether Understory's reference names a new path; set it as api.consents_path"
                    .to_owned()
            }
            Self::TooLarge { .. } => "lower api.page_size, or raise api.max_page_bytes".to_owned(),
            Self::Certificate { why, .. } => match why {
                Certificate::UnknownIssuer => {
                    "behind a proxy that opens TLS, let SSL_CERT_FILE name a bundle with its CA".to_owned()
                }
                Certificate::Authority => {
                    "let the server show one with CA:FALSE, and SSL_CERT_FILE name the authority that signed it".to_owned()
                }
                Certificate::NotYet | Certificate::Expired => {
                    "look at this machine's clock; else the other side has to renew it".to_owned()
                }
                _ => "is something between this machine and the API? It is never talked to without a valid one".to_owned(),
            },
            Self::Shape { endpoint, .. } | Self::OddSuccess { endpoint, .. } => format!(
                "look at {}: is it Understory's? If so, its answers changed and this program needs an update",
                endpoint.key()
            ),
            Self::CursorLoop | Self::EmptyPages(_) => {
                "nothing was taken for missing; if the next runs say the same, tell Understory's support".to_owned()
            }
            Self::CursorRefused => "the next run starts from the beginning; a larger api.requests_per_second makes cursors live long enough".to_owned(),
            Self::Notification(_) => "look at notify.url and notify.format; a notification's failure never fails a run".to_owned(),
            Self::Heartbeat(_) => "look at health.heartbeat_url; a heartbeat's failure never fails a run".to_owned(),
        })
    }
}

fn hint_for(cause: Cause, endpoint: Endpoint) -> Option<String> {
    Some(match cause {
        Cause::Resolve | Cause::ConnectionRefused | Cause::Connect | Cause::ConnectTimeout => {
            format!(
                "look at {}, at this machine's network, and at HTTPS_PROXY if it needs a proxy",
                endpoint.key()
            )
        }
        Cause::Tls => {
            format!("look at {}: is it https on that port, and is something in between?", endpoint.key())
        }
        Cause::NotJson => {
            format!("look at {}: a login page or a proxy's message may stand in for the API", endpoint.key())
        }
        Cause::ProxyLogin => "write HTTPS_PROXY as http://USER:PASSWORD@HOST:PORT".to_owned(),
        Cause::ProxyRefused => {
            format!("let the proxy reach the host of {}, or except it with NO_PROXY", endpoint.key())
        }
        Cause::Status(429) => "lower api.requests_per_second".to_owned(),
        Cause::Timeout => "if this goes on, raise api.request_timeout or lower api.page_size".to_owned(),
        Cause::TenSeconds | Cause::Broken | Cause::Encoding | Cause::Status(_) => return None,
    })
}

#[cfg(test)]
mod tests;
