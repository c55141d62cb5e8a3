//! The time zone of times that people read: `schedule.timezone`. Tables, `--json` and metrics stay UTC. Imports nothing of ours.

use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use jiff::tz::TimeZone;

static CURRENT: OnceLock<TimeZone> = OnceLock::new();

/// UTC before this is called.
pub fn set_current(zone: TimeZone) {
    let _ = CURRENT.set(zone);
}

/// `2026-11-21 13:00:04 +01:00`, and `2026-11-21 12:00:04 UTC` where that is the zone.
pub fn format_time(at: DateTime<Utc>) -> String {
    format_time_as(at, "%Y-%m-%d %H:%M:%S")
}

/// In a form of its own, with the offset behind it.
pub fn format_time_as(at: DateTime<Utc>, form: &str) -> String {
    format_with_offset(&current(), at, form)
}

/// In a form of its own, for where the offset is known already.
pub fn format_bare_time(at: DateTime<Utc>, form: &str) -> String {
    format_in(&current(), at, form)
}

/// For a page or a table with many times: `UTC`, or `Europe/Copenhagen`.
pub fn name() -> String {
    current().iana_name().unwrap_or("UTC").to_owned()
}

fn current() -> TimeZone {
    CURRENT.get().cloned().unwrap_or(TimeZone::UTC)
}

fn format_with_offset(zone: &TimeZone, at: DateTime<Utc>, form: &str) -> String {
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
    fn times_are_shown_in_the_zone_with_its_offset_of_that_day() {
        let copenhagen = TimeZone::get("Europe/Copenhagen").unwrap();
        let format =
            |zone: &TimeZone, at: &str| format_with_offset(zone, at.parse().unwrap(), "%Y-%m-%d %H:%M:%S");
        assert_eq!(format(&copenhagen, "2026-11-21T12:00:04.9Z"), "2026-11-21 13:00:04 +01:00");
        assert_eq!(format(&copenhagen, "2026-06-30T22:30:00Z"), "2026-07-01 00:30:00 +02:00");
        assert_eq!(format(&TimeZone::UTC, "2026-11-21T12:00:04Z"), "2026-11-21 12:00:04 UTC");
    }
}
