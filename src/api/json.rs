//! Foreign JSON as text: serde checks it, then spans instead of trees.
//!
//! Owns what serde's data model cannot do for us: a nesting of any depth without recursion, numbers exactly as received,
//! fields that nobody knows kept as canonical text, and no key that means something to the parser itself. Knows nothing
//! of consents or tokens.

use std::borrow::Cow;

mod canonical;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::error::{ApiError, Endpoint};
use super::retry::{Fault, Transient};

pub(super) use canonical::{canonical, canonical_object, sort_members};

/// Why a body cannot be used. Never holds a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadBody {
    /// Not JSON at all: an HTML page, nothing, half of it, wrong UTF-8. Often passes, so it is asked again.
    NotJson,
    /// JSON, but not what was asked for.
    Shape(&'static str),
}

impl BadBody {
    pub(super) fn fault(self, endpoint: Endpoint) -> Fault {
        match self {
            Self::NotJson => Transient::not_json(endpoint).into(),
            Self::Shape(what) => ApiError::wrong_shape(endpoint, what).into(),
        }
    }
}

/// The deepest nesting that is kept: serde's readers take 127 levels, and the history wraps what is kept once more.
pub(super) const MAX_DEPTH: usize = 126;

/// Where the braces of an object end is guessed this far: texts full of braces must not have a page looked through for each.
const MAX_GUESS: usize = 16 * 1024;
const MAX_BRACES: usize = 200;

/// Makes a body into text without BOM, NUL and lone surrogates. Nothing else about it is checked.
pub(super) fn text(mut body: Vec<u8>) -> Result<String, BadBody> {
    replace_unstorable(&mut body);
    if body.starts_with("\u{feff}".as_bytes()) {
        body.drain(..'\u{feff}'.len_utf8());
    }
    String::from_utf8(body).map_err(|_| BadBody::NotJson)
}

/// Reads an object, and no array as serde would. Distinguishes another shape from what is not JSON at all.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BadBody> {
    let read = serde_json::from_str(text).ok().filter(|_| text.trim_start().starts_with('{'));
    read.ok_or_else(|| {
        if is_valid(text) { BadBody::Shape("the answer is not an object") } else { BadBody::NotJson }
    })
}

/// Whether this is one JSON value, to the last byte.
pub(super) fn is_valid(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Rewrites `\u0000` and lone surrogate escapes to `\ufffd`, in place: all have six bytes. PostgreSQL can hold neither.
fn replace_unstorable(body: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = body.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
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

/// One value as it stands in the text, without surrounding white space; a string with its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw<'a> {
    pub(super) text: &'a str,
    is_escaped: bool,
}

impl<'a> From<&'a RawValue> for Raw<'a> {
    fn from(value: &'a RawValue) -> Self {
        Self { text: value.get(), is_escaped: value.get().contains('\\') }
    }
}

impl<'a> Raw<'a> {
    pub(super) fn string(self) -> Option<Cow<'a, str>> {
        let inner = self.text.strip_prefix('"')?.strip_suffix('"')?;
        if self.is_escaped {
            // Cannot fail on checked text; an empty text would be the answer to the impossible.
            return Some(Cow::Owned(serde_json::from_str(self.text).unwrap_or_default()));
        }
        Some(Cow::Borrowed(inner))
    }

    /// The digits of an integer of any size.
    pub(super) fn integer(self) -> Option<&'a str> {
        let digits = self.text.strip_prefix('-').unwrap_or(self.text);
        (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(self.text)
    }

    pub(super) fn is_null(self) -> bool {
        self.text == "null"
    }

    pub(super) fn is_array(self) -> bool {
        self.text.starts_with('[')
    }
}

/// Reads text from the left. What it finds in text that was not checked may not be JSON; every method answers None only where
/// the text cannot be.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
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
    pub(super) fn consume(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    /// Where the next value begins.
    pub(super) fn position(&mut self) -> Option<usize> {
        self.peek().map(|_| self.at)
    }

    /// The object that begins here, as long as its braces say, which may also stand in its texts: a guess, not consumed.
    pub(super) fn guess_object(&mut self) -> Option<&'a str> {
        let start = self.position()?;
        let rest = self.text.get(start..)?;
        let mut open = 0_usize;
        let near = rest.as_bytes().get(..MAX_GUESS).unwrap_or(rest.as_bytes());
        for at in memchr::memchr2_iter(b'{', b'}', near).take(MAX_BRACES) {
            open = if near[at] == b'{' { open + 1 } else { open.checked_sub(1)? };
            if open == 0 {
                return rest.get(..=at).filter(|guess| guess.starts_with('{'));
            }
        }
        None
    }

    /// Consumes this text, which begins with the next value.
    pub(super) fn skip(&mut self, text: &str) {
        self.at += text.len();
    }

    pub(super) fn value(&mut self) -> Option<Raw<'a>> {
        let first = self.peek()?;
        let start = self.at;
        let mut is_escaped = false;
        match first {
            b'"' => is_escaped = self.skip_string()?,
            b'{' | b'[' => self.skip_nested()?,
            _ => self.skip_scalar(),
        }
        Some(Raw { text: self.text.get(start..self.at)?, is_escaped })
    }

    /// The next key of an object whose opening brace is consumed, with its colon; None at its end.
    pub(super) fn next_key(&mut self, first: &mut bool) -> Result<Option<Cow<'a, str>>, BadBody> {
        match self.has_next(b'}', first) {
            Some(true) => self.key().map(Some).ok_or(BadBody::NotJson),
            Some(false) => Ok(None),
            None => Err(BadBody::NotJson),
        }
    }

    fn key(&mut self) -> Option<Cow<'a, str>> {
        self.peek().filter(|byte| *byte == b'"')?;
        let start = self.at;
        let is_escaped = self.skip_string()?;
        let key = Raw { text: self.text.get(start..self.at)?, is_escaped }.string()?;
        self.consume(b':').then_some(key)
    }

    /// Is there another member before this closing bracket? Consumes the bracket, or the comma before the next.
    pub(super) fn has_next(&mut self, end: u8, first: &mut bool) -> Option<bool> {
        let next = self.peek()?;
        let is_first = std::mem::take(first);
        if next == end || !is_first {
            self.at += 1;
        }
        (next == end || next == b',' || is_first).then_some(next != end)
    }

    /// Tells whether anything in it is escaped.
    fn skip_string(&mut self) -> Option<bool> {
        let mut is_escaped = false;
        self.at += 1;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let length = memchr::memchr2(b'"', b'\\', rest)?;
            if rest[length] == b'"' {
                self.at += length + 1;
                return Some(is_escaped);
            }
            is_escaped = true;
            self.at += length + 2;
        }
    }

    fn skip_nested(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        let mut open = 0_usize;
        loop {
            match bytes.get(self.at)? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => open = open.checked_sub(1)?,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Some(());
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

#[cfg(test)]
mod tests;
