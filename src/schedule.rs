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
#[path = "schedule_tests.rs"]
mod tests;
