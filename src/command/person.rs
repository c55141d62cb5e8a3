//! `person`: everything that the database holds about a person.

use std::io::Write;

use super::error::CommandError;
use super::forget::Given;
use crate::config::Config;
use crate::exit::Exit;
use crate::store::{Bounds, Store, StoreError, Timestamp};

/// Writes one JSON document.
pub async fn run(config: &Config, given: &[Given], out: &mut dyn Write) -> Result<Exit, CommandError> {
    let [given] = given else {
        return Err(CommandError::Usage("person takes one address"));
    };
    let opened = Store::open_to_read(&config.database, Bounds::COMMAND).await?;
    let mut store = opened.ok_or_else(|| StoreError::Absent { place: config.database.shown_url() })?;
    let person = store.person(&given.text, Timestamp::now()).await;
    store.close().await;
    let Some(person) = person? else {
        return Err(super::forget::not_an_address(given.line));
    };
    let mut document = serde_json::to_vec_pretty(&person).map_err(std::io::Error::from)?;
    document.push(b'\n');
    Ok(super::unless_closed(out.write_all(&document).and_then(|()| out.flush()), Exit::Done)?)
}
