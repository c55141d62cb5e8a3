//! What can go wrong with the database, one variant for each decision that somebody has to take.
//!
//! Nothing here keeps the text of a database error: PostgreSQL quotes row values in it. What is kept is the class, the
//! SQLSTATE or result code, and the place.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::exit::Exit;

mod driver;

pub(super) use driver::from_sqlx;

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `database.url` cannot be understood by the driver.
    #[error("database.url cannot be used: {0}")]
    Url(&'static str),
    /// The path names a directory.
    #[error("{} is a directory, not a database file", path.display())]
    Directory { path: PathBuf },
    /// The folder of the file does not exist.
    #[error("the folder of {} does not exist", path.display())]
    NoFolder { path: PathBuf },
    #[error("the symbolic links of {} run in a circle", path.display())]
    Circle { path: PathBuf },
    /// There is no database to read.
    #[error("there is no database at {place} yet")]
    Absent { place: String },
    /// There was one, while this process ran.
    #[error("the database {place} is gone or empty, though this process has used it; it is not made anew")]
    Lost { place: String },
    /// A file or schema of another program.
    #[error("{place} holds something that understory-sync did not make")]
    NotOurs { place: String },
    /// `DATABASE_URL` was set for another application.
    #[error("{place} holds tables of other applications ({tables}), and its URL is that of DATABASE_URL")]
    Shared { place: String, tables: i64 },
    /// Whoever owns the file could read all that is written to it.
    #[error("{place} is an empty file that belongs to another user")]
    Planted { place: String },
    /// A migration is applied that this program does not know.
    #[error("the schema in {place} is newer than this program (migration {version})")]
    Newer { place: String, version: i64 },
    /// An applied migration differs from the one in this program.
    #[error("the schema in {place} was made by a different build (migration {version} differs)")]
    Altered { place: String, version: i64 },
    /// Our tables without the record of how they were made.
    #[error("{place} holds our tables, but its table _sqlx_migrations is empty or incomplete")]
    MigrationsLost { place: String },
    /// A table that always holds a row.
    #[error("the table sync_state in {place} is empty")]
    StateLost { place: String },
    #[error("{place} stores text as {encoding}, not as UTF8")]
    Encoding { place: String, encoding: String },
    /// A pooler that allows no transactions.
    #[error("{place} is a pooler in statement mode, which allows no transactions")]
    StatementPooling { place: String },
    /// Something in the database swallows rows without an error.
    #[error("the database {place} took {stored} of {sent} rows: a trigger or a rule drops the others")]
    RowsDropped { place: String, stored: u64, sent: u64 },
    /// What was committed is not there any more.
    #[error("the database {place} has forgotten what it acknowledged in this run")]
    Forgetful { place: String },
    /// An id that the database itself has given to a new row.
    #[error("an id for a new row is in use already in {place} ({code})")]
    IdInUse { place: String, code: String },
    /// The schema is older than this program, and the command does not change it.
    #[error("the schema in {place} is older than this program")]
    Older { place: String },
    /// The server has no such database.
    #[error("{place} has no such database")]
    NoSuchDatabase { place: String },
    #[error("the database {place} is corrupt ({code})")]
    Corrupt { place: String, code: String },
    /// Disk full, read-only, I/O error.
    #[error("the database {place} cannot be written: {cause}")]
    Write { place: String, cause: WriteCause },
    /// The server does not answer, or the connection broke.
    #[error("the database {place} cannot be reached ({cause})")]
    Unreachable { place: String, cause: String },
    /// Somebody else holds a lock for longer than we wait.
    #[error("the database {place} is locked by another program")]
    Locked { place: String },
    /// Transactions of others came in the way, again and again.
    #[error("the database {place} could not order our transaction among others ({code})")]
    Contended { place: String, code: String },
    /// Another run holds lock or lease.
    #[error("another run is in progress: {holder}")]
    Busy { holder: String },
    /// The change feed cannot go on from a cursor.
    #[error("the change feed cannot go on from this cursor: {0}")]
    Cursor(super::RefusedCursor),
    /// Another process reads the change feed under the same name.
    #[error("another process reads the change feed as {name}")]
    ReaderBusy { name: String },
    /// The lease was taken over while we were paused.
    #[error("this run lost its lease: another run has taken over")]
    Fenced,
    /// A long reader keeps old pages alive.
    #[error("{place} is being read by another program, so old content could not be wiped from it yet")]
    ReaderInTheWay { place: String },
    #[error("the database {place} refused the login ({code})")]
    Login { place: String, code: String },
    #[error("the database user lacks a right that is needed in {place} ({code})")]
    Rights { place: String, code: String },
    /// TLS could not be set up as asked for.
    #[error("no trusted TLS connection to {place}: {cause}")]
    Tls { place: String, cause: String },
    /// Only SQLite can do this.
    #[error("{0} is for SQLite databases only")]
    SqliteOnly(&'static str),
    /// A target file of a command.
    #[error("{} cannot be written: {cause}", path.display())]
    Target { path: PathBuf, cause: io::Error },
    /// A statement failed in a way that was not foreseen.
    #[error("a statement failed in {place} ({code})")]
    Statement { place: String, code: String },
}

/// Why nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteCause {
    Full,
    ReadOnly,
    /// A server that takes no writes: a standby, or told so.
    Standby,
    Permission,
    Io,
}

impl fmt::Display for WriteCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the disk is full",
            Self::ReadOnly => "it is read-only",
            Self::Standby => "the server is read-only",
            Self::Permission => "permission denied",
            Self::Io => "the device reports an I/O error",
        })
    }
}

impl StoreError {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Url(_)
            | Self::Directory { .. }
            | Self::NoFolder { .. }
            | Self::Circle { .. }
            | Self::Absent { .. }
            | Self::NotOurs { .. }
            | Self::Shared { .. }
            | Self::Planted { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Altered { .. }
            | Self::MigrationsLost { .. }
            | Self::StateLost { .. }
            | Self::Encoding { .. }
            | Self::StatementPooling { .. }
            | Self::SqliteOnly(_)
            | Self::NoSuchDatabase { .. } => Exit::Config,
            Self::Corrupt { .. } | Self::Cursor(_) => Exit::Data,
            // Nothing is wrong with what was received: the database does not store it.
            Self::Write { .. }
            | Self::Target { .. }
            | Self::Statement { .. }
            | Self::RowsDropped { .. }
            | Self::IdInUse { .. } => Exit::Write,
            Self::Lost { .. }
            | Self::Unreachable { .. }
            | Self::Locked { .. }
            | Self::Contended { .. }
            | Self::Forgetful { .. }
            | Self::Busy { .. }
            | Self::ReaderBusy { .. }
            | Self::ReaderInTheWay { .. }
            | Self::Fenced => Exit::Retry,
            Self::Login { .. } | Self::Rights { .. } => Exit::Refused,
            Self::Tls { .. } => Exit::Unavailable,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Url(_) => "use sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE",
            Self::Directory { .. } => "name a file inside it",
            Self::NoFolder { .. } => "make the folder, or correct the path",
            Self::Circle { .. } => "let one of them lead to a file, or correct the path",
            Self::Absent { .. } => {
                "run `understory-sync --run-once` or `understory-sync migrate` first, or correct database.url"
            }
            Self::Lost { .. } => {
                "restore it, or mount its folder; to begin a new database, restart the daemon"
            }
            Self::NotOurs { .. } => {
                "let database.url name a file or schema of its own; this one was left as it is"
            }
            Self::Shared { .. } => {
                "if it is meant, set database.url to it; else database.url or database.schema to one of its own"
            }
            Self::Planted { .. } => {
                "remove it, or let database.url name a file in a folder that only you can write to"
            }
            Self::Newer { .. } => {
                "install the newer program again, or restore the backup from before the upgrade"
            }
            Self::Older { .. } => "run `understory-sync migrate`",
            Self::MigrationsLost { .. } | Self::StateLost { .. } => {
                "restore the last backup, or let database.url name a new database; this one was left as it is"
            }
            Self::Encoding { .. } => {
                "create the database anew: `createdb --encoding=UTF8 --template=template0 NAME`"
            }
            Self::StatementPooling { .. } => {
                "set pool_mode to transaction or session, or connect to the server itself"
            }
            Self::RowsDropped { .. } => {
                "find the trigger, rule or row-level policy on our tables that drops rows, and remove it; nothing of this transaction was stored"
            }
            Self::Forgetful { .. } => {
                "did the server fail over to a replica that was behind? The next run puts back what is missing"
            }
            Self::IdInUse { .. } => {
                "a sequence is behind its table and the user may not set it: grant UPDATE on the sequences, or set them with setval()"
            }
            Self::Altered { .. } => "use a released build; the database was left as it is",
            Self::NoSuchDatabase { .. } => "create it (`createdb NAME`), or correct database.url",
            Self::Corrupt { .. } => {
                "keep the file, restore the last backup; a fresh database fills itself again with the next run, but without history"
            }
            Self::Write { cause: WriteCause::Full, .. } => {
                "make room on the disk; nothing that was stored is lost"
            }
            Self::Write { cause: WriteCause::Standby, .. } => {
                "connect to the primary, and see whether default_transaction_read_only is on; nothing that was stored is lost"
            }
            Self::Write { .. } | Self::Target { .. } => {
                "check the mount and the rights of the file and its folder; nothing that was stored is lost"
            }
            Self::Unreachable { .. } => {
                "check that the server runs and can be reached; the next run tries again"
            }
            Self::Locked { .. } => {
                "find who holds the lock (an open sqlite3 shell, a backup); the next run tries again"
            }
            Self::Contended { .. } => "the next run tries again",
            Self::Busy { .. } => {
                "let it finish; if it died, PostgreSQL frees the lease after 90 seconds, SQLite at once"
            }
            Self::Cursor(_) => {
                "begin anew: leave --since out, or run `understory-sync changes --forget-reader NAME` first; the first line then says reset, and what the feed does not name, the reader drops"
            }
            Self::ReaderBusy { .. } => {
                "let it finish; the name of a process that was killed is free after 10 seconds"
            }
            Self::Fenced => {
                "nothing to do: the other run goes on; a machine that sleeps often makes this happen"
            }
            Self::ReaderInTheWay { .. } => {
                "end the reader (an open sqlite3 or psql shell, a backup, a long transaction), then run the command again"
            }
            Self::Login { .. } => "check user and password in database.url",
            Self::Rights { .. } => {
                "grant the user CREATE and USAGE on the schema, or run `understory-sync migrate` once as its owner"
            }
            Self::Tls { .. } => {
                "check the host name and the certificate (sslrootcert=FILE for an authority of your own); sslmode=disable only on a network that you trust"
            }
            Self::SqliteOnly(_) => "use pg_dump for PostgreSQL",
            Self::Statement { .. } => {
                "run `understory-sync check`; please report it with this message if it stays"
            }
        })
    }

    pub(super) fn silent(place: String, waited: Duration) -> Self {
        Self::Unreachable { place, cause: format!("no answer in {} s", waited.as_secs()) }
    }

    /// Whether a new connection may help.
    pub(super) fn is_connection_lost(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether a sequence may be behind its table.
    pub(super) fn is_id_in_use(&self) -> bool {
        matches!(self, Self::IdInUse { .. })
    }

    /// Whether the same transaction may go through when tried again.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Contended { .. })
    }
}
