//! How a request gets its slot, its token and its meaning.
//!
//! Owns the order of things: slot, fresh token, request, verdict; a 401 drops the token and asks once more
//! (contract 5.9); what passes is retried, what does not ends the call (contract 5.10).

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;
use url::Url;

use super::Api;
use super::cause::{Cause, Endpoint, Refusal};
use super::client::{self, Answer, Want};
use super::error::ApiError;
use super::json::BadBody;
use super::retry::{Attempt, Deadline, Fault};
use super::token::{self, Token};

/// Far more than any answer of a token endpoint.
const MAX_TOKEN_ANSWER: usize = 1024 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Turns a body into what it means.
pub(super) type Read<T> = fn(Vec<u8>) -> Result<T, BadBody>;

impl Api {
    /// Makes sure that a token is held which can be sent now.
    pub async fn ensure_token(&mut self, deadline: Deadline) -> Result<(), ApiError> {
        if self.has_fresh_token() {
            return Ok(());
        }
        self.token_attempts += 1;
        let policy = self.policy.clone();
        let mut attempt = AskToken { api: self };
        let token = policy.run(Endpoint::Token, deadline, &mut attempt).await?;
        self.token = Some(token);
        Ok(())
    }

    /// A GET with a token, retried; the answer's body is read by `read`.
    pub(super) async fn get<T: Send>(
        &mut self,
        endpoint: Endpoint,
        url: &Url,
        read: Read<T>,
        deadline: Deadline,
    ) -> Result<T, ApiError> {
        let policy = self.policy.clone();
        let mut attempt = Get { api: self, endpoint, url, read, deadline, renewed: false };
        policy.run(endpoint, deadline, &mut attempt).await
    }

    /// One GET; a 401 drops the token and asks once more with a new one, unless that was done for this request: a token
    /// that was made for it is kept, so that a page which is forbidden for good does not cost two tokens a run.
    pub(super) async fn send_renewing(
        &mut self,
        endpoint: Endpoint,
        url: &Url,
        want: Want,
        renewed: &mut bool,
        deadline: Deadline,
    ) -> Result<Answer, Fault> {
        let answer = self.send_with_token(endpoint, url, want, deadline).await?;
        if answer.status != 401 || std::mem::replace(renewed, true) {
            return Ok(answer);
        }
        self.token = None;
        tracing::debug!(endpoint = endpoint.name(), "the token was refused, asking for a new one");
        self.send_with_token(endpoint, url, want, deadline).await
    }

    /// One GET. Whether the token is fresh counts when the request starts, so it is looked at after the wait for the
    /// slot. A token whose life is shorter than that wait is sent as it is: renewing it again would never end.
    async fn send_with_token(
        &mut self,
        endpoint: Endpoint,
        url: &Url,
        want: Want,
        deadline: Deadline,
    ) -> Result<Answer, Fault> {
        if self.token.is_some() {
            self.limiter.ready().await;
        }
        self.ensure_token(deadline).await?;
        self.limiter.ready().await;
        let header = self.token.as_ref().and_then(Token::header);
        let mut request = Request::new(Method::GET, url.clone());
        request.headers_mut().insert(ACCEPT, JSON);
        if let Some(header) = header {
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        self.send(endpoint, request, want).await
    }

    async fn ask_token(&mut self) -> Result<Token, Fault> {
        self.limiter.ready().await;
        let mut request = Request::new(Method::POST, self.auth.token_url.clone());
        request.headers_mut().insert(ACCEPT, JSON);
        request.headers_mut().insert(CONTENT_TYPE, FORM);
        *request.body_mut() = Some(token::form(&self.auth).expose_secret().to_owned().into());
        let want = Want {
            limit: MAX_TOKEN_ANSWER,
            with: |status| matches!(status, 200 | 400..=499) && !passes(status),
        };
        let asked_at = Instant::now();
        let answer = self.send(Endpoint::Token, request, want).await?;
        match verdict(Endpoint::Token, &answer) {
            Err(Fault::Final(_)) if (400..500).contains(&answer.status) => {
                Err(token::refusal(answer.status, answer.body).into())
            }
            Err(fault) => Err(fault),
            Ok(()) => token::read(answer.body, asked_at),
        }
    }

    /// Sends a request whose slot has come, and counts it.
    async fn send(&mut self, endpoint: Endpoint, request: Request, want: Want) -> Result<Answer, Fault> {
        let begun = Instant::now();
        self.limiter.take(begun);
        let in_flight = self.traffic.start(endpoint);
        let answer = client::send(&self.client, endpoint, request, want).await;
        let took = begun.elapsed();
        if let Ok(Answer { status, body, time, .. }) = &answer {
            in_flight.answered(*status);
            self.clock.record(endpoint, *time);
            tracing::debug!(endpoint = endpoint.name(), status, bytes = body.len(), ?took, "answered");
        } else {
            tracing::debug!(endpoint = endpoint.name(), ?took, "no complete answer");
        }
        answer
    }

    fn has_fresh_token(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.is_fresh(Instant::now()))
    }

    pub(super) fn count_retry(&mut self, attempt: u32) {
        if attempt > 1 {
            self.traffic.retries += 1;
        }
    }
}

/// A request for a token.
struct AskToken<'a> {
    api: &'a mut Api,
}

impl Attempt for AskToken<'_> {
    type Output = Token;

    async fn make(&mut self, number: u32) -> Result<Token, Fault> {
        self.api.count_retry(number);
        self.api.ask_token().await
    }
}

/// A GET with a token.
struct Get<'a, T> {
    api: &'a mut Api,
    endpoint: Endpoint,
    url: &'a Url,
    read: Read<T>,
    deadline: Deadline,
    /// Whether a 401 has led to a new token already.
    renewed: bool,
}

impl<T: Send> Attempt for Get<'_, T> {
    type Output = T;

    async fn make(&mut self, number: u32) -> Result<T, Fault> {
        let (endpoint, deadline) = (self.endpoint, self.deadline);
        self.api.count_retry(number);
        let want = Want { limit: self.api.max_bytes, with: |status| status == 200 };
        let answer = self.api.send_renewing(endpoint, self.url, want, &mut self.renewed, deadline).await?;
        verdict(endpoint, &answer)?;
        (self.read)(answer.body).map_err(|bad| match bad {
            BadBody::NotJson => Cause::NotJson.into(),
            BadBody::Shape(what) => Fault::Final(ApiError::Shape { endpoint, what }),
        })
    }
}

/// Statuses that may pass by themselves: the named ones, and whatever 5xx a gateway makes up. 501 and 505 say that the
/// server cannot do it at all.
fn passes(status: u16) -> bool {
    matches!(status, 408 | 425 | 429) || (matches!(status, 500..=599) && !matches!(status, 501 | 505))
}

/// What a status means, 200 being the only good one.
pub(super) fn verdict(endpoint: Endpoint, answer: &Answer) -> Result<(), Fault> {
    let status = answer.status;
    if passes(status) {
        return Err(Fault::Passing { cause: Cause::Status(status), asked: answer.asked_wait });
    }
    Err(Fault::Final(match status {
        200 => return Ok(()),
        201..=299 => ApiError::OddSuccess { endpoint, status },
        300..=399 => ApiError::Redirect { endpoint, status },
        401 => ApiError::Refused { endpoint, why: Refusal::Token },
        403 => ApiError::Refused { endpoint, why: Refusal::Forbidden },
        404 | 410 => ApiError::Gone { endpoint, status },
        _ => ApiError::Unavailable { endpoint, status },
    }))
}
