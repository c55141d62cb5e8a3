//! Every key, written once: its name, type, rule, default, and what the documents say about it.
//!
//! The sections' structs and their reading are made from this table, and so are `config`, the example file, the JSON Schema, the
//! table in `docs/configuration.md` and the search for the nearest name.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::address::{consents_path, endpoint, hosts, listen, secret_url, user_agent};
use super::cron::{cron, timezone};
use super::database::{database_url, schema_name};
use super::key::ConfigKey;
use super::reader::KeyReader;
use super::rule::{
    PATH, Rule, boolean, integer, line, number, rate, scopes, secret_text, span, span_or, word,
};
use super::section::{check_delays, complete_auth, complete_database, complete_schedule};
use super::{ConsentsPath, LogFormat, NotifyFormat};
use crate::schedule::CronSchedule;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// Longer than anybody waits, and short enough to be taken from any date.
const CENTURY: u64 = 36_500 * DAY;

/// For each key: what it is (one line for the example and the schema, and behind an empty one what only `docs/configuration.md` adds),
/// `name: Type = rule`, its default as a variable would hold it, or a sample for the example file where it has none. `file` adds a key
/// that names a file with the value. Behind `with` stand fields that the function behind `then` fills in, which also holds several
/// keys of a section against each other.
macro_rules! sections {
    ($(
        $section:ident: $Section:ident $(then $complete:ident)? {
            $(
                $(#[doc = $doc:literal])+
                $name:ident: $Type:ty = $rule:expr $(, default $default:expr)? $(, sample $sample:expr)?
                $(, file $(#[doc = $file_doc:literal])+ $file_sample:literal)?;
            )+
            $( with $(#[doc = $derived_doc:literal])+ $derived:ident: $Derived:ty; )*
        }
    )+) => {
        /// The whole effective configuration, validated.
        #[derive(Debug, Clone)]
        pub struct Config {
            $( #[doc = concat!("`", stringify!($section), ".*`")] pub $section: $Section, )+
        }

        impl Config {
            /// Reads every key, also behind one that is wrong.
            pub(super) fn read(reader: &mut KeyReader<'_>) -> Option<Self> {
                $( let $section = $Section::read(reader)$(.map(|read| $complete(read, reader)))?; )+
                Some(Self { $( $section: $section?, )+ })
            }
        }

        $(
            #[doc = concat!("`", stringify!($section), ".*`")]
            #[derive(Debug, Clone)]
            pub struct $Section {
                $( $(#[doc = $doc])+ pub $name: $Type, )+
                $( $(#[doc = $derived_doc])+ pub $derived: $Derived, )*
            }

            impl $Section {
                fn read(reader: &mut KeyReader<'_>) -> Option<Self> {
                    $( let $name = {
                        const RULE: Rule<$Type> = $rule;
                        reader.read(concat!(stringify!($section), ".", stringify!($name)), &RULE)
                    }; )+
                    Some(Self { $( $name: $name?, )+ $( $derived: Default::default(), )* })
                }
            }
        )+

        /// In the order in which they are shown.
        pub(super) static KEYS: &[ConfigKey] = &[$($(
            ConfigKey {
                name: concat!(stringify!($section), ".", stringify!($name)),
                shape: { const RULE: Rule<$Type> = $rule; RULE.shape },
                default: first(&[$($default)?]),
                sample: first(&[$($sample)?]),
                docs: &[$($doc),+],
            },
            $( ConfigKey {
                name: concat!(stringify!($section), ".", stringify!($name), "_file"),
                shape: PATH.shape,
                default: None,
                sample: Some($file_sample),
                docs: &[$($file_doc),+],
            }, )?
        )+)+];
    };
}

const fn first(texts: &'static [&'static str]) -> Option<&'static str> {
    match texts {
        [first, ..] => Some(first),
        [] => None,
    }
}

sections! {
    auth: Auth then complete_auth {
        /// The key's id and secret, from Understory's Backoffice: Settings, Integrations, "Create your own
        /// integration".
        ///
        /// Required.
        client_id: String = line().optional();
        /// The secret itself; a file or a variable keeps it out of here.
        client_secret: SecretString = secret_text().optional(), file
            /// A file that holds the secret and nothing else, instead of client_secret; relative to the
            /// configuration file's folder.
            ///
            /// One trailing newline is dropped. Without a configuration file, relative paths count from the
            /// working directory. It is an error to set both. If neither is set,
            /// `$CREDENTIALS_DIRECTORY/client_secret` is used (systemd's `LoadCredential=`).
            "/run/secrets/client_secret";
        /// Where access tokens are made.
        ///
        /// https only, here and in every URL below; http for loopback hosts only.
        token_url: Url = endpoint(), default "https://api.auth.understory.io/oauth2/token";
        /// The audience that the token is asked for.
        audience: String = line(), default "https://api.understory.io";
        /// The scopes that the token is asked for; nothing more is needed.
        ///
        /// In a variable with commas or spaces between.
        scopes: Vec<String> = scopes(), default "openid marketing.read";
        with
        /// The file that the secret was read from, and is read from again for each token.
        client_secret_file: Option<PathBuf>;
    }

    api: ApiConfig {
        /// Where the API is; https, or http on this very host.
        base_url: Url = endpoint(), default "https://api.understory.io";
        /// "auto" finds the path that works; a path like "/v1/grow/consents" is the only one tried.
        ///
        /// `auto` begins with the path that last worked here, at first `/v1/grow/consents`; if that answers
        /// 404 or 410 to the first request, it tries the other one, `/v1/marketing-consents`.
        consents_path: ConsentsPath = consents_path(), default "auto";
        /// Items asked for in one page, 1 to 100; fewer requests with more.
        ///
        /// Sent as `limit`.
        page_size: u16 = integer(1, 100), default "100";
        /// Evenly spaced, no burst; 0 = no limit.
        requests_per_second: f64 = rate(), default "5";
        /// How this program names itself to the API.
        user_agent: String = user_agent(), default concat!("understory-sync/", env!("CARGO_PKG_VERSION"));
        /// Set: items of any other company are skipped. Not set: a key of another company's is noticed and
        /// refused.
        ///
        /// Skipped items are counted (`foreign_items`). A list that shares no company with the database is
        /// refused (65) before anything is written.
        company_id: Option<String> = line().optional();
        /// TCP and TLS.
        connect_timeout: Duration = span(1, HOUR), default "10s";
        /// The longest silence between two bytes.
        read_timeout: Duration = span(1, HOUR), default "30s";
        /// One whole request.
        request_timeout: Duration = span(1, DAY), default "60s";
        /// The most bytes of one answer, after decompression.
        ///
        /// 1,024 to 1,073,741,824.
        max_page_bytes: usize = integer(1_024, 1 << 30), default "8388608";
    }

    retry: Retry then check_delays {
        /// Attempts for one request, the first included.
        ///
        /// 1 to 100.
        max_attempts: u32 = integer(1, 100), default "5";
        /// The first pause is random, from nothing to this; each further one may be twice as long.
        ///
        /// Up to `max_delay`.
        base_delay: Duration = span(1, DAY), default "1s";
        /// The longest pause that the program chooses itself.
        max_delay: Duration = span(1, DAY), default "60s";
        /// The least wait after a 429.
        rate_limit_delay: Duration = span(0, DAY), default "60s";
    }

    schedule: Schedule then complete_schedule {
        /// second minute hour day month weekday: here, every full hour.
        ///
        /// A cron line of five fields needs a `0` in front; `@hourly` and the like are refused, with the line
        /// that means the same.
        cron: CronSchedule = cron(), default "0 0 * * * *";
        /// An IANA name, like "Europe/Copenhagen"; the hours of the line above are read in it.
        ///
        /// A fixed hour runs once in the nights when clocks change. Times in `status`, logs, notifications
        /// and on the status page are shown in it, with the offset; tables, metrics and `--json` stay UTC.
        timezone: jiff::tz::TimeZone = timezone(), default "UTC";
        /// Runs are late by a fixed part of this, so that not everybody calls at once; at most a tenth of the
        /// interval.
        ///
        /// The part is fixed for host and database. The interval is the longest gap between the next 400
        /// runs.
        jitter: Duration = span(0, DAY), default "5m";
        /// A run when the daemon starts, unless the last complete one is younger than the interval.
        run_at_start: bool = boolean(), default "true";
        /// A run that takes longer ends as failed; or "off".
        run_timeout: Option<Duration> = span_or(&["off"], 1, 30 * DAY), default "50m";
        with
        /// The longest gap between the next 400 ticks, as seen when the configuration was read.
        interval: Duration;
    }

    database: Database then complete_database {
        /// sqlite://FILE (relative to the configuration file's folder) or
        /// postgres://USER:PASSWORD@HOST/DATABASE; DATABASE_URL serves where neither is set.
        ///
        /// An absolute path is `sqlite:///absolute/file.db`. In user and password write `@ : / ? # %` as `%40
        /// %3A %2F %3F %23 %25`.
        url: SecretString = database_url(), default "sqlite://understory.db", file
            /// A file that holds the URL and nothing else, instead of url, for one with a password.
            "/run/secrets/database_url";
        /// PostgreSQL only: the schema to live in, created if it is missing; not set: the server's search
        /// path.
        schema: Option<String> = schema_name().optional();
        with
        /// The URL is that of `DATABASE_URL`, which another application may have set for itself.
        is_borrowed: bool;
    }

    removal: Removal {
        /// Runs in a row without a consent before it is recorded as removed, 2 to 100.
        ///
        /// Only runs that evaluate removals count; the run that marks it missing is the first.
        confirm_runs: u32 = integer(2, 100), default "2";
        /// The guard: a run that misses more than this percentage and more than min_count of the consents
        /// marks none of them.
        ///
        /// Those that became missing within the last 24 hours count too. A run that lists nobody never marks
        /// any.
        max_percent: f64 = number(100), default "20";
        /// The guard: this many may always go.
        min_count: u64 = integer(0, i64::MAX.unsigned_abs()), default "5";
        /// How long a consent must have been missing before it is recorded as removed, where the API has no
        /// page for it.
        ///
        /// `confirm_runs` holds besides.
        confirm_after: Duration = span(0, CENTURY), default "7d";
        /// Consents asked for one by one in a run, to confirm that they are gone.
        max_checks: u32 = integer(0, 1_000_000), default "500";
    }

    retention: Retention {
        /// How long history and run rows are kept, like "730d".
        history: Option<Duration> = span_or(&["never"], SECOND, CENTURY), default "never";
        /// How long after its removal a consent keeps its personal data, like "30d".
        removed: Option<Duration> = span_or(&["never"], SECOND, CENTURY), default "never";
        /// How long the change feed keeps the line that says that a consent was erased.
        erasures: Duration = span(SECOND, CENTURY), default "90d";
    }

    notify: Notify {
        /// A POST when removals are withheld, when runs keep failing, and when all is well again; never
        /// personal data.
        url: Option<SecretString> = secret_url(), default "off", file
            /// A file that holds the URL and nothing else, instead of url.
            "/run/secrets/notify_url";
        /// Failed runs in a row before a message.
        after_failures: u32 = integer(1, 1_000), default "3";
        /// json, slack (also Mattermost and Discord's /slack) or text (ntfy).
        format: NotifyFormat = word(&["json", "slack", "text"]), default "json";
    }

    http: Http {
        /// Where health, metrics and the status page listen, like "127.0.0.1:9187".
        ///
        /// `localhost` is 127.0.0.1, other names are refused. There is no login: bind it to loopback or a
        /// private network.
        listen: Option<SocketAddr> = listen(), default "off";
        /// Bound to loopback, it answers to localhost, 127.0.0.1, `[::1]` and these host names only.
        ///
        /// Without ports; a request for another host gets 421.
        allowed_hosts: Vec<String> = hosts(), default "";
    }

    health: Health {
        /// Unhealthy when the last complete run is older; not set: twice the schedule's interval and ten
        /// minutes (hourly: 130m).
        stale_after: Duration = span(SECOND, CENTURY), sample "130m";
        /// Unhealthy when removals were last evaluated longer ago; not set: 24h, or stale_after where that is
        /// longer.
        absence_after: Duration = span(SECOND, CENTURY), sample "24h";
        /// A GET after each complete run that evaluated removals, for a dead man's switch.
        ///
        /// Its failure never fails a run.
        heartbeat_url: Option<SecretString> = secret_url(), default "off";
    }

    log: Log {
        /// error, warn, info, debug or trace.
        level: tracing::Level = word(&["error", "warn", "info", "debug", "trace"]), default "info";
        /// text or json.
        format: LogFormat = word(&["text", "json"]), default "text";
    }
}
