//! When runs are due: ticks of a cron line in a time zone, each shifted by this installation's own jitter.
//!
//! Owns time tables and nothing else: it does not know what a run is. Pure but for the clock, which is handed in.
//!
//! **Why croner and not tokio-cron-scheduler.** That crate turns the zone into a fixed offset when a job is made (its issues 87 and
//! 107), so that `0 0 3 * * *` in Europe/Copenhagen runs at 02:00 or 04:00 from the night the clocks change to the next restart; it
//! compares the wall clock with a stored next tick only, so that a clock set back silences it for as long as it was set back; and it
//! starts a job while the last one still runs. croner, which does its arithmetic anyway, is asked directly, with the real zone.
//!
//! Ticks are never queued: the one loop that runs also looks at the time, so a second run beside the first cannot be started.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};
use sha2::{Digest as _, Sha256};

/// Ticks looked at to find the interval.
const TICKS_OF_INTERVAL: usize = 400;
/// Missed ticks are counted up to here: a clock that jumped by years must not keep the loop counting.
const MISSED_AT_MOST: u64 = 10_000;
/// The wall clock is looked at this often, so that a clock that was set, or a machine that slept, is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a schedule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not six fields, or a field that means nothing.
    #[error("\"{cron}\" is no schedule: {reason}")]
    Unreadable {
        /// As configured.
        cron: String,
        /// What is wrong with it, and the cure where it is known.
        reason: String,
    },
    /// Readable, but such a moment never comes (30 February).
    #[error("\"{cron}\" is a moment that never comes")]
    Never {
        /// As configured.
        cron: String,
    },
}

/// A cron line (second minute hour day month weekday) in a time zone.
///
/// In the nights when clocks change, a line with fixed hour and minute runs once on each date (in the hour that is skipped: right after it;
/// in the hour that comes twice: the first time), any other line runs in every real hour.
#[derive(Clone)]
pub struct Schedule {
    cron: croner::Cron,
    zone: Tz,
}

impl Schedule {
    /// Reads a cron line.
    ///
    /// # Errors
    /// When it has not six fields, when a field means nothing, and when no tick ever comes after `now`.
    pub fn parse(cron: &str, zone: Tz, now: DateTime<Utc>) -> Result<Self, ScheduleError> {
        let unreadable = |reason: String| ScheduleError::Unreadable {
            cron: cron.to_owned(),
            reason,
        };
        let fields = cron.split_whitespace().count();
        if fields == 5 {
            return Err(unreadable(format!(
                "five fields; the first of six is the second: \"0 {}\"",
                cron.trim()
            )));
        }
        if fields != 6 && !cron.trim_start().starts_with('@') {
            return Err(unreadable(
                "six fields are needed: second minute hour day month weekday".to_owned(),
            ));
        }
        let parsed = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .build()
            .parse(cron)
            .map_err(|error| unreadable(error.to_string()))?;
        let schedule = Self { cron: parsed, zone };
        match schedule.next_after(now) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never {
                cron: cron.to_owned(),
            }),
        }
    }

    /// The first tick after this instant, itself excluded; none where the calendar ends.
    #[must_use]
    pub fn next_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // croner keeps the fraction of a second of its start, which would make 12:00:00.5 a tick.
        let whole = at.duration_trunc(TimeDelta::seconds(1)).ok()?;
        self.cron
            .find_next_occurrence(&whole.with_timezone(&self.zone), false)
            .ok()
            .map(|tick| tick.with_timezone(&Utc))
    }

    /// The longest gap between the next 400 ticks: what "the interval" means for a schedule that is not even.
    #[must_use]
    pub fn interval(&self, from: DateTime<Utc>) -> Duration {
        let mut longest = TimeDelta::zero();
        let mut tick = self.next_after(from);
        for _ in 1..TICKS_OF_INTERVAL {
            let Some(earlier) = tick else { break };
            tick = self.next_after(earlier);
            longest = tick.map_or(longest, |later| longest.max(later - earlier));
        }
        longest.to_std().unwrap_or_default()
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({} {})", self.cron.as_str(), self.zone)
    }
}

/// The delay of this installation: the same at every tick, spread evenly over installations.
///
/// `seed` names host and database; `configured` is cut to a tenth of the interval. The result is in [0, that).
#[must_use]
pub fn jitter(seed: &[u8], configured: Duration, interval: Duration) -> Duration {
    let most = configured.min(interval / 10).as_millis();
    let digest = Sha256::digest(seed);
    let place = digest
        .iter()
        .take(8)
        .fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
    Duration::from_millis(u64::try_from((most * place) >> 64).unwrap_or(0))
}

/// The wall clock, as an argument.
pub type Clock = Box<dyn Fn() -> DateTime<Utc>>;

/// The ticks of one process: which is next, which were missed.
///
/// Right whatever the wall clock does: set forward, the ticks jumped over count as missed and one is due at once; set back by less than
/// the gap that was being waited for, nothing runs twice; set back further, the table is made anew from the time it is now.
pub struct Ticks {
    schedule: Schedule,
    jitter: TimeDelta,
    clock: Clock,
    armed_at: DateTime<Utc>,
    next: DateTime<Utc>,
}

impl Ticks {
    /// Ticks from now on.
    #[must_use]
    pub fn new(schedule: Schedule, jitter: Duration, clock: Clock) -> Self {
        let now = clock();
        let mut ticks = Self {
            schedule,
            jitter: TimeDelta::from_std(jitter).unwrap_or_default(),
            clock,
            armed_at: now,
            next: now,
        };
        ticks.arm(now);
        ticks
    }

    /// When the next run is due, jitter included.
    #[must_use]
    pub fn next(&self) -> DateTime<Utc> {
        self.next
    }

    /// The wall clock these ticks go by.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// How long to sleep before [`Ticks::due`] is worth asking again.
    #[must_use]
    pub fn nap(&self) -> Duration {
        (self.next - self.now())
            .to_std()
            .unwrap_or_default()
            .clamp(Duration::from_millis(1), LOOK_EVERY)
    }

    /// Whether a tick has come, and how many came before it unnoticed. Each tick is told once.
    pub fn due(&mut self) -> Option<u64> {
        let now = self.now();
        if now >= self.next {
            return Some(self.pass(now).saturating_sub(1));
        }
        if self.armed_at - now >= self.next - self.armed_at {
            self.arm(now);
        }
        None
    }

    /// Lets go of the ticks that came while nobody could take them, and says how many they were.
    pub fn skip_missed(&mut self) -> u64 {
        let now = self.now();
        if now >= self.next { self.pass(now) } else { 0 }
    }

    fn pass(&mut self, now: DateTime<Utc>) -> u64 {
        let mut passed = 0;
        while self.next <= now && passed < MISSED_AT_MOST {
            passed += 1;
            self.next = self.following(self.next);
        }
        self.arm(now);
        passed
    }

    fn arm(&mut self, now: DateTime<Utc>) {
        self.armed_at = now;
        self.next = self.following(now);
    }

    fn following(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        at.checked_sub_signed(self.jitter)
            .and_then(|at| self.schedule.next_after(at))
            .and_then(|tick| tick.checked_add_signed(self.jitter))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn schedule(cron: &str, zone: &str) -> Schedule {
        Schedule::parse(cron, zone.parse().unwrap(), at("2026-01-01T00:00:00Z")).unwrap()
    }

    fn ticks_between(schedule: &Schedule, from: &str, to: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut tick = schedule.next_after(at(from));
        while let Some(now) = tick.filter(|now| *now < at(to)) {
            found.push(now.format("%d %H:%M:%S").to_string());
            tick = schedule.next_after(now);
        }
        found
    }

    fn every_hour_between(from: &str, to: &str) -> Vec<String> {
        let mut hour = at(from) + TimeDelta::hours(1);
        let mut hours = Vec::new();
        while hour < at(to) {
            hours.push(hour.format("%d %H:%M:%S").to_string());
            hour += TimeDelta::hours(1);
        }
        hours
    }

    #[test]
    fn an_hourly_schedule_has_one_tick_a_real_hour_over_both_nights_of_copenhagen() {
        for line in ["0 0 * * * *", "0 0 */1 * * *", "0 0 0-23 * * *"] {
            let hourly = schedule(line, "Europe/Copenhagen");
            for (from, to) in [
                ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"),
                ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"),
            ] {
                assert_eq!(
                    ticks_between(&hourly, from, to),
                    every_hour_between(from, to),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn every_zone_with_whole_hours_has_one_tick_a_real_hour_for_a_year() {
        for zone in [
            "America/New_York",
            "Australia/Sydney",
            "Europe/London",
            "UTC",
        ] {
            let hourly = schedule("0 0 * * * *", zone);
            let (from, to) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
            assert_eq!(
                ticks_between(&hourly, from, to),
                every_hour_between(from, to),
                "{zone}"
            );
        }
    }

    #[test]
    fn a_daily_schedule_keeps_its_local_hour_over_both_nights() {
        let daily = schedule("0 0 3 * * *", "Europe/Copenhagen");
        assert_eq!(
            ticks_between(&daily, "2026-03-27T12:00:00Z", "2026-03-31T00:00:00Z"),
            ["28 02:00:00", "29 01:00:00", "30 01:00:00"]
        );
        assert_eq!(
            ticks_between(&daily, "2026-10-23T12:00:00Z", "2026-10-27T00:00:00Z"),
            ["24 01:00:00", "25 02:00:00", "26 02:00:00"]
        );
    }

    #[test]
    fn a_daily_tick_in_the_hour_that_is_skipped_or_comes_twice_comes_once() {
        let daily = schedule("0 30 2 * * *", "Europe/Copenhagen");
        assert_eq!(
            ticks_between(&daily, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z").len(),
            2
        );
        assert_eq!(
            ticks_between(&daily, "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z").len(),
            2
        );
    }

    #[test]
    fn a_fraction_of_a_second_does_not_shift_the_ticks() {
        let often = schedule("*/2 * * * * *", "UTC");
        assert_eq!(
            often.next_after(at("2026-01-01T00:00:00.500Z")),
            Some(at("2026-01-01T00:00:02Z"))
        );
        assert_eq!(
            often.next_after(at("2026-01-01T00:00:01.999Z")),
            Some(at("2026-01-01T00:00:02Z"))
        );
    }

    #[test]
    fn the_interval_is_the_longest_gap() {
        let from = at("2026-01-05T00:00:00Z");
        for (line, seconds) in [
            ("0 0 * * * *", 3600),
            ("*/2 * * * * *", 2),
            ("0 0 9,17 * * *", 16 * 3600),
            ("0 0 9 * * MON-FRI", 3 * 86_400),
        ] {
            assert_eq!(
                schedule(line, "UTC").interval(from).as_secs(),
                seconds,
                "{line}"
            );
        }
    }

    #[test]
    fn lines_that_are_no_schedule_are_refused_with_the_cure() {
        let parse = |line: &str| {
            Schedule::parse(line, Tz::UTC, at("2026-01-01T00:00:00Z"))
                .unwrap_err()
                .to_string()
        };
        assert!(parse("0 * * * *").contains("\"0 0 * * * *\""));
        assert!(parse("").contains("second minute hour day month weekday"));
        assert!(parse("61 * * * * *").contains("no schedule"));
        assert!(parse("0 0 0 30 2 *").contains("never comes"));
    }

    #[test]
    fn jitter_is_fixed_below_its_limit_and_differs_between_hosts() {
        let (most, hour) = (Duration::from_secs(300), Duration::from_secs(3600));
        assert_eq!(jitter(b"a", most, hour), jitter(b"a", most, hour));
        assert_eq!(jitter(b"a", Duration::ZERO, hour), Duration::ZERO);
        let mut halves = [0, 0];
        for host in 0..1000_u32 {
            let delay = jitter(&host.to_be_bytes(), most, hour);
            assert!(delay < most);
            assert!(jitter(&host.to_be_bytes(), most, Duration::from_secs(2)).as_millis() < 200);
            halves[usize::from(delay >= most / 2)] += 1;
        }
        assert!(halves.iter().all(|half| *half > 400), "{halves:?}");
    }

    fn clocked(line: &str, start: &str, jitter: Duration) -> (Ticks, Rc<Cell<DateTime<Utc>>>) {
        let time = Rc::new(Cell::new(at(start)));
        let clock = Rc::clone(&time);
        let ticks = Ticks::new(schedule(line, "UTC"), jitter, Box::new(move || clock.get()));
        (ticks, time)
    }

    #[test]
    fn each_tick_is_told_once_and_shifted_by_the_jitter() {
        let (mut ticks, time) = clocked(
            "0 0 * * * *",
            "2026-01-01T11:30:00Z",
            Duration::from_secs(90),
        );
        assert_eq!(ticks.next(), at("2026-01-01T12:01:30Z"));
        time.set(at("2026-01-01T12:01:29.999Z"));
        assert_eq!(ticks.due(), None);
        assert_eq!(ticks.nap(), Duration::from_millis(1));
        time.set(at("2026-01-01T12:01:30.001Z"));
        assert_eq!(ticks.due(), Some(0));
        assert_eq!(ticks.due(), None);
        assert_eq!(ticks.next(), at("2026-01-01T13:01:30Z"));
    }

    #[test]
    fn ticks_during_a_run_are_skipped_and_counted() {
        let (mut ticks, time) = clocked("*/2 * * * * *", "2026-01-01T00:00:01Z", Duration::ZERO);
        time.set(at("2026-01-01T00:00:02Z"));
        assert_eq!(ticks.due(), Some(0));
        time.set(at("2026-01-01T00:00:09Z"));
        assert_eq!(ticks.skip_missed(), 3);
        assert_eq!(ticks.skip_missed(), 0);
        assert_eq!(ticks.next(), at("2026-01-01T00:00:10Z"));
    }

    #[test]
    fn a_machine_that_slept_runs_once_when_it_wakes() {
        let (mut ticks, time) = clocked("0 0 * * * *", "2026-01-01T11:30:00Z", Duration::ZERO);
        time.set(at("2026-01-02T11:30:00Z"));
        assert_eq!(ticks.due(), Some(23));
        assert_eq!(ticks.due(), None);
        time.set(at("2126-01-02T11:30:00Z"));
        assert_eq!(ticks.due(), Some(MISSED_AT_MOST - 1));
        assert_eq!(ticks.next(), at("2126-01-02T12:00:00Z"));
    }

    #[test]
    fn a_clock_set_back_neither_repeats_a_tick_nor_silences_the_schedule() {
        let (mut ticks, time) = clocked("0 0 * * * *", "2026-01-01T11:59:00Z", Duration::ZERO);
        time.set(at("2026-01-01T12:00:00Z"));
        assert_eq!(ticks.due(), Some(0));
        time.set(at("2026-01-01T11:59:58Z"));
        assert_eq!(ticks.due(), None);
        time.set(at("2026-01-01T12:00:01Z"));
        assert_eq!(ticks.due(), None, "12:00 has been told");
        time.set(at("2020-01-01T00:10:00Z"));
        assert_eq!(ticks.due(), None);
        assert_eq!(ticks.next(), at("2020-01-01T01:00:00Z"));
    }
}
