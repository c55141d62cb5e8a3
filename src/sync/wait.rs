//! Waiting for the API: told to stop, out of time, or time to renew the lease.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, Interval};
use tokio_util::sync::CancellationToken;

use super::target::Target;
use super::{Progress, RunError};
use crate::store::RunRow;

/// The lease is looked at, and progress told, at least so often.
const MAX_PROGRESS_INTERVAL: Duration = Duration::from_secs(15);

/// What can end a wait, and who hears of it meanwhile.
pub(super) struct Wait<'a> {
    pub(super) cancel: &'a CancellationToken,
    pub(super) deadline: Option<Instant>,
    pub(super) timeout: Option<Duration>,
    pub(super) progress: &'a dyn Fn(Progress),
    /// Progress is told so often, where that is more often than 15 seconds.
    pub(super) progress_every: Duration,
}

impl Wait<'_> {
    /// When to tell progress while one step is awaited.
    pub(super) fn progress_interval(&self) -> Interval {
        let every = self.progress_every.min(MAX_PROGRESS_INTERVAL).max(Duration::from_millis(10));
        tokio::time::interval_at(Instant::now() + every, every)
    }

    /// Awaits a step of the API that stands alone, and keeps the lease meanwhile. None: the wait is over.
    pub(super) async fn await_with_lease<T>(
        &self,
        step: impl Future<Output = T>,
        target: &mut Target<'_>,
    ) -> Result<Option<T>, RunError> {
        let mut step = pin!(step);
        let mut tell = self.progress_interval();
        loop {
            tokio::select! {
                biased;
                () = self.over() => return Ok(None),
                done = &mut step => return Ok(Some(done)),
                _ = tell.tick() => {}
            }
            (self.progress)(Progress {
                run_id: target.row().id,
                pages: target.row().pages.cast_unsigned(),
                items: target.row().items.cast_unsigned(),
            });
            target.renew_lease_if_due().await?;
        }
    }

    /// Returns when the run must not go on waiting.
    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = until(self.deadline) => {}
        }
    }

    /// Returns when the run has been told to stop, and has not done so for a while.
    pub(super) async fn give_up(&self, patience: Duration) {
        self.cancel.cancelled().await;
        tokio::time::sleep(patience).await;
    }

    /// Why the wait is over.
    pub(super) fn reason(&self, row: &RunRow) -> RunError {
        match self.timeout {
            Some(timeout) if !self.cancel.is_cancelled() => {
                RunError::Timeout { timeout, pages: row.pages, items: row.items }
            }
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
