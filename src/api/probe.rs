//! Doors to what reads foreign bytes, for those who throw a great many of them at it: fuzzers, benchmarks, the tests'
//! mutations.
//!
//! Owns nothing: every door leads to the very code that a run uses, without the network around it.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use tokio::time::Instant;

use super::{RawPage, client, token};

/// A page of the list as a 200 brings it; None where the body cannot be used.
pub fn page(bytes: &[u8]) -> Option<RawPage> {
    let page = RawPage::new(bytes.to_vec()).ok()?;
    debug_assert!(page.is_found_again(), "both ways find the same items");
    Some(page)
}

/// A token endpoint's answer: a token that can be sent, and is fresh when it comes.
///
/// The same bytes are read as a refusal too; that must do no harm and show nothing.
pub fn token(bytes: &[u8]) -> bool {
    let asked_at = Instant::now();
    let refusal = token::refusal(400, bytes.to_vec());
    debug_assert!(refusal.to_string().len() < 200, "a refusal is ours alone");
    token::read(bytes.to_vec(), asked_at)
        .is_ok_and(|token| token.header().is_some() && token.is_fresh(asked_at))
}

/// The wait that a `Retry-After` asks for; None where the bytes are no header, or no wait.
pub fn retry_after(bytes: &[u8], now: SystemTime) -> Option<Duration> {
    let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_bytes(bytes).ok()?)]);
    client::wait_of(&headers, now)
}
