//! A page as it comes over the wire, made into consents.
//!
//! Owns the leniency of contract 5.7 (one bad item never stops the good ones) and what becomes of fields that have no
//! column. This is the hot path: one check of the whole body, one pass over the items, no tree in between.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use super::json::{self, BadBody, MAX_DEPTH, Raw, Scanner};
use crate::consent::{Consent, Cursor, Item, Page, RejectReason, Rejected};

/// A page may come back with more items than were asked for, but not with any number of them.
const MAX_ITEMS: usize = 10_000;

/// A longer cursor would not fit into a request line that servers and proxies take.
const MAX_CURSOR_BYTES: usize = 8 * 1024;

/// PostgreSQL's indexes take keys of some 2,700 bytes.
const MAX_ID_BYTES: usize = 2_048;

/// Begins the key of a row without an id. An id that looks like one could pass for another person's row.
const NATURAL_KEY: &str = "nk:";

/// Reads one page. The body is changed in place where it holds what no database can.
pub(super) fn page(body: &mut [u8]) -> Result<Page, BadBody> {
    let text = json::checked(body)?;
    let mut scanner = Scanner::new(text);
    if !scanner.take(b'{') {
        return Err(BadBody::Shape("the answer is not an object"));
    }
    let mut items = Err(BadBody::Shape("`items` is missing"));
    let mut next = None;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first)? {
        if key == "items" && scanner.take(b'[') {
            items = Ok(read_items(&mut scanner)?);
            continue;
        }
        let value = scanner.value().ok_or(BadBody::NotJson)?;
        match key.as_ref() {
            "items" => items = Err(BadBody::Shape("`items` is not an array")),
            "next" => next = Some(value),
            _ => {}
        }
    }
    Ok(Page {
        items: items?,
        next: cursor_of(next)?,
    })
}

/// The items of an array whose opening bracket is consumed.
fn read_items(scanner: &mut Scanner<'_>) -> Result<Vec<Item>, BadBody> {
    let mut items = Vec::new();
    let mut first = true;
    while scanner.next_element(&mut first).ok_or(BadBody::NotJson)? {
        if items.len() == MAX_ITEMS {
            return Err(BadBody::Shape("a page of more than 10,000 items"));
        }
        items.push(read_item(scanner).ok_or(BadBody::NotJson)?);
    }
    Ok(items)
}

fn cursor_of(next: Option<Raw<'_>>) -> Result<Option<Cursor>, BadBody> {
    let Some(next) = next.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let text = next
        .string()
        .ok_or(BadBody::Shape("`next` is neither text nor null"))?;
    if text.len() > MAX_CURSOR_BYTES {
        return Err(BadBody::Shape("`next` is longer than 8 KiB"));
    }
    Ok((!text.is_empty()).then(|| Cursor(text.into_owned())))
}

/// The fields that have a column, as received; the last of equal ones.
#[derive(Default)]
struct Fields<'a> {
    id: Option<Raw<'a>>,
    company_id: Option<Raw<'a>>,
    email: Option<Raw<'a>>,
    full_name: Option<Raw<'a>>,
    source: Option<Raw<'a>>,
    references: Option<Raw<'a>>,
    others: Vec<(Cow<'a, str>, &'a str)>,
    /// Levels of nesting, the item's own included.
    depth: usize,
}

impl<'a> Fields<'a> {
    /// Reads an object whose opening brace is consumed.
    fn read(scanner: &mut Scanner<'a>) -> Option<Self> {
        let mut fields = Self::default();
        let mut first = true;
        while let Some(key) = scanner.next_key(&mut first).ok()? {
            let value = scanner.value()?;
            fields.depth = fields.depth.max(value.depth + 1);
            match key.as_ref() {
                "id" => fields.id = Some(value),
                "company_id" => fields.company_id = Some(value),
                "email" => fields.email = Some(value),
                "full_name" => fields.full_name = Some(value),
                "source" => fields.source = Some(value),
                "references" => fields.references = Some(value),
                _ => fields.others.push((key, value.text)),
            }
        }
        Some(fields)
    }

    /// The API's id where it is usable: text that is not blank, or an integer. One that cannot be a key counts as none.
    fn usable_id(&self) -> Option<String> {
        let id = self.id?;
        let text = match id.string() {
            Some(text) => not_blank(text),
            None => id.integer().map(str::to_owned),
        };
        text.filter(|text| text.len() <= MAX_ID_BYTES && !text.starts_with(NATURAL_KEY))
    }

    /// A text; what is no text is kept among the others under its name.
    fn text_or_other(&mut self, name: &'static str, value: Option<Raw<'a>>) -> Option<String> {
        let value = value.filter(|value| !value.is_null())?;
        if let Some(text) = value.string() {
            return Some(text.into_owned());
        }
        self.others.push((Cow::Borrowed(name), value.text));
        None
    }
}

fn not_blank(text: Cow<'_, str>) -> Option<String> {
    (!text.trim().is_empty()).then(|| text.into_owned())
}

/// None only where the text is not JSON after all.
fn read_item(scanner: &mut Scanner<'_>) -> Option<Item> {
    scanner.peek()?;
    let start = scanner.position();
    if !scanner.take(b'{') {
        let other = scanner.value()?;
        return Some(rejected(other.text, None, RejectReason::NotAnObject));
    }
    let fields = Fields::read(scanner)?;
    let raw = scanner.since(start)?;
    let id = fields.usable_id();
    Some(match consent(fields, id.clone()) {
        Ok(consent) => Item::Consent(consent),
        Err(reason) => rejected(raw, id, reason),
    })
}

fn consent(mut fields: Fields<'_>, id: Option<String>) -> Result<Consent, RejectReason> {
    if fields.depth > MAX_DEPTH {
        return Err(RejectReason::TooDeep);
    }
    let text = |value: Option<Raw<'_>>| value.and_then(Raw::string).and_then(not_blank);
    let company_id = text(fields.company_id).ok_or(RejectReason::NoCompany)?;
    let email = text(fields.email).ok_or(RejectReason::NoEmail)?;
    if id.is_none()
        && let Some(odd) = fields.id.filter(|id| !id.is_null())
    {
        fields.others.push((Cow::Borrowed("id"), odd.text));
    }
    let full_name = fields.text_or_other("full_name", fields.full_name);
    let source = fields.text_or_other("source", fields.source);
    let refs = match fields.references.filter(|value| !value.is_null()) {
        Some(list) if list.is_array() => {
            Some(json::canonical(list.text).ok_or(RejectReason::TooDeep)?)
        }
        Some(odd) => {
            fields.others.push((Cow::Borrowed("references"), odd.text));
            None
        }
        None => None,
    };
    let extra = if fields.others.is_empty() {
        None
    } else {
        Some(json::canonical_object(&fields.others).ok_or(RejectReason::TooDeep)?)
    };
    Ok(Consent {
        consent_id: id,
        company_id,
        email,
        full_name,
        source,
        refs,
        extra,
    })
}

/// What makes it the same item again is its id, else its canonical text; what is too deep for one is taken as it stands.
fn rejected(raw: &str, id: Option<String>, reason: RejectReason) -> Item {
    let mut hash = Sha256::new();
    match (&id, json::canonical(raw)) {
        (Some(id), _) => {
            hash.update(b"id:");
            hash.update(id);
        }
        (None, Some(canonical)) => hash.update(canonical),
        (None, None) => hash.update(raw),
    }
    Item::Rejected(Rejected {
        id,
        reason,
        item: raw.to_owned(),
        fingerprint: hash.finalize().into(),
    })
}

#[cfg(test)]
mod tests;
