//! Erasing a person everywhere, and keeping no more than a salted hash so that no later run brings them back.

use std::collections::HashSet;
use std::sync::Arc;

use super::bulk::on_keys;
use super::conn::{Conn, execute, row, rows};
use super::error::{StoreError, from_sqlx};
use super::lease::Lease;
use super::write::WriteContext;
use super::{Store, Timestamp};
use crate::consent::{MAX_ADDRESSES, any_address, normalized_email};
use crate::hash::Salt;

/// What was erased, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Rows of `consents`.
    pub consents: u64,
    /// Rows of `consent_changes`.
    pub changes: u64,
    /// Rows of `rejected_items`.
    pub rejects: u64,
    /// Addresses newly in `suppressions`.
    pub suppressed: u64,
    /// Addresses that were there before.
    pub suppressed_before: u64,
}

/// Rows looked at in one query.
const CHUNK_ROWS: i64 = 10_000;

impl Store {
    /// Erases everything that belongs to these addresses, in any case of letters, and suppresses them.
    pub async fn forget(
        &mut self,
        lease: &Lease,
        emails: &[String],
        now: Timestamp,
    ) -> Result<Forgotten, StoreError> {
        let place = self.place();
        let wanted: HashSet<String> = emails.iter().map(|email| normalized_email(email)).collect();
        self.write(async |conn| {
            lease.renew(conn, now, &place).await?;
            // Nothing is written to a row, so no new value of changed_at is taken.
            let context = WriteContext { run_id: 0, changed_at: now, place: &place };
            let mut forgotten = Forgotten::default();
            suppress(conn, &context, &wanted, now, &mut forgotten).await?;
            let mut keys = keys_in_consents(conn, &context, &wanted).await?;
            let changes = changes_of(conn, &context, &wanted).await?;
            keys.sort_unstable();
            forgotten.changes = erase_changes(conn, &context, &keys, &changes).await?;
            forgotten.consents = count_of(conn, &context, &keys).await?;
            on_keys(conn, &context, ERASE_CHECKS, &keys).await?;
            on_keys(conn, &context, ERASE_CONSENTS, &keys).await?;
            forgotten.rejects = erase_rejects(conn, &context, &wanted).await?;
            Ok(forgotten)
        })
        .await
    }

    /// Lifts the suppression of these addresses and tells how many there were.
    pub async fn unforget(
        &mut self,
        lease: &Lease,
        emails: &[String],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let place = self.place();
        self.write(async |conn| {
            let failed = |error: sqlx::Error| from_sqlx(&error, &place);
            lease.renew(conn, now, &place).await?;
            let salt = salt(conn, &place).await?;
            let mut lifted = 0;
            for email in emails {
                let hash = salt.address(email);
                lifted +=
                    execute!(conn, "delete from suppressions where email_hash = $1", hash).map_err(failed)?;
            }
            execute!(conn, "update sync_state set suppression_no = suppression_no + 1 where id = 1")
                .map_err(failed)?;
            Ok(lifted)
        })
        .await
    }

    /// Makes sure that what was deleted is in no page any more. SQLite: the log goes into the file, and the file is written
    /// anew, since a page that was rebuilt can keep old bytes behind its cells. PostgreSQL: dead rows are vacuumed, as far
    /// as the user may.
    ///
    /// # Errors
    /// [`StoreError::ReaderInTheWay`] where old content must stay for somebody who reads it.
    pub async fn wipe(&mut self) -> Result<(), StoreError> {
        let location = Arc::clone(&self.location);
        if !location.is_sqlite() {
            return self.vacuum_tables().await;
        }
        let in_the_way = || StoreError::ReaderInTheWay { place: location.place() };
        if !self.checkpoint().await? {
            return Err(in_the_way());
        }
        let vacuumed = self
            .use_conn(async |conn| {
                let failed = |error: sqlx::Error| location.failed(&error);
                // The copy that the rewrite makes would take as much memory as the file; a small one fits, and needs no writable
                // folder.
                let (pages, size): (i64, i64) =
                    row!(conn, "select page_count, page_size from pragma_page_count, pragma_page_size")
                        .map_err(failed)?;
                if pages.saturating_mul(size) >= 32 << 20 {
                    conn.raw("pragma temp_store = file").await.map_err(failed)?;
                }
                conn.raw("vacuum").await.map_err(failed)
            })
            .await;
        match vacuumed {
            Err(StoreError::Locked { .. }) => return Err(in_the_way()),
            other => other?,
        }
        if self.checkpoint().await? { Ok(()) } else { Err(in_the_way()) }
    }

    async fn vacuum_tables(&mut self) -> Result<(), StoreError> {
        let location = Arc::clone(&self.location);
        // Outside a transaction there is no search path of ours, so the tables are vacuumed where that is not needed.
        if location.schema().is_some() {
            return Ok(());
        }
        for sql in ["vacuum consents", "vacuum consent_changes", "vacuum rejected_items"] {
            // A missing right only means that the server's own vacuum comes later.
            let vacuum = async |conn: &mut Conn| conn.raw(sql).await.map_err(|error| location.failed(&error));
            if self.use_conn(vacuum).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

async fn salt(conn: &mut Conn, place: &str) -> Result<Salt, StoreError> {
    let (salt,): (Vec<u8>,) =
        row!(conn, "select salt from sync_state where id = 1").map_err(|error| from_sqlx(&error, place))?;
    Ok(Salt::new(salt))
}

async fn suppress(
    conn: &mut Conn,
    context: &WriteContext<'_>,
    wanted: &HashSet<String>,
    now: Timestamp,
    forgotten: &mut Forgotten,
) -> Result<(), StoreError> {
    const SUPPRESS: &str = "insert into suppressions (email_hash, created_at) values ($1, $2) on conflict (email_hash) do nothing";
    let failed = |error: sqlx::Error| context.failed(&error);
    let salt = salt(conn, context.place).await?;
    for email in wanted {
        let new = execute!(conn, SUPPRESS, salt.address(email), now).map_err(failed)?;
        forgotten.suppressed += new;
        forgotten.suppressed_before += 1 - new.min(1);
    }
    execute!(conn, "update sync_state set suppression_no = suppression_no + 1 where id = 1")
        .map_err(failed)?;
    Ok(())
}

/// SQL folds letters by locale or not at all, so every address is compared here, a stretch of the table at a time.
async fn keys_in_consents(
    conn: &mut Conn,
    context: &WriteContext<'_>,
    wanted: &HashSet<String>,
) -> Result<Vec<String>, StoreError> {
    const NEXT_CHUNK: &str =
        "select consent_key, email from consents where consent_key > $1 order by consent_key limit $2";
    let mut keys = Vec::new();
    let mut last = String::new();
    loop {
        let found: Vec<(String, Option<String>)> =
            rows!(conn, NEXT_CHUNK, &last, CHUNK_ROWS).map_err(|error| context.failed(&error))?;
        let Some((key, _)) = found.last() else {
            return Ok(keys);
        };
        last.clone_from(key);
        keys.extend(found.into_iter().filter_map(|(key, email)| {
            wanted.contains(&normalized_email(&email.unwrap_or_default())).then_some(key)
        }));
    }
}

/// Lines of history that hold the address though their row has another one by now.
async fn changes_of(
    conn: &mut Conn,
    context: &WriteContext<'_>,
    wanted: &HashSet<String>,
) -> Result<Vec<i64>, StoreError> {
    const SQLITE: &str = "select id, before ->> 'email' from consent_changes \
         where id > $1 and before is not null order by id limit $2";
    let mut ids = Vec::new();
    let mut last = 0;
    loop {
        let found: Vec<(i64, Option<String>)> =
            rows!(conn, SQLITE, last, CHUNK_ROWS).map_err(|error| context.failed(&error))?;
        let Some((id, _)) = found.last() else {
            return Ok(ids);
        };
        last = *id;
        ids.extend(found.into_iter().filter_map(|(id, email)| {
            wanted.contains(&normalized_email(&email.unwrap_or_default())).then_some(id)
        }));
    }
}

async fn erase_changes(
    conn: &mut Conn,
    context: &WriteContext<'_>,
    keys: &[String],
    ids: &[i64],
) -> Result<u64, StoreError> {
    let mut erased = 0;
    for id in ids {
        erased += execute!(conn, "delete from consent_changes where id = $1", *id)
            .map_err(|error| context.failed(&error))?;
    }
    for key in keys {
        erased += execute!(conn, "delete from consent_changes where consent_key = $1", key)
            .map_err(|error| context.failed(&error))?;
    }
    Ok(erased)
}

const ERASE_CHECKS: (&str, &str) = (
    "delete from consent_checks where consent_key in (select value from json_each($1)) \
     and $2 is not null and $3 is not null",
    "delete from consent_checks where consent_key = any($1) and $2::timestamptz is not null and $3::bigint is not null",
);

const ERASE_CONSENTS: (&str, &str) = (
    "delete from consents where consent_key in (select value from json_each($1)) and $2 is not null and $3 is not null",
    "delete from consents where consent_key = any($1) and $2::timestamptz is not null and $3::bigint is not null",
);

async fn count_of(conn: &mut Conn, context: &WriteContext<'_>, keys: &[String]) -> Result<u64, StoreError> {
    let mut count = 0;
    for key in keys {
        let (n,): (i64,) = row!(conn, "select count(*) from consents where consent_key = $1", key)
            .map_err(|error| context.failed(&error))?;
        count += n.cast_unsigned();
    }
    Ok(count)
}

async fn erase_rejects(
    conn: &mut Conn,
    context: &WriteContext<'_>,
    wanted: &HashSet<String>,
) -> Result<u64, StoreError> {
    const NEXT_CHUNK: &str = "select id, item from rejected_items where id > $1 order by id limit $2";
    let is_wanted = |text: &str| wanted.contains(&normalized_email(text));
    let mut erased = 0;
    let mut last = 0;
    loop {
        let found: Vec<(i64, String)> =
            rows!(conn, NEXT_CHUNK, last, 500_i64).map_err(|error| context.failed(&error))?;
        let Some((id, _)) = found.last() else {
            return Ok(erased);
        };
        last = *id;
        for (id, item) in found {
            if any_address(&item, MAX_ADDRESSES * 100, is_wanted) {
                erased += execute!(conn, "delete from rejected_items where id = $1", id)
                    .map_err(|error| context.failed(&error))?;
            }
        }
    }
}
