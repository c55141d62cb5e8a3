//! The exit codes, one table (sysexits): what a script, a timer or a container runtime may rely on.
//!
//! Owns the numbers and nothing else; every error type of the program has a method that names one of them.

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
