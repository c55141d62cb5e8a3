//! A whole run with nothing written: no lease, no run row, no file, no schema.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::Failure;
use super::target::{DryTarget, Target};
use super::wait::Wait;
use super::{RunError, RunOptions, Syncer, count_requests};
use crate::exit::Exit;
use crate::store::{RunRow, Store};

/// One row that a run would write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChange {
    /// `added`, `updated`, `returned`, `missing`, `removed`, `withheld`
    pub kind: &'static str,
    /// `consent_key`
    pub key: String,
}

/// What a run would have reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryReport {
    /// The row that it would have recorded; `id` is 0.
    pub row: RunRow,
    /// How it would have ended.
    pub exit: Exit,
    /// What it would have said besides the figures.
    pub message: Option<String>,
}

impl Syncer {
    /// A run with nothing written. `would` is told every row that it would write.
    ///
    /// # Errors
    /// As [`Syncer::run_once`].
    pub async fn dry_run(
        &mut self,
        options: &RunOptions,
        cancel: &CancellationToken,
        would: &mut dyn FnMut(PlannedChange),
    ) -> Result<DryReport, Failure> {
        let started = tokio::time::Instant::now();
        let timeout = self.config.schedule.run_timeout;
        let traffic = self.api.traffic();
        let deadline = timeout.map(|timeout| started + timeout);
        let wait = Wait { cancel, deadline, timeout, progress: &|_| {}, progress_every: Duration::MAX };
        let bounds = self.bounds.for_deadline(deadline);
        let opened = Store::open_to_rehearse(&self.config.database, bounds).await;
        let mut store = opened.map_err(RunError::from)?;
        let result = {
            let mut target = Target::Nothing(Box::new(DryTarget::new(store.as_mut(), would)));
            Box::pin(self.pass(&mut target, options, &wait)).await.map(|complete| {
                let row = match target {
                    Target::Nothing(mut dry) => dry.finish(complete.row, &complete.ending),
                    Target::Database { .. } => complete.row,
                };
                DryReport { row, exit: complete.exit, message: complete.message }
            })
        };
        if let Some(store) = store {
            store.close().await;
        }
        let mut report = result?;
        count_requests(&mut report.row, &traffic, &self.api.traffic());
        Ok(report)
    }
}
