//! How the process begins and ends towards its surroundings: signals, and systemd's READY, STATUS, WATCHDOG and STOPPING.
//!
//! Imports nothing of ours. Everything here is silent where there is no systemd, and works as process 1 of a container, whose signals
//! have no default action: every signal promised is handled, none is left to the kernel.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use sd_notify::NotifyState as SystemdState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Five seconds are promised for a shutdown; this leaves the rest for the exit itself.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(4500);
/// "File size limit exceeded", the same number on every system this runs on.
const SIGXFSZ: i32 = 25;
/// Try again later.
const EXIT_ABORTED: i32 = 75;
/// While one long step of work is awaited, the watchdog hears of it at least this often.
const PING_EVERY: Duration = Duration::from_secs(10);

/// Decides what SIGHUP means and how a shutdown ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Stops with 0; SIGHUP is a run now.
    Daemon,
    /// Stops with 75; SIGHUP (a closed terminal) stops it as SIGTERM does, unless it was started to ignore it (nohup).
    Command,
}

#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Cancelled by the first SIGTERM or SIGINT, and by a command's SIGHUP.
    pub stop: CancellationToken,
    /// Notified at each SIGHUP of a daemon; several during one run are one.
    pub run_now: Arc<Notify>,
}

impl Signals {
    /// Takes the signals over for the life of the process. A second SIGTERM or SIGINT ends it at once with 75; so does work that has not
    /// ended 4.5 s after the first (with 0 for a daemon): what the database has committed stays, the rest is rolled back by its death.
    pub fn listen(role: Role) -> io::Result<Self> {
        // A limit of the file size is an error of the write that meets it, not the death of the process.
        let _ = signal(SignalKind::from_raw(SIGXFSZ))?;
        let signals = Self::default();
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let hang_up = if role == Role::Command { Arc::default() } else { Arc::clone(&signals.run_now) };
        if role == Role::Daemon || !is_hangup_ignored() {
            let mut hup = signal(SignalKind::hangup())?;
            let hang_up = Arc::clone(&hang_up);
            tokio::spawn(async move {
                while hup.recv().await.is_some() {
                    hang_up.notify_one();
                }
            });
        }
        let stop = signals.stop.clone();
        tokio::spawn(async move {
            let first = tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = int.recv() => "SIGINT",
                () = hang_up.notified(), if role == Role::Command => "SIGHUP",
            };
            tracing::info!("{first}: stopping; a second signal ends the process at once");
            stop.cancel();
            if role == Role::Daemon {
                // Not when the work has ended: it may take seconds.
                notify_systemd(SystemdState::Stopping);
            }
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                () = tokio::time::sleep(SHUTDOWN_TIMEOUT) => {
                    tracing::warn!("shutdown timed out, run aborted; the next run repairs it");
                    std::process::exit(if role == Role::Daemon { 0 } else { EXIT_ABORTED });
                }
            }
            std::process::exit(EXIT_ABORTED);
        });
        Ok(signals)
    }
}

/// A core dump would hold the secret, the token and people. Linux only; elsewhere the system's limits decide.
pub fn forbid_core_dumps() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// As `nohup` leaves it. Where this is not known, it is not.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// Notifies systemd, where there is one (`NOTIFY_SOCKET`). Errors are ignored: the work goes on without a manager that listens.
pub fn notify_systemd(state: SystemdState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("systemd could not be notified: {}", error.kind());
    }
}

/// The systemd watchdog: it is pinged because work went on, never because time went by. The daemon's idle loop does each time it looks
/// whether a run is due, a run after each page and each step of a wait.
///
/// Pings closer together than a quarter of `WATCHDOG_USEC` are not sent.
#[derive(Clone)]
pub struct Watchdog(Arc<WatchdogState>);

struct WatchdogState {
    every: Option<Duration>,
    last: Mutex<Option<Instant>>,
    ping: Box<dyn Fn() + Send + Sync>,
}

impl Watchdog {
    /// As systemd asked for in `WATCHDOG_USEC`; without it, a watchdog that nobody hears.
    pub fn from_systemd() -> Self {
        Self::new(sd_notify::watchdog_enabled(), || notify_systemd(SystemdState::Watchdog))
    }

    /// `ping` must be heard once in `limit`.
    pub fn new(limit: Option<Duration>, ping: impl Fn() + Send + Sync + 'static) -> Self {
        let every = limit.map(|limit| limit / 4);
        Self(Arc::new(WatchdogState { every, last: Mutex::new(None), ping: Box::new(ping) }))
    }

    /// The longest that an idle loop may sleep without starving the watchdog.
    pub fn poll_interval(&self) -> Duration {
        self.0.every.map_or(Duration::MAX, |quarter| quarter * 2)
    }

    pub fn ping(&self) {
        let Some(every) = self.0.every else { return };
        let now = Instant::now();
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.duration_since(last) >= every) {
            *last = Some(now);
            (self.0.ping)();
        }
    }

    /// Awaits one step that may rightly take long without a sign of life, and pings meanwhile, but no longer than `at_most`.
    pub async fn ping_while<T>(&self, at_most: Duration, step: impl Future<Output = T>) -> T {
        let silent_from = Instant::now().checked_add(at_most);
        let interval = self.poll_interval().min(PING_EVERY).max(Duration::from_millis(10));
        let mut step = std::pin::pin!(step);
        loop {
            self.ping();
            if silent_from.is_some_and(|end| Instant::now() >= end) {
                return step.await;
            }
            if let Ok(done) = tokio::time::timeout(interval, &mut step).await {
                self.ping();
                return done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counted(watchdog: Option<Duration>) -> (Watchdog, Arc<AtomicUsize>) {
        let pings = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&pings);
        let watchdog = Watchdog::new(watchdog, move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        (watchdog, pings)
    }

    #[tokio::test(start_paused = true)]
    async fn pings_are_sent_at_most_four_times_a_watchdog_period() {
        let (watchdog, pings) = counted(Some(Duration::from_secs(40)));
        for _ in 0..100 {
            watchdog.ping();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(pings.load(Ordering::Relaxed), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_hangs_beyond_its_limit_falls_silent() {
        let (watchdog, pings) = counted(Some(Duration::from_secs(40)));
        let step = watchdog.ping_while(Duration::from_mins(1), std::future::pending::<()>());
        let ended = tokio::time::timeout(Duration::from_hours(1), step).await;
        assert!(ended.is_err());
        assert_eq!(pings.load(Ordering::Relaxed), 7, "0, 10, … 60 s, then none");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_watchdog_nothing_is_sent() {
        let (watchdog, pings) = counted(None);
        watchdog.ping_while(Duration::MAX, async { watchdog.ping() }).await;
        assert_eq!(pings.load(Ordering::Relaxed), 0);
    }
}
