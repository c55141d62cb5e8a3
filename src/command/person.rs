//! `person`: everything that the database holds about a person.

use std::io::Write;

use super::error::CommandError;
use super::forget::Given;
use crate::config::Config;
use crate::exit::Exit;
use crate::store::{Bounds, Store, Timestamp};

pub async fn run(config: &Config, given: &[Given], out: &mut dyn Write) -> Result<Exit, CommandError> {
    let [given] = given else {
        return Err(CommandError::usage("person takes one address"));
    };
    let store = Store::open_existing(&config.database, Bounds::COMMAND).await?;
    let person = store.close_after(async |store| store.person(&given.text, Timestamp::now()).await).await?;
    let person = person.ok_or_else(|| super::forget::not_an_address(given.line))?;
    let mut document = serde_json::to_vec_pretty(&person).map_err(std::io::Error::from)?;
    document.push(b'\n');
    Ok(super::print(&document, out)?)
}
