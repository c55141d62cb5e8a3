//! Waiting for the API: shutdown, the run's deadline, or time to renew the lease.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, Interval};
use tokio_util::sync::CancellationToken;

use super::sink::Sink;
use super::{Progress, RunError};
use crate::api::Deadline;
use crate::exit::{Exit, Problem};
use crate::store::RunRow;

/// The lease is looked at, and progress reported, at least this often.
const MAX_PROGRESS_INTERVAL: Duration = Duration::from_secs(15);

/// What can end a wait, and who hears of progress meanwhile.
pub(super) struct Wait<'a> {
    pub(super) cancel: &'a CancellationToken,
    pub(super) deadline: Option<Instant>,
    pub(super) timeout: Option<Duration>,
    pub(super) progress: &'a dyn Fn(Progress),
    pub(super) progress_every: Duration,
}

impl Wait<'_> {
    pub(super) fn api_deadline(&self) -> Deadline {
        self.deadline.map_or_else(Deadline::none, Deadline::at)
    }

    pub(super) fn progress_interval(&self) -> Interval {
        let every = self.progress_every.min(MAX_PROGRESS_INTERVAL).max(Duration::from_millis(10));
        tokio::time::interval_at(Instant::now() + every, every)
    }

    /// Awaits a single request and renews the lease meanwhile. None: the wait is over.
    pub(super) async fn await_with_lease<T>(
        &self,
        request: impl Future<Output = T>,
        sink: &mut Sink<'_>,
    ) -> Result<Option<T>, RunError> {
        let mut request = pin!(request);
        let mut progress_due = self.progress_interval();
        loop {
            tokio::select! {
                biased;
                () = self.over() => return Ok(None),
                done = &mut request => return Ok(Some(done)),
                _ = progress_due.tick() => {}
            }
            let row = sink.row();
            let (pages, items) = (row.pages.cast_unsigned(), row.items.cast_unsigned());
            (self.progress)(Progress { run_id: row.id, pages, items });
            sink.renew_lease_if_due().await?;
        }
    }

    /// Returns when the run must not go on waiting.
    pub(super) async fn over(&self) {
        match self.deadline {
            Some(deadline) => {
                let _ = tokio::time::timeout_at(deadline, self.cancel.cancelled()).await;
            }
            None => self.cancel.cancelled().await,
        }
    }

    /// Returns when a requested shutdown has lasted this long.
    pub(super) async fn shutdown_overdue(&self, grace: Duration) {
        self.cancel.cancelled().await;
        tokio::time::sleep(grace).await;
    }

    /// Why the wait is over.
    pub(super) fn reason(&self, row: &RunRow) -> RunError {
        match self.timeout {
            Some(timeout) if !self.cancel.is_cancelled() => Problem::new(
                Exit::Retry,
                format!(
                    "the run took longer than schedule.run_timeout ({} s) and was ended after {} pages with {} items; \
                     raise schedule.run_timeout, or set it to \"off\"",
                    timeout.as_secs(),
                    row.pages,
                    row.items
                ),
            )
            .next_step("raise schedule.run_timeout, or api.requests_per_second")
            .into(),
            _ => RunError::Interrupted,
        }
    }
}
