//! How the mock API behaves while no fault is played.

use std::collections::BTreeMap;
use std::time::Duration;

use super::people::COMPANY_ID;

/// How `next` is written on the last page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    /// `"next": ""`
    #[default]
    Empty,
    /// No `next` at all.
    Absent,
    /// `"next": null`
    Null,
}

/// Where listed items carry their `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ids {
    #[default]
    Everywhere,
    /// On the newer path only, as an older schema had none.
    NewerPath,
    Nowhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Route {
    #[default]
    Works,
    /// It is gone: this status (404 or 410) to every request.
    Gone(u16),
}

/// The `Date` header of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerDate {
    #[default]
    Right,
    /// Off by so many seconds.
    Off(i64),
    /// Old by so many seconds, and `Age` says so.
    Cached(u32),
    /// A text that is not a date.
    Unreadable,
    Omitted,
}

/// More requests than this within the window are answered 429.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// How many the window may hold.
    pub requests: usize,
    pub window: Duration,
    /// The `Retry-After` of the refusal; the documentation promises none.
    pub retry_after: Option<String>,
}

/// Everything that can be set. Has no `Debug`: it holds a secret, even if a made-up one.
#[derive(Clone)]
pub struct MockSettings {
    /// 0: any free port of loopback. A fixed one lets a stopped mock API come back at the same address.
    pub port: u16,
    pub client_id: String,
    pub client_secret: String,
    /// The scopes that the key has.
    pub scopes: Vec<String>,
    /// The only audience that tokens are made for.
    pub audience: String,
    /// How long a token is good, sent as `expires_in` in whole seconds.
    pub token_life: Duration,
    /// How long a cursor is good.
    pub cursor_life: Duration,
    /// Cursors that hold `+/=&%`.
    pub awkward_cursors: bool,
    /// Items of a page whatever `limit` says, at most 10,000; none: as `limit` says.
    pub page_length: Option<usize>,
    /// How the end is marked.
    pub end: End,
    /// The last items come with a `next` which leads to an empty page.
    pub empty_last_page: bool,
    pub ids: Ids,
    /// `GET /v1/grow/consents`
    pub grow: Route,
    /// `GET /v1/marketing-consents`
    pub marketing: Route,
    /// `GET /v1/marketing-consents/{id}`
    pub single: Route,
    /// What the page of a consent that does not exist answers.
    pub gone_status: u16,
    /// The pages of these ids answer this status instead.
    pub page_status: BTreeMap<String, u16>,
    /// Every nth request for a single consent, from the start of the server, answers this status: (n, status).
    pub failing_pages: Option<(u64, u16)>,
    /// What `/v1/me` tells.
    pub company_id: String,
    /// What `/v1/me` tells.
    pub company_name: Option<String>,
    /// Time that every answer takes. Requests that overlap can only be seen where this is not zero.
    pub latency: Duration,
    /// The `Date` of the token endpoint's answers.
    pub token_date: ServerDate,
    /// The `Date` of all other answers.
    pub api_date: ServerDate,
    pub rate_limit: Option<RateLimit>,
    /// More requests than this at one time are answered 429; none: no limit.
    pub max_concurrent: Option<usize>,
}

impl Default for MockSettings {
    fn default() -> Self {
        Self {
            port: 0,
            client_id: "mock-key".into(),
            client_secret: "mock~secret".into(),
            scopes: vec!["openid".into(), "marketing.read".into()],
            audience: "https://api.understory.io".into(),
            token_life: Duration::from_secs(3_599),
            cursor_life: Duration::from_mins(10),
            awkward_cursors: false,
            page_length: None,
            end: End::default(),
            empty_last_page: false,
            ids: Ids::default(),
            grow: Route::default(),
            marketing: Route::default(),
            single: Route::default(),
            gone_status: 404,
            page_status: BTreeMap::new(),
            failing_pages: None,
            company_id: COMPANY_ID.into(),
            company_name: Some("Nøkken & Co".into()),
            latency: Duration::ZERO,
            token_date: ServerDate::default(),
            api_date: ServerDate::default(),
            rate_limit: None,
            max_concurrent: None,
        }
    }
}
