//! The client of the Understory API: tokens, the list of consents, single consents.
//!
//! Owns everything HTTP: retries, the pace, the caps, the meaning of each status. Makes [`crate::consent::Page`]s and
//! knows no database. One request is in flight at a time: every call takes `&mut Api`. Any future of this layer may be
//! dropped at any time.

mod cause;
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

use reqwest::Client;
use url::Url;

use crate::config;
use crate::consent::Cursor;
use client::Timeouts;
use clock::ServerClock;
use limit::Limiter;
use retry::Policy;

pub use cause::{Cause, Certificate, Endpoint, Refusal, Setup};
pub use clock::ServerTimes;
pub use error::ApiError;
pub use json::BadBody;
pub use limit::Traffic;
pub use lookup::{Lookup, Me};
pub use page::RawPage;
pub use pager::{Paths, QUICKSTART_PATH, REFERENCE_PATH, Walk};
pub use retry::{Deadline, delay, retry_after};
pub use token::{Token, refusal as token_refusal};

/// The API as one process sees it: the connection, the token, the pace and the counters outlive the runs.
#[derive(Debug)]
pub struct Api {
    client: Client,
    user_agent: String,
    timeouts: Timeouts,
    base_url: Url,
    auth: config::Auth,
    page_size: u16,
    max_bytes: usize,
    policy: Policy,
    limiter: Limiter,
    token: Option<Token>,
    token_attempts: u64,
    traffic: Traffic,
    clock: ServerClock,
}

impl Api {
    /// Builds the client; asks nobody.
    ///
    /// # Errors
    /// [`ApiError::Setup`] where the user agent, the proxy or the system's certificates cannot be used.
    pub fn new(auth: &config::Auth, api: &config::Api, retry: &config::Retry) -> Result<Self, ApiError> {
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
            policy: Policy::new(retry),
            limiter: Limiter::new(api.requests_per_second),
            token: None,
            token_attempts: 0,
            traffic: Traffic::default(),
            clock: ServerClock::default(),
        })
    }

    /// Reads the certificate authorities anew; where they cannot be read, the old ones stay.
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

    /// A new walk over the list, from the start.
    pub fn walk(&mut self, paths: Paths, deadline: Deadline) -> Walk<'_> {
        Walk::new(self, paths, deadline)
    }

    /// What was asked since the process began.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// How often this process has tried to get a token, repeated requests apart.
    pub fn token_attempts(&self) -> u64 {
        self.token_attempts
    }

    /// `api.base_url` with a path behind it, whether or not it ends with a slash. The rest is already encoded.
    fn url(&self, endpoint: Endpoint, path: &str, query: &str) -> Result<Url, ApiError> {
        let base = self.base_url.as_str().split(['?', '#']).next().unwrap_or_default();
        let (base, path) = (base.trim_end_matches('/'), path.trim_start_matches('/'));
        Url::parse(&format!("{base}/{path}{query}")).map_err(|_| ApiError::Setup(Setup::Url(endpoint)))
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
