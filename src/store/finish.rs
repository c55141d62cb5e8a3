//! The end of a run: what absence means for the rows, and the last state of the run row, in one transaction.

use std::collections::BTreeMap;

use serde_json::json;

use super::bulk::on_keys;
use super::conn::{Conn, execute, row, rows};
use super::error::{StoreError, from_sqlx};
use super::lease::Run;
use super::write::{WriteContext, check_replay, next_changed_at, save_run};
use super::{RunRow, Store, Timestamp};
use crate::hash::RowHash;

/// Keys or hashes in one statement.
const CHUNK: usize = 20_000;

/// A missing consent whose removal this run would confirm, if its own page agrees.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Candidate {
    pub consent_key: String,
    /// What its page is asked by.
    pub consent_id: String,
}

/// What the end of a complete run writes besides the run row.
#[derive(Debug, Default)]
pub struct Ending {
    /// Absence was judged: the number of judged runs grows.
    pub judged: bool,
    pub missing: Vec<String>,
    /// Rows that the guard keeps active from now on.
    pub withheld: Vec<String>,
    /// Rows with an id whose page is gone.
    pub removed: Vec<String>,
    /// Rows whose page was asked for.
    pub checked: Vec<String>,
    /// Rows without an id are removed after so many judged runs.
    pub confirm_runs: u32,
    /// Rejected items on record that the pass held again.
    pub rejects_seen: Vec<i64>,
    /// Whether some on record were not held.
    pub rejects_gone: bool,
    /// Consents of erased people under ids that were not erased, and the hash of their address.
    pub renewed: BTreeMap<String, String>,
}

impl Store {
    /// The keys of rows by their hashes, in no order.
    pub async fn keys_of(&mut self, hashes: &[RowHash]) -> Result<Vec<String>, StoreError> {
        const SQLITE: &str =
            "select consent_key from consents where row_hash in (select value from json_each($1))";
        const POSTGRES: &str =
            "select consent_key from consents where row_hash in (select unnest($1::text[]))";
        let place = self.place();
        self.read(async |conn| {
            let mut keys = Vec::with_capacity(hashes.len());
            for chunk in hashes.chunks(CHUNK) {
                let list: Vec<String> = chunk.iter().map(|hash| hash.to_hex()).collect();
                let found: Vec<(String,)> = match conn {
                    Conn::Sqlite(c) => {
                        sqlx::query_as(SQLITE).bind(json!(list).to_string()).fetch_all(&mut **c).await
                    }
                    Conn::Postgres(c) => {
                        sqlx::query_as(POSTGRES).bind(list).persistent(false).fetch_all(&mut **c).await
                    }
                }
                .map_err(|error| from_sqlx(&error, &place))?;
                keys.extend(found.into_iter().map(|(key,)| key));
            }
            Ok(keys)
        })
        .await
    }

    /// Missing rows with an id that were absent from enough judged runs, this one included; those unasked longest first.
    pub async fn candidates(&mut self, confirm_runs: u32, most: u32) -> Result<Vec<Candidate>, StoreError> {
        const CANDIDATES: &str = "select c.consent_key, c.consent_id from consents c \
             left join consent_checks k on k.consent_key = c.consent_key \
             where c.missing_since is not null and c.removed_at is null and c.consent_id is not null \
             and c.missing_judged <= (select judged_runs from sync_state where id = 1) + 2 - $1 \
             order by (k.checked_at is not null), k.checked_at, c.missing_judged, c.consent_key limit $2";
        let place = self.place();
        self.read(async |conn| {
            rows!(conn, CANDIDATES, i64::from(confirm_runs), i64::from(most))
                .map_err(|error| from_sqlx(&error, &place))
        })
        .await
    }

    /// Missing rows without an id that were absent from enough judged runs, this one included.
    pub async fn nameless_candidates(&mut self, confirm_runs: u32) -> Result<Vec<String>, StoreError> {
        let place = self.place();
        self.read(async |conn| {
            let (judged_runs,): (i64,) = row!(conn, "select judged_runs from sync_state where id = 1")
                .map_err(|error| from_sqlx(&error, &place))?;
            nameless_removals(conn, confirm_runs, judged_runs + 1, &place).await
        })
        .await
    }

    /// Whether an item without a usable id was rejected for the first time in this run.
    pub async fn has_new_nameless_reject(&mut self, run: &Run) -> Result<bool, StoreError> {
        const NAMELESS: &str =
            "select exists (select 1 from rejected_items where first_run_id = $1 and has_id = 0)";
        let place = self.place();
        let id = run.row.id;
        self.read(async |conn| {
            let (found,): (bool,) = row!(conn, NAMELESS, id).map_err(|error| from_sqlx(&error, &place))?;
            Ok(found)
        })
        .await
    }

    /// Ends a complete run: marks, counters, outcome. All of it or nothing.
    ///
    /// # Errors
    /// As [`Store::write_batch`].
    pub async fn finish(
        &mut self,
        run: &Run,
        last: RunRow,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<RunRow, StoreError> {
        let place = self.place();
        let mut done: Option<RunRow> = None;
        self.write(async |conn| {
            if check_replay(conn, run, now, &place).await?
                && let Some(row) = &done
            {
                return Ok(row.clone());
            }
            let mut row = last.clone();
            mark_rows(conn, run, ending, &mut row, now, &place).await?;
            resolve_rejects(conn, run.row.id, ending, now, &place).await?;
            record_renewed(conn, run.row.id, ending, now).await.map_err(|error| from_sqlx(&error, &place))?;
            execute!(
                conn,
                "update sync_state set endpoint = coalesce($1, endpoint) where id = 1",
                &row.endpoint
            )
            .map_err(|error| from_sqlx(&error, &place))?;
            save_run(conn, &row, run.batches + 1, &place).await?;
            done = Some(row.clone());
            Ok(row)
        })
        .await
    }

    /// Ends a run that failed or was interrupted. What was stored stays.
    ///
    /// # Errors
    /// As [`Store::write_batch`].
    pub async fn fail(&mut self, run: &Run, row: &RunRow, now: Timestamp) -> Result<(), StoreError> {
        // The last pages went through though their answer got lost: their counters stand in the row already.
        // The run began by a wrong clock, and so did what it wrote at its begin.
        const RIGHT_TIME: &str = "update sync_runs set started_at = case when id = $1 then $2 else started_at end, \
             finished_at = case when id = $1 then finished_at else $2 end where id = $1 or finished_at = $3";
        const ENDED: &str = "update sync_runs set outcome = $2, finished_at = $3, error = $4, requests = $5, retries = $6 where id = $1";
        let place = self.place();
        self.write(async |conn| {
            let ahead = check_replay(conn, run, now, &place).await?;
            execute!(
                conn,
                "update sync_state set endpoint = coalesce($1, endpoint) where id = 1",
                &row.endpoint
            )
            .map_err(|error| from_sqlx(&error, &place))?;
            if row.started_at != run.row.started_at {
                execute!(conn, RIGHT_TIME, row.id, row.started_at, run.row.started_at)
                    .map_err(|error| from_sqlx(&error, &place))?;
            }
            if ahead {
                execute!(
                    conn,
                    ENDED,
                    row.id,
                    &row.outcome,
                    row.finished_at,
                    &row.error,
                    row.requests,
                    row.retries
                )
                .map_err(|error| from_sqlx(&error, &place))?;
                return Ok(());
            }
            save_run(conn, row, run.batches + 1, &place).await
        })
        .await
    }
}

async fn mark_rows(
    conn: &mut Conn,
    run: &Run,
    ending: &Ending,
    row: &mut RunRow,
    now: Timestamp,
    place: &str,
) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| from_sqlx(&error, place);
    let judged_runs = if ending.judged {
        let bumped = "update sync_state set judged_runs = judged_runs + 1 where id = 1 returning judged_runs";
        let (judged_runs,): (i64,) = row!(conn, bumped).map_err(failed)?;
        judged_runs
    } else {
        0
    };
    let nameless = if ending.judged {
        nameless_removals(conn, ending.confirm_runs, judged_runs, place).await?
    } else {
        Vec::new()
    };
    if !(ending.missing.is_empty()
        && ending.withheld.is_empty()
        && ending.removed.is_empty()
        && nameless.is_empty())
    {
        let changed_at = next_changed_at(conn, now, place).await?;
        let context = WriteContext { run_id: run.row.id, changed_at, place };
        for keys in ending.missing.chunks(CHUNK) {
            mark(conn, &context, MISSING, keys).await?;
        }
        execute!(
            conn,
            "update consents set missing_judged = $1 where missing_since is not null and missing_judged is null",
            judged_runs
        )
        .map_err(failed)?;
        for keys in ending.withheld.chunks(CHUNK) {
            on_keys(conn, &context, WITHHELD, keys).await?;
        }
        for keys in ending.removed.chunks(CHUNK).chain(nameless.chunks(CHUNK)) {
            mark(conn, &context, REMOVED, keys).await?;
        }
        row.missing += ending.missing.len().cast_signed() as i64;
        row.removed += (ending.removed.len() + nameless.len()).cast_signed() as i64;
    }
    record_checks(conn, ending, now, place).await
}

/// Rows without an id have no page of their own: the number of runs decides alone.
async fn nameless_removals(
    conn: &mut Conn,
    confirm_runs: u32,
    judged_runs: i64,
    place: &str,
) -> Result<Vec<String>, StoreError> {
    const NAMELESS: &str = "select consent_key from consents where missing_since is not null and removed_at is null \
         and consent_id is null and missing_judged <= $1";
    let found: Vec<(String,)> = rows!(conn, NAMELESS, judged_runs + 1 - i64::from(confirm_runs))
        .map_err(|error| from_sqlx(&error, place))?;
    Ok(found.into_iter().map(|(key,)| key).collect())
}

type Pair = (&'static str, &'static str);

/// History first, then the rows.
type Mark = (Pair, Pair);

const MISSING: Mark = (
    (
        "insert into consent_changes (consent_key, run_id, changed_at, change) \
         select value, $3, $2, 'missing' from json_each($1)",
        "insert into consent_changes (consent_key, run_id, changed_at, change) \
         select key, $3, $2, 'missing' from unnest($1::text[]) as k(key)",
    ),
    (
        "update consents set missing_since = $2, withheld_since = null, changed_at = $2, changed_run_id = $3 \
         where consent_key in (select value from json_each($1))",
        "update consents set missing_since = $2, withheld_since = null, changed_at = $2, changed_run_id = $3 \
         where consent_key = any($1)",
    ),
);

const REMOVED: Mark = (
    (
        "insert into consent_changes (consent_key, run_id, changed_at, change) \
         select value, $3, $2, 'removed' from json_each($1)",
        "insert into consent_changes (consent_key, run_id, changed_at, change) \
         select key, $3, $2, 'removed' from unnest($1::text[]) as k(key)",
    ),
    (
        "update consents set removed_at = $2, changed_at = $2, changed_run_id = $3 \
         where consent_key in (select value from json_each($1))",
        "update consents set removed_at = $2, changed_at = $2, changed_run_id = $3 where consent_key = any($1)",
    ),
);

const WITHHELD: Pair = (
    "update consents set withheld_since = $2, changed_at = $2, changed_run_id = $3 \
     where withheld_since is null and consent_key in (select value from json_each($1))",
    "update consents set withheld_since = $2, changed_at = $2, changed_run_id = $3 \
     where withheld_since is null and consent_key = any($1)",
);

async fn mark(
    conn: &mut Conn,
    context: &WriteContext<'_>,
    (history, rows): Mark,
    keys: &[String],
) -> Result<(), StoreError> {
    for sql in [history, rows] {
        let stored = on_keys(conn, context, sql, keys).await?;
        context.must_have_stored(stored, keys.len())?;
    }
    Ok(())
}

async fn record_checks(
    conn: &mut Conn,
    ending: &Ending,
    now: Timestamp,
    place: &str,
) -> Result<(), StoreError> {
    const CHECKED: &str = "insert into consent_checks (consent_key, checked_at) values ($1, $2) \
         on conflict (consent_key) do update set checked_at = excluded.checked_at";
    for key in &ending.checked {
        execute!(conn, CHECKED, key, now).map_err(|error| from_sqlx(&error, place))?;
    }
    Ok(())
}

async fn resolve_rejects(
    conn: &mut Conn,
    run_id: i64,
    ending: &Ending,
    now: Timestamp,
    place: &str,
) -> Result<(), StoreError> {
    const SEEN_SQLITE: &str =
        "update rejected_items set last_run_id = $2 where id in (select value from json_each($1))";
    const SEEN_POSTGRES: &str = "update rejected_items set last_run_id = $2 where id = any($1)";
    const GONE: &str =
        "update rejected_items set resolved_at = $2 where resolved_at is null and last_run_id <> $1";
    let failed = |error: sqlx::Error| from_sqlx(&error, place);
    for ids in ending.rejects_seen.chunks(CHUNK) {
        match conn {
            Conn::Sqlite(c) => {
                let query = sqlx::query(SEEN_SQLITE).bind(json!(ids).to_string()).bind(run_id);
                query.execute(&mut **c).await.map(drop)
            }
            Conn::Postgres(c) => {
                let query = sqlx::query(SEEN_POSTGRES).bind(ids).bind(run_id).persistent(false);
                query.execute(&mut **c).await.map(drop)
            }
        }
        .map_err(failed)?;
    }
    if ending.rejects_gone {
        execute!(conn, GONE, run_id, now).map_err(failed)?;
    }
    Ok(())
}

/// Who is listed under a new id now, and since when.
async fn record_renewed(
    conn: &mut Conn,
    run_id: i64,
    ending: &Ending,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    const LISTED: &str = "insert into renewed_consents (consent_id, email_hash, first_seen_at, last_run_id) values ($1, $2, $3, $4) \
         on conflict (consent_id) do update set email_hash = excluded.email_hash, last_run_id = excluded.last_run_id";
    for (id, email_hash) in &ending.renewed {
        execute!(conn, LISTED, id, email_hash, now, run_id)?;
    }
    execute!(conn, "delete from renewed_consents where last_run_id <> $1", run_id).map(drop)
}
