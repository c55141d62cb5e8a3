//! What the mock API knows: its settings, who is listed, tokens and cursors given, faults to play, requests seen.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::fault::{Fault, FaultRule, PageHook};
use super::roster::Roster;
use super::settings::{MockSettings, RateLimit};

/// Cursors kept before expired ones are swept out.
const CURSORS_BEFORE_SWEEP: usize = 20_000;

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `POST /oauth2/token`
    Token,
    /// `GET /v1/grow/consents` or `GET /v1/marketing-consents`
    List,
    /// `GET /v1/marketing-consents/{id}`
    Single,
    /// `GET /v1/me`
    Me,
    /// `GET /heartbeat`: not the API's, but a place where a dead man's switch can be watched.
    Heartbeat,
    Other,
}

/// A request as it came. Its `Debug` shows no header, no body and no query.
#[derive(Clone)]
pub struct Seen {
    pub endpoint: Endpoint,
    /// When its last byte had come.
    pub at: Instant,
    pub method: String,
    /// Without the query, as it came.
    pub path: String,
    /// The query, decoded, in its order.
    pub query: Vec<(String, String)>,
    /// The query as it came.
    pub raw_query: String,
    /// Names in lower case, values as text, in their order.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub raw_body: String,
    /// The body of a token request, decoded, in its order.
    pub form: Vec<(String, String)>,
    /// List requests: the page of its scan, from 1; none where the cursor is unknown.
    pub page: Option<u64>,
    /// Which of the tokens given it came with, from 0; none: with none, or with one never given.
    pub token: Option<usize>,
    /// The status of the answer; none while there is none, or where none was given.
    pub status: Option<u16>,
}

impl Seen {
    /// The first header of this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }

    /// The first value of this key of the query.
    pub fn query(&self, key: &str) -> Option<&str> {
        first(&self.query, key)
    }

    /// The first value of this key of the form.
    pub fn form(&self, key: &str) -> Option<&str> {
        first(&self.form, key)
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen")
            .field("endpoint", &self.endpoint)
            .field("method", &self.method)
            .field("page", &self.page)
            .field("token", &self.token)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

fn first<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

struct Token {
    text: String,
    expires: Instant,
    scopes: Vec<String>,
}

#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) position: usize,
    /// Page of the scan, from 1.
    pub(super) page: u64,
    born: Instant,
}

/// The part behind the lock.
pub(super) struct State {
    pub(super) settings: MockSettings,
    pub(super) roster: Roster,
    pub(super) rules: Vec<FaultRule>,
    pub(super) page_hook: Option<PageHook>,
    tokens: Vec<Token>,
    cursors: HashMap<String, Place>,
    latest: HashMap<u64, String>,
    seen: Vec<Seen>,
    forgotten: usize,
    recent: VecDeque<Instant>,
    nonce: u64,
    minted: u64,
    /// Requests for single consents.
    pub(super) singles: u64,
}

impl State {
    /// The faults of this request, the one that is not *beside* last.
    pub(super) fn faults_for(&mut self, call: &Seen) -> Vec<Fault> {
        let mut faults = Vec::new();
        for rule in &mut self.rules {
            let Some(fault) = rule.meet(call) else {
                continue;
            };
            let last = !fault.is_beside();
            faults.push(fault);
            if last {
                break;
            }
        }
        self.rules.retain(|rule| !rule.is_spent());
        faults
    }

    /// Notes a request; the number finds it again.
    pub(super) fn note(&mut self, call: Seen) -> usize {
        self.seen.push(call);
        self.forgotten + self.seen.len() - 1
    }

    pub(super) fn note_status(&mut self, number: usize, status: Option<u16>) {
        let index = number.checked_sub(self.forgotten);
        if let Some(call) = index.and_then(|index| self.seen.get_mut(index)) {
            call.status = status;
        }
    }

    pub(super) fn seen(&self) -> &[Seen] {
        &self.seen
    }

    pub(super) fn forget_seen(&mut self) {
        self.forgotten += self.seen.len();
        self.seen.clear();
    }

    pub(super) fn mint_token(&mut self, scopes: Vec<String>) -> String {
        let text = format!("ory_at_{}.{}", self.unheard_of(), self.unheard_of());
        self.tokens.push(Token {
            text: text.clone(),
            expires: Instant::now() + self.settings.token_life,
            scopes,
        });
        text
    }

    /// Which of the tokens given this is.
    pub(super) fn token_index(&self, text: &str) -> Option<usize> {
        self.tokens.iter().rposition(|token| token.text == text)
    }

    /// The scopes of a token that is still good.
    pub(super) fn scopes_of(&self, index: usize) -> Option<&[String]> {
        let token = self.tokens.get(index)?;
        (token.expires > Instant::now()).then_some(token.scopes.as_slice())
    }

    pub(super) fn tokens_given(&self) -> usize {
        self.tokens.len()
    }

    /// No token given so far is good any more.
    pub(super) fn revoke_tokens(&mut self) {
        let now = Instant::now();
        for token in &mut self.tokens {
            token.expires = token.expires.min(now);
        }
    }

    pub(super) fn mint_cursor(&mut self, position: usize, page: u64) -> String {
        if self.cursors.len() >= CURSORS_BEFORE_SWEEP {
            let life = self.settings.cursor_life;
            self.cursors.retain(|_, place| place.born.elapsed() < life);
        }
        let text = if self.settings.awkward_cursors {
            format!("{}+/%2F&=%{}==", self.unheard_of(), page)
        } else {
            self.unheard_of()
        };
        let place = Place { position, page, born: Instant::now() };
        self.cursors.insert(text.clone(), place);
        self.latest.insert(page, text.clone());
        text
    }

    /// Where a cursor leads, good or expired.
    pub(super) fn place(&self, cursor: &str) -> Option<Place> {
        self.cursors.get(cursor).copied()
    }

    /// Whether it is still good.
    pub(super) fn is_fresh(&self, place: Place) -> bool {
        place.born.elapsed() < self.settings.cursor_life
    }

    /// The newest cursor that leads to this page of a scan.
    pub(super) fn cursor_to(&self, page: u64) -> Option<String> {
        self.latest.get(&page).cloned()
    }

    /// No cursor given so far is good any more.
    pub(super) fn expire_cursors(&mut self) {
        self.cursors.clear();
        self.latest.clear();
    }

    /// Whether one more request now is more than the limit; requests that are refused count too.
    pub(super) fn is_too_fast(&mut self, limit: &RateLimit, now: Instant) -> bool {
        while let Some(oldest) = self.recent.front()
            && now.duration_since(*oldest) >= limit.window
        {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.recent.len() > limit.requests
    }

    /// Text that was never given out before.
    fn unheard_of(&mut self) -> String {
        self.minted += 1;
        Dice::new(self.nonce, self.minted).uuid().replace('-', "")
    }
}

/// The state, shared by the handle and the server's thread.
pub(super) struct Shared {
    state: Mutex<State>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

impl Shared {
    pub(super) fn new(settings: MockSettings) -> Self {
        let state = State {
            settings,
            roster: Roster::default(),
            rules: Vec::new(),
            page_hook: None,
            tokens: Vec::new(),
            cursors: HashMap::new(),
            latest: HashMap::new(),
            seen: Vec::new(),
            forgotten: 0,
            recent: VecDeque::new(),
            // Tokens of one mock API must mean nothing to another.
            nonce: RandomState::new().build_hasher().finish(),
            minted: 0,
            singles: 0,
        };
        Self { state: Mutex::new(state), in_flight: AtomicUsize::new(0), most_in_flight: AtomicUsize::new(0) }
    }

    /// A test that failed while it held the lock must not hide its message behind a second one.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn max_in_flight(&self) -> usize {
        self.most_in_flight.load(Ordering::SeqCst)
    }

    pub(super) fn latency(&self) -> Duration {
        self.lock().settings.latency
    }
}

/// A request that has no whole answer yet.
pub(super) struct Flight {
    shared: Arc<Shared>,
    /// How many there were when it began, itself included.
    pub(super) count: usize,
}

impl Flight {
    pub(super) fn begin(shared: &Arc<Shared>) -> Self {
        let count = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_in_flight.fetch_max(count, Ordering::SeqCst);
        Self { shared: Arc::clone(shared), count }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}
