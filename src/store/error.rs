//! What can go wrong with the database: a variant where code branches, a [`Problem`] where a person is told.
//!
//! Nothing here keeps the text of a database error: PostgreSQL quotes row values in it. What is kept is the class, the
//! SQLSTATE or result code, and the place.

use std::path::Path;
use std::time::Duration;

use crate::exit::{Exit, Problem};

mod driver;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error("there is no database at {place} yet")]
    Absent { place: String },
    #[error("{place} holds something that understory-sync did not make")]
    NotOurs { place: String },
    #[error("the schema in {place} is newer than this program (migration {version})")]
    Newer { place: String, version: i64 },
    #[error("the schema in {place} was made by a different build (migration {version} differs)")]
    Altered { place: String, version: i64 },
    #[error("the schema in {place} is older than this program")]
    Older { place: String },
    #[error("the database {place} has forgotten what it acknowledged in this run")]
    Forgetful { place: String },
    /// An id that the database itself has given to a new row.
    #[error("an id for a new row is in use already in {place} ({code})")]
    IdInUse { place: String, code: String },
    #[error("the database {place} cannot be written: {cause}")]
    Write { place: String, cause: WriteCause },
    #[error("the database {place} cannot be reached ({cause})")]
    Unreachable { place: String, cause: String },
    #[error("the database {place} is locked by another program")]
    Locked { place: String },
    #[error("the database {place} could not order our transaction among others ({code})")]
    Contended { place: String, code: String },
    #[error("another run is in progress: {holder}")]
    Busy { holder: String },
    #[error("the change feed cannot go on from this cursor: {0}")]
    Cursor(super::RefusedCursor),
    #[error("this run lost its lease: another run has taken over")]
    Fenced,
    #[error("the database {place} refused the login ({code})")]
    Login { place: String, code: String },
    #[error("the database user lacks a right that is needed in {place} ({code})")]
    Rights { place: String, code: String },
    /// Any other failure of a statement.
    #[error("a statement failed in {place} ({code})")]
    Statement { place: String, code: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteCause {
    #[error("the disk is full")]
    Full,
    #[error("it is read-only")]
    ReadOnly,
    /// A server that takes no writes: a standby, or told so.
    #[error("the server is read-only")]
    Standby,
    #[error("permission denied")]
    Permission,
    #[error("the device reports an I/O error")]
    Io,
}

const CHECK_RIGHTS: &str =
    "check the mount and the rights of the file and its folder; nothing that was stored is lost";

impl StoreError {
    pub fn exit(&self) -> Exit {
        self.exit_and_hint().0
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.exit_and_hint().1
    }

    fn exit_and_hint(&self) -> (Exit, Option<&str>) {
        fn with(exit: Exit) -> impl Fn(&'static str) -> (Exit, Option<&'static str>) {
            move |hint| (exit, Some(hint))
        }
        let (config, write) = (with(Exit::Config), with(Exit::Write));
        let (retry, refused) = (with(Exit::Retry), with(Exit::Refused));
        match self {
            Self::Problem(problem) => (problem.exit, problem.next_step.as_deref()),
            Self::Absent { .. } => config(
                "run `understory-sync --run-once` or `understory-sync migrate` first, or correct database.url",
            ),
            Self::NotOurs { .. } => {
                config("let database.url name a file or schema of its own; this one was left as it is")
            }
            Self::Newer { .. } => {
                config("install the newer program again, or restore the backup from before the upgrade")
            }
            Self::Altered { .. } => config("use a released build; the database was left as it is"),
            Self::Older { .. } => config("run `understory-sync migrate`"),
            Self::Forgetful { .. } => retry(
                "did the server fail over to a replica that was behind? The next run puts back what is missing",
            ),
            Self::IdInUse { .. } => write(
                "a sequence is behind its table and the user may not set it: grant UPDATE on the sequences, or set them with setval()",
            ),
            Self::Write { cause: WriteCause::Full, .. } => {
                write("make room on the disk; nothing that was stored is lost")
            }
            Self::Write { cause: WriteCause::Standby, .. } => write(
                "connect to the primary, and see whether default_transaction_read_only is on; nothing that was stored is lost",
            ),
            Self::Write { .. } => write(CHECK_RIGHTS),
            Self::Unreachable { .. } => {
                retry("check that the server runs and can be reached; the next run tries again")
            }
            Self::Locked { .. } => {
                retry("find who holds the lock (an open sqlite3 shell, a backup); the next run tries again")
            }
            Self::Contended { .. } => retry("the next run tries again"),
            Self::Busy { .. } => retry(
                "let it finish; if it died, PostgreSQL frees the lease after 90 seconds, SQLite at once",
            ),
            Self::Cursor(_) => (
                Exit::Data,
                Some(
                    "begin anew: leave --since out, or run `understory-sync changes --forget-reader NAME` first; the first line then says reset, and what the feed does not name, the reader drops",
                ),
            ),
            Self::Fenced => {
                retry("nothing to do: the other run goes on; a machine that sleeps often makes this happen")
            }
            Self::Login { .. } => refused("check user and password in database.url"),
            Self::Rights { .. } => refused(
                "grant the user CREATE and USAGE on the schema, or run `understory-sync migrate` once as its owner",
            ),
            Self::Statement { .. } => {
                write("run `understory-sync check`; please report it with this message if it stays")
            }
        }
    }

    /// Names the database where the error came from its driver, which does not.
    pub(super) fn located(mut self, name: &str) -> Self {
        match &mut self {
            Self::Problem(problem) => problem.fill("place", name),
            Self::NotOurs { place }
            | Self::Absent { place }
            | Self::Older { place }
            | Self::Newer { place, .. }
            | Self::Altered { place, .. }
            | Self::IdInUse { place, .. }
            | Self::Forgetful { place }
            | Self::Write { place, .. }
            | Self::Unreachable { place, .. }
            | Self::Locked { place }
            | Self::Contended { place, .. }
            | Self::Login { place, .. }
            | Self::Rights { place, .. }
            | Self::Statement { place, .. }
                if place.is_empty() =>
            {
                name.clone_into(place);
            }
            _ => {}
        }
        self
    }

    pub(super) fn silent(place: String, waited: Duration) -> Self {
        Self::Unreachable { place, cause: format!("no answer in {} s", waited.as_secs()) }
    }

    /// Whether a new connection may help.
    pub(super) fn is_connection_lost(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    pub(super) fn url(why: &str) -> Self {
        let hint = "use sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE";
        Problem::new(Exit::Config, "database.url cannot be used: {why}")
            .next_step(hint)
            .with("why", why)
            .into()
    }

    pub(super) fn directory(path: &Path) -> Self {
        let message = "{path} is a directory, not a database file";
        Problem::new(Exit::Config, message)
            .next_step("name a file inside it")
            .with("path", path.display())
            .into()
    }

    pub(super) fn no_folder(path: &Path) -> Self {
        let hint = "make the folder, or correct the path";
        let problem = Problem::new(Exit::Config, "the folder of {path} does not exist").next_step(hint);
        problem.with("path", path.display()).into()
    }

    pub(super) fn corrupt(code: &str) -> Self {
        let problem = Problem::new(Exit::Data, "the database {place} is corrupt ({code})").next_step("keep the file, restore the last backup; a fresh database fills itself again with the next run, but without history");
        problem.with("code", code).into()
    }

    pub(super) fn sqlite_only(what: &str) -> Self {
        let problem = Problem::new(Exit::Config, "{what} is for SQLite databases only")
            .next_step("use pg_dump for PostgreSQL");
        problem.with("what", what).into()
    }

    /// There was a database while this process ran.
    pub fn lost(place: &str) -> Self {
        let problem = Problem::new(
            Exit::Retry,
            "the database {place} is gone or empty, though this process has used it; it is not made anew",
        )
        .next_step("restore it, or mount its folder; to begin a new database, restart the daemon");
        problem.with("place", place).into()
    }

    /// A target file of a command.
    pub fn target(path: &Path, cause: &std::io::Error) -> Self {
        let problem = Problem::new(Exit::Write, "{path} cannot be written: {cause}").next_step(CHECK_RIGHTS);
        problem.with("path", path.display()).with("cause", cause).into()
    }
}
