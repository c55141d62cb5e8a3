//! A walk over the list of consents, from the start to the end, one page at a time.
//!
//! Owns which path is walked, the cursor, and the signs that a list leads nowhere (contract 5.1). Keeps no item.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

use super::Api;
use super::cause::Endpoint;
use super::clock::ServerTimes;
use super::error::ApiError;
use super::page::RawPage;
use super::retry::Deadline;
use crate::consent::Cursor;

/// The path of the Quickstart.
pub const QUICKSTART_PATH: &str = "/v1/grow/consents";
/// The path of today's reference.
pub const REFERENCE_PATH: &str = "/v1/marketing-consents";

/// So many empty pages in a row are no list any more.
const MOST_EMPTY_PAGES: u32 = 1_000;

/// Where the list of consents may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paths {
    /// `first`; where a walk's first request finds it gone, the other one of the two known paths.
    Auto {
        /// The path that last worked here, at first the Quickstart's.
        first: String,
    },
    /// This one and no other.
    Fixed(String),
}

/// A pass over the list.
#[derive(Debug)]
pub struct Walk<'a> {
    api: &'a mut Api,
    path: String,
    other: Option<&'static str>,
    deadline: Deadline,
    at: At,
    /// Digests of all cursors so far: they are long and many, and only ever compared.
    seen: HashSet<[u8; 16]>,
    empty: u32,
}

/// What the next call asks for.
#[derive(Debug)]
enum At {
    Start,
    Cursor(Cursor),
    /// The page before led back to one that was read.
    Circle,
    End,
}

impl<'a> Walk<'a> {
    pub(super) fn new(api: &'a mut Api, paths: Paths, deadline: Deadline) -> Self {
        let (path, other) = match paths {
            Paths::Fixed(path) => (path, None),
            Paths::Auto { first } if first == REFERENCE_PATH => (first, Some(QUICKSTART_PATH)),
            Paths::Auto { first } => (first, Some(REFERENCE_PATH)),
        };
        Self { api, path, other, deadline, at: At::Start, seen: HashSet::new(), empty: 0 }
    }

    /// The path that is walked; settled once the first page is there.
    pub fn endpoint(&self) -> &str {
        &self.path
    }

    /// What time it is, according to the answers so far.
    pub fn server_times(&self) -> ServerTimes {
        self.api.clock.now()
    }

    /// The next page, or None after the end. The first page is always there, if only without items.
    ///
    /// # Errors
    /// Whatever ends the walk; a page that leads in a circle is still handed out before that.
    pub async fn next_page(&mut self) -> Result<Option<RawPage>, ApiError> {
        let cursor = match &self.at {
            At::End => return Ok(None),
            At::Circle => return Err(ApiError::CursorLoop),
            At::Start => None,
            At::Cursor(cursor) => Some(cursor.clone()),
        };
        let page = match self.ask(cursor.as_ref()).await {
            Err(ApiError::Gone { endpoint: Endpoint::Consents, .. })
                if cursor.is_none() && self.other.is_some() =>
            {
                self.ask_other().await?
            }
            Err(ApiError::Unavailable { endpoint: Endpoint::Consents, status: 400 }) if cursor.is_some() => {
                return Err(ApiError::CursorRefused);
            }
            answer => answer?,
        };
        self.step(&page)?;
        Ok(Some(page))
    }

    async fn ask(&mut self, cursor: Option<&Cursor>) -> Result<RawPage, ApiError> {
        let url = self.api.list_url(&self.path, cursor)?;
        self.api.get(Endpoint::Consents, &url, RawPage::new, self.deadline).await
    }

    async fn ask_other(&mut self) -> Result<RawPage, ApiError> {
        if let Some(other) = self.other.take() {
            tracing::info!(gone = %self.path, %other, "the list's path is gone, trying the other one");
            other.clone_into(&mut self.path);
        }
        match self.ask(None).await {
            Err(ApiError::Gone { endpoint: Endpoint::Consents, status }) => {
                Err(ApiError::PathsGone { status })
            }
            answer => answer,
        }
    }

    /// Settles where the page leads.
    fn step(&mut self, page: &RawPage) -> Result<(), ApiError> {
        let Some(next) = page.next() else {
            self.at = At::End;
            return Ok(());
        };
        self.empty = if page.is_empty() { self.empty + 1 } else { 0 };
        if self.empty >= MOST_EMPTY_PAGES {
            return Err(ApiError::EmptyPages(self.empty));
        }
        self.at = if self.seen.insert(digest(next)) { At::Cursor(next.clone()) } else { At::Circle };
        Ok(())
    }
}

fn digest(cursor: &Cursor) -> [u8; 16] {
    let mut digest = [0; 16];
    let full = Sha256::digest(cursor.0.as_bytes());
    for (to, from) in digest.iter_mut().zip(full) {
        *to = from;
    }
    digest
}
