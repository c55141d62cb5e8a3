//! What the layers set, read key by key: problems are collected instead of stopping at the first.

use std::collections::HashMap;

use ::config::ValueKind;

use super::problem::{ConfigProblem, Origin, show_name};
use super::rule::{Complaint, Context, Input, Rule, Shape};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub value: ValueKind,
    pub origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// `section.name`
    pub key: &'static str,
    /// As TOML writes it, secrets redacted; `None` where it is not set.
    pub value: Option<String>,
    pub origin: Origin,
}

#[derive(Debug)]
pub(super) struct KeyReader<'a> {
    pub context: Context<'a>,
    pub settings: HashMap<&'static str, Setting>,
    pub entries: Vec<ConfigEntry>,
    pub problems: Vec<ConfigProblem>,
    pub warnings: Vec<String>,
}

impl KeyReader<'_> {
    /// What somebody set, defaults aside.
    pub(super) fn set_by_somebody(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key).filter(|setting| setting.origin != Origin::Default)
    }

    pub(super) fn origin(&self, key: &str) -> Option<Origin> {
        self.set_by_somebody(key).map(|setting| setting.origin.clone())
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.settings.get(key)?.value {
            ValueKind::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn set_text(&mut self, key: &'static str, text: String, origin: Origin) {
        self.settings.insert(key, Setting { value: ValueKind::String(text), origin });
    }

    /// The value of a key; `None` where it is wrong, or not set though it must be.
    pub(super) fn read<T>(&mut self, key: &'static str, rule: &Rule<T>) -> Option<T> {
        let Some(setting) = self.settings.get(key).cloned() else {
            self.record_entry(key, None, Origin::Default);
            return (rule.unset)();
        };
        let is_typed = matches!(setting.origin, Origin::File(_));
        let input = Input { value: &setting.value, is_typed, shape: rule.shape, context: &self.context };
        match (rule.parse)(&input) {
            Ok(accepted) => {
                self.warnings.extend(accepted.warnings);
                self.record_entry(key, Some(accepted.shown), setting.origin);
                Some(accepted.value)
            }
            Err(complaint) => {
                self.complain_about(key, setting, rule.shape, complaint);
                None
            }
        }
    }

    /// Notes what a key's value is, in place of an earlier note.
    pub(super) fn record_entry(&mut self, key: &'static str, value: Option<String>, origin: Origin) {
        self.entries.retain(|entry| entry.key != key);
        self.entries.push(ConfigEntry { key, value, origin });
    }

    pub(super) fn complain(&mut self, key: &str, what: String, allowed: &str) {
        self.problems.push(ConfigProblem::new(key, self.origin(key), what, allowed));
    }

    /// Quotes the value where nobody could have put a secret.
    fn complain_about(&mut self, key: &str, setting: Setting, shape: Shape, complaint: Complaint) {
        let quote = match &setting.value {
            _ if shape.secret || key.ends_with("_url") || key.starts_with("auth.") => None,
            // What holds credentials looks like this, and may stand in the wrong place.
            ValueKind::String(text) if text.is_empty() || text.contains("://") => None,
            ValueKind::String(text) => Some(format!("\"{}\"", show_name(text))),
            ValueKind::I64(_) | ValueKind::Float(_) | ValueKind::Boolean(_) => {
                Some(setting.value.to_string())
            }
            _ => None,
        };
        let what = match (quote, complaint.what.strip_prefix("it ")) {
            (Some(quote), Some(rest)) => format!("{quote} {rest}"),
            (Some(quote), None) => format!("{quote}: {}", complaint.what),
            (None, _) => complaint.what,
        };
        let allowed = complaint.allowed.unwrap_or_else(|| shape.expected());
        self.problems.push(ConfigProblem::new(key, Some(setting.origin), what, allowed));
    }
}
