//! Why a command did not do what was asked.

use std::io;
use std::path::PathBuf;

use crate::api::ApiError;
use crate::config::ConfigError;
use crate::exit::Exit;
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
    /// What was typed does not say what to do.
    #[error("{0}")]
    Usage(&'static str),
    /// The command that `changes --as` hands the lines to.
    #[error("the reader's command {0}; its cursor stays where it was")]
    Reader(String),
    /// One line of what was read.
    #[error("line {line}: {what} (nothing was done)")]
    Line { line: usize, what: &'static str },
    /// A file or a stream of the system.
    #[error("{what}: {cause}")]
    Io { what: &'static str, cause: io::Error },
    #[error("{0} exists, and the demo did not make it")]
    NotTheDemos(&'static str),
    /// `init` would have to write over a file.
    #[error("{} exists, and init writes over nothing", .0.display())]
    Exists(PathBuf),
    /// The port of `http.listen`.
    #[error("http.listen: cannot listen at {address}: {cause}")]
    Listen { address: std::net::SocketAddr, cause: io::Error },
    #[error("interrupted")]
    Interrupted,
}

impl CommandError {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(error) => error.exit(),
            Self::Store(error) => error.exit(),
            Self::Api(error) => error.exit(),
            Self::Run(failure) => failure.exit(),
            Self::Usage(_) | Self::Line { .. } => Exit::Usage,
            Self::Listen { .. } | Self::NotTheDemos(_) | Self::Exists(_) => Exit::Config,
            Self::Io { .. } if self.is_closed_pipe() => Exit::Done,
            Self::Io { .. } => Exit::Write,
            Self::Interrupted | Self::Reader(_) => Exit::Retry,
        }
    }

    /// A reader that has seen enough (`| head`) is no failure of ours.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Io { cause, .. } if cause.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Api(error) => error.hint(),
            Self::Run(failure) => failure.hint(),
            Self::Line { .. } => Some(
                "give one address a line, as plain text in UTF-8, without quotation marks or columns"
                    .to_owned(),
            ),
            Self::Usage(_) => Some("see `understory-sync --help`".to_owned()),
            Self::Reader(_) => {
                Some("correct the command; the next reading gives it the same lines again".to_owned())
            }
            Self::Listen { .. } => Some("choose a free port, or end the program that has it".to_owned()),
            Self::Exists(_) => Some("edit it, or move it away first".to_owned()),
            Self::NotTheDemos(_) => Some("move it away, or run the demo in another folder".to_owned()),
            Self::Io { .. } | Self::Interrupted => None,
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(cause: io::Error) -> Self {
        Self::Io { what: "cannot write the output", cause }
    }
}
