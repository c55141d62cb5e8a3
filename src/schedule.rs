//! When runs are due: ticks of a cron line in a time zone, each shifted by this installation's own jitter.
//!
//! Owns time tables and nothing else: it does not know what a run is. Pure; the clock is handed in. The configuration is
//! read through it, so that what is accepted there is what runs.
//!
//! croner does the arithmetic, in the real zone; `scheduler.rs` says what drives the runs. Ticks are never queued: what comes while a
//! run is on is counted and skipped.

mod scheduler;

pub use scheduler::Scheduler;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

/// Ticks looked at to find the interval.
const INTERVAL_TICKS: usize = 400;
/// A line that names more times of day than this is taken for one of every so often.
const MAX_NAMED_TIMES: usize = 96;
/// Missed ticks are counted up to here: a clock that jumped by years must not keep the loop counting.
const MAX_MISSED: u64 = 10_000;

/// Why a cron line is not a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("it has {0} fields")]
    Fields(usize),
    #[error("it has a field that cannot be understood")]
    Field,
    /// Readable, but such a moment never comes (30 February).
    #[error("it would never fire: no such moment ever comes")]
    Never,
}

/// A cron line (second minute hour day month weekday) in a time zone.
///
/// In the nights when clocks change, a line that names its times of day one by one (`0 30 2 * * *`, `0 0,30 2,14 * * *`) runs once for each
/// of them on each date: a time in the hour that is skipped, right after it; one in the hour that comes twice, the first time. Any other
/// line, and one that names all 24 hours, runs in every real hour.
#[derive(Clone)]
pub struct CronSchedule {
    /// What runs is what any of them says; more than one only where several times of day are named.
    lines: Vec<croner::Cron>,
    zone: TimeZone,
}

impl CronSchedule {
    /// Fails unless the line has six fields, each of them means something, and a tick comes after `now`.
    pub fn parse(cron: &str, zone: TimeZone, now: DateTime<Utc>) -> Result<Self, ScheduleError> {
        let fields: Vec<&str> = cron.split_whitespace().collect();
        if fields.len() != 6 {
            return Err(ScheduleError::Fields(fields.len()));
        }
        // The parser takes an empty part of a list (`1,,2`) for nothing at all, and nicknames (`@daily`) anywhere.
        let odd = |field: &&str| field.contains('@') || field.split(',').any(str::is_empty);
        if !cron.is_ascii() || fields.iter().any(odd) {
            return Err(ScheduleError::Field);
        }
        let whole = line(cron)?;
        let lines = match named_times(&fields) {
            Some(times) => {
                let date = fields[3..].join(" ");
                let one = |time: String| line(&format!("{time} {date}"));
                times.into_iter().map(one).collect::<Result<_, _>>()?
            }
            None => vec![whole],
        };
        let schedule = Self { lines, zone };
        match schedule.next_after(now) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never),
        }
    }

    pub fn in_zone(self, zone: TimeZone) -> Self {
        Self { zone, ..self }
    }

    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first tick after this instant, itself excluded; none where the calendar ends.
    pub fn next_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // croner keeps the fraction of a second of its start, which would make 12:00:00.5 a tick.
        let whole = Timestamp::from_second(at.timestamp()).ok()?;
        let local = whole.to_zoned(self.zone.clone());
        let next = |line: &croner::Cron| {
            let tick = line.find_next_occurrence(&local, false).ok()?;
            Some(tick.timestamp().as_second())
        };
        let tick = self.lines.iter().filter_map(next).min()?;
        DateTime::from_timestamp(tick, 0)
    }

    /// The longest gap between the next 400 ticks: what "the interval" means for a schedule that is not even. At least a second.
    pub fn interval(&self, from: DateTime<Utc>) -> Duration {
        let mut longest = TimeDelta::seconds(1);
        let mut tick = self.next_after(from);
        for _ in 1..INTERVAL_TICKS {
            let Some(earlier) = tick else { break };
            tick = self.next_after(earlier);
            longest = tick.map_or(longest, |later| longest.max(later - earlier));
        }
        longest.to_std().unwrap_or_default()
    }
}

fn line(cron: &str) -> Result<croner::Cron, ScheduleError> {
    CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Disallowed)
        .build()
        .parse(cron)
        .map_err(|_| ScheduleError::Field)
}

/// Second, minute and hour of each time of day, where a line names several of them one by one. croner knows a fixed time by its three
/// single numbers only, and would skip `0 0,30 2 * * *` in one night and run it twice as often in the other.
fn named_times(fields: &[&str]) -> Option<Vec<String>> {
    let numbers = |field: &str| -> Option<Vec<u8>> {
        let mut numbers: Vec<u8> =
            field.split(',').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        numbers.sort_unstable();
        numbers.dedup();
        Some(numbers)
    };
    let (seconds, minutes) = (numbers(fields[0])?, numbers(fields[1])?);
    let hours = numbers(fields[2])?;
    let times = seconds.len() * minutes.len() * hours.len();
    if hours.len() == 24 || times > MAX_NAMED_TIMES {
        return None;
    }
    let times = hours.iter().flat_map(|hour| {
        let seconds = &seconds;
        minutes.iter().flat_map(move |minute| {
            let time = move |second| format!("{second} {minute} {hour}");
            seconds.iter().map(time)
        })
    });
    Some(times.collect())
}

impl fmt::Debug for CronSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.lines.iter().map(croner::Cron::as_str).collect();
        let zone = self.zone.iana_name().unwrap_or_default();
        write!(f, "CronSchedule({} {zone})", lines.join("; "))
    }
}

/// The delay of this installation: the same at every tick, spread evenly over installations.
///
/// `seed` names host and database; `configured` is cut to a tenth of the interval. The result is in [0, that).
pub fn jitter(seed: &[u8], configured: Duration, interval: Duration) -> Duration {
    let most = configured.min(interval / 10).as_millis();
    let digest = Sha256::digest(seed);
    let place = digest.iter().take(8).fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
    Duration::from_millis(u64::try_from((most * place) >> 64).unwrap_or(0))
}

/// The wall clock, as an argument.
pub type Clock = Box<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The ticks of one process: which is next, which were missed.
///
/// Right whatever the wall clock does: set forward, the ticks jumped over count as missed and one is due at once; set back by less than
/// the gap that was being waited for, nothing runs twice; set back further, the next tick is computed from the time it is now.
pub struct Ticks {
    schedule: CronSchedule,
    jitter: TimeDelta,
    clock: Clock,
    armed_at: DateTime<Utc>,
    next: DateTime<Utc>,
}

impl Ticks {
    pub fn new(schedule: CronSchedule, jitter: Duration, clock: Clock) -> Self {
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
    pub fn next(&self) -> DateTime<Utc> {
        self.next
    }

    pub fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// How many ticks have come since the last call: each is counted once.
    pub fn count_due(&mut self) -> u64 {
        let now = self.now();
        if now >= self.next {
            return self.skip_to(now);
        }
        if self.armed_at - now >= self.next - self.armed_at {
            self.arm(now);
        }
        0
    }

    fn skip_to(&mut self, now: DateTime<Utc>) -> u64 {
        let mut ticks = 0;
        while self.next <= now && ticks < MAX_MISSED {
            ticks += 1;
            self.next = self.tick_after(self.next);
        }
        self.arm(now);
        ticks
    }

    fn arm(&mut self, now: DateTime<Utc>) {
        self.armed_at = now;
        self.next = self.tick_after(now);
    }

    fn tick_after(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        at.checked_sub_signed(self.jitter)
            .and_then(|at| self.schedule.next_after(at))
            .and_then(|tick| tick.checked_add_signed(self.jitter))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
