//! The configuration: sections, named defaults, where each value came from.
//!
//! Imports nothing of ours but the exit codes, the schedule's times and who may read a file. Durations are `std::time::Duration`. The caller gives everything that a
//! value may come from ([`Sources`]); nothing here asks the process or the clock.

mod address;
mod credentials;
mod database;
mod duration;
mod environment;
mod file;
mod key;
mod load;
mod problem;
mod reader;
mod schema;
mod secret;
mod section;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests;
mod value;

pub use database::{ROOT_CERTIFICATE, is_postgres_parameter};
pub use duration::{parse_duration, show_duration};
pub use environment::Environment;
pub use load::{Loaded, Needs, Sources, load, load_draft};
pub use problem::{ConfigError, Origin, Problem};
pub use reader::Entry;
pub use schema::{EXAMPLE, schema};
pub use value::quoted;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

/// The whole effective configuration, validated.
#[derive(Debug, Clone)]
pub struct Config {
    /// `auth.*`
    pub auth: Auth,
    /// `api.*`
    pub api: Api,
    /// `retry.*`
    pub retry: Retry,
    /// `schedule.*`
    pub schedule: Schedule,
    /// `database.*`
    pub database: Database,
    /// `removal.*`
    pub removal: Removal,
    /// `retention.*`
    pub retention: Retention,
    /// `notify.*`
    pub notify: Notify,
    /// `http.*`
    pub http: Http,
    /// `health.*`
    pub health: Health,
    /// `log.*`
    pub log: Log,
}

/// `auth.*`: the client credentials grant.
#[derive(Debug, Clone)]
pub struct Auth {
    pub client_id: String,
    pub client_secret: SecretString,
    /// The file that the secret was read from, and is read from again for each token.
    pub client_secret_file: Option<PathBuf>,
    /// Where access tokens are made.
    pub token_url: Url,
    /// The audience that the token is asked for.
    pub audience: String,
    /// The scopes that the token is asked for.
    pub scopes: Vec<String>,
}

impl Auth {
    /// The secret as it is now.
    ///
    /// # Errors
    /// What is wrong with the file; the secret that was read before may still be good.
    pub fn current_secret(&self) -> Result<SecretString, String> {
        match &self.client_secret_file {
            // A pipe can be read once, and waits for ever after that.
            Some(path) if path.metadata().is_ok_and(|file| !file.is_file()) => Ok(self.client_secret.clone()),
            // What is warned of was warned of at start.
            Some(path) => secret::read(path, &mut Vec::new())
                .map(SecretString::from)
                .map_err(|complaint| complaint.what),
            None => Ok(self.client_secret.clone()),
        }
    }
}

/// Which path lists the consents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsentsPath {
    /// The path that last worked here, else the Quickstart's, else the newer one.
    Auto,
    /// One path and no other.
    Fixed(String),
}

/// `api.*`
#[derive(Debug, Clone)]
pub struct Api {
    /// Scheme, host, optional port and prefix; no trailing slash is required.
    pub base_url: Url,
    /// Which path lists the consents.
    pub consents_path: ConsentsPath,
    /// Items asked for in one page, 1 to 100.
    pub page_size: u16,
    /// Evenly spaced; 0 = no limit.
    pub requests_per_second: f64,
    pub user_agent: String,
    /// Items of other companies are skipped where set.
    pub company_id: Option<String>,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    pub request_timeout: Duration,
    /// Bytes of one answer after decompression.
    pub max_page_bytes: usize,
}

/// `retry.*`
#[derive(Debug, Clone)]
pub struct Retry {
    /// Attempts for one request, the first included.
    pub max_attempts: u32,
    pub base_delay: Duration,
    pub max_delay: Duration,
    /// The least wait after a 429.
    pub rate_limit_delay: Duration,
}

/// `schedule.*`
#[derive(Debug, Clone)]
pub struct Schedule {
    /// `schedule.cron` in `schedule.timezone`
    pub times: crate::schedule::Schedule,
    /// The longest gap between the next 400 ticks, as seen when the configuration was read.
    pub interval: Duration,
    /// The most that a tick is delayed; at most a tenth of the interval.
    pub jitter: Duration,
    /// A run when the daemon starts.
    pub run_at_start: bool,
    /// None: `off`.
    pub run_timeout: Option<Duration>,
}

/// `database.*`
#[derive(Debug, Clone)]
pub struct Database {
    /// `sqlite://…` (relative paths already made absolute) or `postgres://…`; holds a password at times.
    pub url: SecretString,
    /// PostgreSQL: the schema to live in.
    pub schema: Option<String>,
    /// The URL is that of `DATABASE_URL`, which another application may have set for itself.
    pub is_borrowed: bool,
}

/// `removal.*`
#[derive(Debug, Clone)]
pub struct Removal {
    /// Judged runs in a row without a consent before its removal is recorded, 2 to 100.
    pub confirm_runs: u32,
    /// The guard: percent of the active rows.
    pub max_percent: f64,
    pub min_count: u64,
    /// How long a consent must have been missing before its removal is recorded, where its page cannot be asked.
    pub confirm_after: Duration,
    /// Single-consent look-ups in one run.
    pub max_checks: u32,
}

/// `retention.*`: None = `never`.
#[derive(Debug, Clone)]
pub struct Retention {
    /// How long history and run rows are kept.
    pub history: Option<Duration>,
    /// How long a removed row keeps its personal data.
    pub removed: Option<Duration>,
    /// How long the change feed keeps the line of an erased consent.
    pub erasures: Duration,
}

/// `notify.*`
#[derive(Debug, Clone)]
pub struct Notify {
    /// Where messages are posted; none: `off`.
    pub url: Option<SecretUrl>,
    /// Failed runs in a row before a message.
    pub after_failures: u32,
    pub format: NotifyFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyFormat {
    Json,
    Slack,
    Text,
}

/// `http.*`
#[derive(Debug, Clone)]
pub struct Http {
    pub listen: Option<std::net::SocketAddr>,
    /// Further names that a listener on loopback answers to: lower case, IPv6 in brackets, without a port.
    pub allowed_hosts: Vec<String>,
}

/// `health.*`
#[derive(Debug, Clone)]
pub struct Health {
    /// Unhealthy when the last complete run is older. Default: twice the schedule's interval + 10 minutes.
    pub stale_after: Duration,
    /// Unhealthy when absence was last judged longer ago. Default: 24 hours, or `stale_after` where that is longer.
    pub absence_after: Duration,
    /// A GET after each complete and judged run.
    pub heartbeat_url: Option<SecretUrl>,
}

/// A URL whose path is a secret in itself (heartbeat and chat services put their key there).
pub type SecretUrl = SecretString;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// `log.*`
#[derive(Debug, Clone)]
pub struct Log {
    /// error, warn, info, debug, trace
    pub level: tracing::Level,
    pub format: LogFormat,
}

/// Where the configuration file lies, for messages.
pub type FilePath = Option<PathBuf>;
