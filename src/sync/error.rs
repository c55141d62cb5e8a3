//! Why a run did not end well.

use tokio::time::Instant;

use crate::api::ApiError;
use crate::exit::{Exit, Problem};
use crate::store::{RunRow, StoreError, Timestamp};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Other(#[from] Problem),
    #[error("interrupted: shutdown requested in the middle of the run")]
    Interrupted,
    #[error(
        "this machine's clock is wrong: it says {machine}, the token endpoint and the API say {time}; nothing was stored"
    )]
    WrongClock { machine: Timestamp, time: Timestamp },
}

impl RunError {
    /// The key is another company's.
    pub fn other_company() -> Self {
        Problem::new(
            Exit::Data,
            "the list belongs to another company than the consents in the database: nothing was written (was the key changed?)",
        )
        .next_step(
            "use the key of the company that this database is for, or another database.url for this one; \
             api.company_id says which company is meant",
        )
        .into()
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Api(error) => error.exit(),
            Self::Store(error) => error.exit(),
            Self::Other(problem) => problem.exit,
            Self::Interrupted | Self::WrongClock { .. } => Exit::Retry,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Api(error) => error.hint(),
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Other(problem) => problem.next_step.as_deref().map(str::to_owned),
            Self::Interrupted => None,
            Self::WrongClock { .. } => {
                Some("set this machine's clock, for example with NTP; the next run tries again".to_owned())
            }
        }
    }

    /// How the run ended cannot or must not be recorded.
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

    pub fn hint(&self) -> Option<String> {
        self.error.hint()
    }

    pub fn is_interrupted(&self) -> bool {
        matches!(self.error, RunError::Interrupted)
    }

    /// The API asked us to wait until then.
    pub fn not_before(&self) -> Option<Instant> {
        match &self.error {
            RunError::Api(error) => error.not_before(),
            _ => None,
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self { error, row: None }
    }
}
