//! Why a run did not end well.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::ApiError;
use crate::exit::Exit;
use crate::store::{RunRow, StoreError, Timestamp};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key is another company's.
    #[error(
        "the list belongs to another company than the consents in the database: nothing was written (was the key changed?)"
    )]
    OtherCompany,
    /// `api.company_id` names another company than the database is for.
    #[error(
        "the database holds, or once held, consents of another company than api.company_id: nothing was written"
    )]
    OtherCompanysDatabase,
    /// The walk was refused a cursor again and again.
    #[error("the API refused one of its own cursors three times in one run (status 400)")]
    CursorRefused,
    /// An acceptance of removals was given or withdrawn again and again while the run ended.
    #[error("the acceptance of removals changed again and again while the run ended")]
    AcceptanceChanges,
    #[error("interrupted: shutdown requested in the middle of the run")]
    Interrupted,
    /// `schedule.run_timeout`
    #[error(
        "the run took longer than schedule.run_timeout ({} s) and was ended after {pages} pages with {items} items; raise schedule.run_timeout, or set it to \"off\"",
        timeout.as_secs()
    )]
    Timeout { timeout: Duration, pages: i64, items: i64 },
    #[error(
        "this machine's clock is wrong: it says {machine}, the token endpoint and the API say {time}; nothing was stored"
    )]
    WrongClock { machine: Timestamp, time: Timestamp },
}

impl RunError {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Api(error) => error.exit(),
            Self::Store(error) => error.exit(),
            Self::OtherCompany | Self::OtherCompanysDatabase => Exit::Data,
            Self::CursorRefused
            | Self::AcceptanceChanges
            | Self::Interrupted
            | Self::Timeout { .. }
            | Self::WrongClock { .. } => Exit::Retry,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Api(error) => error.hint(),
            Self::Store(error) => Some(error.hint().to_owned()),
            Self::OtherCompany => Some(
                "use the key of the company that this database is for, or another database.url for this one; \
                 api.company_id says which company is meant"
                    .to_owned(),
            ),
            Self::OtherCompanysDatabase => Some(
                "correct api.company_id, or let database.url name a new database for this company".to_owned(),
            ),
            Self::CursorRefused => Some("the next run tries again; cursors are short-lived, so a faster api.requests_per_second can help".to_owned()),
            Self::Interrupted | Self::AcceptanceChanges => None,
            Self::WrongClock { .. } => {
                Some("set this machine's clock, for example with NTP; the next run tries again".to_owned())
            }
            Self::Timeout { .. } => Some("raise schedule.run_timeout, or api.requests_per_second".to_owned()),
        }
    }

    /// The database cannot or must not be told how the run ended.
    pub(super) fn leaves_database_alone(&self) -> bool {
        matches!(self, Self::Store(StoreError::Fenced))
    }
}

/// A run that did not end well, and its row where there is one.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    pub error: RunError,
    /// As recorded; None where the run had not begun.
    pub row: Option<Box<RunRow>>,
}

impl Failure {
    pub fn exit(&self) -> Exit {
        self.error.exit()
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        self.error.hint()
    }

    /// Another run is in progress.
    pub fn is_busy(&self) -> bool {
        matches!(self.error, RunError::Store(StoreError::Busy { .. }))
    }

    pub fn is_interrupted(&self) -> bool {
        matches!(self.error, RunError::Interrupted)
    }

    /// Before when the API wants no further request.
    pub fn not_before(&self) -> Option<Instant> {
        match &self.error {
            RunError::Api(error) => error.not_before(),
            _ => None,
        }
    }

    pub(super) fn leaves_database_alone(&self) -> bool {
        self.row.is_none() || self.error.leaves_database_alone()
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self { error, row: None }
    }
}
