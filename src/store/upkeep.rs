//! After a run: what retention says has been kept long enough, and SQLite's write-ahead log back in the file.

use std::sync::Arc;
use std::time::Duration;

use super::bulk;
use super::conn::{Conn, Pair, execute, execute_over, row, rows};
use super::error::StoreError;
use super::feed::note_dropped;
use super::forget::salt;
use super::lease::Lease;
use super::write::{WriteContext, must_have_stored, next_changed_at};
use super::{Store, Timestamp};
use crate::config::Retention;
use crate::hash::item_hash_to_hex;

const BATCH: i64 = 500;

/// Items that are recorded in one transaction at the most.
const ITEMS: usize = 2_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub changes: u64,
    pub runs: u64,
    /// Rows whose personal data was erased.
    pub erased: u64,
    pub rejects: u64,
    /// Lines of the change feed.
    pub erasures: u64,
}

impl Store {
    /// Whether [`Store::retain`] has anything to look for.
    pub fn is_retention_due(&self, retention: &Retention, now: Timestamp) -> bool {
        retention.removed.is_some()
            || retention.history.is_some()
            || self.has_erasures_before(now.minus(retention.erasures))
    }

    /// Unless the run has seen that there are none.
    fn has_erasures_before(&self, until: Timestamp) -> bool {
        self.seen.erasures_since.is_none_or(|oldest| oldest < until)
    }

    /// Applies `retention.*`, in small transactions. `confirm_after`: a row that was missing for so long counts as removed.
    ///
    /// # Errors
    /// As [`Store::write_batch`].
    pub async fn retain(
        &mut self,
        lease: &Lease,
        run_id: i64,
        retention: &Retention,
        confirm_after: Duration,
        now: Timestamp,
    ) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        if let Some(age) = retention.removed {
            let until = now.minus(age);
            let missing_until = until.minus(confirm_after);
            pruned.erased = self.erase_removed(lease, run_id, [until, missing_until], now).await?;
            pruned.rejects = self.prune(lease, now, PRUNE_REJECTS, until).await?;
        }
        let until = now.minus(retention.erasures);
        if self.has_erasures_before(until) {
            pruned.erasures = self.drop_erasures(lease, until, now).await?;
        }
        if let Some(age) = retention.history {
            let until = now.minus(age);
            pruned.changes = self.prune(lease, now, PRUNE_CHANGES, until).await?;
            pruned.runs = self.prune(lease, now, PRUNE_RUNS, until).await?;
        }
        Ok(pruned)
    }

    /// Records the hashes of items that were read and had not changed, by the keys of their rows. Nothing else of a row changes,
    /// `changed_at` least of all.
    pub async fn record_items(
        &mut self,
        lease: &Lease,
        items: &[(String, u64)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for items in items.chunks(ITEMS) {
            let items: Vec<_> =
                items.iter().map(|(key, hash)| (key.clone(), item_hash_to_hex(*hash))).collect();
            self.write(async |conn| {
                lease.renew(conn, now).await?;
                bulk::set_item_hashes(conn, &items).await
            })
            .await?;
        }
        Ok(())
    }

    async fn prune(
        &mut self,
        lease: &Lease,
        now: Timestamp,
        sql: &'static str,
        until: Timestamp,
    ) -> Result<u64, StoreError> {
        self.in_batches(lease, now, async |conn| Ok(execute!(conn, sql, until, BATCH)?)).await
    }

    async fn erase_removed(
        &mut self,
        lease: &Lease,
        run_id: i64,
        until: [Timestamp; 2],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.in_batches(lease, now, async |conn| erase_batch(conn, run_id, until, now).await).await
    }

    async fn drop_erasures(
        &mut self,
        lease: &Lease,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.in_batches(lease, now, async |conn| Ok(drop_erasures(conn, until).await?)).await
    }

    /// Makes transactions of `work` until one takes less than a whole batch. Tells how many rows all of them took.
    async fn in_batches(
        &mut self,
        lease: &Lease,
        now: Timestamp,
        mut work: impl AsyncFnMut(&mut Conn) -> Result<u64, StoreError>,
    ) -> Result<u64, StoreError> {
        let mut total = 0;
        loop {
            let gone = self
                .write(async |conn| {
                    lease.renew(conn, now).await?;
                    work(conn).await
                })
                .await?;
            total += gone;
            if gone < BATCH.cast_unsigned() {
                return Ok(total);
            }
        }
    }

    /// Marks a SQLite file as made by `demo`: `user_version` is "demo" in the file's header.
    pub async fn mark_as_demo(&mut self) -> Result<(), StoreError> {
        self.use_conn(async |conn| Ok(conn.raw("pragma user_version = 1684368751").await?)).await?;
        self.checkpoint().await.map(|_| ())
    }

    /// SQLite: brings the write-ahead log back into the file and empties it. False where a reader holds it. PostgreSQL
    /// needs nothing of the kind.
    pub async fn checkpoint(&mut self) -> Result<bool, StoreError> {
        let location = Arc::clone(&self.location);
        if !location.is_sqlite() {
            return Ok(true);
        }
        self.use_conn(async |conn| {
            // The busy handler waits for readers; a short wait is polite, a long one would hold up the end of the run.
            let done = async {
                conn.raw("pragma busy_timeout = 1000").await?;
                let done: Result<(i64, i64, i64), sqlx::Error> =
                    row!(conn, "pragma wal_checkpoint(truncate)");
                conn.raw("pragma busy_timeout = 10000").await?;
                done
            };
            let (busy, _, _) = done.await?;
            Ok(busy == 0)
        })
        .await
    }
}

const PRUNE_CHANGES: &str = "delete from consent_changes where id in \
     (select id from consent_changes where changed_at < $1 and run_id is not null order by id limit $2)";

/// A run row that another row names stays, and so do the newest complete and the newest judged one: health is read there.
const PRUNE_RUNS: &str = "delete from sync_runs where id in (\
     select r.id from sync_runs r where r.finished_at < $1 and r.outcome <> 'running' \
     and r.id < (select coalesce(max(id), 0) from sync_runs where outcome = 'succeeded') \
     and r.id <> (select coalesce(max(id), 0) from sync_runs where outcome = 'succeeded' and absence = 'judged') \
     and r.id not in (select first_run_id from consents union select changed_run_id from consents \
     union select run_id from consent_changes where run_id is not null union select first_run_id from rejected_items \
     union select last_run_id from rejected_items) order by r.id limit $2)";

const PRUNE_REJECTS: &str = "delete from rejected_items where id in \
     (select id from rejected_items where resolved_at < $1 order by id limit $2)";

async fn drop_erasures(conn: &mut Conn, until: Timestamp) -> Result<u64, sqlx::Error> {
    const LAST: &str = "select changed_at, consent_key from (select changed_at, consent_key from consent_changes \
         where change = 'erased' and run_id is null and changed_at < $1 order by changed_at, consent_key limit $2) as batch \
         order by changed_at desc, consent_key desc limit 1";
    const DROP: &str = "delete from consent_changes where change = 'erased' and run_id is null \
         and (changed_at, consent_key) <= ($1, $2)";
    let last: Vec<(Timestamp, String)> = rows!(conn, LAST, until, BATCH)?;
    let Some((at, key)) = last.first() else { return Ok(0) };
    note_dropped(conn, *at).await?;
    execute!(conn, DROP, *at, key)
}

async fn erase_batch(
    conn: &mut Conn,
    run_id: i64,
    [removed_until, missing_until]: [Timestamp; 2],
    now: Timestamp,
) -> Result<u64, StoreError> {
    const OLD: &str = "select consent_key, (consent_id is null) as nameless, previous_key, changed_at from consents \
         where missing_since is not null and (removed_at < $1 or (removed_at is null and missing_since < $2)) \
         and erased_at is null order by consent_key limit $3";
    const TEXTS: Pair = (
        "update consent_changes set before = null where before is not null \
         and consent_key in (select value from json_each($1))",
        "update consent_changes set before = null where before is not null \
         and consent_key = any($1)",
    );
    let old: Vec<(String, bool, Option<String>, Timestamp)> =
        rows!(conn, OLD, removed_until, missing_until, BATCH)?;
    if old.is_empty() {
        return Ok(0);
    }
    let salt = salt(conn).await?;
    let context = WriteContext { run_id, changed_at: next_changed_at(conn, now).await? };
    let keys: Vec<String> = old.iter().map(|(key, ..)| key.clone()).collect();
    // A natural key tells the address to whoever guesses it.
    let previous: Vec<(String, String)> = old
        .iter()
        .filter_map(|(key, _, previous, _)| Some((key.clone(), salt.erased_key(previous.as_ref()?))))
        .collect();
    // The lines that named these keys are gone with them. Whoever has not read them would keep the address for ever.
    let renamed = old.iter().filter(|(_, nameless, previous, _)| *nameless || previous.is_some());
    if let Some(at) = renamed.map(|(.., at)| *at).max() {
        note_dropped(conn, at).await?;
    }
    bulk::replace_previous_keys(conn, &previous).await?;
    execute_over!(conn, TEXTS, &keys)?;
    let erased: Vec<Erased> = old
        .into_iter()
        .map(|(key, nameless, ..)| {
            let new_key = if nameless { salt.erased_key(&key) } else { key.clone() };
            let hash = crate::hash::RowHash { key: salt.key(&new_key), content: 0 };
            (key, new_key, hash.to_hex())
        })
        .collect();
    erase_rows(conn, &context, &erased).await?;
    bulk::delete_checks(conn, &keys).await?;
    let moved = erased.into_iter().filter(|(key, new_key, _)| key != new_key);
    let moved: Vec<_> = moved.map(|(key, new_key, _)| (key, new_key)).collect();
    bulk::rename_keys(conn, &moved).await?;
    Ok(keys.len() as u64)
}

/// The key of a row, the key that it gets, and its hash.
type Erased = (String, String, String);

async fn erase_rows(conn: &mut Conn, context: &WriteContext, rows: &[Erased]) -> Result<(), StoreError> {
    const SQLITE: &str = "update consents set row_hash = v.value ->> 2, email = null, \
         address = null, full_name = null, refs = null, extra = null, natural_hash = null, erased_at = $2, changed_at = $2, \
         changed_run_id = $3 from json_each($1) as v where consents.consent_key = v.value ->> 0";
    const POSTGRES: &str = "update consents as c set row_hash = v.row_hash, email = null, \
         address = null, full_name = null, refs = null, extra = null, natural_hash = null, erased_at = $2, changed_at = $2, \
         changed_run_id = $3 from unnest($1::text[], $4::text[]) as v(consent_key, row_hash) \
         where c.consent_key = v.consent_key";
    let stored = match conn {
        Conn::Sqlite(c) => {
            let list = serde_json::json!(rows).to_string();
            let query = sqlx::query(SQLITE).bind(list).bind(context.changed_at).bind(context.run_id);
            query.execute(&mut **c).await.map(|done| done.rows_affected())
        }
        Conn::Postgres(c) => {
            let (keys, hashes): (Vec<&str>, Vec<&str>) =
                rows.iter().map(|(key, _, hash)| (key.as_str(), hash.as_str())).unzip();
            let query = sqlx::query(POSTGRES).bind(&keys).bind(context.changed_at).bind(context.run_id);
            let query = query.bind(&hashes).persistent(false);
            query.execute(&mut **c).await.map(|done| done.rows_affected())
        }
    }?;
    must_have_stored(stored, rows.len())
}
