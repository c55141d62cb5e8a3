//! What several keys decide together.

use std::time::Duration;

use super::credentials::SECRET;
use super::duration::{parse_duration, show_duration};
use super::keys::{Auth, Database, Retry, Schedule};
use super::problem::{Origin, show_path};
use super::reader::KeyReader;
use super::rule::quoted;
use crate::file::others_may_read;

pub(super) fn complete_auth(auth: Auth, reader: &mut KeyReader<'_>) -> Auth {
    let Some(Origin::SecretFile(path)) = reader.origin(SECRET) else { return auth };
    Auth { client_secret_file: Some(path), ..auth }
}

pub(super) fn check_delays(retry: Retry, reader: &mut KeyReader<'_>) -> Retry {
    if retry.max_delay < retry.base_delay {
        let is_max_set = reader.set_by_somebody("retry.max_delay").is_some();
        let key = if is_max_set { "retry.max_delay" } else { "retry.base_delay" };
        let (base, max) = (show_duration(retry.base_delay), show_duration(retry.max_delay));
        let what = format!("retry.max_delay ({max}) is less than retry.base_delay ({base})");
        reader.complain(key, what, "raise the one or lower the other");
    }
    retry
}

/// The schedule in its zone, and the defaults that follow from its interval.
pub(super) fn complete_schedule(schedule: Schedule, reader: &mut KeyReader<'_>) -> Schedule {
    let cron = schedule.cron.in_zone(schedule.timezone.clone());
    let interval = cron.interval(reader.context.now);
    let jitter = clamp_jitter(reader, schedule.jitter, interval);
    derive_health(reader, interval);
    Schedule { cron, jitter, interval, ..schedule }
}

/// Never more than a tenth of the interval: silently for the default, which knows nothing of the schedule.
fn clamp_jitter(reader: &mut KeyReader<'_>, jitter: Duration, interval: Duration) -> Duration {
    const KEY: &str = "schedule.jitter";
    let most = interval / 10;
    if jitter <= most {
        return jitter;
    }
    let origin = reader.origin(KEY);
    if let Some(origin) = &origin {
        reader.warnings.push(format!(
            "schedule.jitter (from {origin}): {} is more than a tenth of the interval, {} is used",
            show_duration(jitter),
            show_duration(most)
        ));
    }
    reader.record_entry(KEY, Some(quoted(&show_duration(most))), origin.unwrap_or(Origin::Default));
    most
}

fn derive_health(reader: &mut KeyReader<'_>, interval: Duration) {
    let (stale, absence) = ("health.stale_after", "health.absence_after");
    if reader.set_by_somebody(stale).is_none() {
        reader.set_text(stale, show_duration(interval * 2 + Duration::from_mins(10)), Origin::Default);
    }
    if reader.set_by_somebody(absence).is_none() {
        let longer = reader.text(stale).filter(|text| parse_duration(text) > Some(Duration::from_hours(24)));
        reader.set_text(absence, longer.unwrap_or("24h").to_owned(), Origin::Default);
    }
}

pub(super) fn complete_database(database: Database, reader: &mut KeyReader<'_>) -> Database {
    warn_of_open_database(reader, &database);
    if database.schema.is_some() && !database.is_postgres() {
        let what = "SQLite has no schemas".to_owned();
        let allowed = "leave it out, or set database.url to a postgres:// one";
        reader.complain("database.schema", what, allowed);
    }
    let is_borrowed = reader.origin("database.url") == Some(Origin::Variable("DATABASE_URL".to_owned()));
    Database { is_borrowed, ..database }
}

/// SQLite: a file that holds everybody's address, and that every user of this machine may read.
fn warn_of_open_database(reader: &mut KeyReader<'_>, database: &Database) {
    let Some(path) = database.sqlite_path() else { return };
    if std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && others_may_read(&metadata)) {
        let path = show_path(&path);
        reader.warnings.push(format!("every user may read the database {path}; try: chmod 600 {path}"));
    }
}
