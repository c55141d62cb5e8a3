//! A consent as this program knows it, and the page that brings it.
//!
//! Owns the types that the API client makes and the rules and the store take. Knows no HTTP and no SQL.
//! Everything here that can hold a name or an address has a `Debug` that shows neither.

use std::fmt;

use sha2::{Digest, Sha256};

/// One marketing consent (Understory API, "A consent"), already cleaned: no NUL, no lone surrogate.
#[derive(Clone, PartialEq, Eq)]
pub struct Consent {
    /// The API's `id`: text that is not blank, or an integer in decimal digits.
    pub consent_id: Option<String>,
    /// The company that was allowed to write.
    pub company_id: String,
    /// The address as received, never blank.
    pub email: String,
    /// The name as received.
    pub full_name: Option<String>,
    /// Where the consent was given.
    pub source: Option<String>,
    /// The API's `references` as canonical JSON text (sorted keys, no white space).
    pub refs: Option<String>,
    /// Every field that has no column, or not the type of one: a JSON object as canonical text.
    pub extra: Option<String>,
}

impl fmt::Debug for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consent")
            .field("has_id", &self.consent_id.is_some())
            .finish_non_exhaustive()
    }
}

impl Consent {
    /// The primary key of the row: the API's id, else the natural key.
    #[must_use]
    pub fn key(&self) -> String {
        self.consent_id
            .clone()
            .unwrap_or_else(|| self.natural_key())
    }

    /// The natural key of the row.
    #[must_use]
    pub fn natural_key(&self) -> String {
        natural_key(&self.company_id, &self.email, self.source.as_deref())
    }
}

/// `nk:` and the hex SHA-256 of company, U+001F, normalised e-mail, U+001F, source or nothing (contract, section 4).
#[must_use]
pub fn natural_key(company_id: &str, email: &str, source: Option<&str>) -> String {
    let mut hash = Sha256::new();
    hash.update(company_id.as_bytes());
    hash.update([0x1f]);
    hash.update(normalized_email(email).as_bytes());
    hash.update([0x1f]);
    hash.update(source.unwrap_or_default().as_bytes());
    format!("nk:{}", hex(&hash.finalize()))
}

/// An address as it is compared: trimmed, Unicode lower case.
#[must_use]
pub fn normalized_email(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

/// Why an item cannot be used. Never holds a part of the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RejectReason {
    /// Not a JSON object.
    #[error("the item is not an object")]
    NotAnObject,
    /// `company_id` is absent, blank or no text.
    #[error("company_id is missing or not a non-empty text")]
    NoCompany,
    /// `email` is absent, blank or no text.
    #[error("email is missing or not a non-empty text")]
    NoEmail,
    /// Nested deeper than can be stored.
    #[error("the item is nested too deeply")]
    TooDeep,
}

/// An item that cannot be used.
#[derive(Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its usable id, if it has one.
    pub id: Option<String>,
    /// Why.
    pub reason: RejectReason,
    /// As received (NUL and lone surrogates replaced).
    pub item: String,
    /// What makes it the same item again: SHA-256 over its id, else over its canonical JSON.
    pub fingerprint: [u8; 32],
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// One item of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Can be stored.
    Consent(Consent),
    /// Cannot.
    Rejected(Rejected),
}

/// Where the next page begins: opaque, short-lived, never stored (Understory API, Lists).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cursor(pub String);

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cursor([redacted])")
    }
}

/// One page of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In the order received.
    pub items: Vec<Item>,
    /// None: the end.
    pub next: Option<Cursor>,
}

/// Whether a rejected item, as received, names one of these normalised addresses: in any text of it, alone or among other
/// words, in any case of letters.
#[must_use]
pub fn mentions(item: &str, emails: &[String]) -> bool {
    // Escapes hide letters; where the item is no JSON that can be read, its plain text has to do.
    let text = match serde_json::from_str::<serde_json::Value>(item) {
        Ok(value) => {
            let mut text = String::new();
            collect_texts(&value, &mut text);
            text
        }
        Err(_) => item.to_owned(),
    };
    let text = text.to_lowercase();
    emails.iter().any(|email| {
        text.match_indices(email.as_str()).any(|(at, found)| {
            let before = text[..at].chars().next_back();
            let after = text[at + found.len()..].chars().next();
            !before.is_some_and(continues_address) && !after.is_some_and(char::is_alphanumeric)
        })
    })
}

fn continues_address(letter: char) -> bool {
    letter.is_alphanumeric() || "._%+-".contains(letter)
}

fn collect_texts(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::String(text) => {
            out.push_str(text);
            out.push('\n');
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_texts(item, out)),
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                out.push_str(name);
                out.push('\n');
                collect_texts(value, out);
            }
        }
        _ => {}
    }
}
