//! `migrate`: bring the schema up to date, and nothing else.

use std::io::Write;

use super::between_runs;
use super::error::CommandError;
use crate::config::Config;
use crate::exit::Exit;

pub async fn run(config: &Config, out: &mut dyn Write) -> Result<Exit, CommandError> {
    // Opening it does the work.
    let (place, ()) = between_runs(config, false, async |_, _| Ok(())).await?;
    writeln!(out, "the schema in {place} is up to date")?;
    Ok(Exit::Done)
}
