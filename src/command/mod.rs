//! The commands, one file each: what they print goes to a writer that the caller gives.

pub mod accept_removals;
pub mod backup;
pub mod changes;
pub mod check;
pub mod completions;
pub mod config;
pub mod demo;
pub mod error;
pub mod export;
pub mod forget;
pub mod healthcheck;
pub mod init;
mod key;
pub mod man;
pub mod migrate;
pub mod person;
mod prompt;
pub mod reader;
pub mod status;
pub mod terminal;

pub use error::CommandError;

use std::io;
use std::path::Path;

use crate::config::Database;
use crate::exit::Exit;

/// Refuses to write a file where the database or one of its side files lies.
fn refuse_database_files(target: &Path, database: &Database) -> Result<(), CommandError> {
    if database.sqlite_path().is_some_and(|path| crate::file::is_part_of_database(target, &path)) {
        return Err(CommandError::Usage(
            "the file would replace the database or one of its side files (nothing was done)",
        ));
    }
    Ok(())
}

/// A reader that has seen enough (`| head`) is no failure of ours.
fn unless_closed(result: io::Result<()>, exit: Exit) -> io::Result<Exit> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(exit),
    }
}
