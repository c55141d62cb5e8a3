//! When a failed request is made again, and when no more.
//!
//! Owns the retry delay (a pure function), `Retry-After`, and the run's deadline; the loop itself is backon's. One owner of
//! retry: neither reqwest nor any caller of this layer repeats a request.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use backon::Retryable as _;
use chrono::{DateTime, NaiveDateTime, Utc};
use tokio::time::Instant;

use super::error::{ApiError, Endpoint};
use crate::config;
use crate::exit::{Exit, Problem};

/// The longest `Retry-After` that is waited for where no deadline is set (contract 5.10).
const MAX_WAIT: Duration = Duration::from_hours(1);

/// More than anybody waits, and still a time that can be added to now.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(365 * 24);

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

    /// How long there is left; None: for ever.
    pub fn remaining(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// May a wait of this length begin now? `asked_for`: the server named it.
    fn allows(self, wait: Duration, asked_for: bool) -> bool {
        match self.remaining() {
            Some(left) => wait <= left,
            None => !asked_for || wait <= MAX_WAIT,
        }
    }
}

/// The retry delay before attempt `failed + 1`: full jitter, so that clients that failed together do not return together.
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
fn retry_delay(failed: u32, base: Duration, most: Duration, unit: f64) -> Duration {
    let doublings = failed.saturating_sub(1).min(31);
    base.saturating_mul(1 << doublings).min(most).mul_f64(unit.clamp(0.0, 1.0))
}

/// How long `Retry-After` asks to wait: seconds, or a date in any of HTTP's three forms. A past date is no wait, a number
/// beyond all measure is a very long one, anything else is ignored.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    }
    let wait = SystemTime::from(http_date(value)?).duration_since(now);
    Some(wait.unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// The three forms of RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`,
/// `Sun Nov  6 08:49:37 1994`.
pub(super) fn http_date(text: &str) -> Option<DateTime<Utc>> {
    const FORMS: [&str; 3] =
        ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let mut dates = FORMS.iter().map(|form| NaiveDateTime::parse_from_str(text, form));
    dates.find_map(Result::ok).map(|date| date.and_utc())
}

/// Why one attempt failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Asking again does not help.
    Final(ApiError),
    Passing(Transient),
}

/// A failure that may pass by itself.
#[derive(Debug)]
pub(super) struct Transient {
    pub(super) words: Cow<'static, str>,
    next_step: Option<Cow<'static, str>>,
    exit: Exit,
    /// 429: waits for `retry.rate_limit_delay` at least.
    is_rate_limit: bool,
    /// `Retry-After`.
    retry_after: Option<Duration>,
}

impl Transient {
    pub(super) fn new(words: impl Into<Cow<'static, str>>) -> Self {
        let words = words.into();
        Self { words, next_step: None, exit: Exit::Retry, is_rate_limit: false, retry_after: None }
    }

    pub(super) fn next_step(self, next_step: impl Into<Cow<'static, str>>) -> Self {
        Self { next_step: Some(next_step.into()), ..self }
    }

    /// A status that may pass.
    pub(super) fn status(status: u16, retry_after: Option<Duration>) -> Self {
        let passing = Self { retry_after, ..Self::new(format!("it answered with status {status}")) };
        if status == 429 {
            return Self { is_rate_limit: true, ..passing.next_step("lower api.requests_per_second") };
        }
        passing
    }

    /// 200, but a login page or the message of a proxy.
    pub(super) fn not_json(endpoint: Endpoint) -> Self {
        let key = endpoint.key();
        let next_step = format!("look at {key}: a login page or a proxy's message may stand in for the API");
        let words = "it answered with status 200 and something that is not JSON";
        Self { exit: Exit::Data, ..Self::new(words).next_step(next_step) }
    }

    /// The least wait that the server asked for, by `Retry-After` or by a 429.
    fn required_wait(&self, policy: &config::Retry) -> Option<Duration> {
        if self.is_rate_limit {
            return Some(self.retry_after.unwrap_or_default().max(policy.rate_limit_delay));
        }
        self.retry_after
    }
}

impl From<Transient> for Fault {
    fn from(transient: Transient) -> Self {
        Self::Passing(transient)
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        Self::Final(error)
    }
}

/// Makes attempts, each with its number from 1, until one succeeds, one fails for good, none is left, or the wait would
/// outlast the deadline.
pub(super) async fn retry<T, F: Future<Output = Result<T, Fault>>>(
    policy: &config::Retry,
    endpoint: Endpoint,
    deadline: Deadline,
    mut attempt: impl FnMut(u32) -> F,
) -> Result<T, ApiError> {
    let mut number = 0;
    let mut too_long = None;
    let delays = (1..policy.max_attempts)
        .map(|failed| retry_delay(failed, policy.base_delay, policy.max_delay, random_unit()));
    let outcome = (|| {
        number += 1;
        attempt(number)
    })
    .retry(delays)
    .when(|fault| matches!(fault, Fault::Passing(_)))
    .adjust(|fault, drawn| {
        let Fault::Passing(transient) = fault else { return None };
        let required = transient.required_wait(policy);
        let wait = required.unwrap_or_default().max(drawn?);
        if deadline.allows(wait, required.is_some()) {
            return Some(wait);
        }
        too_long = Some(wait);
        None
    })
    .notify(|fault, wait| {
        if let Fault::Passing(Transient { words, .. }) = fault {
            // Not a warning: it mostly passes, the run counts it, and what does not pass ends in an error.
            tracing::info!(endpoint = endpoint.name(), cause = %words, ?wait, "a request failed and is made again");
        }
    })
    .await;
    outcome.map_err(|fault| match fault {
        Fault::Final(error) => error,
        Fault::Passing(transient) => give_up(policy, endpoint, transient, too_long),
    })
}

fn give_up(
    policy: &config::Retry,
    endpoint: Endpoint,
    transient: Transient,
    too_long: Option<Duration>,
) -> ApiError {
    // Whatever ended the attempts: where the server asked for a wait, the next run shall know.
    let required = transient.required_wait(policy);
    let not_before = required.and_then(|required| Instant::now().checked_add(required));
    let Transient { words, next_step, exit, is_rate_limit, .. } = transient;
    let problem = if let Some(wait) = too_long {
        let message = format!(
            "{endpoint} could not be used: {words}; the wait of {} s before the next attempt reaches beyond the run's deadline",
            wait.as_secs()
        );
        Problem::new(Exit::Retry, message).next_step(if is_rate_limit {
            "lower api.requests_per_second, or raise schedule.run_timeout; the next run tries again"
        } else {
            "nothing to do at once: the next run tries again"
        })
    } else {
        let attempts = policy.max_attempts.max(1);
        let message =
            format!("{endpoint} could not be used: {words} ({attempts} of {attempts} attempts failed)");
        Problem { next_step, ..Problem::new(exit, message) }
    };
    ApiError::GaveUp { problem, not_before }
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
