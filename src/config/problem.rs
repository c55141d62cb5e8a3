//! What can be wrong with a configuration, and how it is told: all of it at once, and never a secret's value.

use std::fmt;
use std::path::PathBuf;

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

impl ConfigProblem {
    pub(super) fn new(
        key: impl Into<String>,
        origin: Option<Origin>,
        what: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self { key: key.into(), origin, what: what.into(), allowed: allowed.into() }
    }
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
        } else {
            let count = self.problems.len();
            let noun = if count == 1 { "problem" } else { "problems" };
            write!(f, "the configuration has {count} {noun}")?;
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl ConfigError {
    pub const fn hint(&self) -> &'static str {
        if self.is_first_start {
            "`understory-sync init` asks for the key, tries it, and writes the configuration"
        } else {
            "`understory-sync config --example` shows every key with its default"
        }
    }
}

/// A path for people: no line breaks, no escape sequences of a terminal.
pub(super) fn show_path(path: &std::path::Path) -> String {
    show_name(&path.to_string_lossy())
}

/// Text that somebody else chose, for people: control characters escaped, cut where it would fill the screen.
pub(super) fn show_name(text: &str) -> String {
    const LONGEST: usize = 200;
    let cut = if text.chars().nth(LONGEST).is_some() { "…" } else { "" };
    let escape = |character: char| match character {
        control if control.is_control() => control.escape_default().to_string(),
        other => other.to_string(),
    };
    text.chars().take(LONGEST).map(escape).collect::<String>() + cut
}
