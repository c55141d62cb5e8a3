//! The end of a run: what absence means for the rows, and the last state of the run row, in one transaction.

use std::collections::BTreeMap;

use serde_json::json;

use super::bulk::on_keys;
use super::conn::{Conn, Pair, execute, execute_over, row};
use super::error::{StoreError, from_sqlx};
use super::evaluation::{Acceptance, CHUNK, acceptance, hex_keys};
use super::lease::Run;
use super::write::{WriteContext, check_replay, next_changed_at, save_run, write_rows};
use super::{RunRow, Store, Timestamp};
use crate::reconcile::RowWrite;

/// What the page of a row said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub consent_key: String,
    /// `there`, `gone`, `unclear`
    pub answer: &'static str,
}

/// What the end of a complete run writes besides the run row.
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
#[derive(Debug, Default)]
pub struct Ending {
    /// Absence was judged: the number of judged runs grows.
    pub judged: bool,
    /// Rows that are missing because they were not listed.
    pub missing: Vec<String>,
    /// They are missing by an acceptance, which the guard does not hold against later runs.
    pub accepted: bool,
    /// The acceptance by which it was decided, where one was asked for: while it is another, nothing is written.
    pub acceptance: Option<Option<Acceptance>>,
    /// The acceptance that the database keeps is used up.
    pub uses_acceptance: bool,
    /// Unlisted rows that are missing because their page is gone.
    pub gone: Vec<String>,
    /// Rows that stay active though unlisted, from now on.
    pub withheld: Vec<String>,
    /// Rows whose removal is confirmed.
    pub removed: Vec<String>,
    /// What is stored of removed rows whose return is confirmed.
    pub returned: Vec<RowWrite>,
    /// Keys of listed items whose return is not confirmed.
    pub pending: Vec<String>,
    /// Of those, the ones whose page was asked for.
    pub pending_checked: Vec<String>,
    /// Rows whose page was asked for.
    pub checked: Vec<Checked>,
    /// A control look-up found its page.
    pub pages_usable: bool,
    /// Active and missing rows, by the hash of their key, that only a rejected item listed.
    pub rejected_active: Vec<u64>,
    pub rejected_missing: Vec<u64>,
    /// `rejected_listings` holds rows already.
    pub has_rejected_listings: bool,
    /// Rejected items on record that the pass held again.
    pub rejects_seen: Vec<i64>,
    /// Whether some on record were not held.
    pub rejects_gone: bool,
    /// Consents of erased people under ids that were not erased, and the hash of their address.
    pub renewed: BTreeMap<String, String>,
}

impl Store {
    /// Ends a complete run: marks, returns, counters, outcome, use of an acceptance. All of it or nothing. None: another
    /// acceptance has come or gone meanwhile, and nothing was written.
    ///
    /// # Errors
    /// As [`Store::write_batch`].
    pub async fn finish(
        &mut self,
        run: &Run,
        last: RunRow,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<Option<RunRow>, StoreError> {
        let place = self.place();
        let mut done: Option<RunRow> = None;
        self.write(async |conn| {
            run.lease.renew(conn, now, &place).await?;
            if check_replay(conn, run, &place).await?
                && let Some(row) = &done
            {
                return Ok(Some(row.clone()));
            }
            if let Some(expected) = &ending.acceptance
                && *expected != acceptance(conn, run.row.started_at, &place).await?
            {
                return Ok(None);
            }
            let mut row = last.clone();
            mark_rows(conn, run, ending, &mut row, now, &place).await?;
            let context = WriteContext { run_id: run.row.id, changed_at: now, place: &place };
            record_checks(conn, &context, ending).await?;
            record_pending(conn, &context, ending).await?;
            record_rejected_listings(conn, &context, ending).await?;
            resolve_rejects(conn, run.row.id, ending, now, &place).await?;
            record_renewed(conn, run.row.id, ending, now).await.map_err(|error| from_sqlx(&error, &place))?;
            save_state(conn, &context, ending, &row).await?;
            save_run(conn, &row, run.batches + 1, &place).await?;
            done = Some(row.clone());
            Ok(Some(row))
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
            // What a database has forgotten cannot be counted any more, but that the run failed can still be told.
            run.lease.renew(conn, now, &place).await?;
            let ahead = match check_replay(conn, run, &place).await {
                Err(StoreError::Forgetful { .. }) => true,
                checked => checked?,
            };
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
    const JUDGED: &str =
        "update sync_state set judged_runs = judged_runs + $1 where id = 1 returning judged_runs";
    const FIRST_JUDGED: &str =
        "update consents set missing_judged = $1 where missing_since is not null and missing_judged is null";
    let failed = |error: sqlx::Error| from_sqlx(&error, place);
    if ending.judged {
        let _: (i64,) = row!(conn, JUDGED, 1_i64).map_err(failed)?;
    }
    let lists = [&ending.missing, &ending.gone, &ending.withheld, &ending.removed];
    if lists.iter().all(|keys| keys.is_empty()) && ending.returned.is_empty() {
        return Ok(());
    }
    let changed_at = next_changed_at(conn, now, place).await?;
    let context = WriteContext { run_id: run.row.id, changed_at, place };
    let written = write_rows(conn, &context, &ending.returned).await?;
    row.count(&written);
    let missing = if ending.accepted { GONE } else { MISSING };
    for keys in ending.missing.chunks(CHUNK) {
        mark(conn, &context, missing, keys).await?;
    }
    for keys in ending.gone.chunks(CHUNK) {
        mark(conn, &context, GONE, keys).await?;
    }
    if !(ending.missing.is_empty() && ending.gone.is_empty()) {
        // The first judged run without the row: this one, or else the next.
        let (judged_runs,): (i64,) = row!(conn, JUDGED, 0_i64).map_err(failed)?;
        execute!(conn, FIRST_JUDGED, judged_runs + i64::from(!ending.judged)).map_err(failed)?;
    }
    for keys in ending.withheld.chunks(CHUNK) {
        on_keys(conn, &context, WITHHELD, keys).await?;
    }
    for keys in ending.removed.chunks(CHUNK) {
        mark(conn, &context, REMOVED, keys).await?;
    }
    row.missing += (ending.missing.len() + ending.gone.len()).cast_signed() as i64;
    row.removed += ending.removed.len().cast_signed() as i64;
    Ok(())
}

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
        "update consents set missing_since = $2, withheld_since = null, changed_at = $2, changed_run_id = $3, \
         missing_run_at = (select started_at from sync_runs where id = $3) \
         where consent_key in (select value from json_each($1))",
        "update consents set missing_since = $2, withheld_since = null, changed_at = $2, changed_run_id = $3, \
         missing_run_at = (select started_at from sync_runs where id = $3) where consent_key = any($1)",
    ),
);

/// The guard does not count what a page or an acceptance said.
const GONE: Mark = (
    MISSING.0,
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
    context: &WriteContext<'_>,
    ending: &Ending,
) -> Result<(), StoreError> {
    const SQLITE: &str = "insert into consent_checks (consent_key, checked_at, answer, answered_since) \
         select value ->> 0, $2, value ->> 1, $2 from json_each($1) where true \
         on conflict (consent_key) do update set checked_at = excluded.checked_at, answer = excluded.answer, \
         answered_since = case when consent_checks.answer = excluded.answer then consent_checks.answered_since \
         else excluded.answered_since end";
    const POSTGRES: &str = "insert into consent_checks (consent_key, checked_at, answer, answered_since) \
         select key, $3, answer, $3 from unnest($1::text[], $2::text[]) as k(key, answer) \
         on conflict (consent_key) do update set checked_at = excluded.checked_at, answer = excluded.answer, \
         answered_since = case when consent_checks.answer = excluded.answer then consent_checks.answered_since \
         else excluded.answered_since end";
    // An answer is of no use once its row is listed or removed.
    const STALE: &str = "delete from consent_checks where not exists (select 1 from consents c \
         where c.consent_key = consent_checks.consent_key and c.removed_at is null \
         and (c.missing_since is not null or c.withheld_since is not null))";
    if !ending.checked.is_empty() {
        let pairs = ending.checked.iter().map(|check| (check.consent_key.as_str(), check.answer));
        match conn {
            Conn::Sqlite(c) => {
                let list = json!(pairs.collect::<Vec<_>>()).to_string();
                let query = sqlx::query(SQLITE).bind(list).bind(context.changed_at);
                query.execute(&mut **c).await.map(drop)
            }
            Conn::Postgres(c) => {
                let (keys, answers): (Vec<&str>, Vec<&str>) = pairs.unzip();
                let query = sqlx::query(POSTGRES).bind(keys).bind(answers).bind(context.changed_at);
                query.persistent(false).execute(&mut **c).await.map(drop)
            }
        }
        .map_err(|error| context.failed(&error))?;
    }
    execute!(conn, STALE).map_err(|error| context.failed(&error))?;
    Ok(())
}

/// Which listed items wait for the confirmation of their return.
async fn record_pending(
    conn: &mut Conn,
    context: &WriteContext<'_>,
    ending: &Ending,
) -> Result<(), StoreError> {
    const LISTED: Pair = (
        "insert into pending_returns (consent_key, listed_since, listed_runs, last_run_id) \
         select value, $2, 1, $3 from json_each($1) where true \
         on conflict (consent_key) do update set listed_runs = pending_returns.listed_runs + 1, \
         last_run_id = excluded.last_run_id",
        "insert into pending_returns (consent_key, listed_since, listed_runs, last_run_id) \
         select key, $2, 1, $3 from unnest($1::text[]) as k(key) \
         on conflict (consent_key) do update set listed_runs = pending_returns.listed_runs + 1, \
         last_run_id = excluded.last_run_id",
    );
    const CHECKED: Pair = (
        "update pending_returns set checked_at = $2 where last_run_id = $3 \
         and consent_key in (select value from json_each($1))",
        "update pending_returns set checked_at = $2 where last_run_id = $3 and consent_key = any($1)",
    );
    // The guard forgets whoever is listed again.
    const SEEN: Pair = (
        "update consents set missing_run_at = null where missing_run_at is not null \
         and consent_key in (select value from json_each($1))",
        "update consents set missing_run_at = null where missing_run_at is not null \
         and consent_key = any($1)",
    );
    for keys in ending.pending.chunks(CHUNK) {
        on_keys(conn, context, LISTED, keys).await?;
        execute_over(conn, SEEN, keys).await.map_err(|error| context.failed(&error))?;
    }
    for keys in ending.pending_checked.chunks(CHUNK) {
        on_keys(conn, context, CHECKED, keys).await?;
    }
    execute!(conn, "delete from pending_returns where last_run_id <> $1", context.run_id)
        .map_err(|error| context.failed(&error))?;
    Ok(())
}

/// For how many runs rejected items have kept their rows, or their rows from being confirmed.
async fn record_rejected_listings(
    conn: &mut Conn,
    context: &WriteContext<'_>,
    ending: &Ending,
) -> Result<(), StoreError> {
    const ACTIVE: Pair = (
        "insert into rejected_listings (consent_key, runs, skipped, last_run_id) \
         select consent_key, 1, 0, $3 from consents where $2 is not null \
         and substr(row_hash, 1, 16) in (select value from json_each($1)) \
         on conflict (consent_key) do update set runs = rejected_listings.runs + 1, last_run_id = excluded.last_run_id",
        "insert into rejected_listings (consent_key, runs, skipped, last_run_id) \
         select consent_key, 1, 0, $3 from consents where $2::timestamptz is not null \
         and substr(row_hash, 1, 16) = any($1) \
         on conflict (consent_key) do update set runs = rejected_listings.runs + 1, last_run_id = excluded.last_run_id",
    );
    const MISSING: Pair = (
        "insert into rejected_listings (consent_key, runs, skipped, last_run_id) \
         select consent_key, 0, 1, $3 from consents where $2 is not null \
         and substr(row_hash, 1, 16) in (select value from json_each($1)) \
         on conflict (consent_key) do update set skipped = rejected_listings.skipped + 1, last_run_id = excluded.last_run_id",
        "insert into rejected_listings (consent_key, runs, skipped, last_run_id) \
         select consent_key, 0, 1, $3 from consents where $2::timestamptz is not null \
         and substr(row_hash, 1, 16) = any($1) \
         on conflict (consent_key) do update set skipped = rejected_listings.skipped + 1, last_run_id = excluded.last_run_id",
    );
    const STALE: &str = "delete from rejected_listings where not exists (select 1 from consents c \
         where c.consent_key = rejected_listings.consent_key and c.removed_at is null \
         and (c.missing_since is null and rejected_listings.skipped = 0 and rejected_listings.last_run_id = $1 \
         or c.missing_since is not null and rejected_listings.skipped > 0))";
    if ending.rejected_active.is_empty()
        && ending.rejected_missing.is_empty()
        && !ending.has_rejected_listings
    {
        return Ok(());
    }
    for hashes in ending.rejected_active.chunks(CHUNK) {
        on_keys(conn, context, ACTIVE, &hex_keys(hashes)).await?;
    }
    if ending.judged {
        for hashes in ending.rejected_missing.chunks(CHUNK) {
            on_keys(conn, context, MISSING, &hex_keys(hashes)).await?;
        }
    }
    execute!(conn, STALE, context.run_id).map_err(|error| context.failed(&error))?;
    Ok(())
}

async fn save_state(
    conn: &mut Conn,
    context: &WriteContext<'_>,
    ending: &Ending,
    row: &RunRow,
) -> Result<(), StoreError> {
    const USE: &str =
        "update sync_state set accepted_removals = null, accepted_by = null, accepted_at = null where id = 1";
    let failed = |error: sqlx::Error| context.failed(&error);
    execute!(conn, "update sync_state set endpoint = coalesce($1, endpoint) where id = 1", &row.endpoint)
        .map_err(failed)?;
    if ending.pages_usable {
        execute!(conn, "update sync_state set pages_usable_at = $1 where id = 1", context.changed_at)
            .map_err(failed)?;
    }
    if ending.uses_acceptance {
        execute!(conn, USE).map_err(failed)?;
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
