//! `backup FILE`: SQLite only, a consistent copy while the daemon runs.

use std::io::Write;
use std::path::Path;

use super::error::CommandError;
use super::forget::PATIENCE;
use crate::config::Config;
use crate::exit::Exit;
use crate::store::Store;

/// Copies and says where to.
///
/// # Errors
/// What the database or the target's folder says.
pub async fn run(
    config: &Config,
    target: &Path,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let mut store = Store::open_as_it_is(&config.database, PATIENCE).await?;
    let copied = store.backup(target).await;
    store.close().await;
    copied?;
    writeln!(out, "copied to {}", target.display())?;
    Ok(Exit::Done)
}
