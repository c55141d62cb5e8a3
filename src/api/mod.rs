//! The client of the Understory API: tokens, the list of consents, single consents.
//!
//! Owns everything HTTP: retries, the rate limit, the caps, the meaning of each status. Makes [`crate::consent::Page`]s and
//! knows no database. One request is in flight at a time: every public call takes `&mut Api`; within, the attempts of a retry
//! share it. Any future of this layer may be dropped at any time.

mod client;
mod clock;
mod error;
mod heartbeat;
mod json;
mod limit;
mod lookup;
mod page;
mod pager;
mod request;
mod retry;
mod token;
mod wire;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::Client;
use url::Url;

use crate::config;
use crate::consent::Cursor;
use client::Timeouts;
use clock::ServerClock;
use limit::{Limiter, lock};

pub use clock::ServerTimes;
pub use error::{ApiError, Endpoint};
pub use json::BadBody;
pub use limit::Traffic;
pub use lookup::{Lookup, Me};
pub use page::RawPage;
pub use pager::{Pager, Paths, QUICKSTART_PATH, REFERENCE_PATH};
pub use retry::{Deadline, retry_after};
pub use token::{Token, refusal as token_refusal};

/// The API as one process sees it: the connection, the token, the rate limit and the counters outlive the runs.
#[derive(Debug)]
pub struct Api {
    client: Client,
    user_agent: String,
    timeouts: Timeouts,
    base_url: Url,
    auth: config::Auth,
    page_size: u16,
    max_bytes: usize,
    retry: config::Retry,
    limiter: Limiter,
    token: Mutex<Option<Token>>,
    token_attempts: AtomicU64,
    traffic: Mutex<Traffic>,
    clock: Mutex<ServerClock>,
}

impl Api {
    /// Builds the client; asks nobody. Fails where the user agent, the proxy or the system's certificates cannot be used.
    pub fn new(
        auth: &config::Auth,
        api: &config::ApiConfig,
        retry: &config::Retry,
    ) -> Result<Self, ApiError> {
        let timeouts =
            Timeouts { connect: api.connect_timeout, read: api.read_timeout, request: api.request_timeout };
        let https = [&auth.token_url, &api.base_url].iter().any(|url| url.scheme() != "http");
        Ok(Self {
            client: client::build(&api.user_agent, timeouts, https)?,
            user_agent: api.user_agent.clone(),
            timeouts,
            base_url: api.base_url.clone(),
            auth: auth.clone(),
            page_size: api.page_size,
            max_bytes: api.max_page_bytes,
            retry: retry.clone(),
            limiter: Limiter::new(api.requests_per_second),
            token: Mutex::default(),
            token_attempts: AtomicU64::new(0),
            traffic: Mutex::default(),
            clock: Mutex::default(),
        })
    }

    /// Reads the certificate authorities again; where they cannot be read, the old ones stay.
    pub fn refresh_authorities(&mut self) {
        if [&self.auth.token_url, &self.base_url].iter().all(|url| url.scheme() == "http") {
            return;
        }
        match client::build(&self.user_agent, self.timeouts, true) {
            Ok(client) => self.client = client,
            Err(error) => {
                tracing::warn!(%error, "the certificate authorities that were read before are used");
            }
        }
    }

    pub fn pages(&mut self, paths: Paths, deadline: Deadline) -> Pager<'_> {
        Pager::new(self, paths, deadline)
    }

    pub fn traffic(&self) -> Traffic {
        lock(&self.traffic).clone()
    }

    /// How often this process has tried to get a token, repeated requests apart.
    pub fn token_attempts(&self) -> u64 {
        self.token_attempts.load(Ordering::Relaxed)
    }

    /// `api.base_url` with a path behind it, whether or not it ends with a slash. The rest is already encoded.
    fn url(&self, endpoint: Endpoint, path: &str, query: &str) -> Result<Url, ApiError> {
        let base = self.base_url.as_str().split(['?', '#']).next().unwrap_or_default();
        let (base, path) = (base.trim_end_matches('/'), path.trim_start_matches('/'));
        Url::parse(&format!("{base}/{path}{query}")).map_err(|_| ApiError::bad_url(endpoint))
    }

    fn list_url(&self, path: &str, cursor: Option<&Cursor>) -> Result<Url, ApiError> {
        let limit = self.page_size;
        let query = match cursor {
            Some(Cursor(text)) => format!("?limit={limit}&cursor={}", token::encoded(text)),
            None => format!("?limit={limit}"),
        };
        self.url(Endpoint::Consents, path, &query)
    }
}
