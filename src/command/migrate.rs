//! `migrate`: bring the schema up to date, and nothing else.

use std::io::Write;

use super::error::CommandError;
use super::forget::{PATIENCE, finish};
use crate::config::Config;
use crate::exit::Exit;
use crate::store::{Bounds, Store};

pub async fn run(config: &Config, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (store, lease) = Store::open_between_runs(&config.database, PATIENCE, Bounds::COMMAND).await?;
    let place = store.place();
    finish(store, &lease).await;
    writeln!(out, "the schema in {place} is up to date")?;
    Ok(Exit::Done)
}
