//! When a failed request is made again, and when no more.
//!
//! Owns the delay (a pure function), `Retry-After`, and the run's deadline. The loop itself is backon's; it is told the
//! delays and asked to stop. One owner of retry: neither reqwest nor any caller of this layer repeats a request.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use backon::Retryable as _;
use chrono::{DateTime, NaiveDateTime, Utc};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::cause::{Cause, Endpoint};
use super::error::ApiError;
use crate::config;

/// The longest `Retry-After` that is waited for where no deadline is set (contract 5.10).
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// More than anybody waits, and still a time that can be added to now.
const FOR_EVER: Duration = Duration::from_hours(365 * 24);

/// When a run must have ended; waiting beyond it is pointless. That the run really ends then is the caller's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No end (`run_timeout = "off"`).
    pub const fn none() -> Self {
        Self(None)
    }

    pub const fn at(instant: Instant) -> Self {
        Self(Some(instant))
    }

    /// The instant, if there is one.
    pub const fn instant(self) -> Option<Instant> {
        self.0
    }

    /// How long there is left; None: for ever.
    pub fn remaining(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// May a wait of this length begin now? `asked_for`: the server named it.
    fn allows(self, wait: Duration, asked_for: bool) -> bool {
        match self.remaining() {
            Some(left) => wait <= left,
            None => !asked_for || wait <= LONGEST_WAIT,
        }
    }
}

/// The wait before attempt `failed + 1`: full jitter, so that clients that failed together do not return together.
///
/// `unit` is random in [0, 1). With a base of 1 s and a most of 60 s:
///
/// | failed attempts | wait lies within |
/// |---|---|
/// | 1 | 0 to 1 s |
/// | 2 | 0 to 2 s |
/// | 3 | 0 to 4 s |
/// | 4 | 0 to 8 s |
/// | 7 and more | 0 to 60 s |
pub fn delay(failed: u32, base: Duration, most: Duration, unit: f64) -> Duration {
    let doublings = failed.saturating_sub(1).min(31);
    base.saturating_mul(1 << doublings).min(most).mul_f64(unit.clamp(0.0, 1.0))
}

/// How long `Retry-After` asks to wait: seconds, or a date in any of HTTP's three forms. A past date is no wait, a number
/// beyond all measure is a very long one, anything else is ignored.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(FOR_EVER));
    }
    let wait = SystemTime::from(http_date(value)?).duration_since(now);
    Some(wait.unwrap_or_default().min(FOR_EVER))
}

/// The three forms of RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`,
/// `Sun Nov  6 08:49:37 1994`.
pub(super) fn http_date(text: &str) -> Option<DateTime<Utc>> {
    const FORMS: [&str; 3] =
        ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let mut dates = FORMS.iter().map(|form| NaiveDateTime::parse_from_str(text, form));
    dates.find_map(Result::ok).map(|date| date.and_utc())
}

#[derive(Debug)]
pub(super) enum Fault {
    /// Asking again would not help.
    Final(ApiError),
    Passing {
        cause: Cause,
        /// `Retry-After`.
        asked: Option<Duration>,
    },
}

impl From<Cause> for Fault {
    fn from(cause: Cause) -> Self {
        Self::Passing { cause, asked: None }
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        Self::Final(error)
    }
}

/// What is tried again.
///
/// No closure, although there are only two of them: the compiler cannot see that the future of an async closure which
/// borrows its state can move between threads.
pub(super) trait Attempt: Send {
    type Output: Send;

    /// The attempt with this number, from 1.
    fn make(&mut self, number: u32) -> impl Future<Output = Result<Self::Output, Fault>> + Send;
}

/// `retry.*`, as the loop needs it.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    attempts: u32,
    base: Duration,
    most: Duration,
    after_429: Duration,
}

impl Policy {
    pub(super) fn new(retry: &config::Retry) -> Self {
        Self {
            attempts: retry.max_attempts.max(1),
            base: retry.base_delay,
            most: retry.max_delay,
            after_429: retry.rate_limit_delay,
        }
    }

    /// The least wait that the server asked for, by `Retry-After` or by a 429.
    fn floor(&self, cause: Cause, asked: Option<Duration>) -> Option<Duration> {
        match cause {
            Cause::Status(429) => Some(asked.unwrap_or_default().max(self.after_429)),
            _ => asked,
        }
    }

    /// Makes attempts until one succeeds, one fails for good, none is left, or the wait would outlast the deadline.
    ///
    /// backon's loop takes a closure that makes futures, which therefore cannot borrow from it; so what the attempts share
    /// lies behind a lock that nobody else ever takes.
    pub(super) async fn run<A: Attempt>(
        &self,
        endpoint: Endpoint,
        deadline: Deadline,
        attempt: &mut A,
    ) -> Result<A::Output, ApiError> {
        let shared = Mutex::new((attempt, 0_u32));
        let stopped = OnceLock::new();
        let outcome = (|| async {
            let mut guard = shared.lock().await;
            let (attempt, made) = &mut *guard;
            *made += 1;
            attempt.make(*made).await
        })
        .retry((1..self.attempts).map(|failed| delay(failed, self.base, self.most, random_unit())))
        .when(|fault| matches!(fault, Fault::Passing { .. }))
        .adjust(|fault, drawn| self.wait(fault, drawn?, deadline, &stopped))
        .notify(|fault, wait| note(endpoint, fault, wait))
        .await;
        let fault = match outcome {
            Ok(value) => return Ok(value),
            Err(fault) => fault,
        };
        Err(self.give_up(endpoint, fault, stopped.get().copied()))
    }

    /// The wait before the next attempt; None, and the wait in `stopped`, where it would be too long.
    fn wait(
        &self,
        fault: &Fault,
        drawn: Duration,
        deadline: Deadline,
        stopped: &OnceLock<Duration>,
    ) -> Option<Duration> {
        let floor = match fault {
            Fault::Passing { cause, asked } => self.floor(*cause, *asked),
            Fault::Final(_) => None,
        };
        let wait = floor.unwrap_or_default().max(drawn);
        if deadline.allows(wait, floor.is_some()) {
            return Some(wait);
        }
        stopped.get_or_init(|| wait);
        None
    }

    fn give_up(&self, endpoint: Endpoint, fault: Fault, stopped: Option<Duration>) -> ApiError {
        let (cause, asked) = match fault {
            Fault::Final(error) => return error,
            Fault::Passing { cause, asked } => (cause, asked),
        };
        // Whatever ended the attempts: where the server asked for a wait, the next run shall know.
        let not_before = self.floor(cause, asked).and_then(|floor| Instant::now().checked_add(floor));
        match stopped {
            Some(wait) => ApiError::NoTimeLeft { endpoint, cause, wait_secs: wait.as_secs(), not_before },
            None => ApiError::GaveUp { endpoint, cause, attempts: self.attempts, not_before },
        }
    }
}

fn note(endpoint: Endpoint, fault: &Fault, wait: Duration) {
    if let Fault::Passing { cause, .. } = fault {
        // Not a warning: it mostly heals itself, the run counts it, and what does not heal ends in an error.
        tracing::info!(endpoint = endpoint.name(), %cause, ?wait, "a request failed and is made again");
    }
}

/// Random in [0, 1). Without randomness the wait is the longest, which is safe.
fn random_unit() -> f64 {
    let mut bytes = [0_u8; 4];
    match rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests;
