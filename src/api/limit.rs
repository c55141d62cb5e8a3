//! The rate limit of requests, and the count of them.
//!
//! Owns when the next request may start (contract 5.2: evenly spaced, no burst) and the traffic counters.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::Endpoint;

/// The longest interval, so that a rate next to nothing is still one.
const A_DAY: Duration = Duration::from_hours(24);

/// Lets requests start at least one interval apart.
#[derive(Debug)]
pub(super) struct Limiter {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Limiter {
    /// `per_second` of 0 (or nonsense) is no limit.
    pub(super) fn new(per_second: f64) -> Self {
        let interval = if per_second > 0.0 {
            Duration::try_from_secs_f64(per_second.recip()).map_or(A_DAY, |interval| interval.min(A_DAY))
        } else {
            Duration::ZERO
        };
        Self { interval, next: Mutex::new(None) }
    }

    /// Waits for the next slot, without using it: a caller that gives up while waiting uses none up.
    pub(super) async fn wait_for_slot(&self) {
        let next = *lock(&self.next);
        // The timer counts in milliseconds: even for a moment that is over it would wait for the next one.
        if let Some(next) = next.filter(|next| *next > Instant::now()) {
            tokio::time::sleep_until(next).await;
        }
    }

    pub(super) fn use_slot(&self, now: Instant) {
        *lock(&self.next) = now.checked_add(self.interval);
    }
}

/// For what the attempts of one request share. Held for a moment, never while something is awaited.
pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests since the process began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// All requests, those for tokens and those that failed included.
    pub requests: u64,
    /// Requests that repeat one that failed.
    pub retries: u64,
    pub token_requests: u64,
    /// By endpoint (`token`, `consents`, `consent`, `me`) and status (`error` where no complete answer came).
    pub by_endpoint_and_status: BTreeMap<(&'static str, String), u64>,
}

/// A request without an answer so far. Its status is counted when the answer comes, or, where the caller gave up waiting,
/// as `error`.
#[derive(Debug)]
pub(super) struct InFlight<'a> {
    traffic: &'a Mutex<Traffic>,
    endpoint: Endpoint,
    status: Option<u16>,
}

impl<'a> InFlight<'a> {
    pub(super) fn start(traffic: &'a Mutex<Traffic>, endpoint: Endpoint) -> Self {
        let mut counters = lock(traffic);
        counters.requests += 1;
        counters.token_requests += u64::from(endpoint == Endpoint::Token);
        Self { traffic, endpoint, status: None }
    }

    pub(super) fn answered(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let status = self.status.map_or_else(|| "error".to_owned(), |status| status.to_string());
        let key = (self.endpoint.name(), status);
        *lock(self.traffic).by_endpoint_and_status.entry(key).or_default() += 1;
    }
}

#[cfg(test)]
mod tests;
