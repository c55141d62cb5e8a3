//! One value as it was set, and the kinds of value that a key can ask for.
//!
//! Every parser answers with the value and with how it is shown, or with a complaint that does not repeat a secret: it never
//! sees whether the key is one, so it never quotes what it read. The reader adds the quote where that is safe.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::duration::{parse_duration, show_duration};
use super::problem::Origin;

/// A value before anybody asked for its kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Raw>),
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub raw: Raw,
    pub origin: Origin,
}

/// What is wrong with a value, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub what: String,
    pub allowed: String,
}

impl Complaint {
    pub(super) fn new(what: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { what: what.into(), allowed: allowed.into() }
    }
}

/// A value that a key accepts, and its form in `config`.
pub(super) type Parsed<T> = Result<(T, String), Complaint>;

impl Setting {
    /// Variables, flags and defaults are text whatever they mean; a file tells kinds apart.
    fn is_text_only(&self) -> bool {
        !matches!(self.origin, Origin::File(_))
    }

    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Result<&str, Complaint> {
        match &self.raw {
            Raw::Text(text) if text.is_empty() => {
                Err(Complaint::new("it is empty", "leave the key out, or give it a value"))
            }
            Raw::Text(text) => Ok(text),
            other => Err(Complaint::new(format!("it is {}", kind(other)), "text in quotes is wanted")),
        }
    }
}

fn kind(raw: &Raw) -> &'static str {
    match raw {
        Raw::Text(_) => "text",
        Raw::Integer(_) => "a whole number",
        Raw::Float(_) => "a number",
        Raw::Boolean(_) => "true or false",
        Raw::List(_) => "a list",
    }
}

/// Text as TOML writes it.
pub fn quoted(text: &str) -> String {
    let mut shown = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => shown.extend(['\\', character]),
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            // The control characters end at U+009F: two hexadecimal digits are enough.
            control if control.is_control() => {
                let code = u32::from(control);
                let digits = [code >> 4, code & 15].map(|digit| char::from_digit(digit, 16));
                shown.push_str("\\u00");
                shown.extend(digits.into_iter().flatten());
            }
            other => shown.push(other),
        }
    }
    shown.push('"');
    shown
}

/// Text on one line, neither empty nor blank.
pub(super) fn line(setting: &Setting) -> Parsed<String> {
    let text = setting.as_text()?;
    let allowed = "text without line breaks and other control characters is wanted";
    if text.chars().any(char::is_control) {
        return Err(Complaint::new("it holds a control character or a line break", allowed));
    }
    if text.trim().is_empty() {
        return Err(Complaint::new("it is blank", allowed));
    }
    Ok((text.to_owned(), quoted(text)))
}

/// A whole number within bounds.
pub(super) fn integer(bounds: RangeInclusive<u64>) -> impl FnOnce(&Setting) -> Parsed<u64> {
    move |setting| {
        let allowed = format!("a whole number from {} to {} is wanted", bounds.start(), bounds.end());
        let number = match &setting.raw {
            Raw::Integer(number) => u64::try_from(*number).ok(),
            Raw::Text(text) if setting.is_text_only() => whole(text),
            other => return Err(Complaint::new(format!("it is {}", kind(other)), allowed)),
        };
        match number {
            Some(number) if bounds.contains(&number) => Ok((number, number.to_string())),
            Some(_) => Err(Complaint::new("it is out of range", allowed)),
            None => Err(Complaint::new("it is no such number", allowed)),
        }
    }
}

/// Digits only: the standard parser takes a leading `+` too.
fn whole(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A finite number within bounds.
pub(super) fn number(bounds: RangeInclusive<f64>) -> impl FnOnce(&Setting) -> Parsed<f64> {
    move |setting| {
        let allowed = format!("a number from {} to {} is wanted", bounds.start(), bounds.end());
        let number = match &setting.raw {
            #[expect(clippy::cast_precision_loss, reason = "what loses precision is far beyond every bound")]
            Raw::Integer(number) => Some(*number as f64),
            Raw::Float(number) => Some(*number),
            Raw::Text(text) if setting.is_text_only() => text.parse().ok(),
            other => return Err(Complaint::new(format!("it is {}", kind(other)), allowed)),
        };
        match number {
            // `contains` is false for what is not a number.
            Some(number) if bounds.contains(&number) => {
                let number = if number == 0.0 { 0.0 } else { number };
                Ok((number, number.to_string()))
            }
            Some(_) => Err(Complaint::new("it is out of range", allowed)),
            None => Err(Complaint::new("it is no such number", allowed)),
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(setting: &Setting) -> Parsed<bool> {
    let value = match &setting.raw {
        Raw::Boolean(value) => Some(*value),
        Raw::Text(text) if setting.is_text_only() => text.parse().ok(),
        _ => None,
    };
    value.map(|value| (value, value.to_string())).ok_or_else(|| {
        Complaint::new("it is neither true nor false", "true or false is wanted, without quotes in the file")
    })
}

pub(super) fn duration(bounds: RangeInclusive<Duration>) -> impl FnOnce(&Setting) -> Parsed<Duration> {
    move |setting| {
        let allowed = duration_allowed(&bounds, None);
        span(setting, &bounds, &allowed)
    }
}

/// A duration within bounds, or the word that switches it off.
pub(super) fn duration_or(
    word: &'static str,
    bounds: RangeInclusive<Duration>,
) -> impl FnOnce(&Setting) -> Parsed<Option<Duration>> {
    move |setting| {
        if setting.raw == Raw::Text(word.to_owned()) {
            return Ok((None, quoted(word)));
        }
        let allowed = duration_allowed(&bounds, Some(word));
        span(setting, &bounds, &allowed).map(|(value, shown)| (Some(value), shown))
    }
}

fn span(setting: &Setting, bounds: &RangeInclusive<Duration>, allowed: &str) -> Parsed<Duration> {
    let Raw::Text(text) = &setting.raw else {
        let what = format!("it is {} without a unit", kind(&setting.raw));
        return Err(Complaint::new(what, allowed));
    };
    match parse_duration(text) {
        None => Err(Complaint::new("it is no duration", allowed)),
        Some(value) if bounds.contains(&value) => Ok((value, quoted(text))),
        Some(_) => Err(Complaint::new("it is out of range", allowed)),
    }
}

fn duration_allowed(bounds: &RangeInclusive<Duration>, word: Option<&str>) -> String {
    let least = show_duration(*bounds.start());
    let most = show_duration(*bounds.end());
    let word = word.map_or_else(String::new, |word| format!(", or \"{word}\""));
    format!("a whole number with ms, s, m, h or d, like \"30s\", from {least} to {most}{word} is wanted")
}

/// One of a few words.
pub(super) fn word<T: Clone>(choices: &[(&str, T)]) -> impl FnOnce(&Setting) -> Parsed<T> {
    move |setting| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let allowed = format!("one of {} is wanted", names.join(", "));
        let text =
            setting.as_text().map_err(|complaint| Complaint { allowed: allowed.clone(), ..complaint })?;
        let found = choices.iter().find(|(name, _)| *name == text);
        found
            .map(|(name, value)| (value.clone(), quoted(name)))
            .ok_or_else(|| Complaint::new("it is none of the choices", allowed))
    }
}

/// OAuth scopes: a list, or one text with commas or spaces between them.
pub(super) fn scopes(setting: &Setting) -> Parsed<Vec<String>> {
    let allowed =
        "a list like [\"openid\", \"marketing.read\"] is wanted, in a variable with commas or spaces between";
    let wrong = |what: &str| Complaint::new(what, allowed);
    let scopes = words(setting, allowed)?;
    if scopes.is_empty() {
        return Err(wrong("it is empty"));
    }
    // RFC 6749, 3.3: visible ASCII but for the quote and the backslash.
    let is_scope = |scope: &String| {
        !scope.is_empty()
            && scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
    };
    if !scopes.iter().all(is_scope) {
        return Err(wrong("it holds something that is no scope"));
    }
    let shown = show_list(&scopes);
    Ok((scopes, shown))
}

/// A list of texts, or one text with commas or spaces between them.
pub(super) fn words(setting: &Setting, allowed: &str) -> Result<Vec<String>, Complaint> {
    let wrong = |what: String| Complaint::new(what, allowed);
    match &setting.raw {
        Raw::Text(text) => {
            Ok(text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect())
        }
        Raw::List(items) => items
            .iter()
            .map(|item| match item {
                Raw::Text(text) => Ok(text.clone()),
                other => Err(wrong(format!("it holds {}", kind(other)))),
            })
            .collect(),
        other => Err(wrong(format!("it is {}", kind(other)))),
    }
}

/// A list as TOML writes it.
pub(super) fn show_list(items: &[String]) -> String {
    let shown: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", shown.join(", "))
}
