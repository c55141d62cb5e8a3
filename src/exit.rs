//! The exit codes (sysexits), which scripts, timers and container runtimes rely on, and a failure that carries one.

use std::borrow::Cow;
use std::fmt::Display;
use std::process::ExitCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    /// `healthcheck` says no.
    Unhealthy = 1,
    Usage = 2,
    /// The data cannot be trusted (`EX_DATAERR`).
    Data = 65,
    /// Lasting unavailability (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// The database cannot be written (`EX_IOERR`).
    Write = 74,
    /// Try again later (`EX_TEMPFAIL`).
    Retry = 75,
    /// `EX_NOPERM`.
    Refused = 77,
    /// `EX_CONFIG`.
    Config = 78,
}

impl Exit {
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure that no caller branches on, made where it happens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    pub exit: Exit,
    pub message: Cow<'static, str>,
    /// What the operator can do.
    pub next_step: Option<Cow<'static, str>>,
}

impl Problem {
    pub fn new(exit: Exit, message: impl Into<Cow<'static, str>>) -> Self {
        Self { exit, message: message.into(), next_step: None }
    }

    pub fn next_step(self, next_step: impl Into<Cow<'static, str>>) -> Self {
        Self { next_step: Some(next_step.into()), ..self }
    }

    /// Fills in a value that the message names in braces.
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.fill(name, value);
        self
    }

    pub fn fill(&mut self, name: &str, value: impl Display) {
        self.message = self.message.replacen(&format!("{{{name}}}"), &value.to_string(), 1).into();
    }
}
