//! The daemon's one loop: when to run, when not to, and when to end.
//!
//! It is handed what a run is as a closure and never looks inside: no API, no database, no figures. There is one loop, so there is one
//! run at a time; what comes while it is busy is skipped and logged, never stacked.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::LocalBoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::exit::Exit;
use crate::lifecycle::{Signals, SystemdState, Watchdog};
use crate::schedule::Scheduler;
use crate::store::{Timestamp, Trigger};
use crate::zone;

/// How often the run at start looks whether another run's lease has ended.
const LEASE_POLL_INTERVAL: Duration = Duration::from_secs(3);
/// Recording when the next run is due takes no longer.
pub const RECORD_TIMEOUT: Duration = Duration::from_secs(8);
/// No answer of the API silences the daemon for longer.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The scan went to its end and is stored (also where removals were withheld).
    Complete {
        /// "ok: 10,345 consents, 12 new, 3 changed"
        summary: String,
        not_before: Option<std::time::Instant>,
    },
    /// Another run holds the lease.
    Busy {
        holder: String,
    },
    Failed {
        /// The error; no personal data, no secret.
        summary: String,
        /// Ends the process.
        end: Option<Exit>,
        /// The API asked us to wait until then.
        not_before: Option<std::time::Instant>,
    },
    Interrupted,
}

/// Whether a failure of the first attempt at the database ends the daemon: it is a mistake of the installation and not of the day.
pub fn ends_startup(exit: Exit) -> bool {
    matches!(exit, Exit::Usage | Exit::Config | Exit::Write | Exit::Refused)
}

/// What the database held when the process began.
#[derive(Debug, Clone, Default)]
pub struct StartupState {
    pub run_at_start: bool,
    pub interval: Duration,
    /// When the last complete run ended, where the database says so.
    pub last_complete: Option<Timestamp>,
    /// The last run that has ended: "last run 12:00:04 ok: 10,345 consents, 12 new, 3 changed".
    pub last_run: Option<String>,
    /// Why the database could not be reached, which does not fail the start.
    pub database_down: Option<String>,
}

impl StartupState {
    /// A last run from the future means a clock that was wrong, and is not trusted.
    fn is_run_due(&self, now: DateTime<Utc>) -> bool {
        let age = self.last_complete.and_then(|last| (now - last.to_utc()).to_std().ok());
        self.run_at_start && age.is_none_or(|age| age >= self.interval)
    }
}

pub struct Daemon {
    pub scheduler: Scheduler,
    /// What ends it, and what makes it run now.
    pub signals: Signals,
    pub watchdog: Watchdog,
    /// `lifecycle::notify_systemd`, or a test's own.
    pub notify: Box<dyn Fn(SystemdState<'_>)>,
    /// When the next run is due, for the metrics and the status page.
    pub next_run: watch::Sender<Option<Timestamp>>,
    /// Stores the same where other processes find it.
    pub record_next_run: Box<dyn Fn(Timestamp) -> LocalBoxFuture<'static, ()>>,
}

impl Daemon {
    /// Runs until shutdown is requested (0), or until a failure with an `end`. Its first step is READY: call it once
    /// configuration and schedule are accepted and the database was tried.
    pub async fn serve(self, startup: StartupState, mut run: impl AsyncFnMut(Trigger) -> Outcome) -> Exit {
        let mut daemon_loop = DaemonLoop {
            daemon: self,
            last_complete: startup.last_complete.map(Timestamp::to_utc),
            not_before: None,
        };
        daemon_loop.publish_startup(&startup);
        if startup.database_down.is_none() {
            daemon_loop.record_next_run().await;
        }
        let exit = daemon_loop.run_until_stopped(&startup, &mut run).await;
        (daemon_loop.daemon.notify)(SystemdState::Stopping);
        daemon_loop.daemon.scheduler.stop().await;
        exit
    }
}

struct DaemonLoop {
    daemon: Daemon,
    last_complete: Option<DateTime<Utc>>,
    not_before: Option<Instant>,
}

impl DaemonLoop {
    fn publish_startup(&mut self, startup: &StartupState) {
        self.publish_next_run();
        (self.daemon.notify)(SystemdState::Ready);
        match &startup.database_down {
            Some(why) => self.publish_status(&format!("database unreachable: {why}")),
            None => self.publish_status(startup.last_run.as_deref().unwrap_or("no run yet")),
        }
    }

    async fn run_until_stopped(
        &mut self,
        startup: &StartupState,
        run: &mut impl AsyncFnMut(Trigger) -> Outcome,
    ) -> Exit {
        if startup.is_run_due(self.daemon.scheduler.now()) {
            if let Some(end) = self.run_at_start(run).await {
                return end;
            }
        } else if startup.run_at_start {
            tracing::info!("no run at start: the last complete run is younger than the interval");
        }
        while let Some(trigger) = self.wait_for_trigger().await {
            if !self.must_wait_for_api() {
                let outcome = run(trigger).await;
                if let Some(end) = self.handle_outcome(outcome) {
                    return end;
                }
            }
            self.record_next_run().await;
        }
        Exit::Done
    }

    /// The run at start waits for another run to end; a tick would not.
    async fn run_at_start(&mut self, run: &mut impl AsyncFnMut(Trigger) -> Outcome) -> Option<Exit> {
        let mut logged = false;
        loop {
            let outcome = run(Trigger::Start).await;
            let Outcome::Busy { holder } = outcome else {
                let end = self.handle_outcome(outcome);
                if end.is_none() {
                    self.record_next_run().await;
                }
                return end;
            };
            if !logged {
                tracing::info!("the run at start waits for another run to end ({holder})");
                self.publish_status(&format!("waiting for another run to end ({holder})"));
                logged = true;
            }
            if !self.sleep_unless_stopped(LEASE_POLL_INTERVAL).await {
                return None;
            }
        }
    }

    /// False where shutdown is requested.
    async fn sleep_unless_stopped(&mut self, how_long: Duration) -> bool {
        let sleep = self.daemon.watchdog.ping_while(Duration::MAX, tokio::time::sleep(how_long));
        tokio::select! {
            biased;
            () = self.daemon.signals.stop.cancelled() => false,
            () = sleep => true,
        }
    }

    /// None where shutdown is requested. Each look of the scheduler at the clock pings the watchdog.
    async fn wait_for_trigger(&mut self) -> Option<Trigger> {
        loop {
            self.daemon.watchdog.ping();
            self.publish_next_run();
            let ticks = tokio::select! {
                biased;
                () = self.daemon.signals.stop.cancelled() => return None,
                () = self.daemon.signals.run_now.notified() => return Some(Trigger::Signal),
                ticks = self.daemon.scheduler.wait() => ticks,
            };
            if let Some(ticks) = ticks {
                if ticks > 1 {
                    tracing::info!("{} ticks skipped: the clock was set or the machine slept", ticks - 1);
                }
                self.publish_next_run();
                return Some(Trigger::Schedule);
            }
        }
    }

    fn respect_retry_after(&mut self, not_before: Option<std::time::Instant>) {
        let latest = Instant::now() + MAX_RETRY_AFTER;
        self.not_before = not_before.map(|at| Instant::from_std(at).min(latest));
    }

    fn must_wait_for_api(&mut self) -> bool {
        self.not_before = self.not_before.filter(|until| *until > Instant::now());
        let Some(left) = self.not_before.map(|until| until - Instant::now()) else { return false };
        let until = self.daemon.scheduler.now() + TimeDelta::from_std(left).unwrap_or_default();
        let until = zone::format_time(until);
        tracing::warn!("run skipped: the API asked us to wait until {until} (Retry-After)");
        self.publish_status(&format!("waiting as the API asked, until {until}"));
        true
    }

    fn handle_outcome(&mut self, outcome: Outcome) -> Option<Exit> {
        let missed = self.daemon.scheduler.skip_missed();
        self.publish_next_run();
        let now = self.daemon.scheduler.now();
        let at = zone::format_bare_time(now, "%H:%M:%S");
        let mut end = None;
        match outcome {
            Outcome::Complete { summary, not_before } => {
                self.last_complete = Some(now);
                self.respect_retry_after(not_before);
                self.publish_status(&format!("last run {at} {summary}"));
            }
            Outcome::Busy { holder } => {
                tracing::info!("run skipped: another run is in progress ({holder})");
                self.publish_status(&format!("run at {at} skipped, another run is in progress"));
            }
            Outcome::Failed { summary, end: ends, not_before } => {
                self.respect_retry_after(not_before);
                let good = self.last_complete.map_or_else(
                    || "none complete yet".to_owned(),
                    |good| format!("last complete {}", zone::format_bare_time(good, "%Y-%m-%d %H:%M:%S")),
                );
                self.publish_status(&format!("last run {at} failed: {summary}; {good}"));
                end = ends;
            }
            Outcome::Interrupted => {}
        }
        if missed > 0 && end.is_none() && !self.daemon.signals.stop.is_cancelled() {
            let ticks = if missed == 1 { "tick" } else { "ticks" };
            tracing::warn!("{missed} {ticks} skipped: a run took longer than the schedule's gap");
        }
        end
    }

    fn publish_next_run(&self) {
        let next = Some(Timestamp::new(self.daemon.scheduler.next()));
        self.daemon.next_run.send_if_modified(|current| std::mem::replace(current, next) != next);
    }

    /// A shutdown does not wait for it.
    async fn record_next_run(&self) {
        let Daemon { scheduler, signals, watchdog, record_next_run, .. } = &self.daemon;
        let recording = record_next_run(Timestamp::new(scheduler.next()));
        tokio::select! {
            biased;
            () = signals.stop.cancelled() => {}
            () = watchdog.ping_while(RECORD_TIMEOUT, recording) => {}
        }
    }

    /// One line for `systemctl status`: the text, and when the next run is due, the time alone where that is within a day.
    fn publish_status(&self, text: &str) {
        let next = self.daemon.scheduler.next();
        let near = next - self.daemon.scheduler.now() < TimeDelta::days(1);
        let form = if near { "%H:%M" } else { "%Y-%m-%d %H:%M" };
        let line =
            format!("{text}; next {}", zone::format_time_as(next, form)).replace(char::is_control, " ");
        (self.daemon.notify)(SystemdState::Status(&line));
    }
}

#[cfg(test)]
#[path = "daemon_tests.rs"]
mod tests;
