//! Where the database lies, and how a connection to it is made.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;

use super::error::StoreError;
use crate::config;
use crate::exit::{Exit, Problem};
use crate::file::{follow_links, open_regular};

/// What of a `postgres://` URL's query names a file.
const FILES: [&str; 7] =
    ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];

#[derive(Clone)]
pub(super) enum Location {
    /// A file; the path is absolute and without symbolic links, so that one file has one lock.
    Sqlite { path: PathBuf },
    Postgres {
        options: Box<PgConnectOptions>,
        place: String,
        schema: Option<String>,
        /// Whether tables of others mean that the URL was not meant for us.
        is_borrowed: bool,
    },
}

impl Location {
    pub(super) fn new(database: &config::Database) -> Result<Self, StoreError> {
        if let Some(path) = database.sqlite_path() {
            return Ok(Self::Sqlite { path: resolve(&path)? });
        }
        let url = known_parameters(database.url.expose_secret())?;
        let options = PgConnectOptions::from_str(url.as_str())
            .map_err(|_| StoreError::url("the driver does not understand it"))?;
        let options = secured(options, &database.url);
        let place = match options.get_socket() {
            Some(socket) => format!("PostgreSQL at {}", socket.display()),
            None => format!("PostgreSQL at {}:{}", options.get_host(), options.get_port()),
        };
        let place = match options.get_database() {
            Some(name) => format!("{place}, database {name}"),
            None => place,
        };
        Ok(Self::Postgres {
            options: Box::new(options),
            place,
            schema: database.schema.clone(),
            is_borrowed: database.is_borrowed,
        })
    }

    /// For messages: never a password.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Sqlite { path } => path.display().to_string(),
            Self::Postgres { place, .. } => place.clone(),
        }
    }

    pub(super) fn schema(&self) -> Option<&str> {
        match self {
            Self::Postgres { schema, .. } => schema.as_deref(),
            Self::Sqlite { .. } => None,
        }
    }

    /// Whether the tables of others in the schema mean that they are made there by mistake.
    pub(super) fn must_be_alone(&self) -> bool {
        matches!(self, Self::Postgres { is_borrowed: true, schema: None, .. })
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }

    fn identity(&self) -> String {
        match self {
            Self::Sqlite { path } => path.display().to_string(),
            Self::Postgres { place, schema, .. } => match schema {
                Some(schema) => format!("{place}, schema {schema}"),
                None => place.clone(),
            },
        }
    }
}

/// What makes this database another one than the next, without a password: runs log it, and the schedule's jitter is fixed by it.
pub fn identity(database: &config::Database) -> String {
    Location::new(database).map(|location| location.identity()).unwrap_or_default()
}

/// The URL without parameters that the driver does not know: it would log their values.
fn known_parameters(url: &str) -> Result<url::Url, StoreError> {
    let mut url = url::Url::parse(url).map_err(|_| StoreError::url("it is no URL"))?;
    let known: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| config::is_postgres_parameter(key))
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    // The driver would take this for a server that is not there.
    let lost = |(key, file): &(String, String)| {
        FILES.contains(&key.as_str()) && open_regular(Path::new(file)).is_err()
    };
    if known.iter().any(lost) {
        return Err(StoreError::url("sslrootcert, sslcert or sslkey names a file that cannot be read"));
    }
    url.set_query(None);
    if !known.is_empty() {
        url.query_pairs_mut().extend_pairs(known);
    }
    Ok(url)
}

fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    if let Ok(path) = path.canonicalize() {
        return if path.is_dir() {
            Err(StoreError::directory(&path))
        } else if path.is_file() {
            Ok(path)
        } else {
            // A device, a pipe, a socket: not even a lock is put beside it.
            Err(StoreError::NotOurs { place: path.display().to_string() })
        };
    }
    // A dangling symbolic link, or several: the file will be made where the last one points.
    let target = follow_links(path);
    if target.is_symlink() {
        let hint = "let one of them lead to a file, or correct the path";
        let problem =
            Problem::new(Exit::Config, "the symbolic links of {path} run in a circle").next_step(hint);
        return Err(problem.with("path", path.display()).into());
    }
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (Ok(folder), Some(name)) = (folder.canonicalize(), target.file_name()) else {
        return Err(StoreError::no_folder(path));
    };
    if !folder.is_dir() {
        return Err(StoreError::no_folder(path));
    }
    Ok(folder.join(name))
}

pub(super) fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(Duration::from_secs(10))
        .foreign_keys(false)
        // What SQLite puts aside (sorts, materialized rows) would lie in /var/tmp in clear.
        .pragma("temp_store", "memory")
        .pragma("secure_delete", "on")
        .disable_statement_logging()
}

fn secured(options: PgConnectOptions, url: &SecretString) -> PgConnectOptions {
    let url = url::Url::parse(url.expose_secret());
    let names =
        |keys: &[&str]| url.as_ref().is_ok_and(|url| url.query_pairs().any(|(key, _)| keys.contains(&&*key)));
    let has_authority = || names(&config::ROOT_CERTIFICATE) || std::env::var_os("PGSSLROOTCERT").is_some();
    let options = if names(&["sslmode", "ssl-mode"]) {
        // Somebody who names an authority means it, says libpq.
        let verifies = matches!(options.get_ssl_mode(), PgSslMode::Require) && has_authority();
        if verifies { options.ssl_mode(PgSslMode::VerifyCa) } else { options }
    } else if is_local(&options) {
        // On loopback and sockets nobody listens in, and servers seldom have a certificate for them.
        options.ssl_mode(PgSslMode::Prefer)
    } else {
        options.ssl_mode(PgSslMode::VerifyFull)
    };
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("understory-sync"),
    };
    options
        // A pooler in transaction mode knows no named statements and refuses this start-up parameter.
        .statement_cache_capacity(0)
        .extra_float_digits(None)
        .disable_statement_logging()
}

fn is_local(options: &PgConnectOptions) -> bool {
    if options.get_socket().is_some() {
        return true;
    }
    let host = options.get_host().trim_start_matches('[').trim_end_matches(']');
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    const BARE: &str = "postgres://user@db.example.com/sync";

    fn options(url: &str) -> String {
        let database = config::Database { url: SecretString::from(url), schema: None, is_borrowed: false };
        match Location::new(&database).unwrap() {
            Location::Postgres { options, .. } => format!("{options:?}"),
            Location::Sqlite { .. } => String::new(),
        }
    }

    #[test]
    fn a_parameter_is_known_where_and_only_where_it_changes_how_the_server_is_reached() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        for (name, value) in [
            ("sslmode", "require"),
            ("ssl-mode", "require"),
            ("sslrootcert", file),
            ("ssl-root-cert", file),
            ("ssl-ca", file),
            ("sslcert", file),
            ("ssl-cert", file),
            ("sslkey", file),
            ("ssl-key", file),
            ("host", "other.example.com"),
            ("hostaddr", "192.0.2.1"),
            ("port", "7777"),
            ("dbname", "other"),
            ("user", "other"),
            ("password", "other"),
            ("application_name", "other"),
            ("options", "-c work_mem=1MB"),
            ("options[work_mem]", "1MB"),
            ("options[work_mem", "1MB"),
            ("statement-cache-capacity", "7"),
            ("channel_binding", "require"),
            ("connect_timeout", "7"),
            ("passfile", file),
        ] {
            let url = format!("{BARE}?{name}={value}");
            let changes = options(&url) != options(BARE);
            assert_eq!(config::is_postgres_parameter(name), changes, "{name}");
        }
        assert!(FILES.into_iter().all(config::is_postgres_parameter));
    }
}
