//! The schedule's ticks: six fields, read by the parser that the scheduler itself uses.
//!
//! Pure: the moment to count from is an argument. Ticks are found in the zone's own wall time, with the rules people
//! expect of a night when clocks change: a job at a fixed time runs once, even if its minute is skipped or comes twice; a
//! job of every so often runs in each hour that really passes.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

use super::Schedule;

/// How many ticks ahead the interval looks (the contract's number).
const TICKS_AHEAD: usize = 400;

/// No clock change skips or repeats more minutes than this (a zone that crosses the date line).
const LONGEST_CHANGE_MINUTES: i64 = 26 * 60;

/// Why a schedule was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not six fields.
    #[error("it has {0} fields")]
    Fields(usize),
    /// A field cannot be read.
    #[error("it has a field that cannot be understood")]
    Field,
    /// Every field is right, yet no such moment exists.
    #[error("it would never fire: no such moment ever comes")]
    Never,
}

/// A schedule: second, minute, hour, day, month, weekday.
pub struct Cron {
    pattern: croner::Cron,
    /// Second, minute and hour are each one number.
    fixed: bool,
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cron")
            .field("fixed", &self.fixed)
            .finish_non_exhaustive()
    }
}

impl Cron {
    /// Reads a schedule of exactly six fields that fires at least once.
    ///
    /// # Errors
    /// When it has another number of fields, one of them makes no sense, or it names a day that never comes.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != 6 {
            return Err(CronError::Fields(fields.len()));
        }
        // The parser takes an empty part of a list (`1,,2`) for nothing at all, and nicknames (`@daily`) anywhere.
        let odd = |field: &&str| field.contains('@') || field.split(',').any(str::is_empty);
        if !text.is_ascii() || fields.iter().any(odd) {
            return Err(CronError::Field);
        }
        let pattern = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .build()
            .parse(text)
            .map_err(|_| CronError::Field)?;
        let fixed = fields[..3]
            .iter()
            .all(|field| field.bytes().all(|byte| byte.is_ascii_digit()));
        let cron = Self { pattern, fixed };
        // Any start serves: what fires at all fires again within the 400 years of the calendar's cycle.
        cron.next_local(DateTime::UNIX_EPOCH.naive_utc(), true)
            .ok_or(CronError::Never)?;
        Ok(cron)
    }

    /// The first tick after a moment; `None` only at the end of the calendar.
    #[must_use]
    pub fn next_after(&self, at: DateTime<Tz>) -> Option<DateTime<Tz>> {
        let at = at - TimeDelta::nanoseconds(at.timestamp_subsec_nanos().into());
        let zone = at.timezone();
        let mut local = at.naive_local();
        loop {
            local = self.next_local(local, false)?;
            match zone.from_local_datetime(&local) {
                LocalResult::Single(tick) => {
                    return Some(self.in_repeated_hour(at).unwrap_or(tick));
                }
                LocalResult::Ambiguous(first, _) if first > at => return Some(first),
                LocalResult::Ambiguous(_, second) if !self.fixed && second > at => {
                    return Some(second);
                }
                LocalResult::None if self.fixed => return end_of_gap(local, zone),
                LocalResult::Ambiguous(..) | LocalResult::None => {}
            }
        }
    }

    /// The longest gap between the next 400 ticks.
    #[must_use]
    pub fn interval(&self, from: DateTime<Utc>, zone: Tz) -> Duration {
        let mut tick = self.next_after(from.with_timezone(&zone));
        let mut longest = TimeDelta::seconds(1);
        for _ in 1..TICKS_AHEAD {
            let next = tick.and_then(|tick| self.next_after(tick));
            if let (Some(tick), Some(next)) = (tick, next) {
                longest = longest.max(next - tick);
            }
            tick = next;
        }
        longest.to_std().unwrap_or(Duration::from_secs(1))
    }

    /// The next match of wall time, blind to zones.
    fn next_local(&self, after: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        let next = self
            .pattern
            .find_next_occurrence(&after.and_utc(), inclusive);
        next.ok().map(|next| next.naive_utc())
    }

    /// Where `at` stands in an hour that will come again: the first tick of its second coming.
    fn in_repeated_hour(&self, at: DateTime<Tz>) -> Option<DateTime<Tz>> {
        let zone = at.timezone();
        match zone.from_local_datetime(&at.naive_local()) {
            LocalResult::Ambiguous(first, _) if first == at && !self.fixed => {}
            _ => return None,
        }
        let minute = at - TimeDelta::seconds(at.second().into());
        let changed = (1..=LONGEST_CHANGE_MINUTES)
            .map(|minutes| minute + TimeDelta::minutes(minutes))
            .find(|later| later.naive_local() <= at.naive_local())?;
        let local = self.next_local(changed.naive_local(), true)?;
        match zone.from_local_datetime(&local) {
            LocalResult::Ambiguous(_, second) => Some(second),
            _ => None,
        }
    }
}

impl Schedule {
    /// The schedule's ticks, of a validated configuration.
    ///
    /// # Errors
    /// Never for one that [`super::load`] gave.
    pub fn ticks(&self) -> Result<Cron, CronError> {
        Cron::parse(&self.cron)
    }

    /// The longest gap between the next 400 ticks.
    #[must_use]
    pub fn interval(&self, from: DateTime<Utc>) -> Duration {
        let ticks = self.ticks().ok();
        ticks.map_or(Duration::from_hours(1), |ticks| {
            ticks.interval(from, self.timezone)
        })
    }
}

/// The first moment after a gap in wall time (clocks change at whole minutes).
fn end_of_gap(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Tz>> {
    let minute = local.with_second(0)?;
    (1..=LONGEST_CHANGE_MINUTES).find_map(|minutes| {
        zone.from_local_datetime(&(minute + TimeDelta::minutes(minutes)))
            .earliest()
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn ticks(cron: &str, zone: Tz, from: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(cron).unwrap();
        let mut at = utc(from).with_timezone(&zone);
        (0..count)
            .map(|_| {
                at = cron.next_after(at).unwrap();
                at.with_timezone(&Utc).format("%dT%H:%M:%S").to_string()
            })
            .collect()
    }

    #[test]
    fn six_fields_are_read() {
        for text in [
            "0 0 * * * *",
            "*/15 * * * * *",
            "0 30 2 * * MON-FRI",
            "0 0 0 29 2 *",
            "0 0 4 L * *",
        ] {
            assert!(Cron::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, error) in [
            ("", CronError::Fields(0)),
            ("* * * * *", CronError::Fields(5)),
            ("0 0 * * * * *", CronError::Fields(7)),
            ("@hourly", CronError::Fields(1)),
            ("0 @hourly * * * *", CronError::Field),
            ("60 0 * * * *", CronError::Field),
            ("0 0 25 * * *", CronError::Field),
            ("0 0 , * * *", CronError::Field),
            ("0 */0 * * * *", CronError::Field),
            ("0 0 * * * funday", CronError::Field),
            ("0 0 ½ * * *", CronError::Field),
            ("0 0 0 30 2 *", CronError::Never),
            ("0 0 0 31 4,6 *", CronError::Never),
        ] {
            assert_eq!(Cron::parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn the_interval_is_the_longest_gap() {
        let from = utc("2026-01-15T10:20:30Z");
        for (cron, seconds) in [
            ("0 0 * * * *", 3_600),
            ("* * * * * *", 1),
            ("0 0 8-18 * * *", 14 * 3_600),
            ("0 0 3 * * *", 86_400),
            ("0 0 3 * * MON-FRI", 3 * 86_400),
            ("0 0 0 1 * *", 31 * 86_400),
            // 2096 to 2104: the century has no leap day.
            ("0 0 0 29 2 *", 2_921 * 86_400),
        ] {
            let interval = Cron::parse(cron).unwrap().interval(from, Tz::UTC);
            assert_eq!(interval, Duration::from_secs(seconds), "{cron}");
        }
    }

    #[test]
    fn a_fixed_time_runs_once_when_the_clock_goes_forward() {
        assert_eq!(
            ticks(
                "0 30 2 * * *",
                Tz::Europe__Copenhagen,
                "2026-03-28T00:00:00Z",
                3
            ),
            ["28T01:30:00", "29T01:00:00", "30T00:30:00"]
        );
    }

    #[test]
    fn a_fixed_time_runs_once_when_the_clock_goes_back() {
        assert_eq!(
            ticks(
                "0 30 2 * * *",
                Tz::Europe__Copenhagen,
                "2026-10-24T12:00:00Z",
                2
            ),
            ["25T00:30:00", "26T01:30:00"]
        );
    }

    #[test]
    fn an_hourly_job_runs_every_hour_through_both_nights() {
        for from in ["2026-03-28T22:30:00Z", "2026-10-24T22:30:00Z"] {
            let hourly = ticks("0 0 * * * *", Tz::Europe__Copenhagen, from, 5);
            let hours: Vec<&str> = hourly.iter().map(|tick| &tick[3..]).collect();
            assert_eq!(
                hours,
                ["23:00:00", "00:00:00", "01:00:00", "02:00:00", "03:00:00"]
            );
        }
        let half = ticks(
            "0 */30 * * * *",
            Tz::Europe__Copenhagen,
            "2026-10-24T23:45:00Z",
            4,
        );
        assert_eq!(
            half,
            ["25T00:00:00", "25T00:30:00", "25T01:00:00", "25T01:30:00"]
        );
    }

    #[test]
    fn a_tick_is_after_the_moment_even_by_a_fraction() {
        let cron = Cron::parse("0 0 * * * *").unwrap();
        let next = cron.next_after(utc("2026-01-01T10:59:59.500Z").with_timezone(&Tz::UTC));
        assert_eq!(next.unwrap(), utc("2026-01-01T11:00:00Z"));
        let next = cron.next_after(utc("2026-01-01T11:00:00.500Z").with_timezone(&Tz::UTC));
        assert_eq!(next.unwrap(), utc("2026-01-01T12:00:00Z"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_panics(text in "[0-9*/,#LW?+A-Z-]{1,5}( [0-9*/,#LW?+-]{1,4}){5}") {
            let _ = Cron::parse(&text);
        }

        #[test]
        fn ticks_go_forward(seconds in 0_i64..4_000_000_000, zone in 0..chrono_tz::TZ_VARIANTS.len(), fixed: bool) {
            let cron = Cron::parse(if fixed { "0 30 1 * * *" } else { "0 */20 * * * *" }).unwrap();
            let at = DateTime::from_timestamp(seconds, 0).unwrap().with_timezone(&chrono_tz::TZ_VARIANTS[zone]);
            let next = cron.next_after(at).unwrap();
            prop_assert!(next > at);
            let most = TimeDelta::hours(if fixed { 51 } else { 26 });
            prop_assert!(next - at <= most);
        }
    }
}
