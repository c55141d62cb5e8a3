//! Values that stand in files of their own, and the credentials that are missing.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::key;
use super::keys::KEYS;
use super::load::Needs;
use super::problem::{ConfigProblem, Origin};
use super::reader::KeyReader;
use super::rule::PATH;
use super::secret::{self, REDACTED};

const ID: &str = "auth.client_id";
pub(super) const SECRET: &str = "auth.client_secret";
const SECRET_FILE: &str = "auth.client_secret_file";
const URL: &str = "database.url";

/// What became of the files that hold one value each.
#[derive(Debug, Default)]
pub(super) struct SecretFiles {
    /// Keys whose file was not needed, or could not be read.
    pub unread: Vec<(&'static str, PathBuf)>,
    /// A client secret that cannot be read is missing rather than wrong.
    pub missing: Vec<ConfigProblem>,
}

/// Reads the value of each key from the file that the key beside it names. Who needs the database only may well lack the right to
/// read the other secrets, so they are not even opened then.
pub(super) fn read_files(reader: &mut KeyReader<'_>, environment: &Environment, needs: Needs) -> SecretFiles {
    let mut files = SecretFiles::default();
    for file_key in KEYS.iter().map(|key| key.name) {
        let Some(key) = file_key.strip_suffix("_file") else { continue };
        let named = reader.read(file_key, &PATH).flatten();
        if let Some(value) = reader.origin(key) {
            if let Some(file) = reader.origin(file_key) {
                let both = format!("{key} (from {value}) and {file_key} (from {file}) are both set");
                reader.complain(key, both, "set only one of them");
            }
            continue;
        }
        let (place, origin, path) = if let Some(path) = named {
            (file_key, reader.origin(file_key), path)
        } else if let (SECRET, Some(path)) = (key, systemd_file(environment, reader.context.base)) {
            (SECRET, Some(Origin::Variable("CREDENTIALS_DIRECTORY".to_owned())), path)
        } else {
            continue;
        };
        if needs == Needs::Database && key != URL {
            files.unread.push((key, path));
            continue;
        }
        match secret::read(&path, &mut reader.warnings) {
            Ok(text) => reader.set_text(key, text, Origin::SecretFile(path)),
            Err(complaint) => {
                let allowed = complaint.allowed.unwrap_or_default();
                let problem = ConfigProblem::new(place, origin, complaint.what, allowed);
                let list = if key == SECRET { &mut files.missing } else { &mut reader.problems };
                list.push(problem);
                files.unread.push((key, path));
            }
        }
    }
    files
}

/// Where systemd's `LoadCredential=client_secret:…` puts it, if it did.
fn systemd_file(environment: &Environment, base: &Path) -> Option<PathBuf> {
    let path = base.join(environment.get("CREDENTIALS_DIRECTORY")?).join("client_secret");
    let absent =
        std::fs::symlink_metadata(&path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    (!absent).then_some(path)
}

/// `DATABASE_URL` serves where no key tells the database.
pub(super) fn borrow_database_url(reader: &mut KeyReader<'_>, environment: &Environment) {
    let is_set = ["database.url", "database.url_file"].iter().any(|key| reader.origin(key).is_some());
    if let (false, Some(url)) = (is_set, environment.get("DATABASE_URL")) {
        reader.set_text(URL, url.to_owned(), Origin::Variable("DATABASE_URL".to_owned()));
    }
}

/// The files' keys as `config` shows them, and the credentials that no layer has, or has as a placeholder.
pub(super) fn find_missing(reader: &mut KeyReader<'_>, files: SecretFiles) -> Vec<ConfigProblem> {
    let mut missing = files.missing;
    for (key, allowed) in [
        (ID, format!("set it in the configuration file, or {}", key::variable(ID))),
        (
            SECRET,
            format!(
                "set it or {SECRET_FILE} in the configuration file, or {} or {}, or give a systemd credential named client_secret",
                key::variable(SECRET),
                key::variable(SECRET_FILE)
            ),
        ),
    ] {
        let (what, allowed) = match reader.set_by_somebody(key) {
            None if files.unread.iter().any(|(unread, _)| *unread == key) => continue,
            None => ("it is required, and not set", allowed),
            Some(_) if reader.text(key).is_some_and(secret::is_placeholder) => {
                let allowed = "set it to the key's own, from Understory's Backoffice";
                ("it is the placeholder of the documents", allowed.to_owned())
            }
            Some(_) => continue,
        };
        missing.push(ConfigProblem::new(key, reader.origin(key), what, allowed));
    }
    let secret = reader.text(SECRET).filter(|secret| !secret::is_placeholder(secret));
    if let Some(what) = secret.and_then(secret::copied_along) {
        reader.warnings.push(format!(
            "auth.client_secret begins or ends with {what}, which was probably copied along; try: remove it"
        ));
    }
    for (key, path) in files.unread {
        reader.record_entry(key, Some(REDACTED.to_owned()), Origin::SecretFile(path));
    }
    missing
}
