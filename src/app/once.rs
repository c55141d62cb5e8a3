//! `--run-once`: one run, then exit. The daemon's own path with the loop off.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::notify::Notifier;
use super::{listen, log_warnings, snapshot};
use crate::api::Api;
use crate::cli::Cli;
use crate::command::CommandError;
use crate::config::{Config, LoadedConfig, LogFormat};
use crate::exit::Exit;
use crate::lifecycle::Role;
use crate::observe::progress::{Expected, ProgressLine};
use crate::observe::{logging, report};
use crate::store::{Acceptance, RunRow, Trigger, identity};
use crate::sync::{RunOptions, RunReport, Syncer};

pub(super) const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// One run, and one line about it at the end.
pub(super) async fn run(cli: &Cli, loaded: LoadedConfig) -> Result<Exit, CommandError> {
    let quiet = cli.quiet;
    let mut log = loaded.config.log.clone();
    if quiet {
        log.level = tracing::Level::ERROR;
    }
    let progress = ProgressLine::new(!quiet && !cli.dry_run);
    logging::begin(&log, progress.clone());
    let signals = listen(Role::Command)?;
    log_warnings(&loaded);
    let acceptance = |removals| Acceptance { removals, by: crate::host::operator(), at: None };
    let options = RunOptions { acceptance: cli.accept_removals.map(acceptance) };
    let config = loaded.config;
    let mut syncer = Syncer::new(config.clone())?;
    if cli.dry_run {
        return dry_run(&mut syncer, &options, &signals.stop, quiet).await;
    }
    let watched = config.log.format == LogFormat::Text && io::stderr().is_terminal();
    // Who looks on has the figures in the summary.
    let log = |row: &RunRow| {
        if !watched {
            log_run(&config, row);
        }
    };
    if progress.is_shown() {
        progress.begin(expected(&config).await);
    }
    let report_progress = |now: crate::sync::Progress| progress.show(now.pages, now.items);
    let done = syncer.run_once(Trigger::Once, &options, &signals.stop, &report_progress).await;
    progress.end();
    let report = match done {
        Ok(report) => report,
        Err(failure) => {
            if let Some(row) = &failure.row {
                log(row);
                Notifier::default().after_run(&config, &signals.stop).await;
            }
            return Err(failure.into());
        }
    };
    log(&report.row);
    if !watched {
        log_message(&config, &report);
    }
    if !quiet || report.exit != Exit::Done {
        writeln!(io::stdout(), "{}", report::run_line(&report.row))?;
    }
    // The summary ends with the row's error.
    if watched && report.row.error.is_none() {
        log_message(&config, &report);
    }
    heartbeat(&config, &report.row, &signals.stop).await;
    Notifier::default().after_run(&config, &signals.stop).await;
    Ok(report.exit)
}

/// What the progress is measured by. The run itself reports a database that does not answer.
async fn expected(config: &Config) -> Expected {
    let last = snapshot(config).await.ok().and_then(|snapshot| snapshot.last_complete);
    let rate = config.api.requests_per_second;
    Expected {
        items: last.map(|run| run.items.cast_unsigned()).filter(|items| *items > 0),
        pages_per_second: Some(rate).filter(|rate| *rate > 0.0),
    }
}

/// The one INFO line of a run, however it ended: its figures, and where they are stored. What went wrong has a line of its own.
pub(super) fn log_run(config: &Config, row: &RunRow) {
    let database = identity(&config.database);
    let figures = RunRow { error: None, ..row.clone() };
    let line = report::run_line(&figures);
    if config.log.format == LogFormat::Text {
        // People have the figures in the sentence.
        tracing::info!(run_id = row.id, endpoint = row.endpoint, database, "{line}");
        return;
    }
    tracing::info!(
        run_id = row.id,
        outcome = row.outcome,
        absence = row.absence,
        pages = row.pages,
        items = row.items,
        added = row.added,
        updated = row.updated,
        unchanged = row.unchanged,
        returned = row.returned,
        missing = row.missing,
        removed = row.removed,
        removals_withheld = row.removals_withheld,
        active = row.active,
        requests = row.requests,
        retries = row.retries,
        endpoint = row.endpoint,
        database,
        "{line}"
    );
}

/// Pings the dead man's switch after a complete run that evaluated removals. Its failure is only a warning, and a shutdown does not wait
/// for it.
pub(super) async fn heartbeat(config: &Config, row: &RunRow, stop: &CancellationToken) {
    let judged = row.absence.as_deref() == Some("judged");
    let Some(url) = config.health.heartbeat_url.as_ref().filter(|_| judged) else { return };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        sent = Api::heartbeat(url, &config.api.user_agent) => {
            if let Err(error) = sent {
                tracing::warn!(run_id = row.id, hint = error.hint(), "{error}");
            }
        }
    }
}

/// What the figures alone do not say.
pub(super) fn log_message(config: &Config, report: &RunReport) {
    let Some(message) = &report.message else { return };
    if report.exit == Exit::Done {
        tracing::warn!(run_id = report.row.id, "{message}");
    } else if config.log.format == LogFormat::Text {
        // It ends with a line to type: nothing may stand behind that.
        tracing::error!("{message}");
    } else {
        tracing::error!(run_id = report.row.id, exit = report.exit.code(), "{message}");
    }
}

async fn dry_run(
    syncer: &mut Syncer,
    options: &RunOptions,
    stop: &CancellationToken,
    quiet: bool,
) -> Result<Exit, CommandError> {
    let mut out = io::BufWriter::new(io::stdout());
    let mut broken = false;
    let mut would = |change: crate::sync::PlannedChange| {
        if !quiet && !broken {
            broken = writeln!(out, "{:<9}{}", change.kind, change.key).is_err();
        }
    };
    let report = syncer.dry_run(options, stop, &mut would).await?;
    match &report.message {
        Some(message) if report.exit == Exit::Done => tracing::warn!("{message}"),
        Some(message) => tracing::error!("{message}"),
        None => {}
    }
    if !quiet || report.exit != Exit::Done {
        writeln!(out, "{}", report::dry_run_line(&report.row))?;
    }
    out.flush()?;
    Ok(report.exit)
}
