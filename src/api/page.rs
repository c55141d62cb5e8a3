//! A page of the list as text: checked to the last byte, its items found but not read yet.
//!
//! Owns what makes an answer a page (contract 5.1) and where the next one begins. The cursor is known before any item is
//! read, so that the next page can be on its way meanwhile.

use std::fmt;
use std::ops::Range;

mod usual;

use super::json::{self, BadBody, Raw, Scanner};
use super::wire;
use crate::consent::{Cursor, Item, Page, RejectReason, Rejected};
use usual::{List, Spots};

/// A page may come back with more items than were asked for, but not with any number of them.
const MAX_ITEMS: usize = 10_000;

/// A longer cursor would not fit into a request line that servers and proxies take.
const MAX_CURSOR_BYTES: usize = 8 * 1024;

/// A page that was received: JSON to the last byte, with a list of items in it.
pub struct RawPage {
    body: String,
    /// Nothing in the body is escaped.
    plain: bool,
    items: Found,
    next: Option<Cursor>,
}

/// What is known of the items so far.
enum Found {
    /// The usual page: where each field stands.
    Fields(Vec<Spots>),
    /// Any other one: where each item stands.
    Items(Vec<Range<usize>>),
}

impl fmt::Debug for RawPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPage").field("items", &self.len()).finish_non_exhaustive()
    }
}

impl RawPage {
    /// Checks a body and finds what it holds.
    pub fn new(body: Vec<u8>) -> Result<Self, BadBody> {
        let (body, plain) = json::text(body)?;
        let (items, next) = if let Some(list) = List::read(&body) {
            (Found::Fields(list.spots(&body)), list.next())
        } else {
            let (items, next) = outline(&body)?;
            (Found::Items(items), next)
        };
        let next = cursor_of(next)?;
        Ok(Self { body, plain, items, next })
    }

    pub fn read(&self) -> Page<'_> {
        let usual = match &self.items {
            Found::Fields(items) => self.read_usual(items),
            Found::Items(_) => None,
        };
        let items = match (usual, &self.items) {
            (Some(items), _) => items,
            (None, Found::Items(items)) => self.read_any(items),
            // An item is rejected, and has to be shown as it was received.
            (None, Found::Fields(_)) => self.read_any(&outline(&self.body).unwrap_or_default().0),
        };
        Page { items, next: self.next.clone() }
    }

    fn read_usual(&self, items: &[Spots]) -> Option<Vec<Item<'_>>> {
        let consents = items.iter().map(|item| wire::usual(item.fields(&self.body, self.plain)?));
        consents.collect()
    }

    fn read_any(&self, items: &[Range<usize>]) -> Vec<Item<'_>> {
        let texts = items.iter().filter_map(|item| self.body.get(item.clone()));
        texts.filter_map(wire::item).collect()
    }

    /// The item at this place, as it was received, as one that cannot be used.
    pub fn reject(&self, number: usize, id: &str, reason: RejectReason) -> Option<Rejected> {
        let (items, _) = outline(&self.body).ok()?;
        let item = self.body.get(items.get(number)?.clone())?;
        Some(wire::rejected(item, Some(id.into()), reason))
    }

    /// Whether the slow way finds what the fast one does.
    pub fn is_found_again(&self) -> bool {
        outline(&self.body).is_ok_and(|(items, next)| {
            self.read_any(&items) == self.read().items && cursor_of(next).is_ok_and(|next| next == self.next)
        })
    }

    /// Bytes of text in it.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    pub fn len(&self) -> usize {
        match &self.items {
            Found::Fields(items) => items.len(),
            Found::Items(items) => items.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the list goes on behind it.
    pub fn has_next(&self) -> bool {
        self.next.is_some()
    }

    pub(super) fn next(&self) -> Option<&Cursor> {
        self.next.as_ref()
    }
}

/// Where the items stand in a body, and what its `next` is.
type Outline<'a> = (Vec<Range<usize>>, Option<Raw<'a>>);

/// What any body holds, or why it is no page.
fn outline(body: &str) -> Result<Outline<'_>, BadBody> {
    let text = json::checked(body)?;
    let shift = body.len() - text.len();
    let mut scanner = Scanner::new(text);
    if !scanner.take(b'{') {
        return Err(BadBody::Shape("the answer is not an object"));
    }
    let mut items = Err(BadBody::Shape("`items` is missing"));
    let mut next = None;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first)? {
        if key == "items" && scanner.take(b'[') {
            items = Ok(places(&mut scanner, shift)?);
            continue;
        }
        let value = scanner.value().ok_or(BadBody::NotJson)?;
        match key.as_ref() {
            "items" => items = Err(BadBody::Shape("`items` is not an array")),
            "next" => next = Some(value),
            _ => {}
        }
    }
    Ok((items?, next))
}

/// Where the items of an array stand whose opening bracket is consumed.
fn places(scanner: &mut Scanner<'_>, shift: usize) -> Result<Vec<Range<usize>>, BadBody> {
    let mut items = Vec::new();
    let mut first = true;
    while scanner.next_element(&mut first).ok_or(BadBody::NotJson)? {
        if items.len() == MAX_ITEMS {
            return Err(BadBody::Shape("a page of more than 10,000 items"));
        }
        scanner.peek();
        let start = scanner.position();
        scanner.value().ok_or(BadBody::NotJson)?;
        items.push(start + shift..scanner.position() + shift);
    }
    Ok(items)
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
