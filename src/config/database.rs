//! The database's URL: which engine, which file, and what of it may be shown.

use std::path::{Component, Path, PathBuf};

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::keys::Database;
use super::problem::show_name;
use super::rule::{Accepted, Complaint, Parsed, Rule, accept, quoted, text};

/// What may stand behind the `?` of a `postgres://` URL, has an effect, and may be shown. The driver's `statement-cache-capacity` is not
/// among it: no statement is ever cached, for a pooler's sake.
const SHOWN: &str = "sslmode ssl-mode sslrootcert ssl-root-cert ssl-ca sslcert ssl-cert sslkey ssl-key host hostaddr port dbname \
     user application_name";

/// Whether the query of a `postgres://` URL may hold this: what is not let through has no effect, and `config` warns of it.
pub fn is_postgres_parameter(name: &str) -> bool {
    let setting = || name.strip_prefix("options[")?.strip_suffix(']');
    is_shown(name) || ["password", "options"].contains(&name) || setting().is_some()
}

fn is_shown(parameter: &str) -> bool {
    SHOWN.split(' ').any(|shown| shown == parameter)
}

/// The names of the parameter that names a certificate authority.
pub const ROOT_CERTIFICATE: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];

const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

impl Database {
    /// The file, where the database is SQLite.
    pub fn sqlite_path(&self) -> Option<PathBuf> {
        let path = self.url.expose_secret().strip_prefix("sqlite://")?;
        let path = percent_decode_str(path).decode_utf8().ok()?;
        Some(PathBuf::from(path.into_owned()))
    }

    pub fn is_postgres(&self) -> bool {
        self.url.expose_secret().starts_with("postgres")
    }

    /// The URL without its password, for people.
    pub fn shown_url(&self) -> String {
        redact_password(self.url.expose_secret())
    }
}

/// A database URL; a SQLite path becomes absolute.
pub(super) const fn database_url() -> Rule<SecretString> {
    let expected = "a URL like \"sqlite://understory.db\", \"sqlite:///folder/file.db\" or \
                    \"postgres://user:password@host/database\"";
    text(expected, |input| {
        let text = input.text()?;
        if let Some(rest) = text.strip_prefix("sqlite:") {
            parse_sqlite(rest, input.context.base).map_err(|what| {
                Complaint::new(what).allowed(
                    "expected a file like \"sqlite://understory.db\" or \"sqlite:///folder/file.db\"",
                )
            })
        } else if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            parse_postgres(text, input.context.has_authority)
        } else if text.contains("://") || text.starts_with("sqlite3:") || text.starts_with("file:") {
            Err(Complaint::new("its scheme is neither sqlite nor postgres"))
        } else {
            Err(Complaint::new("it is not a URL"))
        }
    })
    .secret()
}

fn parse_sqlite(rest: &str, base: &Path) -> Result<Accepted<SecretString>, &'static str> {
    let wrong = Err;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    if rest.contains('?') {
        return wrong("SQLite takes no parameters here (?…); write %3F for a question mark in a file's name");
    }
    if rest.starts_with(":memory:") {
        return wrong("a database in memory would forget everything between two runs");
    }
    let Ok(path) = percent_decode_str(rest).decode_utf8() else {
        return wrong("its path is not UTF-8 once %XX is decoded");
    };
    if path.is_empty() || path.ends_with('/') || path == "." || path == ".." {
        return wrong("it does not name a file");
    }
    if path.contains('\0') {
        return wrong("its path holds a NUL");
    }
    let absolute = clean(&base.join(&*path));
    let Some(absolute) = absolute.to_str() else {
        return wrong("the folder that a relative path counts from is not UTF-8");
    };
    let url = format!("sqlite://{}", absolute.replace('%', "%25").replace('?', "%3F").replace('#', "%23"));
    Ok(Accepted { shown: quoted(&url), value: SecretString::from(url), warnings: Vec::new() })
}

/// Without `.`; `..` stays, for what it means depends on links.
fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

fn parse_postgres(text: &str, has_authority: bool) -> Parsed<SecretString> {
    let wrong = |what: &str| {
        Complaint::new(what).allowed(
            "expected a URL like \"postgres://user:password@host/database\", where @ : / ? # % in the name or \
             the password are written %40 %3A %2F %3F %23 %25",
        )
    };
    let url = Url::parse(text).map_err(|error| wrong(&format!("it is not a URL ({error})")))?;
    // What a password with an unescaped / ? # looks like: its tail would be taken for the path, and shown.
    let torn = |part: Option<&str>| part.is_some_and(|part| part.contains('@'));
    if url.fragment().is_some() || torn(Some(url.path())) || torn(url.query()) {
        return Err(wrong("it holds a character that must be escaped"));
    }
    let mut warnings = Vec::new();
    if url.username().is_empty() && !url.query_pairs().any(|(name, _)| name == "user") {
        // The driver does not ask the system who we are.
        warnings.push(
            "database.url: it names no user, so the login is tried as PGUSER or as anonymous; write USER@HOST, or user=USER behind the question mark"
                .to_owned(),
        );
    }
    let has_authority =
        has_authority || url.query_pairs().any(|(name, _)| ROOT_CERTIFICATE.contains(&&*name));
    for (name, value) in url.query_pairs() {
        match &*name {
            "sslmode" | "ssl-mode" => check_ssl_mode(&value, has_authority, &mut warnings)?,
            name if is_postgres_parameter(name) => {}
            name => warnings.push(format!(
                "database.url: the parameter {} is not known here and has no effect",
                show_name(name)
            )),
        }
    }
    let shown = quoted(&redact_password(text));
    Ok(Accepted { value: SecretString::from(text.to_owned()), shown, warnings })
}

fn check_ssl_mode(value: &str, has_authority: bool, warnings: &mut Vec<String>) -> Result<(), Complaint> {
    if !SSL_MODES.contains(&value) {
        let allowed = format!("expected one of {}", SSL_MODES.join(", "));
        return Err(Complaint::new("its sslmode is not known").allowed(allowed));
    }
    if matches!(value, "disable" | "allow" | "prefer") {
        warnings.push(format!(
            "database.url: sslmode={value} may send data and password in plain text; verify-full does not"
        ));
    } else if value == "require" && !has_authority {
        warnings.push(
            "database.url: sslmode=require does not verify the server, so whoever is in between gets the password; use verify-full, or name the authority with sslrootcert"
                .to_owned(),
        );
    }
    Ok(())
}

/// PostgreSQL: the schema to live in.
pub(super) const fn schema_name() -> Rule<Option<String>> {
    text("1 to 63 bytes without NUL, in quotes", |input| {
        let text = input.text()?;
        if text.len() > 63 || text.contains('\0') {
            return Err(Complaint::new("it cannot be a name in PostgreSQL"));
        }
        accept(Some(text.to_owned()), quoted(text))
    })
}

/// What may be shown of a `postgres://` URL: user, host, database and the values of known harmless parameters, each only where it holds
/// no character that a misplaced password could stand behind.
fn redact_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| *scheme != "sqlite") else {
        return text.to_owned();
    };
    let (address, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let (authority, path) = address.split_at(address.find('/').unwrap_or(address.len()));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{}:{HIDDEN}@{host}", plain(user)),
            None => format!("{}@{host}", plain(user)),
        },
        None => authority.to_owned(),
    };
    let path = path.strip_prefix('/').map_or_else(String::new, |path| format!("/{}", plain(path)));
    let query = query.strip_prefix('?').map_or_else(String::new, |query| {
        let pairs: Vec<String> = query.split('&').map(show_parameter).collect();
        format!("?{}", pairs.join("&"))
    });
    format!("{scheme}://{authority}{path}{query}")
}

const HIDDEN: &str = "[redacted]";

fn show_parameter(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, value)) if is_shown(name) => format!("{name}={}", plain(value)),
        Some((name, _)) => format!("{}={HIDDEN}", plain(name)),
        None => plain(pair).to_owned(),
    }
}

/// A part of a URL as it stands, where it is a name, an address or a path and nothing else.
pub(super) fn plain(part: &str) -> &str {
    let is_plain = |character: char| character.is_alphanumeric() || "_-./ [],".contains(character);
    let decoded = percent_decode_str(part).decode_utf8();
    if decoded.is_ok_and(|decoded| decoded.chars().all(is_plain)) { part } else { HIDDEN }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::super::rule::try_rule;
    use super::*;

    fn parse(text: &str) -> Parsed<SecretString> {
        try_rule(&database_url(), text)
    }

    #[test]
    fn sqlite_paths_become_absolute() {
        for (text, path) in [
            ("sqlite://understory.db", "/etc/sync/understory.db"),
            ("sqlite:understory.db", "/etc/sync/understory.db"),
            ("sqlite://./a/b.db", "/etc/sync/a/b.db"),
            ("sqlite://../b.db", "/etc/sync/../b.db"),
            ("sqlite:///var/lib/x.db", "/var/lib/x.db"),
            ("sqlite:/var/lib/x.db", "/var/lib/x.db"),
            ("sqlite://my%20file.db", "/etc/sync/my file.db"),
            ("sqlite://100%25.db", "/etc/sync/100%.db"),
            ("sqlite://a%3Fb#c.db", "/etc/sync/a?b#c.db"),
        ] {
            let address = parse(text).unwrap();
            let database = Database { url: address.value, schema: None, is_borrowed: false };
            assert_eq!(database.sqlite_path().unwrap(), Path::new(path), "{text}");
            assert!(!database.is_postgres());
            assert!(!database.url.expose_secret().contains('?'));
        }
    }

    #[test]
    fn what_is_no_database_is_refused() {
        for text in [
            "understory.db",
            "/var/lib/x.db",
            "sqlite:",
            "sqlite://",
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite://x.db?mode=ro",
            "sqlite:///folder/",
            "sqlite://%ff.db",
            "sqlite3://x.db",
            "file:x.db",
            "mysql://hunter2@host/db",
            "postgres:host",
            "postgres://user:hunter2#x@host/db",
            "postgres://user:1/hunter2@host/db",
            "postgres://user:1?hunter2@host/db",
            "postgres://user:hunter2/2@host/db",
            "postgres://user:hunter2@host/db?sslmode=hunter2",
        ] {
            let complaint = parse(text).unwrap_err();
            assert!(!format!("{complaint:?}").contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (text, shown) in [
            ("postgres://u:hunter2@h:5432/db", "postgres://u:[redacted]@h:5432/db"),
            (
                "postgresql://u:hunter2@[::1]/db?sslmode=require",
                "postgresql://u:[redacted]@[::1]/db?sslmode=require",
            ),
            ("postgres://u:hun@ter2@h/db", "postgres://u:[redacted]@h/db"),
            ("postgres://u@h/db?password=hunter2&user=x", "postgres://u@h/db?password=[redacted]&user=x"),
            ("postgres://u@h/db?%70assword=hunter2", "postgres://u@h/db?%70assword=[redacted]"),
            ("postgres://u@h/db?Password=hunter2", "postgres://u@h/db?Password=[redacted]"),
            ("postgres://u@h/db?pasword=hunter2", "postgres://u@h/db?pasword=[redacted]"),
            ("postgres://u@h/db?options=-c x=hunter2", "postgres://u@h/db?options=[redacted]"),
            (
                "postgres://u@h/db?application_name=a;password=hunter2",
                "postgres://u@h/db?application_name=[redacted]",
            ),
            ("postgres://u@h/db?user=u%3Ahunter2", "postgres://u@h/db?user=[redacted]"),
            ("postgres://u@h/db?u:hunter2", "postgres://u@h/db?[redacted]"),
            ("postgres://u%3Ahunter2@h/db", "postgres://[redacted]@h/db"),
            ("postgres://u%3ahunter2:x@h/db", "postgres://[redacted]:[redacted]@h/db"),
            ("postgres://u@h/db;password=hunter2", "postgres://u@h/[redacted]"),
            (
                "postgres://b%C3%BCro@h:5432/my%20db?port=5433",
                "postgres://b%C3%BCro@h:5432/my%20db?port=5433",
            ),
            ("postgres:///db?host=/run/postgresql", "postgres:///db?host=/run/postgresql"),
        ] {
            let address = parse(text).unwrap();
            assert_eq!(address.shown, quoted(shown));
            assert_eq!(address.value.expose_secret(), text);
        }
    }

    #[test]
    fn what_may_go_in_plain_text_is_warned_of() {
        for (mode, warnings) in [
            ("prefer", 1),
            ("allow", 1),
            ("disable", 1),
            ("require", 1),
            ("verify-ca", 0),
            ("verify-full", 0),
        ] {
            let address = parse(&format!("postgres://u@h/db?sslmode={mode}")).unwrap();
            assert_eq!(address.warnings.len(), warnings, "{mode}");
        }
        let verified = "postgres://u@h/db?sslmode=require&sslrootcert=/ca.pem";
        assert_eq!(parse(verified).unwrap().warnings, [""; 0]);
        assert_eq!(parse_postgres("postgres://u@h/db?sslmode=require", true).unwrap().warnings, [""; 0]);
    }

    #[test]
    fn a_login_without_a_name_is_warned_of() {
        for (url, warnings) in [
            ("postgres:///db?host=/run/postgresql", 1),
            ("postgres:///db?host=/run/postgresql&user=me", 0),
            ("postgres://h/db", 1),
            ("postgres://me@h/db", 0),
        ] {
            assert_eq!(parse(url).unwrap().warnings.len(), warnings, "{url}");
        }
    }

    #[test]
    fn what_has_no_effect_is_warned_of() {
        for (name, known) in [
            ("application_name", true),
            ("options", true),
            ("options[search_path]", true),
            ("options[search_path", false),
            ("channel_binding", false),
            ("statement-cache-capacity", false),
        ] {
            let url = format!("postgres://h/db?{name}=hunter2");
            let warnings = parse(&url).unwrap().warnings.concat();
            assert_eq!(warnings.contains("has no effect"), !known, "{name}");
            assert!(!warnings.contains("hunter2"), "{name}");
        }
    }
}
