//! An item as it comes over the wire, made into a consent.
//!
//! Owns the leniency of contract 5.7 (one bad item never stops the good ones) and what becomes of fields that have no
//! column. This is the hot path: one pass over the text of an item, no tree, and no copy of what stands there as it is.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use super::json::{self, MAX_DEPTH, Raw, Scanner};
use crate::consent::{Consent, Item, RejectReason, Rejected};

/// PostgreSQL's indexes take keys of some 2,700 bytes.
pub(super) const MAX_ID_BYTES: usize = 2_048;

/// Begins the key of a row without an id. An id that looks like one could pass for another person's row.
const NATURAL_KEY: &str = "nk:";

/// Fields whose equal ones are not kept any longer: a page of 8 MiB can hold more than a million.
const MANY_FIELDS: usize = 500_000;

/// The fields that have a column, as received; the last of equal ones.
#[derive(Default)]
struct ItemFields<'a> {
    id: Option<Raw<'a>>,
    company_id: Option<Raw<'a>>,
    email: Option<Raw<'a>>,
    full_name: Option<Raw<'a>>,
    source: Option<Raw<'a>>,
    references: Option<Raw<'a>>,
    others: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> ItemFields<'a> {
    /// Reads an object whose opening brace is consumed.
    fn read(scanner: &mut Scanner<'a>) -> Option<Self> {
        let mut fields = Self::default();
        let (mut first, mut many) = (true, MANY_FIELDS);
        while let Some(key) = scanner.next_key(&mut first).ok()? {
            let value = scanner.value()?;
            match key.as_ref() {
                "id" => fields.id = Some(value),
                "company_id" => fields.company_id = Some(value),
                "email" => fields.email = Some(value),
                "full_name" => fields.full_name = Some(value),
                "source" => fields.source = Some(value),
                "references" => fields.references = Some(value),
                _ => fields.others.push((key, value.text)),
            }
            if fields.others.len() == many {
                json::sort_members(&mut fields.others);
                many = fields.others.len() + MANY_FIELDS;
            }
        }
        Some(fields)
    }

    /// The API's id where it is usable: text that is not blank, or an integer. One that cannot be a key counts as none.
    fn usable_id(&self) -> Option<Cow<'a, str>> {
        let id = self.id?;
        let text = match id.string() {
            Some(text) => not_blank(text),
            None => id.integer().map(Cow::Borrowed),
        };
        text.filter(|text| text.len() <= MAX_ID_BYTES && !text.starts_with(NATURAL_KEY))
    }

    /// A text; what is no text is kept among the others under its name.
    fn text_or_other(&mut self, name: &'static str, value: Option<Raw<'a>>) -> Option<Cow<'a, str>> {
        let value = value.filter(|value| !value.is_null())?;
        if let Some(text) = value.string() {
            return Some(text);
        }
        self.others.push((Cow::Borrowed(name), value.text));
        None
    }
}

/// What the first `id` of an item says. It is the item's id where it is usable and none follows: of equal keys the last counts.
pub(super) fn first_id(text: &str) -> Option<Cow<'_, str>> {
    // As nearly all items begin.
    if let Some(rest) = text.strip_prefix(r#"{"id":""#)
        && let Some(end) = memchr::memchr2(b'"', b'\\', rest.as_bytes())
        && let Some((id, after)) = rest.split_at_checked(end)
        && after.starts_with('"')
    {
        return Some(Cow::Borrowed(id));
    }
    let mut scanner = Scanner::new(text);
    let mut first = true;
    scanner.consume(b'{').then_some(())?;
    while let Some(key) = scanner.next_key(&mut first).ok()? {
        let value = scanner.value()?;
        if key == "id" {
            return value.string().or_else(|| value.integer().map(Cow::Borrowed));
        }
    }
    None
}

fn not_blank(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    (!text.trim().is_empty()).then_some(text)
}

/// Reads one item of a page that was checked. None only where the text is not JSON after all.
pub(super) fn item(text: &str) -> Option<Item<'_>> {
    let mut scanner = Scanner::new(text);
    if !scanner.consume(b'{') {
        return Some(Item::Rejected(rejected(text, None, RejectReason::NotAnObject)));
    }
    let fields = ItemFields::read(&mut scanner)?;
    let id = fields.usable_id();
    Some(match consent(fields, id.clone()) {
        Ok(consent) => Item::Consent(consent),
        Err(reason) => Item::Rejected(rejected(text, id, reason)),
    })
}

fn consent<'a>(mut fields: ItemFields<'a>, id: Option<Cow<'a, str>>) -> Result<Consent<'a>, RejectReason> {
    let text = |value: Option<Raw<'a>>| value.and_then(Raw::string).and_then(not_blank);
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
            Some(json::canonical(list.text, MAX_DEPTH - 1).ok_or(RejectReason::TooDeep)?.into())
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
        json::sort_members(&mut fields.others);
        Some(json::canonical_object(&fields.others).ok_or(RejectReason::TooDeep)?.into())
    };
    Ok(Consent { consent_id: id, company_id, email, full_name, source, refs, extra, item_hash: None })
}

/// What makes it the same item again is its id, else its canonical text; what is too deep for one is taken as it stands.
pub(super) fn rejected(raw: &str, id: Option<Cow<'_, str>>, reason: RejectReason) -> Rejected {
    let canonical = json::canonical(raw, MAX_DEPTH);
    let is_too_deep = canonical.is_none() && reason != RejectReason::NotAnObject;
    let fingerprint = match &id {
        Some(id) => Sha256::new().chain_update(b"id:").chain_update(id.as_bytes()),
        None => Sha256::new_with_prefix(canonical.as_deref().unwrap_or(raw)),
    };
    Rejected {
        id: id.map(Cow::into_owned),
        reason: if is_too_deep { RejectReason::TooDeep } else { reason },
        item: raw.to_owned(),
        fingerprint: fingerprint.finalize().into(),
    }
}
