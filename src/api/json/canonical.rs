//! Canonical text of JSON: the same value always looks the same.
//!
//! Owns the writing; reads through the [`Scanner`], so the text must have been checked.

use std::borrow::Cow;
use std::ops::Range;

use super::{MAX_DEPTH, Scanner, unquote};

/// PostgreSQL's numeric ends at 131,072 digits before and 16,383 after the point; far below that a number is no
/// quantity any more and is kept as text.
const MAX_EXPONENT: i64 = 1_000;
const MAX_DIGITS: usize = 10_000;

/// The canonical text of a value: sorted keys (the last of equal ones), no white space, numbers as received.
/// None where it is nested deeper than [`MAX_DEPTH`].
pub(in crate::api) fn canonical(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    write_canonical(&mut out, &mut Scanner::new(text), MAX_DEPTH)?;
    Some(out)
}

fn write_canonical(out: &mut String, from: &mut Scanner<'_>, depth: usize) -> Option<()> {
    match from.peek()? {
        b'{' => write_object(out, from, depth.checked_sub(1)?),
        b'[' => write_array(out, from, depth.checked_sub(1)?),
        b'"' => {
            write_string(out, from.value()?.text);
            Some(())
        }
        first => {
            let scalar = from.value()?.text;
            let number = first == b'-' || first.is_ascii_digit();
            if number && !storable_number(scalar) {
                out.extend(["\"", scalar, "\""]);
            } else {
                out.push_str(scalar);
            }
            Some(())
        }
    }
}

fn write_array(out: &mut String, from: &mut Scanner<'_>, depth: usize) -> Option<()> {
    from.take(b'[');
    out.push('[');
    let (mut first, start) = (true, out.len());
    while from.next_element(&mut first)? {
        if out.len() > start {
            out.push(',');
        }
        write_canonical(out, from, depth)?;
    }
    out.push(']');
    Some(())
}

/// Writes the members as they come and puts them in order afterwards only if they were not: one pass, no tree.
fn write_object(out: &mut String, from: &mut Scanner<'_>, depth: usize) -> Option<()> {
    from.take(b'{');
    let mut members = Members::open(out);
    let mut first = true;
    while let Some(key) = from.next_key(&mut first).ok()? {
        members.push(out, key, |out| write_canonical(out, from, depth))?;
    }
    members.close(out)
}

/// The members of an object that is being written.
struct Members<'a> {
    start: usize,
    written: Vec<(Cow<'a, str>, Range<usize>)>,
    sorted: bool,
}

impl<'a> Members<'a> {
    fn open(out: &mut String) -> Self {
        out.push('{');
        Self {
            start: out.len(),
            written: Vec::new(),
            sorted: true,
        }
    }

    fn push(
        &mut self,
        out: &mut String,
        key: Cow<'a, str>,
        value: impl FnOnce(&mut String) -> Option<()>,
    ) -> Option<()> {
        if out.len() > self.start {
            out.push(',');
        }
        let begin = out.len();
        push_quoted(out, &key);
        out.push(':');
        value(out)?;
        self.sorted = self.sorted && self.written.last().is_none_or(|(last, _)| *last < key);
        self.written.push((key, begin..out.len()));
        Some(())
    }

    fn close(self, out: &mut String) -> Option<()> {
        if !self.sorted {
            let ordered = join_sorted(out, self.written)?;
            out.truncate(self.start);
            out.push_str(&ordered);
        }
        out.push('}');
        Some(())
    }
}

/// The members in the order of their keys, the last of equal ones, with commas.
fn join_sorted(text: &str, mut members: Vec<(Cow<'_, str>, Range<usize>)>) -> Option<String> {
    members.sort_by(|a, b| a.0.cmp(&b.0)); // stable: equal keys stay in the order received
    let mut ordered = String::new();
    let mut rest = members.into_iter().peekable();
    while let Some((key, range)) = rest.next() {
        if rest.peek().is_some_and(|(next, _)| *next == key) {
            continue;
        }
        if !ordered.is_empty() {
            ordered.push(',');
        }
        ordered.push_str(text.get(range)?);
    }
    Some(ordered)
}

/// Writes a quoted string so that equal strings look equal, however they were escaped.
fn write_string(out: &mut String, quoted: &str) {
    match unquote(quoted) {
        Cow::Borrowed(_) => out.push_str(quoted),
        Cow::Owned(text) => push_quoted(out, &text),
    }
}

/// Writes a text as a JSON string.
fn push_quoted(out: &mut String, text: &str) {
    if text
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
    {
        out.extend(["\"", text, "\""]);
        return;
    }
    // A string always serializes.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// An object of members whose values are checked JSON, as canonical text. Equal keys: the last wins.
pub(in crate::api) fn canonical_object(given: &[(Cow<'_, str>, &str)]) -> Option<String> {
    // Quotes, colon and comma for each, and the braces: a page of large items must not be held twice as large as it is.
    let sizes = given.iter().map(|(key, value)| key.len() + value.len() + 4);
    let mut out = String::with_capacity(sizes.sum::<usize>() + 2);
    let mut members = Members::open(&mut out);
    for (key, value) in given {
        members.push(&mut out, Cow::Borrowed(key.as_ref()), |out| {
            write_canonical(out, &mut Scanner::new(value), MAX_DEPTH)
        })?;
    }
    members.close(&mut out)?;
    Some(out)
}

/// Can PostgreSQL's numeric hold it?
fn storable_number(number: &str) -> bool {
    let (mantissa, exponent) = match number.find(['e', 'E']) {
        Some(at) => (number.get(..at), number.get(at + 1..)),
        None => (Some(number), None),
    };
    let small = exponent.is_none_or(|text| {
        text.strip_prefix('+')
            .unwrap_or(text)
            .parse::<i64>()
            .is_ok_and(|value| value.abs() <= MAX_EXPONENT)
    });
    small && mantissa.is_some_and(|digits| digits.len() <= MAX_DIGITS)
}
