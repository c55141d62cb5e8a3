//! The simulated API: who is listed, in which order, under which faults.

use std::borrow::Cow;

use understory_sync::consent::{Consent, Item, KnownItem, Page, RejectReason, Rejected, normalized_email};
use understory_sync::hash::KnownItems;

use crate::bench::Dice;

pub(super) const OURS: &str = "company";
pub(super) const THEIRS: &str = "another company";

/// One item of the list.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entry {
    Good {
        id: u8,
        email: u8,
        version: u8,
        source: bool,
        ours: bool,
    },
    /// Cannot be used; the one with an id counts as listed.
    Bad {
        id: Option<u8>,
        email: u8,
    },
}

/// Which items come with their id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Ids {
    All,
    None,
    /// Those with an even number.
    Some,
}

pub(super) struct World {
    pub(super) list: Vec<Entry>,
    /// Left the list, and may come back.
    away: Vec<Entry>,
    pub(super) ids: Ids,
}

pub(super) fn id(number: u8) -> String {
    format!("id-{number}")
}

/// Some people write their address in capitals at times.
pub(super) fn email(number: u8, version: u8) -> String {
    let address = format!("person{number}@example.com");
    if version.is_multiple_of(5) { address.to_uppercase() } else { address }
}

impl World {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let mut world = Self { list: Vec::new(), away: Vec::new(), ids: Ids::All };
        for _ in 0..dice.below(12) {
            world.add(dice);
        }
        world.ids = any_ids(dice);
        world
    }

    fn add(&mut self, dice: &mut Dice) {
        let mut number = |end| u8::try_from(dice.below(end)).unwrap();
        let (who, other, kind) = (number(14), number(14), number(40));
        let entry = match kind {
            0 => Entry::Bad { id: Some(who), email: other },
            1 => Entry::Bad { id: None, email: other },
            2 => Entry::Good { id: who, email: other, version: 0, source: false, ours: false },
            // Two ids may share an address.
            3..=8 => Entry::Good { id: who, email: other % 5, version: number(9), source: false, ours: true },
            _ => Entry::Good { id: who, email: who, version: number(9), source: kind % 2 == 0, ours: true },
        };
        let at = usize::try_from(dice.below(self.list.len() as u64 + 1)).unwrap();
        self.list.insert(at, entry);
    }

    /// Between runs, or in the middle of one.
    pub(super) fn change(&mut self, dice: &mut Dice) {
        let some = |dice: &mut Dice, len: usize| usize::try_from(dice.below(len as u64)).unwrap();
        match dice.below(18) {
            0..=3 => self.add(dice),
            4..=6 if !self.list.is_empty() => {
                let leaver = self.list.remove(some(dice, self.list.len()));
                self.away.push(leaver);
            }
            7..=9 if !self.list.is_empty() => {
                let at = some(dice, self.list.len());
                if let Entry::Good { version, .. } = &mut self.list[at] {
                    *version = u8::try_from(dice.below(9)).unwrap();
                }
            }
            10 if !self.list.is_empty() => {
                let at = some(dice, self.list.len());
                if let Entry::Good { email, .. } = &mut self.list[at] {
                    *email = u8::try_from(dice.below(14)).unwrap();
                }
            }
            11 if dice.chance(40) => self.away.append(&mut self.list),
            14..=17 if !self.away.is_empty() => {
                let back = self.away.remove(some(dice, self.away.len()));
                let at = some(dice, self.list.len() + 1);
                self.list.insert(at, back);
            }
            12 if dice.chance(50) => self.ids = any_ids(dice),
            13 if !self.list.is_empty() => {
                let (a, b) = (some(dice, self.list.len()), some(dice, self.list.len()));
                self.list.swap(a, b);
            }
            _ => {}
        }
    }

    /// Another item that nobody can use and nobody can tell by its id.
    pub(super) fn break_anew(&mut self, number: u8) {
        let email = 20 + number;
        self.list.push(Entry::Bad { id: None, email });
    }

    pub(super) fn has_id(&self, number: u8) -> bool {
        match self.ids {
            Ids::All => true,
            Ids::None => false,
            Ids::Some => number.is_multiple_of(2),
        }
    }

    pub(super) fn item(&self, entry: &Entry) -> Item<'static> {
        match *entry {
            Entry::Good { id: number, email: address, version, source, ours } => Item::Consent(Consent {
                consent_id: self.has_id(number).then(|| id(number).into()),
                company_id: (if ours { OURS } else { THEIRS }).into(),
                email: email(address, version).into(),
                full_name: (version != 3).then(|| format!("Name {version}").into()),
                source: source.then(|| "checkout".into()),
                refs: None,
                extra: (version == 4).then(|| r#"{"more":[1,"two"]}"#.into()),
                item_hash: None,
            }),
            Entry::Bad { id: number, email: address } => Item::Rejected(bad(number, address)),
        }
    }

    /// The items from here on, and where the next page begins.
    pub(super) fn page(&self, from: usize, length: usize) -> (Page<'static>, Vec<Entry>, Option<usize>) {
        let entries: Vec<Entry> = self.list.iter().skip(from).take(length).cloned().collect();
        let items = entries.iter().map(|entry| self.item(entry)).collect();
        let next = (from + length < self.list.len()).then_some(from + length);
        (Page { items, next: None }, entries, next)
    }
}

fn any_ids(dice: &mut Dice) -> Ids {
    match dice.below(6) {
        0 => Ids::None,
        1 => Ids::Some,
        _ => Ids::All,
    }
}

/// An item with an id as the text of a page, in one of two spellings.
pub(super) fn text(item: &Item<'_>, is_respelt: bool) -> Option<String> {
    let Item::Consent(consent) = item else { return None };
    let others = [&consent.full_name, &consent.source, &consent.extra];
    let mut text = [consent.consent_id.as_deref()?, &consent.company_id, &consent.email].join("\n");
    for other in others {
        text.push('\n');
        text.push_str(other.as_deref().unwrap_or_default());
    }
    text.push_str(if is_respelt { "\n " } else { "" });
    Some(text)
}

fn read(text: &str) -> Option<Item<'_>> {
    let mut lines = text.lines().map(Cow::Borrowed);
    let mut next = || lines.next().filter(|line| !line.is_empty());
    Some(Item::Consent(Consent {
        consent_id: next(),
        company_id: next()?,
        email: next()?,
        full_name: next(),
        source: next(),
        refs: None,
        extra: next(),
        item_hash: None,
    }))
}

/// The item as a run gets it that knows these.
pub(super) fn recognized<'a>(item: Item<'a>, text: Option<&'a str>, known: &KnownItems) -> Item<'a> {
    match (item, text) {
        (Item::Consent(consent), Some(text)) if known.contains(text) => {
            assert!(read(text) == Some(Item::Consent(consent.clone())), "it reads as it was written");
            Item::Known(KnownItem::new(consent.consent_id.unwrap(), text, read))
        }
        (Item::Consent(consent), Some(text)) => {
            Item::Consent(Consent { item_hash: known.hash(text), ..consent })
        }
        (item, _) => item,
    }
}

/// An item whose id came before with another address.
pub(super) fn rejected(key: &str, address: &str) -> Rejected {
    let mut fingerprint = [0; 32];
    fingerprint[0] = key.trim_start_matches("id-").parse::<u8>().unwrap() + 1;
    fingerprint[7] = 1;
    Rejected {
        id: Some(key.to_owned()),
        reason: RejectReason::DuplicateId,
        item: format!(r#"{{"email":"{address}"}}"#),
        fingerprint,
    }
}

fn bad(number: Option<u8>, address: u8) -> Rejected {
    let name = number.map(id);
    let mut fingerprint = [0; 32];
    fingerprint[0] = number.map_or(200 + address, |number| number + 1);
    fingerprint[7] = 1;
    Rejected {
        id: name,
        reason: RejectReason::NoCompany,
        item: format!(r#"{{"email":"{}"}}"#, normalized_email(&email(address, 1))),
        fingerprint,
    }
}
