//! Whether the database is still the one that readers of the change feed have read, or an older state of it.
//!
//! What a restored database has forgotten was handed on by readers, and their own cursors in it are as old as the rest. So it
//! gets a new identity, by which every cursor is refused, as soon as it is seen to be another one: by where it lies, and for a
//! file of SQLite that was written over, by what its lock file remembers.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use super::conn::{Conn, decode, execute, row, rows};
use super::error::StoreError;
use super::location::Location;
use super::{Store, Timestamp, lock};

const RENEW_FEED_SQLITE: &str = "update sync_state set feed_id = lower(hex(randomblob(16))), feed_file = $1, restored_at = $2 \
     where id = 1";
const RENEW_FEED_POSTGRES: &str = "update sync_state set feed_id = replace(gen_random_uuid()::text, '-', ''), feed_file = $1, \
     restored_at = $2 where id = 1";

async fn renew_feed(conn: &mut Conn, file: Option<&str>, now: Timestamp) -> Result<(), sqlx::Error> {
    let sql = match conn {
        Conn::Sqlite(_) => RENEW_FEED_SQLITE,
        Conn::Postgres(_) => RENEW_FEED_POSTGRES,
    };
    execute!(conn, sql, file, now).map(drop)
}

macro_rules! state_postgres {
    () => {
        "select version(), feed_file from sync_state where id = 1"
    };
}

/// Another cluster, another timeline (a replica was promoted, or a base backup restored), another database or another table
/// (a dump was restored): nothing that a server in one piece changes.
const PLACE_POSTGRES: &str = concat!(
    state_postgres!(),
    "; select (select system_identifier from pg_control_system())::text || '.' || ",
    "left(pg_walfile_name(pg_current_wal_lsn()), 8) || '.' || ",
    "(select oid from pg_database where datname = current_database())::text || '.' || 'sync_state'::regclass::oid::text"
);

const KNOWN: &str = "select feed_file from sync_state where id = 1";

const NEWEST: &str = "select changed_at, nonce from feed_log order by changed_at desc limit 1";

impl Store {
    /// Gives the feed a new identity where the database lies somewhere else than before, or has forgotten what readers saw.
    pub(super) async fn ensure_feed_identity(&mut self, now: Timestamp) -> Result<(), StoreError> {
        const SET: &str = "update sync_state set feed_file = $1 where id = 1";
        let (place, known) = self.feed_place().await?;
        let Some(place) = place else { return Ok(()) };
        let has_forgotten = self.has_forgotten_what_readers_saw().await?;
        if known.as_deref() == Some(&place) && !has_forgotten {
            return Ok(());
        }
        let renewed = self
            .write(async |conn| {
                // Another process may have come before.
                let (now_known,): (Option<String>,) = row!(conn, KNOWN)?;
                if now_known != known {
                    return Ok(false);
                }
                if known.is_none() {
                    execute!(conn, SET, &place)?;
                } else {
                    renew_feed(conn, Some(&place), now).await?;
                }
                Ok(known.is_some())
            })
            .await?;
        self.has_renewed_feed |= renewed;
        if renewed {
            self.note_what_readers_see().await?;
        }
        Ok(())
    }

    /// What tells this database from its copies, none where that cannot be known, and what is on record of it.
    async fn feed_place(&mut self) -> Result<(Option<String>, Option<String>), StoreError> {
        type State = (String, Option<String>);
        let location = Arc::clone(&self.location);
        if let Location::Sqlite { path } = &*location {
            let (known,): (Option<String>,) = self.read(async |conn| Ok(row!(conn, KNOWN)?)).await?;
            return Ok((std::fs::metadata(path).ok().map(|metadata| metadata.ino().to_string()), known));
        }
        let (state, place) = match self.look(PLACE_POSTGRES, 2).await {
            Ok(looked) => decode!(looked, State, (Option<String>,))?,
            Err(error) if error.is_connection_lost() => return Err(error),
            // A server that does not tell where it is, or not to everybody.
            Err(_) => (decode!(self.look(state_postgres!(), 1).await?, State)?.0, Vec::new()),
        };
        let (version, known) = state.into_iter().next().ok_or(sqlx::Error::RowNotFound)?;
        // The nodes of a distributed database differ in what identifies a server.
        let is_one_server = version.starts_with("PostgreSQL ") && !version.contains("-YB-");
        Ok((place.into_iter().next().and_then(|(place,)| place).filter(|_| is_one_server), known))
    }

    /// SQLite: whether the newest transaction that readers have been shown is not in the file: it was written over.
    async fn has_forgotten_what_readers_saw(&mut self) -> Result<bool, StoreError> {
        const NONCE: &str = "select nonce from feed_log where changed_at = $1";
        let Location::Sqlite { path } = &*self.location else { return Ok(false) };
        let Some((at, nonce)) = lock::read_note(path).as_deref().and_then(parse_note) else {
            return Ok(false);
        };
        let found: Vec<(String,)> = self.read(async |conn| Ok(rows!(conn, NONCE, at)?)).await?;
        Ok(found.first().is_none_or(|(found,)| *found != nonce))
    }

    /// SQLite: keeps beside the file what readers may see of it from now on, before they do.
    pub(super) async fn note_what_readers_see(&mut self) -> Result<(), StoreError> {
        let Location::Sqlite { path } = &*self.location else { return Ok(()) };
        let path = path.clone();
        let newest: Vec<(Timestamp, String)> = self.read(async |conn| Ok(rows!(conn, NEWEST)?)).await?;
        if let Some((at, nonce)) = newest.first() {
            lock::write_note(&path, &format!("{} {nonce}\n", at.millis()));
        }
        Ok(())
    }

    /// After a restore that the program cannot see: a new identity, or, where it has one already, the word that the erasures
    /// made since the backup were made again. True where the identity is new.
    pub async fn confirm_restore(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        const RESTORED: &str = "select restored_at, feed_file from sync_state where id = 1";
        // Seen just now: nobody has been told before.
        if self.has_renewed_feed {
            return Ok(true);
        }
        self.write(async |conn| {
            let (restored_at, file): (Option<Timestamp>, Option<String>) = row!(conn, RESTORED)?;
            if restored_at.is_some() {
                execute!(conn, "update sync_state set restored_at = null where id = 1")?;
            } else {
                renew_feed(conn, file.as_deref(), now).await?;
            }
            Ok(restored_at.is_none())
        })
        .await
    }
}

fn parse_note(note: &str) -> Option<(Timestamp, String)> {
    let (millis, nonce) = note.strip_suffix('\n')?.split_once(' ')?;
    Some((Timestamp::default().plus_millis(millis.parse().ok()?), nonce.to_owned()))
}
