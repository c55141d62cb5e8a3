//! What a key accepts: its kind, as a schema tells it, and a parser that knows the rest.
//!
//! A parser answers with the value and with how it is shown, or with a complaint that does not repeat a secret: it never
//! sees whether the key is one, so it never quotes what it read. The reader adds the quote where that is safe.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ::config::ValueKind;
use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::duration::{parse_duration, show_duration};
use super::secret::REDACTED;

/// Texts and lists bring the words for what is expected of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text(&'static str),
    /// Texts in a list, or in one text with spaces or commas between.
    List(&'static str),
    /// A duration, or one of these words.
    Duration(&'static [&'static str]),
    Boolean,
    Integer,
    Number,
    Word(&'static [&'static str]),
}

/// The part of a rule that does not depend on the value's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub kind: Kind,
    /// Bounds of numbers, and in milliseconds of durations.
    pub from: u64,
    pub to: u64,
    /// The value is never shown, not even in an error.
    pub secret: bool,
}

pub(super) struct Rule<T> {
    pub shape: Shape,
    pub parse: fn(&Input<'_>) -> Parsed<T>,
    /// The value of a key that nobody set and that has no default; `None` where another value decides it.
    pub unset: fn() -> Option<T>,
}

#[derive(Debug)]
pub(super) struct Input<'a> {
    pub value: &'a ValueKind,
    /// A file tells kinds apart; variables, flags and defaults are text whatever they mean.
    pub is_typed: bool,
    pub shape: Shape,
    pub context: &'a Context<'a>,
}

/// What a value may depend on besides itself.
#[derive(Debug)]
pub(super) struct Context<'a> {
    /// The absolute folder that relative paths count from.
    pub base: &'a Path,
    /// The moment that the schedule is seen from.
    pub now: DateTime<Utc>,
    /// The surroundings name a certificate authority for PostgreSQL (`PGSSLROOTCERT`).
    pub has_authority: bool,
}

/// What is wrong with a value, and what would be right where the rule's own words do not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub what: String,
    pub allowed: Option<String>,
}

impl Complaint {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), allowed: None }
    }

    pub(super) fn allowed(self, allowed: impl Into<String>) -> Self {
        Self { allowed: Some(allowed.into()), ..self }
    }
}

/// A value that a key accepts, its form in `config`, and what is to be warned of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Accepted<T> {
    pub value: T,
    pub shown: String,
    pub warnings: Vec<String>,
}

pub(super) type Parsed<T> = Result<Accepted<T>, Complaint>;

#[expect(clippy::unnecessary_wraps, reason = "it is what parsers end with")]
pub(super) fn accept<T>(value: T, shown: String) -> Parsed<T> {
    Ok(Accepted { value, shown, warnings: Vec::new() })
}

impl<T> Rule<T> {
    pub(super) const fn new(kind: Kind, from: u64, to: u64, parse: fn(&Input<'_>) -> Parsed<T>) -> Self {
        Self { shape: Shape { kind, from, to, secret: false }, parse, unset: || None }
    }

    pub(super) const fn secret(mut self) -> Self {
        self.shape.secret = true;
        self
    }

    /// The key may be left out without a default of its own: the value is empty then.
    pub(super) const fn optional(mut self) -> Self
    where
        T: Default,
    {
        self.unset = || Some(T::default());
        self
    }
}

impl Shape {
    const fn words(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Duration(words) | Kind::Word(words) => words,
            _ => &[],
        }
    }

    pub(super) fn expected(&self) -> String {
        let Self { from, to, .. } = self;
        match self.kind {
            Kind::Text(words) | Kind::List(words) => format!("expected {words}"),
            Kind::Duration(words) => {
                let span = |milliseconds: u64| show_duration(Duration::from_millis(milliseconds));
                let word = words.first().map_or_else(String::new, |word| format!(", or \"{word}\""));
                let bounds = format!("from {} to {}", span(*from), span(*to));
                format!("expected a number and a unit, such as 30s, 5m or 2h, {bounds}{word}")
            }
            Kind::Boolean => "expected true or false, without quotes in the file".to_owned(),
            Kind::Integer => format!("expected a whole number from {from} to {to}"),
            Kind::Number => format!("expected a number from {from} to {to}"),
            Kind::Word(words) => format!("expected one of {}", words.join(", ")),
        }
    }
}

impl Input<'_> {
    pub(super) fn text(&self) -> Result<&str, Complaint> {
        match self.value {
            ValueKind::String(text) if text.is_empty() => {
                Err(Complaint::new("it is empty").allowed("leave the key out, or give it a value"))
            }
            ValueKind::String(text) => Ok(text),
            _ => Err(self.of_wrong_kind()),
        }
    }

    fn of_wrong_kind(&self) -> Complaint {
        Complaint::new(format!("it is {}", name_kind(self.value)))
    }

    /// The text, where a file would hold a number or a truth value.
    fn untyped(&self) -> Option<&str> {
        match self.value {
            ValueKind::String(text) if !self.is_typed => Some(text),
            _ => None,
        }
    }

    fn word(&self) -> Option<&str> {
        self.text().ok().filter(|text| self.shape.words().contains(text))
    }
}

fn name_kind(value: &ValueKind) -> &'static str {
    match value {
        ValueKind::String(_) => "text",
        ValueKind::Float(_) => "a number",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::Array(_) => "a list",
        ValueKind::Table(_) | ValueKind::Nil => "a table",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "a whole number",
    }
}

fn out_of_range() -> Complaint {
    Complaint::new("it is out of range")
}

/// Text as TOML writes it.
pub fn quoted(text: &str) -> String {
    let escape = |character: char| match character {
        '"' | '\\' => format!("\\{character}"),
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        control if control.is_control() => format!("\\u{:04x}", u32::from(control)),
        other => other.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

pub(super) fn show_list(items: &[String]) -> String {
    let shown: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", shown.join(", "))
}

/// Text on one line, neither empty nor blank.
pub(super) const fn line<T: From<String>>() -> Rule<T> {
    text("text in quotes, without line breaks and other control characters", |input| {
        let text = input.text()?;
        if text.chars().any(char::is_control) {
            return Err(Complaint::new("it holds a control character or a line break"));
        }
        if text.trim().is_empty() {
            return Err(Complaint::new("it is blank"));
        }
        accept(text.to_owned().into(), quoted(text))
    })
}

/// A text of its own kind; `expected` says what it must be.
pub(super) const fn text<T>(expected: &'static str, parse: fn(&Input<'_>) -> Parsed<T>) -> Rule<T> {
    Rule::new(Kind::Text(expected), 0, 0, parse)
}

pub(super) const fn list<T>(expected: &'static str, parse: fn(&Input<'_>) -> Parsed<T>) -> Rule<T> {
    Rule::new(Kind::List(expected), 0, 0, parse)
}

pub(super) const fn secret_text() -> Rule<SecretString> {
    text("text in quotes", |input| accept(SecretString::from(input.text()?), REDACTED.to_owned())).secret()
}

/// A file's path; relative ones count from the folder of the configuration.
pub(super) const PATH: Rule<Option<PathBuf>> = text("a path in quotes", |input| {
    let text = input.text()?;
    if text.contains('\0') {
        return Err(Complaint::new("it holds a NUL"));
    }
    accept(Some(input.context.base.join(text)), quoted(text))
})
.optional();

pub(super) const fn integer<T: TryFrom<u64>>(from: u64, to: u64) -> Rule<T> {
    Rule::new(Kind::Integer, from, to, |input| {
        let number = match (input.value, input.untyped()) {
            (ValueKind::I64(number), _) => u64::try_from(*number).ok(),
            (_, Some(text)) => whole(text),
            _ => return Err(input.of_wrong_kind()),
        };
        let number = number.ok_or_else(|| Complaint::new("it is not such a number"))?;
        let in_bounds = (input.shape.from..=input.shape.to).contains(&number);
        match T::try_from(number) {
            Ok(value) if in_bounds => accept(value, number.to_string()),
            _ => Err(out_of_range()),
        }
    })
}

/// Digits only: the standard parser takes a leading `+` too.
fn whole(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A finite number from 0 to a bound.
pub(super) const fn number(to: u64) -> Rule<f64> {
    Rule::new(Kind::Number, 0, to, parse_number)
}

/// Zero, or a rate whose pause between two requests is at most a quarter of an hour.
pub(super) const fn rate() -> Rule<f64> {
    Rule::new(Kind::Number, 0, 1_000_000, |input| {
        let accepted = parse_number(input)?;
        if accepted.value > 0.0 && accepted.value < 0.001 {
            let allowed = "expected 0 (no limit), or a number from 0.001 to 1000000";
            return Err(Complaint::new("it is too small").allowed(allowed));
        }
        Ok(accepted)
    })
}

#[expect(clippy::cast_precision_loss, reason = "what loses precision is far beyond every bound")]
fn parse_number(input: &Input<'_>) -> Parsed<f64> {
    let number = match (input.value, input.untyped()) {
        (ValueKind::I64(number), _) => Some(*number as f64),
        (ValueKind::Float(number), _) => Some(*number),
        (_, Some(text)) => text.parse().ok(),
        _ => return Err(input.of_wrong_kind()),
    };
    match number {
        None => Err(Complaint::new("it is not such a number")),
        Some(0.0) => accept(0.0, "0".to_owned()),
        // `contains` is false for what is not a number.
        Some(number) if (0.0..=input.shape.to as f64).contains(&number) => accept(number, number.to_string()),
        Some(_) => Err(out_of_range()),
    }
}

pub(super) const fn boolean() -> Rule<bool> {
    Rule::new(Kind::Boolean, 0, 0, |input| {
        let value = match input.value {
            ValueKind::Boolean(value) => Some(*value),
            _ => input.untyped().and_then(|text| text.parse().ok()),
        };
        let value = value.ok_or_else(|| Complaint::new("it is neither true nor false"))?;
        accept(value, value.to_string())
    })
}

pub(super) const fn span(from: u64, to: u64) -> Rule<Duration> {
    Rule::new(Kind::Duration(&[]), from, to, parse_span)
}

pub(super) const fn span_or(word: &'static [&'static str], from: u64, to: u64) -> Rule<Option<Duration>> {
    Rule::new(Kind::Duration(word), from, to, |input| {
        if let Some(word) = input.word() {
            return accept(None, quoted(word));
        }
        let Accepted { value, shown, .. } = parse_span(input)?;
        accept(Some(value), shown)
    })
}

fn parse_span(input: &Input<'_>) -> Parsed<Duration> {
    let ValueKind::String(text) = input.value else {
        return Err(Complaint::new(format!("it is {} without a unit", name_kind(input.value))));
    };
    let value = parse_duration(text).ok_or_else(|| Complaint::new("it is not a duration"))?;
    let bounds = Duration::from_millis(input.shape.from)..=Duration::from_millis(input.shape.to);
    if bounds.contains(&value) { accept(value, quoted(text)) } else { Err(out_of_range()) }
}

pub(super) const fn word<T: FromStr>(words: &'static [&'static str]) -> Rule<T> {
    Rule::new(Kind::Word(words), 0, 0, |input| {
        let text = input.text()?;
        let value = input.word().and_then(|word| word.parse().ok());
        accept(value.ok_or_else(|| Complaint::new("it is not one of the choices"))?, quoted(text))
    })
}

pub(super) const fn scopes() -> Rule<Vec<String>> {
    list(
        "a list like [\"openid\", \"marketing.read\"], in a variable with commas or spaces between",
        |input| {
            let scopes = words(input)?;
            if scopes.is_empty() {
                return Err(Complaint::new("it is empty"));
            }
            // RFC 6749, 3.3: visible ASCII without the quote and the backslash.
            let is_scope = |scope: &String| {
                !scope.is_empty()
                    && scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
            };
            if !scopes.iter().all(is_scope) {
                return Err(Complaint::new("it holds something that is not a scope"));
            }
            let shown = show_list(&scopes);
            accept(scopes, shown)
        },
    )
}

/// A list of texts, or one text with commas or spaces between them.
pub(super) fn words(input: &Input<'_>) -> Result<Vec<String>, Complaint> {
    match input.value {
        ValueKind::String(text) => {
            Ok(text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect())
        }
        ValueKind::Array(items) => items
            .iter()
            .map(|item| match &item.kind {
                ValueKind::String(text) => Ok(text.clone()),
                other => Err(Complaint::new(format!("it holds {}", name_kind(other)))),
            })
            .collect(),
        _ => Err(input.of_wrong_kind()),
    }
}

/// Tries a rule on a text as it stands in a variable.
#[cfg(test)]
pub(super) fn try_rule<T>(rule: &Rule<T>, text: &str) -> Parsed<T> {
    let now = DateTime::UNIX_EPOCH;
    let context = Context { base: Path::new("/etc/sync"), now, has_authority: false };
    let value = ValueKind::String(text.to_owned());
    (rule.parse)(&Input { value: &value, is_typed: false, shape: rule.shape, context: &context })
}
