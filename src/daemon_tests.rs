#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::*;
use crate::schedule::{CronSchedule, Ticks};

/// A daemon whose wall clock follows tokio's paused one, and everything it notified.
struct Bench {
    signals: Signals,
    notified: Rc<RefCell<Vec<String>>>,
    recorded: Rc<RefCell<Vec<String>>>,
    began: Instant,
    start: DateTime<Utc>,
    zone: &'static str,
    shift: Arc<Mutex<TimeDelta>>,
}

fn start() -> DateTime<Utc> {
    "2026-01-01T11:30:00Z".parse().unwrap()
}

impl Bench {
    fn new() -> Self {
        Self {
            signals: Signals::default(),
            notified: Rc::default(),
            recorded: Rc::default(),
            began: Instant::now(),
            start: start(),
            zone: "UTC",
            shift: Arc::default(),
        }
    }

    async fn daemon(&self, cron: &str) -> Daemon {
        let (start, began, shift) = (self.start, self.began, Arc::clone(&self.shift));
        let clock = move || start + began.elapsed() + *shift.lock().unwrap();
        let zone = jiff::tz::TimeZone::get(self.zone).unwrap();
        let schedule = CronSchedule::parse(cron, zone, start).unwrap();
        let ticks = Ticks::new(schedule, Duration::ZERO, Box::new(clock));
        let (notified, recorded) = (Rc::clone(&self.notified), Rc::clone(&self.recorded));
        Daemon {
            scheduler: Scheduler::start(ticks).await.unwrap(),
            signals: self.signals.clone(),
            watchdog: Watchdog::new(None, || {}),
            notify: Box::new(move |state| notified.borrow_mut().push(format!("{state:?}"))),
            next_run: watch::Sender::new(None),
            record_next_run: Box::new(move |at| {
                recorded.borrow_mut().push(at.to_utc().format("%H:%M").to_string());
                Box::pin(std::future::ready(()))
            }),
        }
    }

    fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    fn last_status(&self) -> String {
        self.notified.borrow()[self.notified.borrow().len() - 2].clone()
    }
}

fn hourly() -> StartupState {
    StartupState { run_at_start: true, interval: Duration::from_hours(1), ..StartupState::default() }
}

fn ok() -> Outcome {
    Outcome::Complete { summary: "ok: 3 consents, 1 new, 0 changed".to_owned(), not_before: None }
}

fn failed(end: Option<Exit>) -> Outcome {
    Outcome::Failed { summary: "the API cannot be reached".to_owned(), end, not_before: None }
}

/// Serves until the script has no outcome left; tells when which run began.
async fn play(bench: &Bench, cron: &str, startup: StartupState, script: Vec<(u64, Outcome)>) -> Played {
    let mut script = script.into_iter();
    let mut runs = Vec::new();
    let exit = bench
        .daemon(cron)
        .await
        .serve(startup, async |trigger| {
            let Some((takes, outcome)) = script.next() else {
                bench.signals.stop.cancel();
                return Outcome::Interrupted;
            };
            runs.push((bench.seconds(), trigger.as_str()));
            tokio::time::sleep(Duration::from_secs(takes)).await;
            outcome
        })
        .await;
    (exit, runs)
}

type Played = (Exit, Vec<(u64, &'static str)>);

#[tokio::test(start_paused = true)]
async fn a_run_at_start_then_one_at_every_tick() {
    let bench = Bench::new();
    let script = vec![(4, ok()), (60, ok()), (1, ok())];
    let (exit, runs) = play(&bench, "0 0 * * * *", hourly(), script).await;
    assert_eq!(exit, Exit::Done);
    assert_eq!(runs, [(0, "start"), (1800, "schedule"), (5400, "schedule")]);
    let notified = bench.notified.borrow();
    assert_eq!(notified[0], "Ready");
    assert_eq!(
        notified[2],
        r#"Status("last run 11:30:04 ok: 3 consents, 1 new, 0 changed; next 12:00 UTC")"#
    );
    assert_eq!(notified.last().unwrap(), "Stopping");
    assert_eq!(*bench.recorded.borrow(), ["12:00", "12:00", "13:00", "14:00", "15:00"]);
}

#[tokio::test(start_paused = true)]
async fn the_run_at_start_is_skipped_while_the_last_one_is_younger_than_the_interval() {
    for (age, first) in [(3599, "schedule"), (3600, "start"), (-5, "start")] {
        let bench = Bench::new();
        let startup = StartupState {
            last_complete: Some(Timestamp::new(start() - TimeDelta::seconds(age))),
            ..hourly()
        };
        let (_, runs) = play(&bench, "0 0 * * * *", startup, vec![(0, ok())]).await;
        assert_eq!(runs[0].1, first, "{age} s");
    }
}

#[tokio::test(start_paused = true)]
async fn ticks_during_a_long_run_are_skipped_and_never_stacked() {
    let bench = Bench::new();
    let script = vec![(7, ok()), (3, ok()), (0, ok()), (0, ok())];
    let (_, runs) = play(&bench, "*/2 * * * * *", hourly(), script).await;
    let began: Vec<u64> = runs.iter().map(|run| run.0).collect();
    assert_eq!(began, [0, 8, 12, 14]);
}

#[tokio::test(start_paused = true)]
async fn every_two_seconds_means_every_two_seconds() {
    let bench = Bench::new();
    let startup = StartupState::default();
    let (_, runs) = play(&bench, "*/2 * * * * *", startup, vec![(0, ok()); 300]).await;
    let began: Vec<u64> = runs.iter().map(|run| run.0).collect();
    let even: Vec<u64> = (1..=300).map(|tick| tick * 2).collect();
    assert_eq!(began, even);
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_finds_the_lease_taken_is_skipped() {
    let bench = Bench::new();
    let startup = StartupState::default();
    let busy = Outcome::Busy { holder: "host-a".to_owned() };
    let (_, runs) = play(&bench, "0 0 * * * *", startup, vec![(0, busy), (0, ok())]).await;
    assert_eq!(runs, [(1800, "schedule"), (5400, "schedule")]);
}

#[tokio::test(start_paused = true)]
async fn the_run_at_start_waits_for_the_lease_to_end_and_a_stop_ends_the_wait() {
    let busy = || Outcome::Busy { holder: "host-a".to_owned() };
    let bench = Bench::new();
    let script = vec![(0, busy()), (0, busy()), (0, ok())];
    let (_, runs) = play(&bench, "0 0 * * * *", hourly(), script).await;
    assert_eq!(runs, [(0, "start"), (3, "start"), (6, "start")]);

    let bench = Bench::new();
    let stop = bench.signals.stop.clone();
    let daemon_loop = bench.daemon("0 0 * * * *").await.serve(hourly(), async |_| busy());
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(4500)).await;
        stop.cancel();
    };
    let (exit, ()) = tokio::join!(daemon_loop, stopping);
    assert_eq!((exit, bench.began.elapsed().as_millis()), (Exit::Done, 4500));
}

#[tokio::test(start_paused = true)]
async fn failures_do_not_end_the_daemon_but_mistakes_of_the_installation_do() {
    let bench = Bench::new();
    let script = vec![(0, failed(None)), (0, ok()), (0, failed(Some(Exit::Config)))];
    let (exit, runs) = play(&bench, "0 0 * * * *", hourly(), script).await;
    assert_eq!((exit, runs.len()), (Exit::Config, 3));
    assert_eq!(
        bench.last_status(),
        r#"Status("last run 13:00:00 failed: the API cannot be reached; last complete 2026-01-01 12:00:00; next 14:00 UTC")"#
    );
    for (exit, ends) in [
        (Exit::Usage, true),
        (Exit::Config, true),
        (Exit::Write, true),
        (Exit::Refused, true),
        (Exit::Retry, false),
        (Exit::Unavailable, false),
        (Exit::Data, false),
    ] {
        assert_eq!(ends_startup(exit), ends);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_before_the_time_the_api_named_but_a_day_is_the_limit() {
    for (wait, next) in [(2 * 3600, 9000), (30 * 86_400, 86_400)] {
        let bench = Bench::new();
        let throttled = Outcome::Failed {
            summary: "too many requests".to_owned(),
            end: None,
            not_before: Some((Instant::now() + Duration::from_secs(wait)).into_std()),
        };
        let played = play(&bench, "0 0 * * * *", hourly(), vec![(0, throttled), (0, ok())]);
        let time_flies = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            tokio::time::advance(Duration::from_secs(next - 3600)).await;
        };
        let ((_, runs), ()) = tokio::join!(played, time_flies);
        let later = runs[1].0;
        assert!(later >= next && later < next + 3600, "{later}");
    }
}

#[tokio::test(start_paused = true)]
async fn sighup_runs_now_and_a_stop_ends_an_idle_daemon_within_a_second() {
    let bench = Bench::new();
    let signals = bench.signals.clone();
    let mut runs = Vec::new();
    let daemon_loop = bench.daemon("0 0 * * * *").await.serve(StartupState::default(), async |trigger| {
        runs.push((bench.seconds(), trigger.as_str()));
        ok()
    });
    let outside = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        signals.run_now.notify_one();
        tokio::time::sleep(Duration::from_secs(10)).await;
        signals.stop.cancel();
    };
    let (exit, ()) = tokio::join!(daemon_loop, outside);
    assert_eq!(exit, Exit::Done);
    assert_eq!(bench.began.elapsed(), Duration::from_secs(20));
    assert_eq!(runs, [(10, "signal")]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_by_years_does_not_silence_the_daemon() {
    let bench = Bench::new();
    let shift = Arc::clone(&bench.shift);
    let stop = bench.signals.stop.clone();
    let mut runs = Vec::new();
    let daemon_loop = bench.daemon("0 0 * * * *").await.serve(StartupState::default(), async |_| {
        runs.push(bench.seconds());
        if runs.len() == 2 {
            stop.cancel();
        }
        ok()
    });
    let outside = async {
        tokio::time::sleep(Duration::from_secs(1900)).await;
        *shift.lock().unwrap() = TimeDelta::days(-3650);
    };
    tokio::join!(daemon_loop, outside);
    assert_eq!(runs, [1800, 5400]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_by_an_hour_delays_the_next_run_by_seconds() {
    let bench = Bench::new();
    let shift = Arc::clone(&bench.shift);
    let stop = bench.signals.stop.clone();
    let mut runs = Vec::new();
    let daemon_loop = bench.daemon("*/5 * * * * *").await.serve(StartupState::default(), async |_| {
        runs.push(bench.seconds());
        if runs.len() == 4 {
            stop.cancel();
        }
        ok()
    });
    let outside = async {
        tokio::time::sleep(Duration::from_secs(11)).await;
        *shift.lock().unwrap() = TimeDelta::hours(-1);
    };
    tokio::join!(daemon_loop, outside);
    assert_eq!(runs, [5, 10, 15, 20]);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_five_seconds_that_is_due_every_two_runs_one_at_a_time() {
    let bench = Bench::new();
    let running = std::cell::Cell::new(false);
    let mut runs = Vec::new();
    let daemon = bench.daemon("*/2 * * * * *").await;
    let exit = daemon.serve(StartupState::default(), async |_| {
        assert!(!running.replace(true));
        runs.push(bench.seconds());
        tokio::time::sleep(Duration::from_secs(5)).await;
        running.set(false);
        if runs.len() == 4 {
            bench.signals.stop.cancel();
        }
        ok()
    });
    assert_eq!(exit.await, Exit::Done);
    assert_eq!(runs, [2, 8, 14, 20]);
}

/// When runs begin in Copenhagen from this instant on, as the daemon makes them, and when it would make the next one.
async fn runs_in_copenhagen(cron: &str, from: &str, count: usize) -> Vec<String> {
    let bench = Bench { start: from.parse().unwrap(), zone: "Europe/Copenhagen", ..Bench::new() };
    let stop = bench.signals.stop.clone();
    let mut times = Vec::new();
    let daemon = bench.daemon(cron).await;
    let mut next = daemon.next_run.subscribe();
    let exit = daemon.serve(StartupState::default(), async |_| {
        times.push(bench.start + Duration::from_secs(bench.seconds()));
        if times.len() == count {
            stop.cancel();
        }
        ok()
    });
    assert_eq!(exit.await, Exit::Done);
    times.push(next.borrow_and_update().unwrap().to_utc());
    times.iter().map(|time| time.format("%d %H:%M").to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_nights_in_which_clocks_change_shift_no_run_and_lose_none() {
    // 02:00 to 03:00 does not come on 2026-03-29 and comes twice on 2026-10-25.
    let (spring, autumn) = ("2026-03-29T00:10:00Z", "2026-10-25T00:10:00Z");
    for (cron, from, expected) in [
        ("0 0 * * * *", spring, &["29 01:00", "29 02:00", "29 03:00"][..]),
        ("0 0 * * * *", autumn, &["25 01:00", "25 02:00", "25 03:00"]),
        // The local hour stays although its distance to UTC changes while the daemon runs.
        ("0 0 3 * * *", spring, &["29 01:00", "30 01:00"]),
        ("0 30 2 * * *", spring, &["29 01:00", "30 00:30"]),
        ("0 30 2 * * *", autumn, &["25 00:30", "26 01:30"]),
    ] {
        assert_eq!(runs_in_copenhagen(cron, from, expected.len() - 1).await, expected, "{cron} {from}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_down_at_start_is_reported_and_is_no_failure() {
    let bench = Bench::new();
    let startup =
        StartupState { database_down: Some("connection refused".to_owned()), ..StartupState::default() };
    let (exit, _) = play(&bench, "0 0 * * * *", startup, vec![(0, ok())]).await;
    assert_eq!(exit, Exit::Done);
    assert_eq!(
        bench.notified.borrow()[1],
        r#"Status("database unreachable: connection refused; next 12:00 UTC")"#
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_loop_feeds_the_watchdog_and_a_stuck_run_does_not() {
    let pings = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&pings);
    let bench = Bench::new();
    let daemon = Daemon {
        watchdog: Watchdog::new(Some(Duration::from_secs(40)), move || {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }),
        ..bench.daemon("0 0 * * * *").await
    };
    let stuck = daemon.serve(StartupState::default(), async |_| std::future::pending().await);
    let ended = tokio::time::timeout(Duration::from_hours(2), stuck).await;
    assert!(ended.is_err());
    let pings = pings.load(std::sync::atomic::Ordering::Relaxed);
    assert!((160..=181).contains(&pings), "{pings} in the idle 1,800 s");
}
