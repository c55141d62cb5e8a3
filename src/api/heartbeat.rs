//! The dead man's switch: one GET that says that a run went well.
//!
//! Owns nothing that lasts: no token, no retries, no connection kept. Its address is a secret in itself.

use std::time::Duration;

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
    /// Tells the switch: 10 s in all, no redirects, no retries, no token. Any 2xx will do.
    ///
    /// # Errors
    /// [`ApiError::Heartbeat`] mostly; a failed heartbeat never fails a run.
    pub async fn heartbeat(url: &SecretString, user_agent: &str) -> Result<(), ApiError> {
        let bad_url = || ApiError::Setup(Setup::Url(Endpoint::Heartbeat));
        let url = Url::parse(url.expose_secret()).map_err(|_| bad_url())?;
        let https = url.scheme() == "https";
        let local = url.scheme() == "http" && is_loopback(&url);
        if !https && !local {
            return Err(bad_url());
        }
        let timeouts = Timeouts { connect: TIMEOUT, read: TIMEOUT, request: TIMEOUT };
        let client = client::build(user_agent, timeouts, https)?;
        let nothing = Want { limit: 0, with: |_| false };
        match client::send(&client, Endpoint::Heartbeat, Request::new(Method::GET, url), nothing).await {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) => Err(ApiError::Heartbeat(Cause::Status(answer.status))),
            Err(Fault::Passing { cause, .. }) => Err(ApiError::Heartbeat(cause)),
            Err(Fault::Final(error)) => Err(error),
        }
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
