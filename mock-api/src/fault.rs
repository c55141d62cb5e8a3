//! Which faults the mock API can play, and when.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::roster::Roster;
use super::state::{Endpoint, Seen};

/// Rewrites the items of a page on their way out: the page's number in its scan (from 1), and its items.
pub type PageHook = Arc<dyn Fn(u64, &mut Vec<Value>) + Send + Sync>;

/// Rewrites the token endpoint's true answer.
pub type TokenHook = Arc<dyn Fn(&mut Value) + Send + Sync>;

pub type RosterHook = Arc<dyn Fn(&mut Roster) + Send + Sync>;

/// What stands in the body of an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BodyKind {
    /// As documented: `{"code", "message"}`, of the token endpoint `{"error", "error_description"}`.
    #[default]
    Documented,
    Html,
    Empty,
    /// One line of plain text.
    Plain,
    Json(Value),
}

/// One move on the bare connection, after the request was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// These bytes again and again, until the other side leaves.
    Forever(Vec<u8>),
    /// Nothing any more, but the connection stays until the other side leaves.
    Hang,
    /// The connection is reset (RST) instead of closed.
    Reset,
}

/// One fault. Those called *beside* let the true answer through, and several of them can play at once.
#[derive(Clone)]
pub enum Fault {
    /// This status instead of the answer.
    Status {
        /// 200 to 999.
        status: u16,
        /// The header's text, sensible or not.
        retry_after: Option<String>,
        body: BodyKind,
    },
    Redirect {
        /// 301, 302, 303, 307, 308
        status: u16,
        location: String,
    },
    /// 200 with these bytes.
    Body {
        content_type: String,
        bytes: Vec<u8>,
    },
    /// 200 with `Content-Encoding: gzip` and these bytes, compressed by the caller.
    Gzip(Vec<u8>),
    /// 200, chunked: the prefix, then these bytes again and again until the other side leaves.
    Endless {
        prefix: Vec<u8>,
        /// Sent for ever; not empty.
        then: Vec<u8>,
    },
    Hang,
    /// Closes the connection before the first byte of an answer.
    Drop,
    /// Resets the connection before the first byte of an answer.
    Reset,
    /// The bare connection: whatever HTTP forbids.
    Raw(Vec<Step>),
    /// A list request with a cursor is refused as if it had expired (400); without one it is answered.
    RefuseCursor,

    /// The true answer with its true length, but the connection ends after so many bytes of the body.
    CutBody {
        /// Bytes of the body that still come.
        after: usize,
        /// By RST instead of FIN.
        reset: bool,
    },
    /// The true answer in chunks, but the connection ends after so many bytes, without the last chunk.
    CutChunks {
        /// Bytes of the body that still come.
        after: usize,
    },
    /// The true answer in chunks, and after so many bytes a chunk length that is none.
    BrokenChunk {
        /// Bytes of the body that still come.
        after: usize,
    },
    /// The true answer under this `Content-Length`; the connection ends after the body.
    ContentLength(u64),
    /// The true answer, some bytes at a time.
    Drip {
        /// How many at a time; at least 1.
        bytes: usize,
        every: Duration,
    },

    /// The true page, but its `next` is the very cursor of the request: A, A.
    RepeatCursor,
    /// The true page, but its `next` leads back to the cursor of this page: A, B, A where page 3 leads back to 2.
    BackToPage(u64),
    /// No items, and a new cursor to the same place.
    EmptyPage,
    /// The token endpoint's true answer, rewritten; the token in it is good.
    Token(TokenHook),

    /// Beside: waits before it answers.
    Delay(Duration),
    /// Beside: who is listed changes before the answer is made.
    Change(RosterHook),
    /// Beside: the items of the page are rewritten.
    Rewrite(PageHook),
    /// Beside: after this answer no token given so far is good any more.
    RevokeTokens,
    /// Beside: after this answer no cursor given so far is good any more.
    ExpireCursors,
}

impl Fault {
    /// A status with its documented body.
    pub fn status(status: u16) -> Self {
        Self::with_body(status, BodyKind::Documented)
    }

    /// A status with another body.
    pub fn with_body(status: u16, body: BodyKind) -> Self {
        Self::Status { status, retry_after: None, body }
    }

    /// A status with `Retry-After`.
    pub fn retry_after(status: u16, text: &str) -> Self {
        Self::Status { status, retry_after: Some(text.into()), body: BodyKind::Documented }
    }

    /// An error of the token endpoint (RFC 6749).
    pub fn oauth_error(status: u16, error: &str) -> Self {
        let body = json!({"error": error, "error_description": "Played by the mock API."});
        Self::with_body(status, BodyKind::Json(body))
    }

    /// 200 and this text as JSON, whether it is or not.
    pub fn json(text: &str) -> Self {
        Self::Body { content_type: "application/json".into(), bytes: text.into() }
    }

    /// 200 and a gateway's HTML page.
    pub fn html() -> Self {
        Self::with_body(200, BodyKind::Html)
    }

    /// The token endpoint's answer, rewritten.
    pub fn token(hook: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Token(Arc::new(hook))
    }

    pub fn rewrite(hook: impl Fn(u64, &mut Vec<Value>) + Send + Sync + 'static) -> Self {
        Self::Rewrite(Arc::new(hook))
    }

    pub fn change(hook: impl Fn(&mut Roster) + Send + Sync + 'static) -> Self {
        Self::Change(Arc::new(hook))
    }

    /// Whether the true answer goes out besides.
    pub(super) const fn is_beside(&self) -> bool {
        matches!(
            self,
            Self::Delay(_) | Self::Change(_) | Self::Rewrite(_) | Self::RevokeTokens | Self::ExpireCursors
        )
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fault(..)")
    }
}

/// Which of an endpoint's requests a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    #[default]
    Any,
    /// The nth since the rule was set, from 1.
    Nth(u64),
    /// The nth since the rule was set and all later ones.
    FromNth(u64),
    /// List requests for this page of a scan, from 1; a repeated request is for the same page.
    Page(u64),
    /// List requests for this page and all later ones.
    FromPage(u64),
}

/// A fault, where and when it plays, and how often. Rules are tried in the order they were set: all that are *beside*, up to the
/// first that is not.
#[derive(Debug, Clone)]
pub struct FaultRule {
    endpoint: Endpoint,
    fault: Fault,
    when: When,
    path: Option<String>,
    left: Option<u64>,
    met: u64,
}

impl FaultRule {
    /// Once, at the next request to this endpoint.
    pub const fn on(endpoint: Endpoint, fault: Fault) -> Self {
        Self { endpoint, fault, when: When::Any, path: None, left: Some(1), met: 0 }
    }

    pub const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// At the nth request from now.
    pub const fn nth(self, number: u64) -> Self {
        self.when(When::Nth(number))
    }

    /// At this page of a scan.
    pub const fn page(self, number: u64) -> Self {
        self.when(When::Page(number))
    }

    /// Only at requests to this exact path.
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.into());
        self
    }

    pub const fn times(mut self, times: u64) -> Self {
        self.left = Some(times);
        self
    }

    /// Until `clear_faults`.
    pub const fn always(mut self) -> Self {
        self.left = None;
        self
    }

    /// The fault, if it plays at this request; counts it.
    pub(super) fn meet(&mut self, call: &Seen) -> Option<Fault> {
        let elsewhere = self.path.as_ref().is_some_and(|path| *path != call.path);
        if self.endpoint != call.endpoint || elsewhere || self.left == Some(0) {
            return None;
        }
        self.met += 1;
        let due = match self.when {
            When::Any => true,
            When::Nth(number) => self.met == number,
            When::FromNth(number) => self.met >= number,
            When::Page(number) => call.page == Some(number),
            When::FromPage(number) => call.page.is_some_and(|page| page >= number),
        };
        if !due {
            return None;
        }
        self.left = self.left.map(|left| left - 1);
        Some(self.fault.clone())
    }

    /// Whether it can still play.
    pub(super) fn is_spent(&self) -> bool {
        self.left == Some(0)
    }
}
