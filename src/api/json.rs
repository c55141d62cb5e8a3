//! Foreign JSON as text: one check of the whole, then spans instead of trees.
//!
//! Owns what serde's data model cannot do for us: a nesting of any depth without recursion, numbers exactly as received,
//! fields that nobody knows kept as canonical text, and no key that means something to the parser itself. Knows nothing
//! of consents or tokens.

use std::borrow::Cow;

mod canonical;

use serde::de::IgnoredAny;

pub(super) use canonical::{canonical, canonical_object, sort_members};

/// Why a body cannot be used. Never holds a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadBody {
    /// Not JSON at all: an HTML page, nothing, half of it, wrong UTF-8. Often passes, so it is asked again.
    NotJson,
    /// JSON, but not what was asked for.
    Shape(&'static str),
}

/// The deepest nesting that is kept: serde's readers take 127 levels, and the history wraps what is kept once more.
pub(super) const MAX_DEPTH: usize = 126;

/// Makes a body into text without NUL and lone surrogates. Nothing else about it is checked. The flag: nothing in it is
/// escaped, as in most pages.
pub(super) fn text(mut body: Vec<u8>) -> Result<(String, bool), BadBody> {
    // A great deal faster than to look for what must be replaced.
    let plain = !body.contains(&b'\\');
    if !plain {
        replace_unstorable(&mut body);
    }
    let text = String::from_utf8(body).map_err(|_| BadBody::NotJson)?;
    Ok((text, plain))
}

/// A text, without its BOM, that is known to be one JSON value.
pub(super) fn checked(text: &str) -> Result<&str, BadBody> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Skips without recursion, so no nesting overflows the stack, and checks the syntax to the last byte.
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| BadBody::NotJson)?;
    Ok(text)
}

/// Rewrites `\u0000` and lone surrogate escapes to `\ufffd`, in place: all have six bytes. PostgreSQL can hold neither.
fn replace_unstorable(body: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = body.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == b'\\')) {
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
    /// A backslash is in it.
    escaped: bool,
}

impl<'a> Raw<'a> {
    /// A value that somebody else has checked, with nothing escaped in it. Its depth is not known.
    pub(super) fn plain(text: &'a str) -> Self {
        Self { text, depth: 0, escaped: false }
    }

    /// A value that somebody else has checked. Its depth is not known.
    pub(super) fn checked(text: &'a str) -> Self {
        Self { text, depth: 0, escaped: text.contains('\\') }
    }

    /// The text of a string.
    pub(super) fn string(self) -> Option<Cow<'a, str>> {
        if !self.text.starts_with('"') {
            return None;
        }
        if self.escaped {
            return Some(unquote(self.text));
        }
        let inner = self.text.get(1..self.text.len() - 1);
        Some(Cow::Borrowed(inner.unwrap_or_default()))
    }

    /// The digits of an integer of any size.
    pub(super) fn integer(self) -> Option<&'a str> {
        let digits = self.text.strip_prefix('-').unwrap_or(self.text);
        (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(self.text)
    }

    /// Is it `null`?
    pub(super) fn is_null(self) -> bool {
        self.text == "null"
    }

    pub(super) fn is_array(self) -> bool {
        self.text.starts_with('[')
    }
}

/// The content of a quoted string. Borrowed unless something in it is escaped.
fn unquote(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
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

    pub(super) fn value(&mut self) -> Option<Raw<'a>> {
        let first = self.peek()?;
        let start = self.at;
        let (mut depth, mut escaped) = (0, false);
        match first {
            b'"' => escaped = self.skip_string()?,
            b'{' | b'[' => depth = self.skip_nested()?,
            _ => self.skip_scalar(),
        }
        let text = self.text.get(start..self.at)?;
        Some(Raw { text, depth, escaped })
    }

    /// The next key of an object whose opening brace is consumed, with its colon; None at its end.
    pub(super) fn next_key(&mut self, first: &mut bool) -> Result<Option<Cow<'a, str>>, BadBody> {
        if self.take(b'}') {
            return Ok(None);
        }
        if !std::mem::take(first) && !self.take(b',') {
            return Err(BadBody::NotJson);
        }
        let key = self.value().and_then(Raw::string).filter(|_| self.take(b':'));
        key.map(Some).ok_or(BadBody::NotJson)
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

    /// Tells whether anything in it is escaped.
    fn skip_string(&mut self) -> Option<bool> {
        let mut escaped = false;
        let mut at = self.at + 1;
        loop {
            let rest = self.text.as_bytes().get(at..)?;
            at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            if self.text.as_bytes().get(at) == Some(&b'"') {
                self.at = at + 1;
                return Some(escaped);
            }
            escaped = true;
            at += 2;
        }
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
    while let Some(key) = scanner.next_key(&mut first).ok()? {
        found.push((key, scanner.value()?));
    }
    Some(found)
}

#[cfg(test)]
mod tests;
