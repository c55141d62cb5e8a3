//! The usual page, read in one pass by serde: objects whose keys are not escaped.
//!
//! Owns the speed of an unchanged run. Whatever is unusual about a page is left to the slow way, which can tell what.

use std::fmt;
use std::num::NonZeroU32;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{MAX_ITEMS, Raw};
use crate::api::wire::Fields;

/// A page's list, its texts borrowed from the body.
#[derive(Deserialize)]
pub(super) struct List<'a> {
    #[serde(borrow)]
    items: Items<'a>,
    #[serde(borrow, default)]
    next: Option<&'a RawValue>,
}

impl<'a> List<'a> {
    /// None where anything about it is unusual.
    pub(super) fn read(body: &'a str) -> Option<Self> {
        // serde would take an array for a list of fields.
        if !body.trim_ascii_start().starts_with('{') {
            return None;
        }
        serde_json::from_str(body).ok()
    }

    pub(super) fn next(&self) -> Option<Raw<'a>> {
        self.next.map(|next| Raw::checked(next.get()))
    }

    /// Where the fields stand in the body.
    pub(super) fn spots(&self, body: &str) -> Vec<Spots> {
        let start = body.as_ptr().addr();
        self.items.0.iter().map(|item| item.spots(start)).collect()
    }
}

/// Fields without a column that a usual page holds at the most: each takes 48 bytes here.
const MAX_OTHERS: usize = 65_536;

/// No more than a page may hold.
struct Items<'a>(Vec<UsualItem<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items<'de>, A::Error> {
                let (mut items, mut others) = (Vec::new(), 0);
                while let Some(item) = seq.next_element::<UsualItem<'de>>()? {
                    others += item.others.len();
                    if items.len() == MAX_ITEMS || others > MAX_OTHERS {
                        return Err(A::Error::custom("too many items, or fields of them"));
                    }
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}

/// The fields that have a column, as received; the last of equal ones.
#[derive(Default)]
struct UsualItem<'a> {
    id: Option<&'a str>,
    company_id: Option<&'a str>,
    email: Option<&'a str>,
    full_name: Option<&'a str>,
    source: Option<&'a str>,
    references: Option<&'a str>,
    others: Vec<(&'a str, &'a str)>,
}

impl<'de: 'a, 'a> Deserialize<'de> for UsualItem<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = UsualItem<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UsualItem<'de>, A::Error> {
                let mut item = UsualItem::default();
                while let Some(key) = map.next_key::<&'de str>()? {
                    let value = map.next_value::<&'de RawValue>()?.get();
                    match key {
                        "id" => item.id = Some(value),
                        "company_id" => item.company_id = Some(value),
                        "email" => item.email = Some(value),
                        "full_name" => item.full_name = Some(value),
                        "source" => item.source = Some(value),
                        "references" => item.references = Some(value),
                        _ if item.others.len() == MAX_OTHERS => {
                            return Err(A::Error::custom("too many fields"));
                        }
                        _ => item.others.push((key, value)),
                    }
                }
                Ok(item)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl UsualItem<'_> {
    fn spots(&self, start: usize) -> Spots {
        let spot = |text: &str| Spot::new(text, start);
        let spot_of = |text: Option<&str>| text.and_then(spot);
        Spots {
            id: spot_of(self.id),
            company_id: spot_of(self.company_id),
            email: spot_of(self.email),
            full_name: spot_of(self.full_name),
            source: spot_of(self.source),
            references: spot_of(self.references),
            others: self.others.iter().map(|(key, value)| Some((spot(key)?, spot(value)?))).collect(),
        }
    }
}

/// A piece of a body. None of them is at its very beginning.
#[derive(Clone, Copy)]
struct Spot {
    from: NonZeroU32,
    length: u32,
}

impl Spot {
    fn new(text: &str, start: usize) -> Option<Self> {
        let from = u32::try_from(text.as_ptr().addr().checked_sub(start)?).ok()?;
        Some(Self { from: NonZeroU32::new(from)?, length: u32::try_from(text.len()).ok()? })
    }

    fn text(self, body: &str) -> Option<&str> {
        let from = usize::try_from(self.from.get()).ok()?;
        body.get(from..from + usize::try_from(self.length).ok()?)
    }
}

/// Where the fields of an item stand.
pub(super) struct Spots {
    id: Option<Spot>,
    company_id: Option<Spot>,
    email: Option<Spot>,
    full_name: Option<Spot>,
    source: Option<Spot>,
    references: Option<Spot>,
    /// None where one of them cannot be told: never.
    others: Option<Vec<(Spot, Spot)>>,
}

impl Spots {
    /// The fields in that body; `plain` where nothing in it is escaped.
    pub(super) fn fields<'a>(&self, body: &'a str, plain: bool) -> Option<Fields<'a>> {
        let raw = |spot: Option<Spot>| {
            let text = spot?.text(body)?;
            Some(if plain { Raw::plain(text) } else { Raw::checked(text) })
        };
        let others = self.others.as_ref()?.iter();
        Some(Fields {
            id: raw(self.id),
            company_id: raw(self.company_id),
            email: raw(self.email),
            full_name: raw(self.full_name),
            source: raw(self.source),
            references: raw(self.references),
            others: others
                .map(|(key, value)| Some((key.text(body)?.into(), value.text(body)?)))
                .collect::<Option<_>>()?,
            // What is nested too deeply for its canonical text is rejected all the same.
            depth: 0,
        })
    }
}
