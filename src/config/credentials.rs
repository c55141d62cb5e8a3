//! `auth.*`: the key's id and its secret, wherever they are kept.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::environment::Environment;
use super::load::Needs;
use super::problem::{Origin, Problem};
use super::reader::Reader;
use super::secret::REDACTED;
use super::value::{self, Complaint, Parsed, Setting};
use super::{Auth, address, key, secret, section};

const ID: &str = "auth.client_id";
const SECRET: &str = "auth.client_secret";
const SECRET_FILE: &str = "auth.client_secret_file";

/// Reads the section; what is missing is told apart from what is wrong.
pub(super) fn read(
    reader: &mut Reader,
    environment: &Environment,
    base: &Path,
    needs: Needs,
) -> (Option<Auth>, Vec<Problem>) {
    let mut missing = Vec::new();
    let client_id = reader.optional(ID, value::line);
    match &client_id {
        Some(None) => {
            missing.push(not_set(ID, format!("set it in the configuration file, or {}", key::variable(ID))));
        }
        Some(Some(id)) if secret::is_placeholder(id) => missing.push(placeholder(reader, ID)),
        _ => {}
    }
    let secret = client_secret(reader, environment, base, needs, &mut missing);
    if let Some((secret, _)) = &secret {
        look_at_secret(reader, secret.expose_secret(), &mut missing);
    }
    let token_url = reader.read("auth.token_url", address::endpoint);
    let audience = reader.read("auth.audience", value::line);
    let scopes = reader.read("auth.scopes", value::scopes);
    let auth = || {
        let (secret, secret_file) = secret?;
        Some(Auth {
            client_id: client_id?.unwrap_or_default(),
            client_secret: secret,
            client_secret_file: secret_file,
            token_url: token_url?,
            audience: audience?,
            scopes: scopes?,
        })
    };
    (auth(), missing)
}

/// The secret and its file; empty where it is not set or not needed, `None` where something is wrong.
fn client_secret(
    reader: &mut Reader,
    environment: &Environment,
    base: &Path,
    needs: Needs,
    missing: &mut Vec<Problem>,
) -> Option<(SecretString, Option<PathBuf>)> {
    let set = reader.optional(SECRET, plain)?;
    let file = section::path_key(reader, SECRET_FILE)?;
    if let (Some(_), Some(_), Some(setting)) = (&set, &file, reader.set(SECRET).cloned()) {
        section::both_set(reader, SECRET, SECRET_FILE, &setting.origin);
        return None;
    }
    if let Some(secret) = set {
        return Some((secret, None));
    }
    let (key, origin, path) = if let Some(file) = file {
        let origin = reader.set(SECRET_FILE).map(|setting| setting.origin.clone());
        (SECRET_FILE, origin, base.join(file))
    } else if let Some(path) = systemd_file(environment, base) {
        (SECRET, Some(Origin::Variable("CREDENTIALS_DIRECTORY".to_owned())), path)
    } else {
        missing.push(secret_not_set());
        return Some(Default::default());
    };
    reader.note(SECRET, Some(REDACTED.to_owned()), Origin::SecretFile(path.clone()));
    if needs == Needs::Database {
        // Who asks the database only may well lack the right to read the secret.
        return Some(Default::default());
    }
    match secret::read(&path, &mut reader.warnings) {
        Ok(secret) => Some((SecretString::from(secret), Some(path))),
        Err(Complaint { what, allowed }) => {
            missing.push(Problem { key: key.to_owned(), origin, what, allowed });
            Some(Default::default())
        }
    }
}

/// What the server will not accept, most likely.
fn look_at_secret(reader: &mut Reader, secret: &str, missing: &mut Vec<Problem>) {
    if secret::is_placeholder(secret) {
        missing.push(placeholder(reader, SECRET));
    } else if let Some(what) = secret::copied_along(secret) {
        reader.warnings.push(format!(
            "auth.client_secret begins or ends with {what}, which was probably copied along; try: remove it"
        ));
    }
}

fn placeholder(reader: &Reader, key: &str) -> Problem {
    Problem {
        key: key.to_owned(),
        origin: reader.set(key).map(|setting| setting.origin.clone()),
        what: "it is the placeholder of the documents".to_owned(),
        allowed: "set it to the key's own, from Understory's Backoffice".to_owned(),
    }
}

fn plain(setting: &Setting) -> Parsed<SecretString> {
    let text = setting.as_text()?;
    Ok((SecretString::from(text), REDACTED.to_owned()))
}

/// Where systemd's `LoadCredential=client_secret:…` puts it, if it did.
fn systemd_file(environment: &Environment, base: &Path) -> Option<PathBuf> {
    let path = base.join(environment.get("CREDENTIALS_DIRECTORY")?).join("client_secret");
    let absent =
        std::fs::symlink_metadata(&path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    (!absent).then_some(path)
}

fn secret_not_set() -> Problem {
    let allowed = format!(
        "set it or {SECRET_FILE} in the configuration file, or {} or {}, or give a systemd credential named client_secret",
        key::variable(SECRET),
        key::variable(SECRET_FILE)
    );
    not_set(SECRET, allowed)
}

fn not_set(key: &str, allowed: String) -> Problem {
    Problem { key: key.to_owned(), origin: None, what: "it is required, and not set".to_owned(), allowed }
}
