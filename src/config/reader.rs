//! The layers laid over each other: for each key the last one that set it, and a note of what was read from where.

use std::collections::HashMap;

use super::key;
use super::problem::{Origin, Problem, show_name};
use super::value::{Complaint, Parsed, Raw, Setting};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `section.name`
    pub key: &'static str,
    /// As TOML writes it, secrets redacted; `None` where it is not set.
    pub value: Option<String>,
    pub origin: Origin,
}

/// Reads keys, and collects what is wrong instead of stopping at it.
#[derive(Debug, Default)]
pub(super) struct Reader {
    settings: HashMap<&'static str, Setting>,
    pub entries: Vec<Entry>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
}

impl Reader {
    /// Lays a layer over what is there.
    pub(super) fn lay(&mut self, layer: impl IntoIterator<Item = (&'static str, Setting)>) {
        self.settings.extend(layer);
    }

    /// What somebody set, defaults aside.
    pub(super) fn set(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    /// A key that has a default; `None` where its value is wrong.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Setting) -> Parsed<T>,
    ) -> Option<T> {
        self.optional(key, parse).flatten()
    }

    /// A key that may be unset; the outer `None` where its value is wrong.
    #[expect(clippy::option_option, reason = "wrong and unset are two things")]
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Setting) -> Parsed<T>,
    ) -> Option<Option<T>> {
        let default = || {
            let raw = Raw::Text(key::find(key)?.default?.to_owned());
            Some(Setting { raw, origin: Origin::Default })
        };
        let Some(setting) = self.settings.get(key).cloned().or_else(default) else {
            self.note(key, None, Origin::Default);
            return Some(None);
        };
        match parse(&setting) {
            Ok((value, shown)) => {
                self.note(key, Some(shown), setting.origin);
                Some(Some(value))
            }
            Err(complaint) => {
                self.complain_about(key, &setting, complaint);
                None
            }
        }
    }

    /// Notes what a key's value is, in place of an earlier note.
    pub(super) fn note(&mut self, key: &'static str, value: Option<String>, origin: Origin) {
        self.entries.retain(|entry| entry.key != key);
        self.entries.push(Entry { key, value, origin });
    }

    /// Notes a problem with a key's value.
    pub(super) fn complain(&mut self, key: &str, origin: Option<Origin>, complaint: Complaint) {
        self.problems.push(Problem {
            key: key.to_owned(),
            origin,
            what: complaint.what,
            allowed: complaint.allowed,
        });
    }

    /// As [`Reader::complain`], with the value quoted where nobody could have put a secret.
    pub(super) fn complain_about(&mut self, key: &str, setting: &Setting, complaint: Complaint) {
        let quotable = key::find(key)
            .is_some_and(|key| !key.secret && !key.name.ends_with("_url") && !key.name.starts_with("auth."));
        let quote = match &setting.raw {
            _ if !quotable => None,
            // What holds credentials looks like this, and may stand in the wrong place.
            Raw::Text(text) if text.is_empty() || text.contains("://") => None,
            Raw::Text(text) => Some(format!("\"{}\"", show_name(text))),
            Raw::Integer(number) => Some(number.to_string()),
            Raw::Float(number) => Some(number.to_string()),
            Raw::Boolean(value) => Some(value.to_string()),
            Raw::List(_) => None,
        };
        let what = match (quote, complaint.what.strip_prefix("it ")) {
            (Some(quote), Some(rest)) => format!("{quote} {rest}"),
            (Some(quote), None) => format!("{quote}: {}", complaint.what),
            (None, _) => complaint.what.clone(),
        };
        let complaint = Complaint { what, ..complaint };
        self.complain(key, Some(setting.origin.clone()), complaint);
    }
}
