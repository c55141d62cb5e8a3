//! What can be wrong with a configuration, and how it is told: all of it at once, and never a secret's value.

use std::fmt;
use std::path::PathBuf;

use crate::exit::Exit;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
    /// A file that holds this value and nothing else.
    SecretFile(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", show_path(path)),
            Self::Variable(name) => write!(f, "environment {}", show_name(name)),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::SecretFile(path) => write!(f, "secret file {}", show_path(path)),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key, or the variable or file where no key can be told.
    pub key: String,
    /// Where the value came from; `None` where it is missing.
    pub origin: Option<Origin>,
    /// What is wrong, without any secret's value.
    pub what: String,
    pub allowed: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(origin) = &self.origin {
            write!(f, " (from {origin})")?;
        }
        write!(f, ": {}", self.what)?;
        if !self.allowed.is_empty() {
            write!(f, "; {}", self.allowed)?;
        }
        Ok(())
    }
}

/// The configuration cannot be used, and why: every problem there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub problems: Vec<ConfigProblem>,
    /// Nothing is wrong: there is no file, and no key yet.
    pub is_first_start: bool,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_first_start {
            f.write_str(
                "no key is set; keys are made in Understory's Backoffice (Settings → Integrations), and `understory-sync demo` needs none",
            )?;
            return self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"));
        }
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "the configuration has {count} {noun}")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl ConfigError {
    /// Always 78.
    pub const fn exit(&self) -> Exit {
        Exit::Config
    }

    pub fn hint(&self) -> Option<String> {
        let hint = if self.is_first_start {
            "`understory-sync init` asks for the key, tries it, and writes the configuration"
        } else {
            "`understory-sync config --example` shows every key with its default"
        };
        Some(hint.to_owned())
    }
}

/// A path for people: no line breaks, no escape sequences of a terminal.
pub(super) fn show_path(path: &std::path::Path) -> String {
    show_name(&path.to_string_lossy())
}

/// Text that somebody else chose, for people: control characters escaped, cut where it would fill the screen.
pub(super) fn show_name(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST {
            shown.push('…');
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}
