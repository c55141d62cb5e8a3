//! `backup FILE`: SQLite only, a consistent copy while the daemon runs.

use std::io::Write;
use std::path::Path;

use super::error::CommandError;
use super::{PATIENCE, refuse_database_files};
use crate::config::Config;
use crate::exit::Exit;
use crate::file::{is_special, resolved};
use crate::store::Store;

pub async fn run(config: &Config, target: &Path, out: &mut dyn Write) -> Result<Exit, CommandError> {
    refuse_database_files(target, &config.database)?;
    if target == Path::new("-") || is_special(target) {
        return Err(CommandError::usage(
            "the copy must go into a file, not a device, a pipe or standard output (nothing was done)",
        ));
    }
    let store = Store::open_as_it_is(&config.database, PATIENCE).await?;
    store.close_after(async |store| store.backup(&resolved(target)).await).await?;
    writeln!(out, "copied to {}", target.display())?;
    Ok(Exit::Done)
}
