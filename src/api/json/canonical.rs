//! Canonical text of JSON: the same value always looks the same.
//!
//! Owns the writing; reads through the [`Scanner`], so the text must have been checked.

use std::borrow::Cow;
use std::ops::Range;

use super::{MAX_DEPTH, Scanner};

/// PostgreSQL's numeric ends at 131,072 digits before and 16,383 after the point; far below that a number is no
/// quantity any more and is kept as text.
const MAX_EXPONENT: i64 = 1_000;
const MAX_DIGITS: usize = 10_000;

/// The canonical text of a value: sorted keys (the last of equal ones), no white space, numbers as received.
/// None where it is nested deeper than this.
pub(in crate::api) fn canonical(text: &str, levels: usize) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    Writer::new(&mut out).value(&mut Scanner::new(text), levels)?;
    Some(out)
}

/// Members by key; of equal ones the last in the text that they all are of. In place: there can be a million of them.
pub(in crate::api) fn sort_members(members: &mut Vec<(Cow<'_, str>, &str)>) {
    members.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.as_ptr().cmp(&a.1.as_ptr())));
    members.dedup_by(|later, first| later.0 == first.0);
}

/// An object of sorted members whose values are checked JSON, as canonical text.
pub(in crate::api) fn canonical_object(members: &[(Cow<'_, str>, &str)]) -> Option<String> {
    // Quotes, colon and comma for each, and the braces: a page of large items must not be held twice as large as it is.
    let sizes = members.iter().map(|(key, value)| key.len() + value.len() + 4);
    let mut out = String::with_capacity(sizes.sum::<usize>() + 2);
    let mut writer = Writer::new(&mut out);
    let object = writer.open();
    for (key, value) in members {
        writer.key(&object, key, matches!(key, Cow::Borrowed(_)));
        writer.value(&mut Scanner::new(value), MAX_DEPTH - 1)?;
    }
    out.push('}');
    Some(out)
}

struct Writer<'o, 't> {
    out: &'o mut String,
    /// The members of all objects that are open, the innermost last.
    members: Vec<(Cow<'t, str>, Range<usize>)>,
    /// Room for the members of an object in their order.
    ordered: String,
}

/// An object that is being written.
#[derive(Clone, Copy)]
struct OpenObject {
    /// Where its text begins, behind the brace.
    start: usize,
    first: usize,
}

impl<'o, 't> Writer<'o, 't> {
    fn new(out: &'o mut String) -> Self {
        Self { out, members: Vec::new(), ordered: String::new() }
    }

    fn value(&mut self, from: &mut Scanner<'t>, levels: usize) -> Option<()> {
        match from.peek()? {
            b'{' => self.object(from, levels.checked_sub(1)?),
            b'[' => self.array(from, levels.checked_sub(1)?),
            b'"' => {
                let value = from.value()?;
                match value.string()? {
                    Cow::Borrowed(_) => self.out.push_str(value.text),
                    Cow::Owned(text) => push_quoted(self.out, &text),
                }
                Some(())
            }
            first => {
                let scalar = from.value()?.text;
                let number = first == b'-' || first.is_ascii_digit();
                if number && !storable_number(scalar) {
                    self.out.extend(["\"", scalar, "\""]);
                } else {
                    self.out.push_str(scalar);
                }
                Some(())
            }
        }
    }

    fn array(&mut self, from: &mut Scanner<'t>, levels: usize) -> Option<()> {
        from.consume(b'[');
        self.out.push('[');
        let (mut first, start) = (true, self.out.len());
        while from.has_next(b']', &mut first)? {
            if self.out.len() > start {
                self.out.push(',');
            }
            self.value(from, levels)?;
        }
        self.out.push(']');
        Some(())
    }

    /// Writes the members as they come and puts them in order afterwards only if they were not: one pass, no tree.
    fn object(&mut self, from: &mut Scanner<'t>, levels: usize) -> Option<()> {
        from.consume(b'{');
        let object = self.open();
        let mut first = true;
        while let Some(key) = from.next_key(&mut first).ok()? {
            let begin = self.key(&object, &key, matches!(key, Cow::Borrowed(_)));
            self.value(from, levels)?;
            self.end(key, begin);
        }
        self.close(object)
    }

    fn open(&mut self) -> OpenObject {
        self.out.push('{');
        OpenObject { start: self.out.len(), first: self.members.len() }
    }

    /// Writes a key; `plain` where it stood between its quotes like that. Tells where the member begins.
    fn key(&mut self, object: &OpenObject, key: &str, plain: bool) -> usize {
        if self.out.len() > object.start {
            self.out.push(',');
        }
        let begin = self.out.len();
        if plain {
            self.out.extend(["\"", key, "\""]);
        } else {
            push_quoted(self.out, key);
        }
        self.out.push(':');
        begin
    }

    fn end(&mut self, key: Cow<'t, str>, begin: usize) {
        self.members.push((key, begin..self.out.len()));
    }

    fn close(&mut self, object: OpenObject) -> Option<()> {
        let members = self.members.get_mut(object.first..)?;
        if !members.is_sorted_by(|a, b| a.0 < b.0) {
            members.sort_by(|a, b| a.0.cmp(&b.0)); // stable: equal keys stay in the order received
            self.ordered.clear();
            join(&mut self.ordered, self.out, members)?;
            self.out.truncate(object.start);
            self.out.push_str(&self.ordered);
        }
        self.members.truncate(object.first);
        self.out.push('}');
        Some(())
    }
}

/// Sorted members, the last of equal ones, with commas.
fn join(ordered: &mut String, text: &str, members: &[(Cow<'_, str>, Range<usize>)]) -> Option<()> {
    ordered.reserve(members.iter().map(|(_, range)| range.len() + 1).sum());
    for (at, (key, range)) in members.iter().enumerate() {
        if members.get(at + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        if !ordered.is_empty() {
            ordered.push(',');
        }
        ordered.push_str(text.get(range.clone())?);
    }
    Some(())
}

/// Writes a text as a JSON string.
fn push_quoted(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.extend(["\"", text, "\""]);
        return;
    }
    // A string always serializes.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Can PostgreSQL's numeric hold it?
fn storable_number(number: &str) -> bool {
    let (mantissa, exponent) = match number.find(['e', 'E']) {
        Some(at) => (number.get(..at), number.get(at + 1..)),
        None => (Some(number), None),
    };
    let small = exponent.is_none_or(|text| {
        text.strip_prefix('+').unwrap_or(text).parse::<i64>().is_ok_and(|value| value.abs() <= MAX_EXPONENT)
    });
    small && mantissa.is_some_and(|digits| digits.len() <= MAX_DIGITS)
}
