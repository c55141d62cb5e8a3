//! From the layers to one configuration, or to everything that is wrong with them.

use std::path::{Path, PathBuf};

use ::config::ValueKind;
use chrono::{DateTime, Utc};

use super::credentials;
use super::database::plain;
use super::environment::Environment;
use super::file::{self, FileLayer};
use super::key::{self, ConfigKey};
use super::keys::{Config, KEYS};
use super::layers::overlay;
use super::problem::{ConfigError, ConfigProblem, show_path};
use super::reader::{ConfigEntry, KeyReader};
use super::rule::Context;
use crate::file::{others_may_read, others_may_write};

/// What a command cannot do without. Values that are set and wrong are errors for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The client's id and secret too.
    Credentials,
    /// The database only: credentials may be missing, and a secret's file is not even opened.
    Database,
    /// Nothing: what is missing is told in [`LoadedConfig::missing`], for `config`.
    Nothing,
}

/// Where values may come from; all of the process's surroundings that matter, given by the caller.
#[derive(Debug)]
pub struct Sources<'a> {
    pub file: Option<&'a Path>,
    pub environment: &'a Environment,
    pub log_level: Option<&'a str>,
    pub log_format: Option<&'a str>,
    pub working_dir: &'a Path,
    /// The user that runs the program: `./config.toml` must be this user's or root's.
    pub caller: u32,
    /// The moment that the schedule's interval is seen from.
    pub now: DateTime<Utc>,
}

/// A configuration that can be used, and how it came about.
#[derive(Debug)]
pub struct LoadedConfig {
    pub config: Config,
    pub entries: Vec<ConfigEntry>,
    /// Proxies and certificates: variables that are not ours but change what happens, without passwords.
    pub surroundings: Vec<(&'static str, String)>,
    /// What works, but probably not as meant.
    pub warnings: Vec<String>,
    /// Credentials that are missing or cannot be read, where the command can do without.
    pub missing: Vec<ConfigProblem>,
    /// The configuration file, absolute; none where there is none.
    pub file: Option<PathBuf>,
}

/// Reads the configuration from all its layers. Fails when something that is set is wrong, or something that the command needs is
/// missing: with all of it at once.
pub fn load(sources: &Sources<'_>, needs: Needs) -> Result<LoadedConfig, ConfigError> {
    load_found(sources, file::find(sources), needs)
}

/// As [`load`], with a file that is not written yet.
pub fn load_draft(
    sources: &Sources<'_>,
    path: &Path,
    text: String,
    needs: Needs,
) -> Result<LoadedConfig, ConfigError> {
    load_found(sources, Ok(Some((path.to_owned(), text))), needs)
}

fn load_found(
    sources: &Sources<'_>,
    found: Result<Option<(PathBuf, String)>, ConfigProblem>,
    needs: Needs,
) -> Result<LoadedConfig, ConfigError> {
    let parsed = found.and_then(|found| found.map(|(path, text)| file::parse(path, &text)).transpose());
    // What stands in a file that cannot be read is not missing.
    let is_readable = parsed.is_ok();
    let (file, mut problems) = parsed.map_or_else(|problem| (None, vec![problem]), |file| (file, vec![]));
    let (variables, unknown) = sources.environment.layer();
    problems.extend(file.iter().flat_map(|file| file.problems.iter().cloned()).chain(unknown));
    let mut reader = reader(sources, file.as_ref(), variables)?;
    reader.problems = problems;
    if let Some(file) = &file {
        warn_of_open_file(&mut reader, file);
    }
    let secret_files = credentials::read_files(&mut reader, sources.environment, needs);
    credentials::borrow_database_url(&mut reader, sources.environment);
    let config = Config::read(&mut reader);
    let mut missing = credentials::find_missing(&mut reader, secret_files);
    if !is_readable {
        missing.clear();
    }
    let KeyReader { mut entries, mut problems, warnings, .. } = reader;
    let no_key = missing.len() == 2 && missing.iter().all(|problem| problem.origin.is_none());
    let is_first_start = file.is_none() && no_key && problems.is_empty();
    if needs == Needs::Credentials {
        problems.append(&mut missing);
    }
    problems.sort_by_key(|problem| key::position(&problem.key));
    entries.sort_by_key(|entry| key::position(entry.key));
    match config {
        Some(config) if problems.is_empty() => {
            let missing = if needs == Needs::Nothing { missing } else { Vec::new() };
            let surroundings = surroundings(sources.environment, config.database.is_postgres());
            Ok(LoadedConfig {
                config,
                entries,
                surroundings,
                warnings,
                missing,
                file: file.map(|file| file.path),
            })
        }
        _ => Err(ConfigError { problems, is_first_start }),
    }
}

fn reader<'a>(
    sources: &Sources<'a>,
    file: Option<&'a FileLayer>,
    variables: ::config::Environment,
) -> Result<KeyReader<'a>, ConfigError> {
    let settings = overlay(file, variables, sources).map_err(|error| ConfigError {
        problems: vec![ConfigProblem::new("configuration", None, error.to_string(), "")],
        is_first_start: false,
    })?;
    let context = Context {
        base: file.and_then(|file| file.path.parent()).unwrap_or(sources.working_dir),
        now: sources.now,
        has_authority: sources.environment.get("PGSSLROOTCERT").is_some(),
    };
    Ok(KeyReader { context, settings, entries: Vec::new(), problems: Vec::new(), warnings: Vec::new() })
}

fn warn_of_open_file(reader: &mut KeyReader<'_>, file: &FileLayer) {
    let Ok(metadata) = std::fs::metadata(&file.path) else { return };
    let path = show_path(&file.path);
    if others_may_write(&metadata) {
        reader.warnings.push(format!(
            "{path} can be written by other users, who could send the secret anywhere; try: chmod go-w {path}"
        ));
    }
    let secret = KEYS.iter().find(|key| key.shape.secret && holds_secret(file, key.name));
    if let (true, Some(ConfigKey { name, .. })) = (others_may_read(&metadata), secret) {
        let warning = format!("{path} holds {name} and every user may read it; try: chmod 600 {path}");
        reader.warnings.push(warning);
    }
}

fn holds_secret(file: &FileLayer, name: &str) -> bool {
    let Some(ValueKind::String(text)) = file.settings.get(name).map(|value| &value.kind) else {
        return false;
    };
    match name {
        "database.url" => text.contains('@') || text.contains("password"),
        _ => !text.is_empty() && text != "off",
    }
}

/// Variables of others that the HTTP client honours.
const HTTP: &str = "HTTPS_PROXY https_proxy HTTP_PROXY http_proxy ALL_PROXY all_proxy NO_PROXY no_proxy SSL_CERT_FILE SSL_CERT_DIR";

/// What the PostgreSQL driver takes where the URL says nothing else. `PGSSLMODE` is not among it: without `sslmode` in the URL the
/// connection is verified.
const POSTGRES: &str = "PGHOST PGHOSTADDR PGPORT PGUSER PGPASSWORD PGDATABASE PGSSLROOTCERT PGSSLCERT PGSSLKEY PGAPPNAME PGOPTIONS PGPASSFILE";

fn surroundings(environment: &Environment, is_postgres: bool) -> Vec<(&'static str, String)> {
    let shown = |name: &'static str| {
        let value = environment.get(name)?;
        let shown = match name {
            "PGPASSWORD" | "PGOPTIONS" => "[redacted]".to_owned(),
            name if name.starts_with("PG") => plain(value).to_owned(),
            "NO_PROXY" | "no_proxy" | "SSL_CERT_FILE" | "SSL_CERT_DIR" => value.to_owned(),
            _ => redact_proxy(value),
        };
        Some((name, shown))
    };
    let postgres = if is_postgres { POSTGRES } else { "" };
    let mut found: Vec<_> =
        [HTTP, postgres].into_iter().flat_map(str::split_whitespace).filter_map(shown).collect();
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
