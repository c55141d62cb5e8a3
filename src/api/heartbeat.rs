//! What others hear of runs: the heartbeat of a dead man's switch, and notifications.
//!
//! Owns nothing that lasts: no token, no retries, no connection kept. Their addresses are secrets in themselves.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::Api;
use super::client::{self, Timeouts, Want};
use super::error::{ApiError, Endpoint};
use super::retry::Fault;
use crate::exit::{Exit, Problem};

const TIMEOUT: Duration = Duration::from_secs(10);

impl Api {
    /// Pings a dead man's switch. Any 2xx will do; a failed heartbeat never fails a run.
    pub async fn heartbeat(url: &SecretString, user_agent: &str) -> Result<(), ApiError> {
        call(url, user_agent, Endpoint::Heartbeat, |url| Request::new(Method::GET, url)).await
    }

    /// Posts a message to the receiver of `notify.url`. Any 2xx means that it was accepted; a failed notification never fails
    /// a run.
    pub async fn notify(
        url: &SecretString,
        user_agent: &str,
        content_type: &'static str,
        text: String,
    ) -> Result<(), ApiError> {
        let request = |url| {
            let mut request = Request::new(Method::POST, url);
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            *request.body_mut() = Some(text.into());
            request
        };
        call(url, user_agent, Endpoint::Notification, request).await
    }
}

/// One request: 10 s in all, no redirects, no retries, no token; of the answer only the status is read.
async fn call(
    url: &SecretString,
    user_agent: &str,
    endpoint: Endpoint,
    request: impl FnOnce(Url) -> Request,
) -> Result<(), ApiError> {
    let url = Url::parse(url.expose_secret()).map_err(|_| ApiError::bad_url(endpoint))?;
    let https = url.scheme() != "http";
    let timeouts = Timeouts { connect: TIMEOUT, read: TIMEOUT, request: TIMEOUT };
    let client = client::build(user_agent, timeouts, https)?;
    let nothing = Want { limit: 0, with: |_| false };
    match client::send(&client, endpoint, request(url), nothing).await {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(not_accepted(endpoint, &format!("it answered with status {}", answer.status))),
        Err(Fault::Passing(transient)) => Err(not_accepted(endpoint, &transient.words)),
        Err(Fault::Final(error)) => Err(error),
    }
}

fn not_accepted(endpoint: Endpoint, why: &str) -> ApiError {
    let (message, next_step) = match endpoint {
        Endpoint::Heartbeat => (
            format!("the heartbeat was not accepted: {why}"),
            "look at health.heartbeat_url; a heartbeat's failure never fails a run",
        ),
        _ => (
            format!("the notification was not accepted: {why}"),
            "look at notify.url and notify.format; a notification's failure never fails a run",
        ),
    };
    Problem::new(Exit::Retry, message).next_step(next_step).into()
}
