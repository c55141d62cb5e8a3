//! The sections, read one by one: bounds and rules between keys stand here.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use jiff::tz::TimeZone;

use super::duration::show_duration;
use super::environment::Environment;
use super::load::Needs;
use super::problem::{Origin, show_path};
use super::reader::Reader;
use super::value::{self, Complaint, Parsed, Raw, Setting, quoted};
use super::{Api, Health, Http, Log, LogFormat, Notify, NotifyFormat, Removal, Retention, Retry, Schedule};
use super::{Database, SecretUrl, address, database, secret};
use crate::file::others_may_read;
use crate::schedule::{Schedule as Times, ScheduleError};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Longer than anybody waits, and short enough to be taken from any date.
const CENTURY: Duration = Duration::from_hours(24 * 36_500);

fn up_to(longest: Duration) -> RangeInclusive<Duration> {
    MILLISECOND..=longest
}

/// Bounds below 2³² make these conversions total; saturating is for the compiler.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn api(reader: &mut Reader) -> Option<Api> {
    let base_url = reader.read("api.base_url", address::endpoint);
    let consents_path = reader.read("api.consents_path", address::consents_path);
    let page_size = reader.read("api.page_size", value::integer(1..=100));
    let requests_per_second = reader.read("api.requests_per_second", rate);
    let user_agent = reader.read("api.user_agent", address::user_agent);
    let company_id = reader.optional("api.company_id", value::line);
    let connect_timeout = reader.read("api.connect_timeout", value::duration(up_to(HOUR)));
    let read_timeout = reader.read("api.read_timeout", value::duration(up_to(HOUR)));
    let request_timeout = reader.read("api.request_timeout", value::duration(up_to(DAY)));
    let max_page_bytes = reader.read("api.max_page_bytes", value::integer(1_024..=1 << 30));
    Some(Api {
        base_url: base_url?,
        consents_path: consents_path?,
        page_size: u16::try_from(page_size?).unwrap_or(u16::MAX),
        requests_per_second: requests_per_second?,
        user_agent: user_agent?,
        company_id: company_id?,
        connect_timeout: connect_timeout?,
        read_timeout: read_timeout?,
        request_timeout: request_timeout?,
        max_page_bytes: usize::try_from(max_page_bytes?).unwrap_or(usize::MAX),
    })
}

/// Zero, or a rate whose pause between two requests is at most a quarter of an hour.
fn rate(setting: &Setting) -> Parsed<f64> {
    let allowed = "0 (no limit), or a number from 0.001 to 1000000 is wanted";
    let (rate, shown) = value::number(0.0..=1_000_000.0)(setting)
        .map_err(|complaint| Complaint::new(complaint.what, allowed))?;
    if rate > 0.0 && rate < 0.001 {
        return Err(Complaint::new("it is too small", allowed));
    }
    Ok((rate, shown))
}

pub(super) fn retry(reader: &mut Reader) -> Option<Retry> {
    let max_attempts = reader.read("retry.max_attempts", value::integer(1..=100));
    let base_delay = reader.read("retry.base_delay", value::duration(up_to(DAY)));
    let max_delay = reader.read("retry.max_delay", value::duration(up_to(DAY)));
    let rate_limit_delay = reader.read("retry.rate_limit_delay", value::duration(Duration::ZERO..=DAY));
    if let (Some(base), Some(max)) = (base_delay, max_delay)
        && max < base
    {
        let key =
            if reader.set("retry.max_delay").is_some() { "retry.max_delay" } else { "retry.base_delay" };
        let origin = reader.set(key).map(|setting| setting.origin.clone());
        let (base, max) = (show_duration(base), show_duration(max));
        let what = format!("retry.max_delay ({max}) is less than retry.base_delay ({base})");
        reader.complain(key, origin, Complaint::new(what, "raise the one or lower the other"));
        return None;
    }
    Some(Retry {
        max_attempts: small(max_attempts?),
        base_delay: base_delay?,
        max_delay: max_delay?,
        rate_limit_delay: rate_limit_delay?,
    })
}

/// What other crons call some lines.
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
fn cron(now: DateTime<Utc>) -> impl Fn(&Setting) -> Parsed<Times> {
    let allowed = "six fields like \"0 0 * * * *\" are wanted: second minute hour day month weekday";
    move |setting| {
        let text = setting.as_text().map_err(|complaint| Complaint::new(complaint.what, allowed))?;
        let parse = |text: &str| Times::parse(text, TimeZone::UTC, now);
        let times = parse(text).map_err(|error| {
            // Most other crons have no seconds.
            let with_second = format!("0 {}", text.trim());
            let nickname = NICKNAMES.iter().find(|(name, _)| text.trim().eq_ignore_ascii_case(name));
            if let Some((name, line)) = nickname {
                return Complaint::new(
                    format!("nicknames like {name} are not understood"),
                    format!("\"{line}\" says the same"),
                );
            }
            let cure = match error {
                ScheduleError::Never => "a day that exists is wanted".to_owned(),
                ScheduleError::Fields(5) if parse(&with_second).is_ok() => {
                    format!("{allowed}; \"{with_second}\" adds the second")
                }
                ScheduleError::Fields(_) | ScheduleError::Field => allowed.to_owned(),
            };
            Complaint::new(error.to_string(), cure)
        })?;
        Ok((times, quoted(text)))
    }
}

fn timezone(setting: &Setting) -> Parsed<TimeZone> {
    let allowed = "an IANA name like \"UTC\" or \"Europe/Copenhagen\" is wanted";
    let text = setting.as_text().map_err(|complaint| Complaint::new(complaint.what, allowed))?;
    let zone = TimeZone::get(text).ok().filter(|zone| !zone.is_unknown());
    zone.and_then(|zone| {
        let name = quoted(zone.iana_name()?);
        Some((zone, name))
    })
    .ok_or_else(|| Complaint::new("it is no time zone", allowed))
}

/// The schedule, its interval as seen from `now`.
pub(super) fn schedule(reader: &mut Reader, now: DateTime<Utc>) -> Option<Schedule> {
    let times = reader.read("schedule.cron", cron(now));
    let timezone = reader.read("schedule.timezone", timezone);
    let jitter = reader.read("schedule.jitter", value::duration(Duration::ZERO..=DAY));
    let run_at_start = reader.read("schedule.run_at_start", value::boolean);
    let run_timeout = reader.read("schedule.run_timeout", value::duration_or("off", up_to(DAY * 30)));
    let times = times?.in_zone(timezone?);
    let interval = times.interval(now);
    Some(Schedule {
        times,
        interval,
        jitter: clamp_jitter(reader, jitter?, interval),
        run_at_start: run_at_start?,
        run_timeout: run_timeout?,
    })
}

/// Never more than a tenth of the interval: silently for the default, which knows nothing of the schedule.
fn clamp_jitter(reader: &mut Reader, jitter: Duration, interval: Duration) -> Duration {
    let most = interval / 10;
    if jitter <= most {
        return jitter;
    }
    let origin = reader.set("schedule.jitter").map(|setting| setting.origin.clone());
    if let Some(origin) = &origin {
        reader.warnings.push(format!(
            "schedule.jitter (from {origin}): {} is more than a tenth of the interval, {} is used",
            show_duration(jitter),
            show_duration(most)
        ));
    }
    let origin = origin.unwrap_or(Origin::Default);
    reader.note("schedule.jitter", Some(quoted(&show_duration(most))), origin);
    most
}

pub(super) fn removal(reader: &mut Reader) -> Option<Removal> {
    let confirm_runs = reader.read("removal.confirm_runs", value::integer(2..=100));
    let max_percent = reader.read("removal.max_percent", value::number(0.0..=100.0));
    let min_count = reader.read("removal.min_count", value::integer(0..=i64::MAX.unsigned_abs()));
    let confirm_after = reader.read("removal.confirm_after", value::duration(Duration::ZERO..=CENTURY));
    let max_checks = reader.read("removal.max_checks", value::integer(0..=1_000_000));
    Some(Removal {
        confirm_runs: small(confirm_runs?),
        max_percent: max_percent?,
        min_count: min_count?,
        confirm_after: confirm_after?,
        max_checks: small(max_checks?),
    })
}

pub(super) fn retention(reader: &mut Reader) -> Option<Retention> {
    let history = reader.read("retention.history", value::duration_or("never", SECOND..=CENTURY));
    let removed = reader.read("retention.removed", value::duration_or("never", SECOND..=CENTURY));
    let erasures = reader.read("retention.erasures", value::duration(SECOND..=CENTURY));
    Some(Retention { history: history?, removed: removed?, erasures: erasures? })
}

pub(super) fn notify(reader: &mut Reader, base: &Path, needs: Needs) -> Option<Notify> {
    let url = notify_url(reader, base, needs);
    let after_failures = reader.read("notify.after_failures", value::integer(1..=1_000));
    let formats =
        [("json", NotifyFormat::Json), ("slack", NotifyFormat::Slack), ("text", NotifyFormat::Text)];
    let format = reader.read("notify.format", value::word(&formats));
    Some(Notify { url: url?, after_failures: small(after_failures?), format: format? })
}

/// The URL, or the content of the file that holds it, which commands that need only the database do not open.
#[expect(clippy::option_option, reason = "wrong and off are two things")]
fn notify_url(reader: &mut Reader, base: &Path, needs: Needs) -> Option<Option<SecretUrl>> {
    const URL: &str = "notify.url";
    const FILE: &str = "notify.url_file";
    let file = reader.optional(FILE, path)?.map(|file| base.join(file));
    let set = reader.set(URL).cloned();
    match (set, file) {
        (Some(setting), Some(_)) => {
            both_set(reader, URL, FILE, &setting.origin);
            None
        }
        (_, None) => reader.read(URL, address::secret_url),
        (None, Some(file)) if needs == Needs::Database => {
            reader.note(URL, Some(secret::REDACTED.to_owned()), Origin::SecretFile(file));
            Some(None)
        }
        (None, Some(file)) => {
            let origin = Origin::SecretFile(file.clone());
            let parsed = secret::read(&file, &mut reader.warnings).and_then(|text| {
                address::secret_url(&Setting { raw: Raw::Text(text), origin: origin.clone() })
            });
            match parsed {
                Ok((url, shown)) => {
                    reader.note(URL, Some(shown), origin);
                    Some(url)
                }
                Err(complaint) => {
                    reader.complain(FILE, Some(origin), complaint);
                    None
                }
            }
        }
    }
}

pub(super) fn http(reader: &mut Reader) -> Option<Http> {
    let listen = reader.read("http.listen", address::listen);
    let allowed_hosts = reader.read("http.allowed_hosts", address::hosts);
    if let Some(Some(address)) = listen
        && is_public(address.ip())
    {
        reader.warnings.push(format!(
            "http.listen: {address} may be reached from other networks, and nobody is asked for a password; bind it to 127.0.0.1 or a private address"
        ));
    }
    Some(Http { listen: listen?, allowed_hosts: allowed_hosts? })
}

/// Whether an address can be anybody's way in: neither this machine's own nor a private network's. All interfaces are such a way.
fn is_public(address: IpAddr) -> bool {
    !match address.to_canonical() {
        IpAddr::V4(address) => {
            let shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            address.is_loopback() || address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// `interval` is `None` where the schedule is wrong: then the default of `stale_after` cannot be told.
pub(super) fn health(reader: &mut Reader, interval: Option<Duration>) -> Option<Health> {
    let stale_after = reader.optional("health.stale_after", value::duration(SECOND..=CENTURY));
    let absence_after = reader.optional("health.absence_after", value::duration(SECOND..=CENTURY));
    let heartbeat_url = reader.read("health.heartbeat_url", address::secret_url);
    let stale_after = match (stale_after?, interval) {
        (Some(set), _) => set,
        (None, Some(interval)) => {
            let derived = interval * 2 + Duration::from_mins(10);
            reader.note("health.stale_after", Some(quoted(&show_duration(derived))), Origin::Default);
            derived
        }
        (None, None) => return None,
    };
    let absence_after = absence_after?.unwrap_or_else(|| {
        let (derived, shown) = if stale_after > DAY {
            (stale_after, show_duration(stale_after))
        } else {
            (DAY, "24h".to_owned())
        };
        reader.note("health.absence_after", Some(quoted(&shown)), Origin::Default);
        derived
    });
    Some(Health { stale_after, absence_after, heartbeat_url: heartbeat_url? })
}

pub(super) fn log(reader: &mut Reader) -> Option<Log> {
    let levels = [
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    let level = reader.read("log.level", value::word(&levels));
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = reader.read("log.format", value::word(&formats));
    Some(Log { level: level?, format: format? })
}

fn path(setting: &Setting) -> Parsed<String> {
    let text = setting.as_text()?;
    if text.contains('\0') {
        return Err(Complaint::new("it holds a NUL", "a path is wanted"));
    }
    Ok((text.to_owned(), quoted(text)))
}

fn schema(setting: &Setting) -> Parsed<String> {
    let text = setting.as_text()?;
    if text.len() > 63 || text.contains('\0') {
        return Err(Complaint::new("PostgreSQL has no such names", "1 to 63 bytes without NUL are wanted"));
    }
    Ok((text.to_owned(), quoted(text)))
}

/// Relative paths count from `base`; `DATABASE_URL` serves where no key tells the database.
pub(super) fn database(reader: &mut Reader, base: &Path, environment: &Environment) -> Option<Database> {
    let file = reader.optional("database.url_file", path);
    let schema = reader.optional("database.schema", schema);
    let mut origin = Origin::Default;
    let text = match (reader.set("database.url").cloned(), file?, environment.get("DATABASE_URL")) {
        (Some(url), Some(_), _) => {
            both_set(reader, "database.url", "database.url_file", &url.origin);
            return None;
        }
        (Some(url), None, _) => {
            origin = url.origin.clone();
            match url.as_text() {
                Ok(text) => text.to_owned(),
                Err(complaint) => {
                    reader.complain("database.url", Some(origin), complaint);
                    return None;
                }
            }
        }
        (None, Some(file), _) => {
            let file = base.join(file);
            origin = Origin::SecretFile(file.clone());
            match secret::read(&file, &mut reader.warnings) {
                Ok(text) => text,
                Err(complaint) => {
                    let from = reader.set("database.url_file").map(|setting| setting.origin.clone());
                    reader.complain("database.url_file", from, complaint);
                    return None;
                }
            }
        }
        (None, None, Some(url)) => {
            origin = Origin::Variable("DATABASE_URL".to_owned());
            url.to_owned()
        }
        (None, None, None) => super::key::find("database.url")?.default?.to_owned(),
    };
    let has_authority = environment.get("PGSSLROOTCERT").is_some();
    let address = database::parse(&text, base, has_authority);
    address_and_schema(reader, address, origin, schema?)
}

fn address_and_schema(
    reader: &mut Reader,
    address: Result<database::Address, Complaint>,
    origin: Origin,
    schema: Option<String>,
) -> Option<Database> {
    let address = match address {
        Ok(address) => address,
        Err(complaint) => {
            reader.complain("database.url", Some(origin), complaint);
            return None;
        }
    };
    let is_borrowed = origin == Origin::Variable("DATABASE_URL".to_owned());
    reader.note("database.url", Some(quoted(&address.shown)), origin);
    reader.warnings.extend(address.warnings);
    let database = Database { url: address.url, schema, is_borrowed };
    warn_of_open_database(reader, &database);
    if database.schema.is_some() && !database.is_postgres() {
        let origin = reader.set("database.schema").map(|setting| setting.origin.clone());
        let allowed = "leave it out, or set database.url to a postgres:// one";
        reader.complain("database.schema", origin, Complaint::new("SQLite has no schemas", allowed));
        return None;
    }
    Some(database)
}

/// SQLite: a file that holds everybody's address, and that every user of this machine may read.
fn warn_of_open_database(reader: &mut Reader, database: &Database) {
    let Some(path) = database.sqlite_path() else {
        return;
    };
    if std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && others_may_read(&metadata)) {
        let path = show_path(&path);
        reader.warnings.push(format!("every user may read the database {path}; try: chmod 600 {path}"));
    }
}

/// The problem that a value and the file for it are both set, whatever layers they come from.
pub(super) fn both_set(reader: &mut Reader, value: &'static str, file: &'static str, origin: &Origin) {
    let other = reader.set(file).map_or(Origin::Default, |setting| setting.origin.clone());
    let what = format!("{value} (from {origin}) and {file} (from {other}) are both set");
    reader.complain(value, Some(origin.clone()), Complaint::new(what, "set only one of them"));
}

/// A path that a key names, for the sections that read files.
#[expect(clippy::option_option, reason = "wrong and unset are two things")]
pub(super) fn path_key(reader: &mut Reader, key: &'static str) -> Option<Option<String>> {
    reader.optional(key, path)
}
