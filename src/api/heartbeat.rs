//! What is told to others about runs: the heartbeat of a dead man's switch, and notifications.
//!
//! Owns nothing that lasts: no token, no retries, no connection kept. Their addresses are secrets in themselves.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use super::Api;
use super::cause::{Cause, Endpoint, Setup};
use super::client::{self, Timeouts, Want};
use super::error::ApiError;
use super::retry::Fault;

const TIMEOUT: Duration = Duration::from_secs(10);

impl Api {
    /// Tells the switch. Any 2xx will do.
    ///
    /// # Errors
    /// [`ApiError::Heartbeat`] mostly; a failed heartbeat never fails a run.
    pub async fn heartbeat(url: &SecretString, user_agent: &str) -> Result<(), ApiError> {
        let (endpoint, wrong) = (Endpoint::Heartbeat, ApiError::Heartbeat);
        call(url, user_agent, endpoint, wrong, |url| Request::new(Method::GET, url)).await
    }

    /// Posts a message to the receiver of `notify.url`. Any 2xx means that it was accepted.
    ///
    /// # Errors
    /// [`ApiError::Notification`] mostly; a failed notification never fails a run.
    pub async fn notify(
        url: &SecretString,
        user_agent: &str,
        content_type: &'static str,
        text: String,
    ) -> Result<(), ApiError> {
        let (endpoint, wrong) = (Endpoint::Notification, ApiError::Notification);
        let request = |url| {
            let mut request = Request::new(Method::POST, url);
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            *request.body_mut() = Some(text.into());
            request
        };
        call(url, user_agent, endpoint, wrong, request).await
    }
}

/// One request: 10 s in all, no redirects, no retries, no token; of the answer only the status is read.
async fn call(
    url: &SecretString,
    user_agent: &str,
    endpoint: Endpoint,
    wrong: fn(Cause) -> ApiError,
    request: impl FnOnce(Url) -> Request,
) -> Result<(), ApiError> {
    let bad_url = || ApiError::Setup(Setup::Url(endpoint));
    let url = Url::parse(url.expose_secret()).map_err(|_| bad_url())?;
    let https = url.scheme() == "https";
    let local = url.scheme() == "http" && is_loopback(&url);
    if !https && !local {
        return Err(bad_url());
    }
    let timeouts = Timeouts { connect: TIMEOUT, read: TIMEOUT, request: TIMEOUT };
    let client = client::build(user_agent, timeouts, https)?;
    let nothing = Want { limit: 0, with: |_| false };
    match client::send(&client, endpoint, request(url), nothing).await {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(wrong(Cause::Status(answer.status))),
        Err(Fault::Passing { cause: Cause::Timeout | Cause::ConnectTimeout, .. }) => {
            Err(wrong(Cause::TenSeconds))
        }
        Err(Fault::Passing { cause, .. }) => Err(wrong(cause)),
        Err(Fault::Final(error)) => Err(error),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
