//! The pages of the list of consents, from the first to the last, one at a time.
//!
//! Owns the path, the cursor, and the signs that a list leads nowhere, a cursor loop above all (contract 5.1). Keeps no item.

use std::collections::HashSet;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::Api;
use super::clock::ServerTimes;
use super::error::{ApiError, Endpoint};
use super::limit::lock;
use super::page::RawPage;
use super::retry::Deadline;
use crate::consent::Cursor;
use crate::exit::{Exit, Problem};
use crate::hash::KnownItems;

pub const QUICKSTART_PATH: &str = "/v1/grow/consents";
pub const REFERENCE_PATH: &str = "/v1/marketing-consents";

const MAX_EMPTY_PAGES: u32 = 1_000;

/// Where the list of consents may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paths {
    /// `first`; where a scan's first request finds it gone, the other one of the two known paths.
    Auto {
        /// The path that last worked here, at first the Quickstart's.
        first: String,
    },
    Fixed(String),
}

#[derive(Debug)]
pub struct Pager<'a> {
    api: &'a mut Api,
    path: String,
    other: Option<&'static str>,
    deadline: Deadline,
    position: Position,
    /// Digests of all cursors so far: they are long and many, and only ever compared.
    seen: HashSet<[u8; 16]>,
    empty: u32,
    known: Arc<KnownItems>,
}

/// What the next call asks for.
#[derive(Debug)]
enum Position {
    Start,
    Cursor(Cursor),
    /// The page before led back to one that was read.
    CursorLoop,
    End,
}

impl<'a> Pager<'a> {
    pub(super) fn new(api: &'a mut Api, paths: Paths, deadline: Deadline) -> Self {
        let (path, other) = match paths {
            Paths::Fixed(path) => (path, None),
            Paths::Auto { first } if first == REFERENCE_PATH => (first, Some(QUICKSTART_PATH)),
            Paths::Auto { first } => (first, Some(REFERENCE_PATH)),
        };
        Self {
            api,
            path,
            other,
            deadline,
            position: Position::Start,
            seen: HashSet::new(),
            empty: 0,
            known: Arc::default(),
        }
    }

    /// Starts again from the first page.
    pub fn restart(&mut self) {
        self.position = Position::Start;
        self.seen.clear();
        self.empty = 0;
    }

    /// From now on these items are not parsed.
    pub fn recognize(&mut self, known: Arc<KnownItems>) {
        self.known = known;
    }

    /// The path of the list; final once the first page is there.
    pub fn endpoint(&self) -> &str {
        &self.path
    }

    /// What time it is, according to the answers so far.
    pub fn server_times(&self) -> ServerTimes {
        lock(&self.api.clock).now()
    }

    /// The next page, or None after the end. The first page is always there, if only without items. A page that closes a
    /// cursor loop is still handed out; the call after it fails.
    pub async fn next_page(&mut self) -> Result<Option<RawPage>, ApiError> {
        let cursor = match &self.position {
            Position::End => return Ok(None),
            Position::CursorLoop => return Err(cursor_loop()),
            Position::Start => None,
            Position::Cursor(cursor) => Some(cursor.clone()),
        };
        let page = match self.fetch(cursor.as_ref()).await {
            Err(ApiError::Status { status: 404 | 410, .. }) if cursor.is_none() && self.other.is_some() => {
                self.fetch_from_other_path().await?
            }
            Err(ApiError::Status { status: 400, .. }) if cursor.is_some() => {
                return Err(ApiError::CursorRefused);
            }
            fetched => fetched?,
        };
        self.advance(&page)?;
        Ok(Some(page))
    }

    async fn fetch(&mut self, cursor: Option<&Cursor>) -> Result<RawPage, ApiError> {
        let url = self.api.list_url(&self.path, cursor)?;
        let read = |body| RawPage::with_known(body, &self.known);
        self.api.get(Endpoint::Consents, &url, read, self.deadline).await
    }

    async fn fetch_from_other_path(&mut self) -> Result<RawPage, ApiError> {
        if let Some(other) = self.other.take() {
            tracing::info!(gone = %self.path, %other, "the list's path is gone, trying the other one");
            other.clone_into(&mut self.path);
        }
        match self.fetch(None).await {
            Err(ApiError::Status { status: status @ (404 | 410), .. }) => Err(paths_gone(status)),
            fetched => fetched,
        }
    }

    fn advance(&mut self, page: &RawPage) -> Result<(), ApiError> {
        let Some(next) = page.next() else {
            self.position = Position::End;
            return Ok(());
        };
        self.empty = if page.is_empty() { self.empty + 1 } else { 0 };
        if self.empty >= MAX_EMPTY_PAGES {
            let message =
                format!("the list of consents answered with {} empty pages in a row and no end", self.empty);
            return Err(leads_nowhere(message));
        }
        let is_new = self.seen.insert(digest(next));
        self.position = if is_new { Position::Cursor(next.clone()) } else { Position::CursorLoop };
        Ok(())
    }
}

fn paths_gone(status: u16) -> ApiError {
    Problem::new(
        Exit::Unavailable,
        format!("both known paths of the list of consents are gone (status {status}); that never means that there are no consents"),
    )
    .next_step("look at api.base_url, and whether Understory's reference names a new path; set it as api.consents_path")
    .into()
}

pub(super) fn cursor_loop() -> ApiError {
    leads_nowhere("cursor loop: the list of consents named a cursor a second time in one scan")
}

fn leads_nowhere(message: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    Problem::new(Exit::Data, message)
        .next_step("nothing was taken for missing; if the next runs say the same, tell Understory's support")
        .into()
}

fn digest(cursor: &Cursor) -> [u8; 16] {
    let mut digest = [0; 16];
    let full = Sha256::digest(cursor.0.as_bytes());
    for (to, from) in digest.iter_mut().zip(full) {
        *to = from;
    }
    digest
}
