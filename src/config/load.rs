//! From the layers to one configuration, or to everything that is wrong with them.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::database::plain;
use super::environment::Environment;
use super::problem::{ConfigError, Origin, Problem, show_path};
use super::reader::{Entry, Reader};
use super::value::{Raw, Setting};
use super::{Config, credentials, file, key, section};
use crate::file::{others_may_read, others_may_write};

/// What a command cannot do without. Values that are set and wrong are errors for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The client's id and secret too.
    Credentials,
    /// The database only: credentials may be missing, and a secret's file is not even opened.
    Database,
    /// Nothing: what is missing is told in [`Loaded::missing`], for `config`.
    Nothing,
}

/// Where values may come from; all of the process's surroundings that matter, given by the caller.
#[derive(Debug)]
pub struct Sources<'a> {
    /// `--config`
    pub file: Option<&'a Path>,
    pub environment: &'a Environment,
    /// `--log-level`
    pub log_level: Option<&'a str>,
    /// `--log-format`
    pub log_format: Option<&'a str>,
    pub working_dir: &'a Path,
    /// The user that runs the program: `./config.toml` must be this user's or root's.
    pub caller: u32,
    /// The moment that the schedule's interval is seen from.
    pub now: DateTime<Utc>,
}

/// A configuration that can be used, and how it came about.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// Every key in its order, with its value and origin.
    pub entries: Vec<Entry>,
    /// Proxies and certificates: variables that are not ours but change what happens, without passwords.
    pub surroundings: Vec<(&'static str, String)>,
    /// What works, but probably not as meant.
    pub warnings: Vec<String>,
    /// Credentials that are missing or cannot be read, where the command can do without.
    pub missing: Vec<Problem>,
    /// The configuration file, absolute; none where there is none.
    pub file: Option<PathBuf>,
}

/// Reads the configuration from all its layers.
///
/// # Errors
/// When something that is set is wrong, or something that the command needs is missing: all of it at once.
pub fn load(sources: &Sources<'_>, needs: Needs) -> Result<Loaded, ConfigError> {
    load_found(sources, file::find(sources), needs)
}

/// As [`load`], with a file that is not written yet.
///
/// # Errors
/// As [`load`].
pub fn load_draft(
    sources: &Sources<'_>,
    path: &Path,
    text: String,
    needs: Needs,
) -> Result<Loaded, ConfigError> {
    load_found(sources, Ok(Some((path.to_owned(), text))), needs)
}

fn load_found(
    sources: &Sources<'_>,
    found: Result<Option<(PathBuf, String)>, Problem>,
    needs: Needs,
) -> Result<Loaded, ConfigError> {
    let mut reader = Reader::default();
    let found = file_layer(&mut reader, found);
    let (settings, problems) = sources.environment.settings();
    reader.lay(settings);
    reader.problems.extend(problems);
    reader.lay(flags(sources));
    // What stands in a file that cannot be read is not missing.
    let readable = found.is_some();
    let file = found.flatten();
    let base = file.as_deref().and_then(Path::parent).unwrap_or(sources.working_dir);
    let (config, missing) = sections(&mut reader, sources, base, needs);
    let missing = if readable { missing } else { Vec::new() };
    finish(reader, config, missing, needs, sources, file)
}

/// Lays the file's layer and tells where it lies; the outer `None` where it cannot be read at all.
#[expect(clippy::option_option, reason = "no file and an unreadable one are two things")]
fn file_layer(
    reader: &mut Reader,
    found: Result<Option<(PathBuf, String)>, Problem>,
) -> Option<Option<PathBuf>> {
    let parsed = found.and_then(|found| {
        let Some((path, text)) = found else {
            return Ok(None);
        };
        file::parse(&path, &text).map(|(settings, problems)| Some((path, settings, problems)))
    });
    match parsed {
        Ok(Some((path, settings, problems))) => {
            warn_of_open_file(reader, &path, &settings);
            reader.lay(settings);
            reader.problems.extend(problems);
            Some(Some(path))
        }
        Ok(None) => Some(None),
        Err(problem) => {
            reader.problems.push(problem);
            None
        }
    }
}

fn sections(
    reader: &mut Reader,
    sources: &Sources<'_>,
    base: &Path,
    needs: Needs,
) -> (Option<Config>, Vec<Problem>) {
    let (auth, missing) = credentials::read(reader, sources.environment, base, needs);
    let api = section::api(reader);
    let retry = section::retry(reader);
    let schedule = section::schedule(reader, sources.now);
    let database = section::database(reader, base, sources.environment);
    let removal = section::removal(reader);
    let retention = section::retention(reader);
    let notify = section::notify(reader, base, needs);
    let http = section::http(reader);
    let health = section::health(reader, schedule.as_ref().map(|schedule| schedule.interval));
    let log = section::log(reader);
    let config = || {
        Some(Config {
            auth: auth?,
            api: api?,
            retry: retry?,
            schedule: schedule?,
            database: database?,
            removal: removal?,
            retention: retention?,
            notify: notify?,
            http: http?,
            health: health?,
            log: log?,
        })
    };
    (config(), missing)
}

fn finish(
    mut reader: Reader,
    config: Option<Config>,
    missing: Vec<Problem>,
    needs: Needs,
    sources: &Sources<'_>,
    file: Option<PathBuf>,
) -> Result<Loaded, ConfigError> {
    let no_key = missing.len() == 2 && missing.iter().all(|problem| problem.origin.is_none());
    let is_first_start = file.is_none() && no_key && reader.problems.is_empty();
    if needs == Needs::Credentials {
        reader.problems.extend(missing.iter().cloned());
    }
    reader.problems.sort_by_key(|problem| key::position(&problem.key));
    match config {
        Some(config) if reader.problems.is_empty() => {
            reader.entries.sort_by_key(|entry| key::position(entry.key));
            let missing = if needs == Needs::Nothing { missing } else { Vec::new() };
            let surroundings = surroundings(sources.environment, config.database.is_postgres());
            let Reader { entries, warnings, .. } = reader;
            Ok(Loaded { config, entries, surroundings, warnings, missing, file })
        }
        _ => Err(ConfigError { problems: reader.problems, is_first_start }),
    }
}

fn flags(sources: &Sources<'_>) -> Vec<(&'static str, Setting)> {
    let setting = |key, flag, value: Option<&str>| {
        let raw = Raw::Text(value?.to_owned());
        Some((key, Setting { raw, origin: Origin::Flag(flag) }))
    };
    [
        setting("log.level", "--log-level", sources.log_level),
        setting("log.format", "--log-format", sources.log_format),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A configuration file that others may write, or read though it holds a secret.
fn warn_of_open_file(reader: &mut Reader, path: &Path, settings: &file::Settings) {
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    let path = show_path(path);
    if others_may_write(&metadata) {
        reader.warnings.push(format!(
            "{path} can be written by other users, who could send the secret anywhere; try: chmod go-w {path}"
        ));
    }
    let secret = settings.iter().find(|(name, setting)| holds_secret(name, setting));
    if let (true, Some((name, _))) = (others_may_read(&metadata), secret) {
        reader
            .warnings
            .push(format!("{path} holds {name} and every user may read it; try: chmod 600 {path}"));
    }
}

fn holds_secret(name: &str, setting: &Setting) -> bool {
    let may = key::find(name).is_some_and(|key| key.secret);
    let holds = |text: &str| match name {
        "database.url" => text.contains('@') || text.contains("password"),
        _ => text != "off",
    };
    may && setting.as_text().is_ok_and(holds)
}

/// Variables of others that the HTTP client honours.
const SURROUNDINGS: [&str; 10] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// What the PostgreSQL driver takes where the URL says nothing else. `PGSSLMODE` is not among it: without `sslmode` in the URL the
/// connection is verified.
const POSTGRES: [&str; 12] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGAPPNAME",
    "PGOPTIONS",
    "PGPASSFILE",
];

fn surroundings(environment: &Environment, is_postgres: bool) -> Vec<(&'static str, String)> {
    let shown = |name: &&'static str| {
        let value = environment.get(name)?;
        let shown = match *name {
            "PGPASSWORD" | "PGOPTIONS" => "[redacted]".to_owned(),
            name if name.starts_with("PG") => plain(value).to_owned(),
            "NO_PROXY" | "no_proxy" => value.to_owned(),
            name if name.to_lowercase().ends_with("proxy") => redact_proxy(value),
            _ => value.to_owned(),
        };
        Some((*name, shown))
    };
    let names = SURROUNDINGS.iter().chain(POSTGRES.iter().filter(|_| is_postgres));
    let mut found: Vec<_> = names.filter_map(shown).collect();
    let pass_file = environment.get("HOME").map(|home| Path::new(home).join(".pgpass"));
    if is_postgres && pass_file.is_some_and(|path| path.is_file()) {
        found.push(("~/.pgpass", "asked for the password where the URL has none".to_owned()));
    }
    found
}

/// Without user and password, with or without a scheme.
fn redact_proxy(value: &str) -> String {
    let (scheme, rest) = value.split_once("://").map_or(("", value), |(scheme, rest)| (scheme, rest));
    let separator = if scheme.is_empty() { "" } else { "://" };
    let (user, host) = rest.rsplit_once('@').map_or(("", rest), |(_, host)| ("[redacted]@", host));
    // What stands behind the address has no effect, and may be anything.
    let (host, tail) = host.split_at(host.find(['/', '?', '#']).unwrap_or(host.len()));
    let tail = if tail.len() > 1 { "/[redacted]" } else { tail };
    format!("{scheme}{separator}{user}{host}{tail}")
}
