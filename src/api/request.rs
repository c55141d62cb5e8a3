//! How a request gets its slot, its token and its meaning.
//!
//! Owns the order of things: slot, fresh token, request, verdict; a 401 drops the token and asks once more
//! (contract 5.9); what passes is retried, what does not ends the call (contract 5.10).

use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;
use url::Url;

use super::Api;
use super::client::{self, Answer, Want};
use super::error::{ApiError, Endpoint};
use super::json::BadBody;
use super::limit::{InFlight, lock};
use super::retry::{Deadline, Fault, Transient, retry};
use super::token::{self, Token};

/// Far more than any answer of a token endpoint.
const MAX_TOKEN_ANSWER: usize = 1024 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

impl Api {
    /// Makes sure that a token is held which can be sent now.
    pub async fn ensure_token(&mut self, deadline: Deadline) -> Result<(), ApiError> {
        self.refresh_token_if_stale(deadline).await
    }

    async fn refresh_token_if_stale(&self, deadline: Deadline) -> Result<(), ApiError> {
        if lock(&self.token).as_ref().is_some_and(|token| token.is_fresh(Instant::now())) {
            return Ok(());
        }
        self.token_attempts.fetch_add(1, Ordering::Relaxed);
        let token = self.retry(Endpoint::Token, deadline, || self.request_token()).await?;
        *lock(&self.token) = Some(token);
        Ok(())
    }

    /// Makes attempts and counts those after the first.
    pub(super) async fn retry<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        endpoint: Endpoint,
        deadline: Deadline,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, ApiError> {
        let attempt = |number: u32| {
            lock(&self.traffic).retries += u64::from(number > 1);
            attempt()
        };
        retry(&self.retry, endpoint, deadline, attempt).await
    }

    /// A GET with a token, retried; the answer's body is read by `read`.
    pub(super) async fn get<T>(
        &self,
        endpoint: Endpoint,
        url: &Url,
        read: impl Fn(Vec<u8>) -> Result<T, BadBody>,
        deadline: Deadline,
    ) -> Result<T, ApiError> {
        let want = Want { limit: self.max_bytes, with: |status| status == 200 };
        let renewed = AtomicBool::new(false);
        let attempt = || async {
            let answer = self.send_with_token(endpoint, url, want, &renewed, deadline).await?;
            verdict(endpoint, &answer)?;
            read(answer.body).map_err(|bad| bad.fault(endpoint))
        };
        self.retry(endpoint, deadline, attempt).await
    }

    /// One GET; a 401 drops the token and asks once more with a new one, unless that was done for this request: a token
    /// that was made for it is kept, so that a page which is forbidden for good does not cost two tokens a run.
    ///
    /// Whether the token is fresh counts when the request starts, so it is looked at after the wait for the slot. A token
    /// whose life is shorter than that wait is sent as it is: renewing it again would never end.
    pub(super) async fn send_with_token(
        &self,
        endpoint: Endpoint,
        url: &Url,
        want: Want,
        renewed: &AtomicBool,
        deadline: Deadline,
    ) -> Result<Answer, Fault> {
        loop {
            if lock(&self.token).is_some() {
                self.limiter.wait_for_slot().await;
            }
            self.refresh_token_if_stale(deadline).await?;
            self.limiter.wait_for_slot().await;
            let header = lock(&self.token).as_ref().and_then(Token::header);
            let mut request = Request::new(Method::GET, url.clone());
            request.headers_mut().insert(ACCEPT, JSON);
            if let Some(header) = header {
                request.headers_mut().insert(AUTHORIZATION, header);
            }
            let answer = self.send(endpoint, request, want).await?;
            if answer.status != 401 || renewed.swap(true, Ordering::Relaxed) {
                return Ok(answer);
            }
            *lock(&self.token) = None;
            tracing::debug!(endpoint = endpoint.name(), "the token was refused, asking for a new one");
        }
    }

    async fn request_token(&self) -> Result<Token, Fault> {
        self.limiter.wait_for_slot().await;
        let mut request = Request::new(Method::POST, self.auth.token_url.clone());
        request.headers_mut().insert(ACCEPT, JSON);
        request.headers_mut().insert(CONTENT_TYPE, FORM);
        *request.body_mut() = Some(token::form(&self.auth).expose_secret().to_owned().into());
        let want = Want {
            limit: MAX_TOKEN_ANSWER,
            with: |status| matches!(status, 200 | 400..=499) && !may_pass(status),
        };
        let asked_at = Instant::now();
        let answer = self.send(Endpoint::Token, request, want).await?;
        match verdict(Endpoint::Token, &answer) {
            Err(Fault::Final(_)) if (400..500).contains(&answer.status) => {
                Err(token::refusal(answer.status, answer.body).into())
            }
            Err(fault) => Err(fault),
            Ok(()) => Token::parse(answer.body, asked_at).map_err(|bad| bad.fault(Endpoint::Token)),
        }
    }

    /// Sends a request whose slot has come, and counts it.
    async fn send(&self, endpoint: Endpoint, request: Request, want: Want) -> Result<Answer, Fault> {
        let begun = Instant::now();
        self.limiter.use_slot(begun);
        let in_flight = InFlight::start(&self.traffic, endpoint);
        let answer = client::send(&self.client, endpoint, request, want).await;
        let took = begun.elapsed();
        if let Ok(Answer { status, body, time, .. }) = &answer {
            in_flight.answered(*status);
            lock(&self.clock).record(endpoint, *time);
            tracing::debug!(endpoint = endpoint.name(), status, bytes = body.len(), ?took, "answered");
        } else {
            tracing::debug!(endpoint = endpoint.name(), ?took, "no complete answer");
        }
        answer
    }
}

/// Statuses that may pass by themselves: the named ones, and whatever 5xx a gateway makes up. 501 and 505 say that the
/// server cannot do it at all.
fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 425 | 429) || (matches!(status, 500..=599) && !matches!(status, 501 | 505))
}

/// What a status means, 200 being the only good one.
pub(super) fn verdict(endpoint: Endpoint, answer: &Answer) -> Result<(), Fault> {
    match answer.status {
        200 => Ok(()),
        status if may_pass(status) => Err(Transient::status(status, answer.retry_after).into()),
        status => Err(ApiError::of_status(endpoint, status).into()),
    }
}
