//! Why a command did not do what was asked.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use crate::api::ApiError;
use crate::config::ConfigError;
use crate::exit::{Exit, Problem};
use crate::store::StoreError;
use crate::sync::Failure;

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Run(#[from] Failure),
    #[error(transparent)]
    Problem(#[from] Problem),
    /// A file or a stream of the system.
    #[error("{what}: {cause}")]
    Io { what: &'static str, cause: io::Error },
    #[error("interrupted")]
    Interrupted,
}

impl CommandError {
    /// What was typed does not say what to do.
    pub fn usage(message: &'static str) -> Self {
        Problem::new(Exit::Usage, message).next_step("see `understory-sync --help`").into()
    }

    pub(super) fn at_line(what: &str, line: usize) -> Self {
        let hint = "give one address a line, as plain text in UTF-8, without quotation marks or columns";
        Problem::new(Exit::Usage, format!("line {line}: {what} (nothing was done)")).next_step(hint).into()
    }

    /// The command that `changes --as` hands the lines to.
    pub(super) fn reader(how: impl Display) -> Self {
        let message = format!("the reader's command {how}; its cursor stays where it was");
        let hint = "correct the command; the next reading gives it the same lines again";
        Problem::new(Exit::Retry, message).next_step(hint).into()
    }

    pub(super) fn exists(path: &Path) -> Self {
        let message = format!("{} exists, and init writes over nothing", path.display());
        Problem::new(Exit::Config, message).next_step("edit it, or move it away first").into()
    }

    pub fn listen(address: SocketAddr, cause: &io::Error) -> Self {
        let message = format!("http.listen: cannot listen at {address}: {cause}");
        let hint = "choose a free port, or end the program that has it";
        Problem::new(Exit::Config, message).next_step(hint).into()
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) => Exit::Config,
            Self::Store(error) => error.exit(),
            Self::Api(error) => error.exit(),
            Self::Run(failure) => failure.exit(),
            Self::Problem(problem) => problem.exit,
            Self::Io { .. } if self.is_closed_pipe() => Exit::Done,
            Self::Io { .. } => Exit::Write,
            Self::Interrupted => Exit::Retry,
        }
    }

    /// A reader that has seen enough (`| head`) is not a failure of ours: it ends the command in silence.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Io { cause, .. } if cause.kind() == io::ErrorKind::BrokenPipe)
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => Some(error.hint().to_owned()),
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Api(error) => error.hint(),
            Self::Run(failure) => failure.hint(),
            Self::Problem(problem) => problem.next_step.clone().map(Into::into),
            Self::Io { .. } | Self::Interrupted => None,
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(cause: io::Error) -> Self {
        Self::Io { what: "cannot write the output", cause }
    }
}
