//! The daemon: what its loop runs, what its listener shows, what it finds at start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::notify::{NOTIFY_TIMEOUT, Notifier};
use super::once::{HEARTBEAT_TIMEOUT, heartbeat, log_message, log_run};
use super::{installation, listen, log_warnings, snapshot};
use crate::command::CommandError;
use crate::config::{Config, Database, LoadedConfig};
use crate::daemon::{Daemon, Outcome, RECORD_TIMEOUT, StartupState, ends_startup};
use crate::exit::Exit;
use crate::host;
use crate::lifecycle::{Role, Signals, Watchdog, notify_systemd};
use crate::observe::metrics::Metrics;
use crate::observe::progress::ProgressLine;
use crate::observe::view::Installation;
use crate::observe::{http, logging, report};
use crate::schedule::{Scheduler, Ticks, jitter};
use crate::store::{Bounds, RunRow, Snapshot, Store, StoreError, Timestamp, Trigger, identity};
use crate::sync::{Failure, RunError, RunOptions, RunReport, Syncer};
use crate::zone;

const SEEN_AT_START: u32 = 5;

/// Runs until a shutdown is requested, or until a mistake of the installation shows.
pub(super) async fn run(loaded: LoadedConfig) -> Result<Exit, CommandError> {
    logging::begin(&loaded.config.log, ProgressLine::default());
    let signals = listen(Role::Daemon)?;
    log_warnings(&loaded);
    let installation = installation(&loaded);
    let config = loaded.config;
    let watchdog = Watchdog::from_systemd();
    let (next_run, next_seen) = watch::channel(None);
    let metrics = Arc::new(Metrics::new());
    let listener = listener(&config, &installation, &metrics, &next_seen, &signals).await?;
    let mut syncer = Syncer::new(config.clone())?.report_progress_every(watchdog.poll_interval());
    let startup = tokio::select! {
        biased;
        () = signals.stop.cancelled() => return Ok(Exit::Done),
        startup = inspect_startup(&config, &metrics) => startup?,
    };
    if startup.database_down.is_none() {
        syncer.expect_database();
    }
    let mut work = Work {
        syncer,
        config,
        metrics,
        watchdog: watchdog.clone(),
        signals: signals.clone(),
        notifier: Notifier::default(),
    };
    let scheduler = Scheduler::start(ticks(&work.config))
        .await
        .map_err(|error| CommandError::Io { what: "cannot start", cause: std::io::Error::other(error) })?;
    let database = work.config.database.clone();
    let recorded = database.clone();
    let daemon = Daemon {
        scheduler,
        signals: signals.clone(),
        watchdog,
        notify: Box::new(notify_systemd),
        next_run,
        record_next_run: Box::new(move |at| {
            Box::pin(record_next_run(recorded.clone(), Some(at), RECORD_TIMEOUT))
        }),
    };
    let exit = daemon.serve(startup, async |trigger| work.run(trigger).await).await;
    signals.stop.cancel();
    let recorded = record_next_run(database, None, Duration::from_millis(600));
    if let Some(listener) = listener {
        let _ = tokio::join!(tokio::time::timeout(Duration::from_millis(900), listener), recorded);
    } else {
        recorded.await;
    }
    Ok(exit)
}

/// Says in the database when this daemon runs next, or that it stops. What fails here has failed in the run already, or will.
async fn record_next_run(database: Database, at: Option<Timestamp>, patience: Duration) {
    let recording = async {
        let store = Store::open_beside_run(&database).await?;
        store.close_after(async |store| store.record_next_run(at).await).await
    };
    if let Ok(Err(error)) = tokio::time::timeout(patience, recording).await {
        tracing::debug!("when the next run is due could not be recorded: {error}");
    }
}

/// When this installation's runs are due.
pub(super) fn ticks(config: &Config) -> Ticks {
    let schedule = &config.schedule;
    let seed = format!("{} {}", host::name(), identity(&config.database));
    let jitter = jitter(seed.as_bytes(), schedule.jitter, schedule.interval);
    Ticks::new(schedule.cron.clone(), jitter, Box::new(|| Timestamp::now().to_utc()))
}

async fn listener(
    config: &Config,
    installation: &Installation,
    metrics: &Arc<Metrics>,
    next_run: &watch::Receiver<Option<Timestamp>>,
    signals: &Signals,
) -> Result<Option<tokio::task::JoinHandle<()>>, CommandError> {
    let Some(address) = config.http.listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|cause| CommandError::listen(address, &cause))?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, "listening");
    let database = config.clone();
    let shown = http::StatusServer {
        metrics: Arc::clone(metrics),
        next_run: next_run.clone(),
        allowed_hosts: config.http.allowed_hosts.clone(),
        installation: installation.clone(),
        look: Box::new(move || Box::pin(read_snapshot(database.clone()))),
        clock: Timestamp::now,
    };
    let stop = signals.stop.clone();
    Ok(Some(tokio::spawn(http::serve(listener, shown, stop))))
}

/// Another thread waits for the database, so that the loop's thread never does.
async fn read_snapshot(config: Config) -> Result<Snapshot, String> {
    let runtime = tokio::runtime::Handle::current();
    match tokio::task::spawn_blocking(move || runtime.block_on(snapshot(&config))).await {
        Ok(seen) => seen.map_err(|error| error.to_string()),
        Err(_) => Err("the look at the database failed".to_owned()),
    }
}

/// Tries the database. One that cannot be reached is no failure of the start; one that can never be written is.
async fn inspect_startup(config: &Config, metrics: &Metrics) -> Result<StartupState, CommandError> {
    let mut startup = StartupState {
        run_at_start: config.schedule.run_at_start,
        interval: config.schedule.interval,
        ..StartupState::default()
    };
    let tried = match Store::open(&config.database, Bounds::COMMAND).await {
        Ok(mut store) => {
            let snapshot = match store.try_writing().await {
                Ok(()) => store.snapshot(SEEN_AT_START).await,
                Err(error) => Err(error),
            };
            let _ = store.checkpoint().await;
            store.close().await;
            snapshot
        }
        // Another process is in the middle of a run: the database is there.
        Err(StoreError::Busy { .. }) => snapshot(config).await,
        Err(error) => Err(error),
    };
    match tried {
        Ok(snapshot) => {
            metrics.set_snapshot(&snapshot);
            startup.last_run = last_run(&snapshot);
            startup.last_complete = snapshot.last_complete.and_then(|run| run.finished_at);
            Ok(startup)
        }
        Err(error) if ends_startup(error.exit()) => Err(error.into()),
        Err(error) => {
            let hint = error.hint();
            tracing::error!(hint, "{error}; the daemon stays up and tries again at the next tick");
            startup.database_down = Some(error.to_string());
            Ok(startup)
        }
    }
}

/// The last run that has ended, as systemd's STATUS tells it.
fn last_run(snapshot: &Snapshot) -> Option<String> {
    let ended = |run: &&RunRow| run.finished_at.is_some();
    let run = snapshot.runs.iter().find(ended)?;
    let at = run.finished_at?.to_utc();
    let day = |at| zone::format_bare_time(at, "%Y-%m-%d");
    let form = if day(at) == day(Timestamp::now().to_utc()) { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    let words = match &run.error {
        Some(error) if run.outcome != "succeeded" => format!("{}: {error}", run.outcome),
        _ => report::status_words(run),
    };
    Some(format!("last run {} {words}", zone::format_bare_time(at, form)))
}

/// What a tick sets going.
struct Work {
    syncer: Syncer,
    config: Config,
    metrics: Arc<Metrics>,
    watchdog: Watchdog,
    signals: Signals,
    notifier: Notifier,
}

impl Work {
    async fn run(&mut self, trigger: Trigger) -> Outcome {
        let began = Instant::now();
        let watchdog = self.watchdog.clone();
        let ping = |_| watchdog.ping();
        let stop = &self.signals.stop;
        self.syncer.refresh_authorities();
        let done = self.syncer.run_once(trigger, &RunOptions::default(), stop, &ping).await;
        self.count_requests();
        let outcome = match done {
            Ok(report) => {
                self.metrics.record_run(&report.row, began.elapsed());
                self.succeeded(report).await
            }
            Err(failure) => self.failed(&failure, began.elapsed()),
        };
        if self.signals.stop.is_cancelled() {
            return outcome;
        }
        if !matches!(outcome, Outcome::Busy { .. } | Outcome::Interrupted) {
            self.notify().await;
        }
        if let Ok(snapshot) = snapshot(&self.config).await {
            self.metrics.set_snapshot(&snapshot);
        }
        outcome
    }

    async fn notify(&mut self) {
        let notifying = self.notifier.after_run(&self.config, &self.signals.stop);
        let delivered = self.watchdog.ping_while(NOTIFY_TIMEOUT, notifying).await;
        self.metrics.observe_notifications(delivered.sent, delivered.failed);
    }

    async fn succeeded(&mut self, report: RunReport) -> Outcome {
        self.syncer.expect_database();
        self.notifier.reset_failures();
        log_run(&self.config, &report.row);
        log_message(&self.config, &report);
        let heartbeat = heartbeat(&self.config, &report.row, &self.signals.stop);
        self.watchdog.ping_while(HEARTBEAT_TIMEOUT, heartbeat).await;
        Outcome::Complete {
            summary: report::status_words(&report.row),
            not_before: report.not_before.map(tokio::time::Instant::into_std),
        }
    }

    fn failed(&mut self, failure: &Failure, took: Duration) -> Outcome {
        if let RunError::Store(StoreError::Busy { holder }) = &failure.error {
            return Outcome::Busy { holder: holder.clone() };
        }
        if let Some(row) = &failure.row {
            self.syncer.expect_database();
            self.metrics.record_run(row, took);
            log_run(&self.config, row);
        }
        if failure.is_interrupted() {
            return Outcome::Interrupted;
        }
        if failure.row.is_none() {
            // It failed all the same.
            let row = RunRow { outcome: "failed".to_owned(), ..RunRow::default() };
            self.metrics.record_run(&row, took);
            self.notifier.count_unrecorded_failure(&failure.to_string());
        }
        tracing::error!(
            run_id = failure.row.as_ref().map(|row| row.id),
            exit = failure.exit().code(),
            hint = failure.hint(),
            "the run failed: {failure}"
        );
        Outcome::Failed {
            summary: failure.to_string(),
            end: self.syncer.was_refused_at_first(failure).then_some(failure.exit()),
            not_before: failure.not_before().map(tokio::time::Instant::into_std),
        }
    }

    fn count_requests(&self) {
        let traffic = self.syncer.traffic();
        self.metrics.set_retries(traffic.retries);
        self.metrics.set_token_requests(traffic.token_requests);
        for ((endpoint, status), count) in &traffic.by_endpoint_and_status {
            self.metrics.set_requests(endpoint, status, *count);
        }
        let lookups = self.syncer.lookups();
        self.metrics.set_lookups("there", lookups.there);
        self.metrics.set_lookups("gone", lookups.gone);
        self.metrics.set_lookups("unclear", lookups.unclear);
    }
}
