//! A consent as this program knows it, and the page that brings it.
//!
//! Owns the types that the API client makes and the rules and the store take. Knows no HTTP and no SQL.
//! Everything here that can hold a name or an address has a `Debug` that shows neither.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization as _;

/// One marketing consent (Understory API, "A consent"), already cleaned: no NUL, no lone surrogate. Its texts are borrowed
/// from the page that brought it as far as they stand there: of a row that did not change nothing is copied.
#[derive(Clone, PartialEq, Eq)]
pub struct Consent<'a> {
    /// The API's `id`: text that is not blank, or an integer in decimal digits.
    pub consent_id: Option<Cow<'a, str>>,
    pub company_id: Cow<'a, str>,
    /// The address as received, never blank.
    pub email: Cow<'a, str>,
    pub full_name: Option<Cow<'a, str>>,
    pub source: Option<Cow<'a, str>>,
    /// The API's `references` as canonical JSON text (sorted keys, no white space).
    pub refs: Option<Cow<'a, str>>,
    /// Every field that has no column, or not the type of one: a JSON object as canonical text.
    pub extra: Option<Cow<'a, str>>,
    /// Hash of the item with this id that it was read from, byte for byte; None where that is of no use for the next run.
    pub item_hash: Option<u64>,
}

impl fmt::Debug for Consent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consent").field("has_id", &self.consent_id.is_some()).finish_non_exhaustive()
    }
}

impl Consent<'_> {
    /// The primary key of the row: the API's id, else the natural key.
    pub fn key(&self) -> String {
        self.consent_id.as_deref().map_or_else(|| self.natural_key(), str::to_owned)
    }

    /// The same, its texts borrowed from this one.
    pub fn borrowed(&self) -> Consent<'_> {
        Consent {
            consent_id: self.consent_id.as_deref().map(Cow::Borrowed),
            company_id: Cow::Borrowed(&self.company_id),
            email: Cow::Borrowed(&self.email),
            full_name: self.full_name.as_deref().map(Cow::Borrowed),
            source: self.source.as_deref().map(Cow::Borrowed),
            refs: self.refs.as_deref().map(Cow::Borrowed),
            extra: self.extra.as_deref().map(Cow::Borrowed),
            item_hash: self.item_hash,
        }
    }

    /// The same, holding its texts itself.
    pub fn into_owned(self) -> Consent<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Consent {
            consent_id: self.consent_id.map(owned),
            company_id: owned(self.company_id),
            email: owned(self.email),
            full_name: self.full_name.map(owned),
            source: self.source.map(owned),
            refs: self.refs.map(owned),
            extra: self.extra.map(owned),
            item_hash: self.item_hash,
        }
    }

    /// The beginning of the natural key as a number, for the index over it.
    pub fn natural_hash(&self) -> i64 {
        let digest = natural_digest(&self.company_id, &self.email, self.source.as_deref());
        digest.first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes))
    }

    pub fn bytes(&self) -> usize {
        let optional = [&self.consent_id, &self.full_name, &self.source, &self.refs, &self.extra];
        let optional = optional.iter().filter_map(|text| text.as_ref());
        optional.map(|text| text.len()).sum::<usize>() + self.company_id.len() + self.email.len()
    }

    pub fn address(&self) -> Cow<'_, str> {
        address(&self.email)
    }

    pub fn natural_key(&self) -> String {
        natural_key(&self.company_id, &self.email, self.source.as_deref())
    }
}

/// `nk:` and the hex SHA-256 of company, U+001F, normalised e-mail, U+001F, source or nothing (contract, section 4).
pub fn natural_key(company_id: &str, email: &str, source: Option<&str>) -> String {
    let digest = natural_digest(company_id, email, source);
    format!("nk:{}", hex(&digest))
}

fn natural_digest(company_id: &str, email: &str, source: Option<&str>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(company_id.as_bytes());
    hash.update([0x1f]);
    hash.update(normalized_email(email).as_bytes());
    hash.update([0x1f]);
    hash.update(source.unwrap_or_default().as_bytes());
    hash.finalize().into()
}

/// The beginning of a natural key as a number, for the index over it. None where the text is no natural key.
pub fn natural_hash_of(natural_key: &str) -> Option<i64> {
    let digits = natural_key.strip_prefix("nk:")?.get(..16)?;
    u64::from_str_radix(digits, 16).ok().map(u64::cast_signed)
}

/// An address as it is compared: trimmed, Unicode lower case.
pub fn normalized_email(email: &str) -> String {
    email.trim().to_lowercase()
}

/// The normal form of an address, in which every spelling of it is one (contract, section 4, `suppressions`): trimmed, lower
/// case, NFC, the domain as IDNA ASCII. What cannot be a domain stays as it is, so that any text has a normal form.
pub fn address(email: &str) -> Cow<'_, str> {
    let email = email.trim();
    if email.is_ascii() {
        return if email.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(email.to_ascii_lowercase())
        } else {
            Cow::Borrowed(email)
        };
    }
    let normal: String = email.to_lowercase().nfc().collect();
    match normal.rsplit_once('@') {
        Some((local, domain)) => match idna::domain_to_ascii(domain) {
            Ok(domain) => Cow::Owned(format!("{local}@{domain}")),
            Err(_) => Cow::Owned(normal),
        },
        None => Cow::Owned(normal),
    }
}

/// Whether a consent's own page can be asked for. URLs have no way to name the others: every client resolves such a segment,
/// encoded or not, and would ask for the list.
pub fn is_askable(id: &str) -> bool {
    !matches!(id, "" | "." | "..")
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

/// Why an item cannot be used. Never holds a part of the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RejectReason {
    #[error("the item is not an object")]
    NotAnObject,
    #[error("company_id is missing or not a non-empty text")]
    NoCompany,
    #[error("email is missing or not a non-empty text")]
    NoEmail,
    #[error("the item is nested too deeply")]
    TooDeep,
    /// The scan held its id before, with another address.
    #[error("duplicate_id")]
    DuplicateId,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Rejected {
    pub id: Option<String>,
    pub reason: RejectReason,
    /// As received (NUL and lone surrogates replaced).
    pub item: String,
    /// What makes it the same item again: SHA-256 over its id, else over its canonical JSON.
    pub fingerprint: [u8; 32],
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// An item whose very bytes were stored to the row of its id, so that reading it would tell nothing new about that row.
#[derive(Clone)]
pub struct KnownItem<'a> {
    pub id: Cow<'a, str>,
    text: &'a str,
    reader: ItemReader,
}

/// None only where the text is not JSON after all.
pub type ItemReader = fn(&str) -> Option<Item<'_>>;

impl<'a> KnownItem<'a> {
    pub fn new(id: Cow<'a, str>, text: &'a str, reader: ItemReader) -> Self {
        Self { id, text, reader }
    }

    /// For whoever has to know more of it than that it has not changed.
    pub fn read(&self) -> Option<Item<'a>> {
        (self.reader)(self.text)
    }
}

impl PartialEq for KnownItem<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for KnownItem<'_> {}

impl fmt::Debug for KnownItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownItem([redacted])")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    Consent(Consent<'a>),
    Rejected(Rejected),
    Known(KnownItem<'a>),
}

/// Where the next page begins: opaque, short-lived, never stored (Understory API, Lists).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cursor(pub String);

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cursor([redacted])")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<'a> {
    pub items: Vec<Item<'a>>,
    pub next: Option<Cursor>,
}

/// Whether a text or an item, as received, holds a text that `is_wanted` knows: as one whole string of it, or as an address
/// among other words. At most `most` addresses and as many whole strings are asked for.
pub fn any_address(item: &str, most: usize, is_wanted: impl Fn(&str) -> bool) -> bool {
    let text = texts(item).to_lowercase();
    let mut whole = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(most);
    if whole.any(&is_wanted) {
        return true;
    }
    let mut asked = 0;
    for (at, _) in text.match_indices('@') {
        let starts = starts(&text[..at]);
        for end in ends(&text, at + 1) {
            for start in &starts {
                asked += 1;
                if asked > most {
                    return false;
                }
                if is_wanted(&text[*start..end]) {
                    return true;
                }
            }
        }
    }
    false
}

/// Parts of one item that a run looks at as addresses: an item of nothing but `@` must not hold it up.
pub const MAX_ADDRESSES: usize = 20_000;

/// Where a local part that ends here may begin.
fn starts(before: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    for (index, letter) in before.char_indices().rev().take(MAX_PART) {
        if letter.is_whitespace() {
            break;
        }
        let previous = before[..index].chars().next_back();
        if !previous.is_some_and(continues_address) {
            starts.push(index);
        }
    }
    starts
}

/// Where a domain that begins here may end.
fn ends(text: &str, from: usize) -> Vec<usize> {
    let mut ends = Vec::new();
    for (index, letter) in text[from..].char_indices().take(MAX_PART) {
        if letter.is_whitespace() {
            break;
        }
        let end = from + index + letter.len_utf8();
        let next = text[end..].chars().next();
        if !next.is_some_and(char::is_alphanumeric) {
            ends.push(end);
        }
    }
    ends
}

/// Neither side of an address is longer.
const MAX_PART: usize = 256;

/// Every string of an item and what stands between them, one a line. Each is read by itself: an item that is nested too
/// deeply for a reader, broken, or has a key that means something to one, hides nobody behind its escapes.
fn texts(item: &str) -> String {
    let mut out = String::with_capacity(item.len());
    let mut rest = item;
    while let Some(begin) = rest.find('"') {
        let (between, quoted) = rest.split_at(begin);
        let (quoted, behind) = quoted.split_at(string_length(quoted));
        out.push_str(between);
        out.push('\n');
        match serde_json::from_str::<String>(quoted) {
            Ok(text) => out.push_str(&text),
            Err(_) => out.push_str(quoted),
        }
        out.push('\n');
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// How long the string is that this text begins with, its quotes included; one without an end goes to the end.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

fn continues_address(letter: char) -> bool {
    letter.is_alphanumeric() || "._%+-".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_address_has_one_normal_form() {
        for (spelling, normal) in [
            (" Maria@Example.COM ", "maria@example.com"),
            ("SØREN@mail.example.com", "søren@mail.example.com"),
            ("jose\u{301}@example.com", "josé@example.com"),
            ("info@BÜCHER.example", "info@xn--bcher-kva.example"),
            ("info@bu\u{308}cher.example", "info@xn--bcher-kva.example"),
            ("info@xn--bcher-kva.example", "info@xn--bcher-kva.example"),
            ("no address é", "no address é"),
            ("é@", "é@"),
        ] {
            assert_eq!(address(spelling), normal, "{spelling}");
            assert_eq!(address(normal), normal, "{normal}");
        }
    }

    #[test]
    fn an_address_is_found_in_any_text_of_an_item() {
        let wanted = "søren@mail.example.com";
        for (item, found) in [
            (r#"{"email":"SØREN@mail.example.com"}"#, true),
            (r#"{"email":" s\u00d8ren\u0040MAIL.example.com "}"#, true),
            (r#"{"note":"write to <Søren@mail.example.com>."}"#, true),
            (r#"{"note":["mailto:søren@mail.example.com?x=1"]}"#, true),
            (r#""søren@mail.example.com""#, true),
            (r#"{"søren@mail.example.com":1}"#, true),
            (r#"{"broken": søren@mail.example.com"#, true),
            (r#"{"broken": "s\u00f8ren\u0040mail.example.com", "#, true),
            (r#"{"$serde_json::private::Number":[],"a":"søren\u0040mail.example.com"}"#, true),
            (r#"{"a\"b":"\\","a":"x\nsøren@mail.example.com"}"#, true),
            (r#"{"email":"a.søren@mail.example.com"}"#, false),
            (r#"{"email":"søren@mail.example.community"}"#, false),
            (r#"{"email":"anna@mail.example.com"}"#, false),
            (r#"{"email":"so\u0308ren@mail.example.com"}"#, false),
            (r#"{"note":"s\u00f8ren@MAIL.example\u3002com."}"#, true),
            ("7", false),
        ] {
            let is_wanted = |text: &str| address(text) == wanted;
            assert_eq!(any_address(item, MAX_ADDRESSES, is_wanted), found, "{item}");
        }
        let deep = format!(r#"{{"a":{}"søren\u0040mail.example.com"{}}}"#, "[".repeat(200), "]".repeat(200));
        assert!(any_address(&deep, MAX_ADDRESSES, |text| text == wanted));
        assert!(any_address(r#"[{"email":" No Address"}]"#, 9, |text| text == "no address"));
        assert!(!any_address(r#"[{"email":"no address here"}]"#, 9, |text| text == "no address"));
        let ats = "@".repeat(100_000);
        assert!(!any_address(&ats, MAX_ADDRESSES, |text| text == wanted));
    }
}
