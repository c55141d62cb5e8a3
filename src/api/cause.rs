//! The words for what was asked and why it failed, which the errors of this layer are made of.
//!
//! Owns closed lists only: nothing foreign fits into any of them.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `auth.token_url`.
    Token,
    Consents,
    /// The page of a single consent.
    Consent,
    /// `/v1/me`.
    Me,
    /// `health.heartbeat_url`.
    Heartbeat,
    /// `notify.url`.
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

    /// The key that says where it is.
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

/// Why one attempt failed in a way that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The host's name has no address.
    #[error("the host name could not be resolved")]
    Resolve,
    #[error("the connection was refused")]
    ConnectionRefused,
    /// No connection for another reason, a proxy's refusal among them.
    #[error("no connection could be made")]
    Connect,
    #[error("no connection within api.connect_timeout")]
    ConnectTimeout,
    #[error("the proxy of HTTPS_PROXY asks for a login (status 407)")]
    ProxyLogin,
    #[error("the proxy of HTTPS_PROXY refused the connection (its status was neither 200 nor 407)")]
    ProxyRefused,
    /// The handshake ended early, or was none.
    #[error("the TLS handshake broke")]
    Tls,
    /// No byte, or no end of the answer, in time.
    #[error("no complete answer within api.read_timeout and api.request_timeout")]
    Timeout,
    #[error("no complete answer within 10 seconds")]
    TenSeconds,
    /// Reset, closed early, too few bytes, broken chunks, no HTTP.
    #[error("the connection broke before the answer was complete")]
    Broken,
    /// The gzip stream is damaged.
    #[error("the compressed answer is damaged")]
    Encoding,
    /// A status that may pass.
    #[error("it answered with status {0}")]
    Status(u16),
    /// 200, but no JSON.
    #[error("it answered with status 200 and something that is not JSON")]
    NotJson,
}

/// Why we were turned away for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `invalid_client`, or 401 from the token endpoint.
    #[error("auth.client_id or auth.client_secret is not accepted (status {0})")]
    Client(u16),
    /// `unauthorized_client`.
    #[error("the key auth.client_id may not ask for tokens this way (unauthorized_client, status {0})")]
    Grant(u16),
    /// `invalid_scope`.
    #[error("the key does not have one of auth.scopes (invalid_scope, status {0})")]
    Scope(u16),
    /// `access_denied`, or 403 from the token endpoint.
    #[error("access is denied to the key auth.client_id (status {0})")]
    Denied(u16),
    /// A fresh token was refused as well.
    #[error("a freshly made access token was refused as well (status 401)")]
    Token,
    /// 403 to a data request.
    #[error("the key lacks the permission (status 403)")]
    Forbidden,
}

/// Why a certificate was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Certificate {
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet; is this machine's clock right?")]
    NotYet,
    /// Signed by nobody we trust.
    #[error("its issuer is not known here")]
    UnknownIssuer,
    #[error("it is made for another host name")]
    WrongName,
    /// An authority's, shown as a server's: what `openssl req -x509` makes by itself.
    #[error("it is an authority's own certificate, not one for a server")]
    Authority,
    #[error("it has been revoked")]
    Revoked,
    #[error("it is not acceptable")]
    Other,
}

/// What stops the client from being built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Setup {
    #[error("no TLS client could be set up: no CA certificates were found")]
    Tls,
    /// `HTTPS_PROXY` is no URL.
    #[error("HTTPS_PROXY is not a URL that can be used")]
    Proxy,
    /// `api.user_agent` is no header.
    #[error("api.user_agent holds what no HTTP header can")]
    UserAgent,
    /// `api.consents_path` or a URL cannot be asked.
    #[error("the URL of {0} cannot be put together")]
    Url(Endpoint),
}
