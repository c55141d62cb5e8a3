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
pub mod init;
mod key;
pub mod man;
pub mod migrate;
pub mod person;
mod prompt;
pub mod reader;
pub mod terminal;

pub use error::CommandError;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::config::{Config, Database};
use crate::exit::Exit;
use crate::store::{Bounds, Lease, Store, StoreError, Timestamp};

/// How long a run may take to end before a command gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs `work` while no run is in progress, and tells where. A lease that cannot be released expires.
async fn between_runs<T>(
    config: &Config,
    must_exist: bool,
    work: impl AsyncFnOnce(&mut Store, &Lease) -> Result<T, StoreError>,
) -> Result<(String, T), CommandError> {
    if must_exist {
        match Store::open_existing(&config.database, Bounds::COMMAND).await {
            Ok(store) => store.close().await,
            Err(StoreError::Older { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (mut store, lease) = Store::open_between_runs(&config.database, PATIENCE, Bounds::COMMAND).await?;
    let place = store.place();
    let done = work(&mut store, &lease).await;
    let _ = store.release(&lease, Timestamp::now()).await;
    let _ = store.checkpoint().await;
    store.close().await;
    Ok((place, done?))
}

/// Refuses to write a file where the database or one of its side files lies.
fn refuse_database_files(target: &Path, database: &Database) -> Result<(), CommandError> {
    if database.sqlite_path().is_some_and(|path| crate::file::is_part_of_database(target, &path)) {
        return Err(CommandError::usage(
            "the file would replace the database or one of its side files (nothing was done)",
        ));
    }
    Ok(())
}

fn print(document: &[u8], out: &mut dyn Write) -> io::Result<Exit> {
    out.write_all(document)?;
    out.flush()?;
    Ok(Exit::Done)
}
