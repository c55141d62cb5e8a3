//! The exit codes, one table (sysexits): what a script, a timer or a container runtime may rely on.
//!
//! Owns the numbers, and the form of a failure that nobody branches on; every error type has a method that names a number.

use std::fmt::Display;
use std::process::ExitCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// 0: done.
    Done = 0,
    /// 1: `healthcheck` says no.
    Unhealthy = 1,
    /// 2: the command line cannot be understood.
    Usage = 2,
    /// 65: the data cannot be trusted (`EX_DATAERR`).
    Data = 65,
    /// 69: lasting unavailability (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// 74: the database cannot be written (`EX_IOERR`).
    Write = 74,
    /// 75: try again later (`EX_TEMPFAIL`).
    Retry = 75,
    /// 77: refused (`EX_NOPERM`).
    Refused = 77,
    /// 78: configuration (`EX_CONFIG`).
    Config = 78,
}

impl Exit {
    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure as a person is told it, made where it is known. No code branches on it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    pub exit: Exit,
    message: String,
    /// What to do about it.
    pub hint: &'static str,
}

impl Problem {
    /// `message` may name values in braces, which [`Problem::with`] fills in.
    pub fn new(message: &str, exit: Exit, hint: &'static str) -> Self {
        Self { exit, message: message.to_owned(), hint }
    }

    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.fill(name, value);
        self
    }

    pub fn fill(&mut self, name: &str, value: impl Display) {
        self.message = self.message.replacen(&format!("{{{name}}}"), &value.to_string(), 1);
    }
}
