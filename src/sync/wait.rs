//! Waiting for the API: told to stop, out of time, or time to renew the lease.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Progress, RunError};
use crate::store::RunRow;

/// What can end a wait.
pub(super) struct Wait<'a> {
    pub(super) cancel: &'a CancellationToken,
    pub(super) deadline: Option<Instant>,
    pub(super) timeout: Option<Duration>,
    pub(super) progress: &'a dyn Fn(Progress),
}

impl Wait<'_> {
    /// Returns when the run must not go on waiting.
    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = until(self.deadline) => {}
        }
    }

    /// Returns when the run has been told to end, and has not done so for a while.
    pub(super) async fn give_up(&self, patience: Duration) {
        tokio::select! {
            () = async {
                self.cancel.cancelled().await;
                tokio::time::sleep(patience).await;
            } => {}
            () = until(self.deadline.map(|deadline| deadline + Duration::from_secs(30))) => {}
        }
    }

    /// Why the wait is over.
    pub(super) fn reason(&self, row: &RunRow) -> RunError {
        match self.timeout {
            Some(timeout) if !self.cancel.is_cancelled() => RunError::Timeout {
                timeout,
                pages: row.pages,
                items: row.items,
            },
            _ => RunError::Interrupted,
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
