//! A page of the list as text: checked to the last byte, its items found but not read yet.
//!
//! Owns what makes an answer a page (contract 5.1) and where the next one begins. The cursor is known before any item is
//! read, so that the next page can be on its way meanwhile.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{self, BadBody, Raw};
use super::wire;
use crate::consent::{Cursor, Item, Page, RejectReason, Rejected};

/// A page may come back with more items than were asked for, but not with any number of them.
const MAX_ITEMS: usize = 10_000;

/// A longer cursor would not fit into a request line that servers and proxies take.
const MAX_CURSOR_BYTES: usize = 8 * 1024;

/// A page that was received: JSON to the last byte, with a list of items in it.
pub struct RawPage {
    body: String,
    /// Where each item stands in it.
    items: Vec<Range<usize>>,
    next: Option<Cursor>,
}

impl fmt::Debug for RawPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPage").field("items", &self.len()).finish_non_exhaustive()
    }
}

impl RawPage {
    /// Checks a body and finds its items.
    pub fn new(body: Vec<u8>) -> Result<Self, BadBody> {
        let body = json::text(body)?;
        let outline = serde_json::from_str::<Outline<'_, Items<'_>>>(&body);
        let outline = outline.or_else(|_| Outline::read_any(&body))?;
        let Items(items) = outline.items.ok_or(BadBody::Shape("`items` is missing"))?;
        if items.len() > MAX_ITEMS {
            return Err(BadBody::Shape("a page of more than 10,000 items"));
        }
        let next = cursor_of(outline.next.map(Raw::from))?;
        let start = body.as_ptr().addr();
        let place = |item: &&RawValue| {
            let from = item.get().as_ptr().addr() - start;
            from..from + item.get().len()
        };
        let items = items.iter().map(place).collect();
        Ok(Self { body, items, next })
    }

    pub fn read(&self) -> Page<'_> {
        let items: Vec<Item<'_>> =
            self.items.iter().filter_map(|item| wire::item(&self.body[item.clone()])).collect();
        Page { items, next: self.next.clone() }
    }

    /// The item at this place, as it was received, as one that cannot be used.
    pub fn reject(&self, number: usize, id: &str, reason: RejectReason) -> Option<Rejected> {
        let item = self.body.get(self.items.get(number)?.clone())?;
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
