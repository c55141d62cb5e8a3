//! `--run-once`: one run, then exit. The daemon's own path with the loop off.

use std::io::{self, Write as _};

use tokio_util::sync::CancellationToken;

use super::{listen, warn};
use crate::api::Api;
use crate::cli::Cli;
use crate::command::CommandError;
use crate::config::{Config, Loaded};
use crate::exit::Exit;
use crate::lifecycle::Role;
use crate::observe::progress::Progress;
use crate::observe::{logging, report};
use crate::store::{RunRow, Trigger};
use crate::sync::{RunOptions, RunReport, Syncer};

/// One run, and one line about it at the end.
pub(super) async fn run(cli: &Cli, loaded: Loaded) -> Result<Exit, CommandError> {
    let quiet = cli.run.quiet;
    let mut log = loaded.config.log.clone();
    if quiet {
        log.level = tracing::Level::ERROR;
    }
    let progress = Progress::new(!quiet && !cli.run.dry_run);
    logging::begin(&log, progress.clone());
    let signals = listen(Role::Command)?;
    warn(&loaded);
    let options = RunOptions {
        accept_removals: cli.run.accept_removals,
    };
    let heartbeat = loaded.config.health.heartbeat_url.clone();
    let user_agent = loaded.config.api.user_agent.clone();
    let mut syncer = Syncer::new(loaded.config)?;
    if cli.run.dry_run {
        return dry_run(&mut syncer, options, &signals.stop, quiet).await;
    }
    progress.begin();
    let tell = |now: crate::sync::Progress| progress.show(now.pages, now.items);
    let done = syncer
        .run_once(Trigger::Once, options, &signals.stop, &tell)
        .await;
    progress.end();
    let report = done?;
    speak(&report);
    if !quiet || report.exit != Exit::Done {
        writeln!(io::stdout(), "{}", report::run_line(&report.row))?;
    }
    if let Some(url) = heartbeat.filter(|_| report.row.absence.as_deref() == Some("judged"))
        && let Err(error) = Api::heartbeat(&url, &user_agent).await
    {
        tracing::warn!(%error, "health.heartbeat_url did not take the heartbeat");
    }
    Ok(report.exit)
}

/// What the figures alone do not say.
pub(super) fn speak(report: &RunReport) {
    let Some(message) = &report.message else {
        return;
    };
    if report.exit == Exit::Done {
        tracing::warn!(run_id = report.row.id, "{message}");
    } else {
        tracing::error!(
            run_id = report.row.id,
            exit = report.exit.code(),
            "{message}"
        );
    }
}

async fn dry_run(
    syncer: &mut Syncer,
    options: RunOptions,
    stop: &CancellationToken,
    quiet: bool,
) -> Result<Exit, CommandError> {
    let mut out = io::BufWriter::new(io::stdout());
    let mut broken = false;
    let mut would = |change: crate::sync::Change| {
        if !quiet && !broken {
            broken = writeln!(out, "{:<9}{}", change.kind, change.key).is_err();
        }
    };
    let report = syncer.dry_run(options, stop, &mut would).await?;
    if let Some(message) = &report.message {
        if report.exit == Exit::Done {
            tracing::warn!("{message}");
        } else {
            tracing::error!(exit = report.exit.code(), "{message}");
        }
    }
    if !quiet || report.exit != Exit::Done {
        writeln!(
            out,
            "dry run, nothing was written: {}",
            report::changes(&report.row)
        )?;
    }
    out.flush()?;
    Ok(report.exit)
}

/// A run that says nothing, for the demo.
pub(super) async fn quietly(config: &Config) -> Result<RunRow, CommandError> {
    let mut syncer = Syncer::new(config.clone())?;
    let done = syncer
        .run_once(
            Trigger::Once,
            RunOptions::default(),
            &CancellationToken::new(),
            &|_| {},
        )
        .await;
    Ok(done?.row)
}
