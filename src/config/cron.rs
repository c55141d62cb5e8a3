//! `schedule.cron` and `schedule.timezone`: what other crons write is told what it lacks here.

use jiff::tz::TimeZone;

use super::rule::{Complaint, Rule, accept, quoted, text};
use crate::schedule::{CronSchedule, ScheduleError};

const FIELDS: &str = "six fields like \"0 0 * * * *\": second minute hour day month weekday";

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 0 * * * *"),
    ("@daily", "0 0 0 * * *"),
    ("@midnight", "0 0 0 * * *"),
    ("@weekly", "0 0 0 * * SUN"),
    ("@monthly", "0 0 0 1 * *"),
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
];

/// The line as it will run, so far in UTC: the zone is another key's.
pub(super) const fn cron() -> Rule<CronSchedule> {
    text(FIELDS, |input| {
        let text = input.text()?;
        let parse = |line: &str| CronSchedule::parse(line, TimeZone::UTC, input.context.now);
        let times = parse(text).map_err(|error| {
            let nickname = NICKNAMES.iter().find(|(name, _)| text.trim().eq_ignore_ascii_case(name));
            if let Some((name, line)) = nickname {
                return Complaint::new(format!("nicknames like {name} are not understood"))
                    .allowed(format!("\"{line}\" says the same"));
            }
            let complaint = Complaint::new(error.to_string());
            // Most other crons have no seconds.
            let with_second = format!("0 {}", text.trim());
            match error {
                ScheduleError::Never => complaint.allowed("expected a day that exists"),
                ScheduleError::Fields(5) if parse(&with_second).is_ok() => {
                    complaint.allowed(format!("expected {FIELDS}; \"{with_second}\" adds the second"))
                }
                ScheduleError::Fields(_) | ScheduleError::Field => complaint,
            }
        })?;
        accept(times, quoted(text))
    })
}

pub(super) const fn timezone() -> Rule<TimeZone> {
    text("an IANA name like \"UTC\" or \"Europe/Copenhagen\"", |input| {
        let zone = TimeZone::get(input.text()?).ok().filter(|zone| !zone.is_unknown());
        let named = zone.and_then(|zone| {
            let name = quoted(zone.iana_name()?);
            Some((zone, name))
        });
        let (zone, name) = named.ok_or_else(|| Complaint::new("it is not a time zone"))?;
        accept(zone, name)
    })
}
