//! One run, from the lease to the last state of its row: the only place that knows both the API and the store.
//!
//! A [`Syncer`] lives as long as the process and keeps what outlives a run: the access token and the connection to the API.
//! The database is opened for a run and closed after it.

mod clock;
mod dry;
mod ending;
mod error;
mod lookup;
mod target;
mod unwritten;
mod wait;
mod walk;

pub use dry::{DryReport, PlannedChange};
pub use error::{Failure, RunError};
pub use lookup::LookupCounts;
pub use walk::companies;

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::api::{Api, ApiError, Deadline, Traffic};
use crate::config::Config;
use crate::exit::Exit;
use crate::store::{
    Acceptance, Bounds, Lease, Run, RunRow, Store, StoreError, Timestamp, Trigger, identity, new_holder,
};
use clock::ClockCheck;
use target::Target;
use wait::Wait;

/// How long a run that is told to stop may still try to begin.
const BEGIN_GRACE: Duration = Duration::from_millis(500);

/// How long a run that was told to stop may go on with what it does in the database.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(2500);

/// How long the database may then take to record the end and to take the lease back.
const END_TIMEOUT: Duration = Duration::from_millis(1200);

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
    /// What to say besides the figures: removals withheld, or absence not judged.
    pub message: Option<String>,
    /// Before when the API wants no further request.
    pub not_before: Option<Instant>,
}

/// What brings the database into line with the API.
pub struct Syncer {
    config: Config,
    api: Api,
    progress_every: Duration,
    lookups: LookupCounts,
    /// One name for all runs: a lease that could not be given back, because the server went away, is taken up again by the next run.
    holder: String,
    database_expected: bool,
    clock: ClockCheck,
    bounds: Bounds,
}

impl Syncer {
    /// With a client, but without any connection yet.
    ///
    /// # Errors
    /// Where the client cannot be built: no trust anchors, a proxy that cannot be understood.
    pub fn new(config: Config) -> Result<Self, ApiError> {
        let api = Api::new(&config.auth, &config.api, &config.retry)?;
        let clock = ClockCheck::default();
        Ok(Self {
            config,
            api,
            progress_every: Duration::MAX,
            lookups: LookupCounts::default(),
            holder: new_holder(),
            database_expected: false,
            clock,
            bounds: Bounds::RUN,
        })
    }

    /// Progress is told at least so often while a run waits; every 15 seconds in any case.
    pub fn report_progress_every(self, progress_every: Duration) -> Self {
        Self { progress_every, ..self }
    }

    /// Other limits for the database than [`Bounds::RUN`].
    pub fn with_bounds(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Reads the certificate authorities anew, so that one that was renewed on disk needs no restart.
    pub fn refresh_authorities(&mut self) {
        self.api.refresh_authorities();
    }

    /// Look-ups since the process began.
    pub fn lookups(&self) -> LookupCounts {
        self.lookups
    }

    /// Requests since the process began.
    pub fn traffic(&self) -> Traffic {
        self.api.traffic()
    }

    /// Whether the token endpoint refused the key when this process first asked it for a token.
    pub fn was_refused_at_first(&self, failure: &Failure) -> bool {
        matches!(&failure.error, RunError::Api(ApiError::KeyRejected(problem)) if problem.exit == Exit::Refused)
            && self.api.token_attempts() == 1
    }

    /// From now on an empty or absent database is one that was lost: it is not made anew.
    pub fn expect_database(&mut self) {
        self.database_expected = true;
    }

    /// One run. `progress` is called with every page and, while the run waits, as [`Syncer::report_progress_every`] says.
    ///
    /// # Errors
    /// [`Failure`] with the row of the run, where it came that far. What was stored stays, and nobody was marked missing.
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
        let started = Instant::now();
        let before = self.api.traffic();
        let deadline = self.config.schedule.run_timeout.map(|timeout| started + timeout);
        let bounds = self.bounds.for_deadline(deadline);
        // Told to stop, it still has a moment to begin: dropped at the wrong point, it would leave its row running and its lease taken.
        let (mut store, run) = tokio::select! {
            biased;
            opened = begin(&self.config, bounds, &self.holder, trigger, self.database_expected) => opened.map_err(RunError::from)?,
            () = async {
                cancel.cancelled().await;
                tokio::time::sleep(BEGIN_GRACE).await;
            } => return Err(RunError::Interrupted.into()),
        };
        tracing::debug!(database = %store.place(), run_id = run.row.id, "run begins");
        let wait = Wait {
            cancel,
            deadline,
            timeout: self.config.schedule.run_timeout,
            progress,
            progress_every: self.progress_every,
        };
        // At the level of errors, so that no setting of log.level takes the run's id from a line.
        let span = tracing::error_span!("run", run_id = run.row.id);
        let result = self.run_in(&mut store, run, options, &wait, &before).instrument(span).await;
        store.close().await;
        result
    }

    async fn run_in(
        &mut self,
        store: &mut Store,
        mut run: Run,
        options: &RunOptions,
        wait: &Wait<'_>,
        before: &Traffic,
    ) -> Result<RunReport, Failure> {
        let lease = run.lease().clone();
        let passed = {
            let mut target = Target::Database { store: &mut *store, run: &mut run };
            let pass = Box::pin(self.pass(&mut target, options, wait));
            tokio::select! {
                biased;
                passed = pass => Some(passed),
                () = wait.give_up(SHUTDOWN_TIMEOUT) => None,
            }
        };
        let ending = passed.unwrap_or_else(|| {
            // What the database was doing is abandoned with its connection.
            store.end_within(END_TIMEOUT);
            Err(wait.reason(&run.row))
        });
        count_requests(&mut run.row, before, &self.api.traffic());
        let clock_checked = run.clock_checked;
        let result = match ending {
            Ok(ending) => Box::pin(self.complete(store, run, ending, options, wait, before)).await,
            Err(error) => Err(fail(store, run, error).await),
        };
        self.clean_up(store, &lease, clock_checked, &result).await;
        result
    }

    /// Whatever comes after the run's last transaction can wait for the next run, and does not fail this one.
    async fn clean_up(
        &self,
        store: &mut Store,
        lease: &Lease,
        clock_checked: bool,
        result: &Result<RunReport, Failure>,
    ) {
        if matches!(result, Err(failure) if failure.leaves_database_alone()) {
            return;
        }
        if let Ok(report) = result
            && clock_checked
        {
            let (retention, confirm_after) = (&self.config.retention, self.config.removal.confirm_after);
            let pruned = store.retain(lease, report.row.id, retention, confirm_after, Timestamp::now()).await;
            match pruned {
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
        if let Err(error) = store.release(lease, Timestamp::now()).await {
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
    let lease = match store.acquire_as(holder, Timestamp::now()).await {
        Ok(lease) => lease,
        Err(error) => {
            store.close().await;
            return Err(error);
        }
    };
    match store.begin_run(lease.clone(), trigger, Timestamp::now()).await {
        Ok(run) => Ok((store, run)),
        Err(error) => {
            // A run that could not begin keeps nobody waiting for the end of its lease, where the database takes it back.
            store.end_within(END_TIMEOUT);
            let _ = store.release(&lease, Timestamp::now()).await;
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
async fn fail(store: &mut Store, run: Run, error: RunError) -> Failure {
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
        && let Err(cause) = store.fail(&run, &row, Timestamp::now()).await
    {
        tracing::warn!(error = %cause, "the end of the run could not be recorded");
    }
    Failure { error, row: Some(Box::new(row)) }
}

fn count_requests(row: &mut RunRow, before: &Traffic, after: &Traffic) {
    row.requests = (after.requests - before.requests).cast_signed();
    row.retries = (after.retries - before.retries).cast_signed();
}

impl Wait<'_> {
    fn api_deadline(&self) -> Deadline {
        self.deadline.map_or_else(Deadline::none, Deadline::at)
    }
}
