//! A page of the list as text: checked to the last byte, its items found but not read yet.
//!
//! Owns what makes an answer a page (contract 5.1) and where the next one begins. The cursor is known before any item is
//! read, so that the next page can be on its way meanwhile. An item whose bytes are known was checked when they were stored:
//! where the page is one that [`skim_outline`] can walk through, only the others are parsed.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{self, BadBody, Raw, Scanner};
use super::wire;
use crate::consent::{Cursor, Item, KnownItem, Page, RejectReason, Rejected};
use crate::hash::KnownItems;

/// A page may come back with more items than were asked for, but not with any number of them.
const MAX_ITEMS: usize = 10_000;

/// A longer cursor would not fit into a request line that servers and proxies take.
const MAX_CURSOR_BYTES: usize = 8 * 1024;

/// A page that was received: JSON to the last byte, with a list of items in it.
pub struct RawPage {
    body: String,
    items: Vec<RawItem>,
    next: Option<Cursor>,
    known: Arc<KnownItems>,
}

/// Where an item stands in a body.
struct RawItem {
    place: Range<usize>,
    is_known: bool,
}

impl fmt::Debug for RawPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPage").field("items", &self.len()).finish_non_exhaustive()
    }
}

impl RawPage {
    /// Checks a body and finds its items.
    pub fn new(body: Vec<u8>) -> Result<Self, BadBody> {
        Self::with_known(body, &Arc::default())
    }

    /// The same, where items with these bytes need not be checked and read again.
    pub fn with_known(body: Vec<u8>, known: &Arc<KnownItems>) -> Result<Self, BadBody> {
        let body = json::text(body)?;
        let (items, next) = match skim_outline(&body, known) {
            Some(found) => found,
            None => parse_outline(&body, known)?,
        };
        let next = cursor_of(next)?;
        Ok(Self { body, items, next, known: Arc::clone(known) })
    }

    pub fn read(&self) -> Page<'_> {
        let items = self.items.iter().filter_map(|item| self.read_item(item)).collect();
        Page { items, next: self.next.clone() }
    }

    fn read_item(&self, item: &RawItem) -> Option<Item<'_>> {
        let text = self.body.get(item.place.clone())?;
        if item.is_known {
            return Some(Item::Known(KnownItem::new(wire::first_id(text)?, text, wire::item)));
        }
        let mut item = wire::item(text)?;
        if let Item::Consent(consent) = &mut item
            && consent.consent_id.is_some()
            // So that the first id of a known item is its own.
            && consent.consent_id == wire::first_id(text)
        {
            consent.item_hash = self.known.hash(text);
        }
        Some(item)
    }

    /// The item at this place, as it was received, as one that cannot be used.
    pub fn reject(&self, number: usize, id: &str, reason: RejectReason) -> Option<Rejected> {
        let item = self.body.get(self.items.get(number)?.place.clone())?;
        Some(wire::rejected(item, Some(id.into()), reason))
    }

    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn next(&self) -> Option<&Cursor> {
        self.next.as_ref()
    }
}

type Contents<'a> = (Vec<RawItem>, Option<Raw<'a>>);

/// The items and the cursor of any page.
fn parse_outline<'a>(body: &'a str, known: &KnownItems) -> Result<Contents<'a>, BadBody> {
    let outline = serde_json::from_str::<Outline<'_, Items<'_>>>(body);
    let outline = outline.or_else(|_| Outline::read_any(body))?;
    let Items(items) = outline.items.ok_or(BadBody::Shape("`items` is missing"))?;
    if items.len() > MAX_ITEMS {
        return Err(BadBody::Shape("a page of more than 10,000 items"));
    }
    let start = body.as_ptr().addr();
    let find = |item: &&RawValue| {
        let from = item.get().as_ptr().addr() - start;
        RawItem { place: from..from + item.get().len(), is_known: known.contains(item.get()) }
    };
    Ok((items.iter().map(find).collect(), outline.next.map(Raw::from)))
}

/// The same for a page with known items, where each of the others is valid JSON too. None: the page is not valid, or not as
/// plain as that, and [`parse_outline`] is to say.
///
/// A known item is an object that was parsed before, so whoever parses the page up to its first brace finds the same end.
fn skim_outline<'a>(body: &'a str, known: &KnownItems) -> Option<Contents<'a>> {
    if known.is_empty() {
        return None;
    }
    let mut scanner = Scanner::new(body);
    let (mut items, mut next, mut first) = (None, None, true);
    scanner.consume(b'{').then_some(())?;
    while let Some(key) = scanner.next_key(&mut first).ok()? {
        match key {
            Cow::Borrowed("items") if items.is_none() => items = Some(skim_items(&mut scanner, known)?),
            Cow::Borrowed("next") => next = Some(checked_value(&mut scanner)?),
            // No escape in it, and nothing that has to be one.
            Cow::Borrowed(key) if key != "items" && !key.bytes().any(|byte| byte < b' ') => {
                checked_value(&mut scanner)?;
            }
            _ => return None,
        }
    }
    scanner.peek().is_none().then_some((items?, next))
}

fn skim_items(scanner: &mut Scanner<'_>, known: &KnownItems) -> Option<Vec<RawItem>> {
    let (mut items, mut first) = (Vec::new(), true);
    scanner.consume(b'[').then_some(())?;
    while scanner.has_next(b']', &mut first)? {
        let start = scanner.position()?;
        let guess = scanner.guess_object();
        let (length, is_known) = if let Some(item) = guess.filter(|guess| known.contains(guess)) {
            scanner.skip(item);
            (item.len(), true)
        } else {
            let item = scanner.value()?.text;
            let is_known = guess.is_none_or(|guess| guess.len() != item.len()) && known.contains(item);
            (is_known || json::is_valid(item)).then_some((item.len(), is_known))?
        };
        items.push(RawItem { place: start..start + length, is_known });
        if items.len() > MAX_ITEMS {
            return None;
        }
    }
    Some(items)
}

fn checked_value<'a>(scanner: &mut Scanner<'a>) -> Option<Raw<'a>> {
    scanner.value().filter(|value| json::is_valid(value.text))
}

/// What a body holds, its texts borrowed; the last of equal keys.
struct Outline<'a, T> {
    items: Option<T>,
    next: Option<&'a RawValue>,
}

impl<'a> Outline<'a, Items<'a>> {
    /// For a body in which not every `items` is an array, or which is not a page at all.
    fn read_any(body: &'a str) -> Result<Self, BadBody> {
        let any: Outline<'_, &RawValue> = json::object(body)?;
        let items = any.items.map(|items| serde_json::from_str(items.get())).transpose();
        Ok(Self { items: items.map_err(|_| BadBody::Shape("`items` is not an array"))?, next: any.next })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Outline<'de, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Outline<'de, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline<'de, T>, A::Error> {
                let mut outline = Outline { items: None, next: None };
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match key.as_ref() {
                        "items" => outline.items = Some(map.next_value()?),
                        "next" => outline.next = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(outline)
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

struct Items<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items<'de>, A::Error> {
                let mut items = Vec::new();
                // One too many is kept, as a sign: memory does not follow what a broken server sends.
                while items.len() <= MAX_ITEMS {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(Items(items)),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

fn cursor_of(next: Option<Raw<'_>>) -> Result<Option<Cursor>, BadBody> {
    let Some(next) = next.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let text = next.string().ok_or(BadBody::Shape("`next` is neither text nor null"))?;
    if text.len() > MAX_CURSOR_BYTES {
        return Err(BadBody::Shape("`next` is longer than 8 KiB"));
    }
    Ok((!text.is_empty()).then(|| Cursor(text.into_owned())))
}

#[cfg(test)]
mod tests;
