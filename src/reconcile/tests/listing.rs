//! What a list holds, and how a run over it goes wrong.

use crate::consent::{Consent, Item, KnownItem, RejectReason, Rejected};
use crate::hash::KnownItems;

#[derive(Debug, Clone)]
pub(super) enum Entry {
    Good { id: Option<u8>, email: u8 },
    BadWithId(u8),
    BadNameless(u8),
    Foreign,
}

/// One run: what it lists, and what goes wrong.
#[derive(Debug, Clone)]
pub(super) struct ScanPlan {
    pub(super) list: Vec<Entry>,
    pub(super) page_length: usize,
    /// Pages that share a transaction.
    pub(super) gather: usize,
    /// The page at which the process dies, with what was not committed.
    pub(super) dies_at: Option<usize>,
    /// The page at which the walk begins anew.
    pub(super) restarts_at: Option<usize>,
    pub(super) accept: Option<u64>,
    pub(super) version: u8,
    /// How the items are written.
    pub(super) spelling: bool,
}

pub(super) fn email(number: u8) -> String {
    format!("p{number}@example.com")
}

fn consent(id: Option<u8>, number: u8, version: u8) -> Consent<'static> {
    Consent {
        consent_id: id.map(|id| format!("id{id}").into()),
        company_id: "ours".into(),
        email: email(number).into(),
        full_name: Some(format!("{number} {version}").into()),
        source: None,
        refs: None,
        extra: None,
        item_hash: None,
    }
}

/// An item with an id as the text of a page. It has two spellings.
pub(super) fn text(entry: &Entry, version: u8, spelling: bool) -> Option<String> {
    let Entry::Good { id: Some(id), email } = entry else { return None };
    let space = if spelling { " " } else { "" };
    Some(format!("{id}|{email}|{version}{space}"))
}

/// Such a text as a page gives it: only recognized where its bytes are known.
pub(super) fn item_of<'a>(text: &'a str, known: &KnownItems) -> Item<'a> {
    let mut consent = consent_of(text);
    if known.contains(text) {
        let id = consent.consent_id.unwrap();
        return Item::Known(KnownItem::new(id, text, |text| Some(Item::Consent(consent_of(text)))));
    }
    consent.item_hash = known.hash(text);
    Item::Consent(consent)
}

fn consent_of(text: &str) -> Consent<'static> {
    let mut numbers = text.trim().split('|').map(|number| number.parse().unwrap());
    let mut next = || numbers.next().unwrap();
    consent(Some(next()), next(), next())
}

pub(super) fn item(entry: &Entry, version: u8) -> Item<'static> {
    let reject = |id: Option<String>, item: String| {
        let mut fingerprint = [0; 32];
        let text = id.as_ref().unwrap_or(&item).as_bytes();
        fingerprint[..text.len().min(8)].copy_from_slice(&text[text.len().saturating_sub(8)..]);
        Item::Rejected(Rejected { id, reason: RejectReason::NoCompany, item, fingerprint })
    };
    match entry {
        Entry::Good { id, email: number } => Item::Consent(consent(*id, *number, version)),
        Entry::BadWithId(id) => reject(Some(format!("id{id}")), "{}".into()),
        Entry::BadNameless(number) => reject(None, format!("[\"p{number}@example.com\"]")),
        Entry::Foreign => Item::Consent(Consent {
            consent_id: None,
            company_id: "theirs".into(),
            email: email(0).into(),
            full_name: None,
            source: None,
            refs: None,
            extra: None,
            item_hash: None,
        }),
    }
}
