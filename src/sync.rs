//! One run, from the lease to the last state of its row: the only place that knows both the API and the store.
//!
//! A [`Syncer`] lives as long as the process and keeps what outlives a run: the access token and the connection to the API.
//! The database is opened for a run and closed after it.

mod clock;
mod dry_run;
mod ending;
mod error;
mod lookup;
mod scan;
mod sink;
mod wait;

pub use dry_run::PlannedChange;
pub use error::{Failure, RunError};
pub use lookup::LookupCounts;
pub use scan::companies;

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::api::{Api, ApiError, Traffic};
use crate::config::Config;
use crate::exit::{Exit, Problem};
use crate::store::{
    Acceptance, Bounds, Run, RunRow, Store, StoreError, Timestamp, Trigger, identity, new_holder,
};
use clock::ClockCheck;
use ending::Complete;
use sink::Sink;
use wait::Wait;

/// How long a run may still try to begin after a shutdown was requested.
const BEGIN_GRACE: Duration = Duration::from_millis(500);

/// How long a run may go on with what it does in the database after a shutdown was requested.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(2500);

/// How long the database may then take to record the end and to release the lease.
const END_TIMEOUT: Duration = Duration::from_millis(1200);

/// An acceptance that comes or goes while a run ends is looked at again, this often.
const MAX_DECISIONS: u32 = 5;

/// How far a run has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The run's number; 0 in a dry run.
    pub run_id: i64,
    pub pages: u64,
    pub items: u64,
}

/// What this run may do that others may not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// `--accept-removals`
    pub acceptance: Option<Acceptance>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    pub row: RunRow,
    /// 0, or 65 where the guard withheld removals.
    pub exit: Exit,
    /// What to say besides the figures: removals withheld, or not evaluated.
    pub message: Option<String>,
    /// The API asked us to wait until then.
    pub not_before: Option<Instant>,
}

pub struct Syncer {
    config: Config,
    api: Api,
    progress_every: Duration,
    lookups: LookupCounts,
    /// One name for all runs: the next run takes up a lease that could not be released because the server went away.
    holder: String,
    database_expected: bool,
    clock: ClockCheck,
    bounds: Bounds,
}

impl Syncer {
    /// With a client, but without any connection yet. Fails where the client cannot be built.
    pub fn new(config: Config) -> Result<Self, ApiError> {
        let api = Api::new(&config.auth, &config.api, &config.retry)?;
        Ok(Self {
            config,
            api,
            progress_every: Duration::MAX,
            lookups: LookupCounts::default(),
            holder: new_holder(),
            database_expected: false,
            clock: ClockCheck::default(),
            bounds: Bounds::RUN,
        })
    }

    /// How often progress is reported while a run waits; every 15 seconds in any case.
    pub fn report_progress_every(self, progress_every: Duration) -> Self {
        Self { progress_every, ..self }
    }

    /// Other limits for the database than [`Bounds::RUN`].
    pub fn with_bounds(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Reads the certificate authorities again: one that was renewed on disk needs no restart.
    pub fn refresh_authorities(&mut self) {
        self.api.refresh_authorities();
    }

    pub fn lookups(&self) -> LookupCounts {
        self.lookups
    }

    pub fn traffic(&self) -> Traffic {
        self.api.traffic()
    }

    /// Whether the token endpoint refused the key when this process first asked it for a token.
    pub fn was_refused_at_first(&self, failure: &Failure) -> bool {
        matches!(&failure.error, RunError::Api(ApiError::KeyRejected(problem)) if problem.exit == Exit::Refused)
            && self.api.token_attempts() == 1
    }

    /// From now on an empty or absent database is one that was lost: it is not created again.
    pub fn expect_database(&mut self) {
        self.database_expected = true;
    }

    /// One run. `progress` is called with every page and, while the run waits, as [`Syncer::report_progress_every`] says.
    ///
    /// A [`Failure`] holds the row of the run, where it came that far. What was stored stays, and nobody was marked missing.
    pub async fn run_once(
        &mut self,
        trigger: Trigger,
        options: &RunOptions,
        cancel: &CancellationToken,
        progress: &dyn Fn(Progress),
    ) -> Result<RunReport, Failure> {
        if cancel.is_cancelled() {
            return Err(RunError::Interrupted.into());
        }
        let before = self.api.traffic();
        let timeout = self.config.schedule.run_timeout;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let bounds = self.bounds.for_deadline(deadline);
        let wait = &Wait { cancel, deadline, timeout, progress, progress_every: self.progress_every };
        // A grace period on cancellation: dropped midway, `begin` would leave a `running` row and a held lease.
        let (mut store, mut run) = tokio::select! {
            biased;
            begun = begin(&self.config, bounds, &self.holder, trigger, self.database_expected) => begun.map_err(RunError::from)?,
            () = wait.shutdown_overdue(BEGIN_GRACE) => return Err(RunError::Interrupted.into()),
        };
        tracing::debug!(database = %store.place(), run_id = run.row.id, "run begins");
        // At the level of errors, so that no setting of log.level takes the run's id from a line.
        let span = tracing::error_span!("run", run_id = run.row.id);
        let result = async {
            let sink = Sink::Database { store: &mut store, run: &mut run };
            let mut active = ActiveRun { syncer: &mut *self, sink, options, wait };
            let scanned = tokio::select! {
                biased;
                scanned = Box::pin(active.scan_and_decide()) => Some(scanned),
                () = wait.shutdown_overdue(SHUTDOWN_GRACE) => None,
            };
            let scanned = scanned.unwrap_or_else(|| {
                // What the database was doing is abandoned with its connection.
                store.end_within(END_TIMEOUT);
                Err(wait.reason(&run.row))
            });
            let result = match scanned {
                Ok(complete) => {
                    Box::pin(self.finish(&mut store, &mut run, complete, options, wait, &before)).await
                }
                Err(error) => Err(error),
            };
            count_requests(&mut run.row, &before, &self.api.traffic());
            let result = match result {
                Ok(report) => Ok(report),
                Err(error) => Err(fail(&mut store, &run, error).await),
            };
            self.clean_up(&mut store, &run, &result).await;
            result
        };
        let result = result.instrument(span).await;
        store.close().await;
        result
    }

    /// Records a complete run. Where an acceptance came or went meanwhile, it is decided again.
    async fn finish(
        &mut self,
        store: &mut Store,
        run: &mut Run,
        mut complete: Complete,
        options: &RunOptions,
        wait: &Wait<'_>,
        before: &Traffic,
    ) -> Result<RunReport, RunError> {
        let items = complete.scan.scan.unrecorded_items();
        if let Err(error) = store.record_items(run.lease(), items, Timestamp::now()).await {
            tracing::warn!(%error, "the items that were read could not be recorded; the next run reads them again");
        }
        for _ in 0..MAX_DECISIONS {
            let Complete { mut row, ending, message, exit, scan } = complete;
            count_requests(&mut row, before, &self.api.traffic());
            let now = Timestamp::now();
            let release = !(run.clock_checked && store.is_retention_due(&self.config.retention, now));
            if let Some(row) = store.finish(run, row, &ending, release, now).await? {
                return Ok(RunReport { row, exit, message, not_before: scan.lookups.not_before });
            }
            let sink = Sink::Database { store: &mut *store, run: &mut *run };
            let mut active = ActiveRun { syncer: &mut *self, sink, options, wait };
            complete = Box::pin(active.decide(scan)).await?;
        }
        let message = "the acceptance of removals changed again and again while the run ended";
        Err(Problem::new(Exit::Retry, message).into())
    }

    /// Whatever comes after the run's last transaction can wait for the next run, and does not fail this one.
    async fn clean_up(&self, store: &mut Store, run: &Run, result: &Result<RunReport, Failure>) {
        if matches!(result, Err(failure) if failure.error.leaves_database_alone()) {
            return;
        }
        let lease = run.lease();
        if result.is_ok() && run.clock_checked && !run.is_released() {
            let (retention, confirm_after) = (&self.config.retention, self.config.removal.confirm_after);
            match store.retain(lease, run.row.id, retention, confirm_after, Timestamp::now()).await {
                Ok(pruned) if pruned != crate::store::Pruned::default() => tracing::info!(
                    erased = pruned.erased,
                    rejected_items = pruned.rejects,
                    changes = pruned.changes,
                    runs = pruned.runs,
                    erased_lines = pruned.erasures,
                    "retention applied"
                ),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "retention could not be applied; the next run tries again");
                }
            }
        }
        if !run.is_released()
            && let Err(error) = store.release(lease, Timestamp::now()).await
        {
            tracing::warn!(%error, "the lease could not be given back; it ends by itself");
        }
        match store.checkpoint().await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(
                database = %store.place(),
                "another program is reading the database, so its -wal file could not be emptied; copy both files, or use `backup`"
            ),
            Err(error) => {
                tracing::warn!(%error, "WAL checkpoint failed");
            }
        }
    }
}

/// What the phases of one run work with.
struct ActiveRun<'a> {
    syncer: &'a mut Syncer,
    sink: Sink<'a>,
    options: &'a RunOptions,
    wait: &'a Wait<'a>,
}

async fn begin(
    config: &Config,
    bounds: Bounds,
    holder: &str,
    trigger: Trigger,
    database_expected: bool,
) -> Result<(Store, Run), StoreError> {
    if database_expected {
        refuse_lost_database(config, bounds).await?;
    }
    let mut store = Store::open(&config.database, bounds).await?;
    match store.begin_run(holder, trigger, Timestamp::now()).await {
        Ok(run) => Ok((store, run)),
        Err(error) => {
            store.close().await;
            Err(error)
        }
    }
}

/// A database that vanished while this process ran is being restored, or its folder is not mounted. An empty one in its place would
/// be taken for the real one later on.
async fn refuse_lost_database(config: &Config, bounds: Bounds) -> Result<(), StoreError> {
    match Store::open_to_read(&config.database, bounds).await {
        Ok(Some(store)) => {
            store.close().await;
            Ok(())
        }
        Ok(None) => Err(StoreError::lost(&identity(&config.database))),
        // A server that does not answer is not asked a second time.
        Err(error @ StoreError::Unreachable { .. }) => Err(error),
        // Whatever else is wrong, the run itself will meet.
        Err(_) => Ok(()),
    }
}

/// Records how the run ended, as far as the database lets us.
async fn fail(store: &mut Store, run: &Run, error: RunError) -> Failure {
    let mut row = run.row.clone();
    let outcome = if matches!(error, RunError::Interrupted) { "interrupted" } else { "failed" };
    outcome.clone_into(&mut row.outcome);
    row.finished_at = Some(Timestamp::now());
    if let RunError::WrongClock { machine, time } = &error {
        row.started_at = run.row.started_at.plus_millis(time.millis() - machine.millis());
        row.finished_at = Some(*time);
    }
    row.error = Some(error.to_string());
    if !error.leaves_database_alone()
        && let Err(cause) = store.fail(run, &row, Timestamp::now()).await
    {
        tracing::warn!(error = %cause, "the end of the run could not be recorded");
    }
    Failure { error, row: Some(Box::new(row)) }
}

fn count_requests(row: &mut RunRow, before: &Traffic, after: &Traffic) {
    row.requests = (after.requests - before.requests).cast_signed();
    row.retries = (after.retries - before.retries).cast_signed();
}
