//! The time zone in which people are told times: `schedule.timezone`. Tables, `--json` and metrics stay UTC. Imports nothing of ours.

use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use jiff::tz::TimeZone;

static CURRENT: OnceLock<TimeZone> = OnceLock::new();

/// To be called once, when the configuration is known; UTC before.
pub fn set_current(zone: TimeZone) {
    let _ = CURRENT.set(zone);
}

/// `2026-11-21 13:00:04 +01:00`, and `2026-11-21 12:00:04 UTC` where that is the zone.
pub fn tell(at: DateTime<Utc>) -> String {
    tell_in(&current(), at, "%Y-%m-%d %H:%M:%S")
}

/// In a form of its own, with the offset behind it.
pub fn tell_as(at: DateTime<Utc>, form: &str) -> String {
    tell_in(&current(), at, form)
}

/// In a form of its own, for where the offset is known already.
pub fn tell_bare(at: DateTime<Utc>, form: &str) -> String {
    format_in(&current(), at, form)
}

/// The words for a page or a table with many times: `UTC`, or `Europe/Copenhagen`.
pub fn name() -> String {
    current().iana_name().unwrap_or("UTC").to_owned()
}

fn current() -> TimeZone {
    CURRENT.get().cloned().unwrap_or(TimeZone::UTC)
}

fn tell_in(zone: &TimeZone, at: DateTime<Utc>, form: &str) -> String {
    let offset = if zone.iana_name().is_none_or(|name| name == "UTC") { "UTC" } else { "%:z" };
    format_in(zone, at, &format!("{form} {offset}"))
}

fn format_in(zone: &TimeZone, at: DateTime<Utc>, form: &str) -> String {
    match Timestamp::from_millisecond(at.timestamp_millis()) {
        Ok(instant) => instant.to_zoned(zone.clone()).strftime(form).to_string(),
        // Outside the years that have a calendar.
        Err(_) => at.to_rfc3339(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_zone_with_its_offset_of_that_day() {
        let copenhagen = TimeZone::get("Europe/Copenhagen").unwrap();
        let tell = |zone: &TimeZone, at: &str| tell_in(zone, at.parse().unwrap(), "%Y-%m-%d %H:%M:%S");
        assert_eq!(tell(&copenhagen, "2026-11-21T12:00:04.9Z"), "2026-11-21 13:00:04 +01:00");
        assert_eq!(tell(&copenhagen, "2026-06-30T22:30:00Z"), "2026-07-01 00:30:00 +02:00");
        assert_eq!(tell(&TimeZone::UTC, "2026-11-21T12:00:04Z"), "2026-11-21 12:00:04 UTC");
    }
}
