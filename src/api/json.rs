//! Foreign JSON as text: one check of the whole, then spans instead of trees.
//!
//! Owns what serde's data model cannot do for us: a nesting of any depth without recursion, numbers exactly as received,
//! fields that nobody knows kept as canonical text, and no key that means something to the parser itself. Knows nothing
//! of consents or tokens.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::IgnoredAny;

/// Why a body cannot be used. Never holds a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadBody {
    /// Not JSON at all: an HTML page, nothing, half of it, wrong UTF-8. Often passes, so it is asked again.
    NotJson,
    /// JSON, but not what was asked for.
    Shape(&'static str),
}

/// The deepest nesting that is kept: serde's readers take 127 levels, and the history wraps what is kept once more.
pub(super) const MAX_DEPTH: usize = 126;

/// PostgreSQL's numeric ends at 131,072 digits before and 16,383 after the point; far below that a number is no
/// quantity any more and is kept as text.
const MAX_EXPONENT: i64 = 1_000;
const MAX_DIGITS: usize = 10_000;

/// Makes a body into text that is known to be one JSON value: no BOM, no NUL, no lone surrogate.
pub(super) fn checked(body: &mut [u8]) -> Result<&str, BadBody> {
    replace_unstorable(body);
    let text = std::str::from_utf8(body).map_err(|_| BadBody::NotJson)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Skips without recursion, so no nesting overflows the stack, and checks the syntax to the last byte.
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| BadBody::NotJson)?;
    Ok(text)
}

/// Rewrites `\u0000` and lone surrogate escapes to `\ufffd`, in place: all have six bytes. PostgreSQL can hold neither.
fn replace_unstorable(body: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = body
        .get(at..)
        .and_then(|rest| rest.iter().position(|&byte| byte == b'\\'))
    {
        at += found;
        if body.get(at + 1) != Some(&b'u') {
            at += 2; // `\\` too: the backslash that follows is escaped, not an escape
            continue;
        }
        match escape_at(body, at) {
            Some(0xd800..=0xdbff) if matches!(escape_at(body, at + 6), Some(0xdc00..=0xdfff)) => {
                at += 12;
                continue;
            }
            Some(0 | 0xd800..=0xdfff) => {
                if let Some(digits) = body.get_mut(at + 2..at + 6) {
                    digits.copy_from_slice(b"fffd");
                }
            }
            _ => {}
        }
        at += 6;
    }
}

/// The code unit of the `\uXXXX` at this place.
fn escape_at(body: &[u8], at: usize) -> Option<u16> {
    let digits = body.get(at..at + 6)?.strip_prefix(b"\\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// One value as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw<'a> {
    /// The value without surrounding white space; a string with its quotes.
    pub(super) text: &'a str,
    /// Levels of arrays and objects; 0 for a scalar.
    pub(super) depth: usize,
}

impl<'a> Raw<'a> {
    /// The text of a string.
    pub(super) fn string(self) -> Option<Cow<'a, str>> {
        if !self.text.starts_with('"') {
            return None;
        }
        Some(unquote(self.text))
    }

    /// The digits of an integer of any size.
    pub(super) fn integer(self) -> Option<&'a str> {
        let digits = self.text.strip_prefix('-').unwrap_or(self.text);
        (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then_some(self.text)
    }

    /// Is it `null`?
    pub(super) fn is_null(self) -> bool {
        self.text == "null"
    }

    /// Is it an array?
    pub(super) fn is_array(self) -> bool {
        self.text.starts_with('[')
    }
}

/// The content of a quoted string. Borrowed unless something in it is escaped.
fn unquote(quoted: &str) -> Cow<'_, str> {
    let inner = quoted
        .get(1..quoted.len().saturating_sub(1))
        .unwrap_or_default();
    if inner.contains('\\') {
        // Cannot fail on checked text; an empty text would be the answer to the impossible.
        Cow::Owned(serde_json::from_str(quoted).unwrap_or_default())
    } else {
        Cow::Borrowed(inner)
    }
}

/// Reads checked text from the left. Every method answers None only where the text is not JSON after all.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At the beginning of the text.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is no white space, not consumed.
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    /// Consumes this byte if it is the next one.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    /// The next value.
    pub(super) fn value(&mut self) -> Option<Raw<'a>> {
        let first = self.peek()?;
        let start = self.at;
        let depth = match first {
            b'"' => {
                self.skip_string()?;
                0
            }
            b'{' | b'[' => self.skip_nested()?,
            _ => {
                self.skip_scalar();
                0
            }
        };
        let text = self.text.get(start..self.at)?;
        Some(Raw { text, depth })
    }

    /// The next key of an object whose opening brace is consumed, with its colon; the inner None is the end.
    pub(super) fn next_key(&mut self, first: &mut bool) -> Option<Option<Cow<'a, str>>> {
        if self.take(b'}') {
            return Some(None);
        }
        if !std::mem::take(first) && !self.take(b',') {
            return None;
        }
        let key = self.value()?.string()?;
        self.take(b':').then_some(Some(key))
    }

    /// Is there another element in an array whose opening bracket is consumed?
    pub(super) fn next_element(&mut self, first: &mut bool) -> Option<bool> {
        if self.take(b']') {
            return Some(false);
        }
        (std::mem::take(first) || self.take(b',')).then_some(true)
    }

    /// Where the next byte to read lies.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The text from there to here.
    pub(super) fn since(&self, start: usize) -> Option<&'a str> {
        self.text.get(start..self.at)
    }

    fn skip_string(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        loop {
            match bytes.get(at)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Some(())
    }

    fn skip_nested(&mut self) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let (mut open, mut deepest) = (0_usize, 0_usize);
        loop {
            match bytes.get(self.at)? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => {
                    open += 1;
                    deepest = deepest.max(open);
                }
                b'}' | b']' => open = open.checked_sub(1)?,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Some(deepest);
            }
        }
    }

    fn skip_scalar(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r') {
                break;
            }
            self.at += 1;
        }
    }
}

/// The members of an object, duplicates included; None where the text is no object.
pub(super) fn members(text: &str) -> Option<Vec<(Cow<'_, str>, Raw<'_>)>> {
    let mut scanner = Scanner::new(text);
    if !scanner.take(b'{') {
        return None;
    }
    let mut found = Vec::new();
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first)? {
        found.push((key, scanner.value()?));
    }
    Some(found)
}

/// The canonical text of a value: sorted keys (the last of equal ones), no white space, numbers as received.
/// None where it is nested deeper than [`MAX_DEPTH`].
pub(super) fn canonical(text: &str) -> Option<String> {
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
    out.push('{');
    let start = out.len();
    let mut written: Vec<(Cow<'_, str>, Range<usize>)> = Vec::new();
    let (mut first, mut sorted) = (true, true);
    while let Some(key) = from.next_key(&mut first)? {
        if !written.is_empty() {
            out.push(',');
        }
        let begin = out.len();
        push_quoted(out, &key);
        out.push(':');
        write_canonical(out, from, depth)?;
        sorted = sorted && written.last().is_none_or(|(last, _)| *last < key);
        written.push((key, begin..out.len()));
    }
    if !sorted {
        let ordered = join_sorted(out, written)?;
        out.truncate(start);
        out.push_str(&ordered);
    }
    out.push('}');
    Some(())
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
pub(super) fn canonical_object(members: &[(Cow<'_, str>, &str)]) -> Option<String> {
    let mut text = String::new();
    let mut written = Vec::with_capacity(members.len());
    for (key, value) in members {
        let begin = text.len();
        push_quoted(&mut text, key);
        text.push(':');
        write_canonical(&mut text, &mut Scanner::new(value), MAX_DEPTH)?;
        written.push((Cow::Borrowed(key.as_ref()), begin..text.len()));
    }
    let ordered = join_sorted(&text, written)?;
    Some(format!("{{{ordered}}}"))
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

#[cfg(test)]
#[path = "json_test.rs"]
mod tests;
