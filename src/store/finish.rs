//! The end of a run: what absence means for the rows, and the last state of the run row, in one transaction.

use std::collections::BTreeMap;

use serde_json::json;

use super::bulk::on_keys;
use super::conn::{Conn, Pair, execute, execute_over, from_list, in_list, row};
use super::error::StoreError;
use super::evaluation::{Acceptance, CHUNK, acceptance, hex_keys};
use super::lease::{Run, with_lease};
use super::write::{
    WriteContext, bind_run, check_replay, is_replay, must_have_stored, next_changed_at, save_run,
    save_run_sql, write_rows,
};
use super::{RunRow, Store, Timestamp};
use crate::reconcile::RowWrite;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub consent_key: String,
    /// `there`, `gone`, `unclear`
    pub answer: &'static str,
}

/// What the end of a complete run writes besides the run row. Rows are named by their keys.
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
#[derive(Debug, Default)]
pub struct Ending {
    /// Removals were evaluated: the number of such runs grows.
    pub judged: bool,
    /// Not listed.
    pub missing: Vec<String>,
    /// They are missing by an acceptance, which the guard does not hold against later runs.
    pub accepted: bool,
    /// The acceptance by which it was decided, where one was asked for: while it is another, nothing is written.
    pub acceptance: Option<Option<Acceptance>>,
    /// The acceptance that the database keeps is used up.
    pub uses_acceptance: bool,
    /// Missing because their page is gone.
    pub gone: Vec<String>,
    /// Active though not listed, from now on.
    pub withheld: Vec<String>,
    pub removed: Vec<String>,
    /// What is stored of removed rows whose return is confirmed.
    pub returned: Vec<RowWrite>,
    /// Listed items whose return is not confirmed.
    pub pending: Vec<String>,
    /// Of those, the ones whose page was asked for.
    pub pending_checked: Vec<String>,
    pub checked: Vec<Checked>,
    /// A control look-up found its page.
    pub pages_usable: bool,
    /// Active and missing rows, by the hash of their key, that only a rejected item listed.
    pub rejected_active: Vec<u64>,
    pub rejected_missing: Vec<u64>,
    /// `rejected_listings` holds rows already.
    pub has_rejected_listings: bool,
    /// Rejected items on record that the scan found again.
    pub rejects_seen: Vec<i64>,
    /// Others on record were not found.
    pub rejects_gone: bool,
    /// Consents of erased people under ids that were not erased, and the hash of their address.
    pub renewed: BTreeMap<String, String>,
}

impl Ending {
    /// Only the run itself is to be recorded.
    fn is_plain(&self) -> bool {
        let keys =
            [&self.missing, &self.gone, &self.withheld, &self.removed, &self.pending, &self.pending_checked];
        keys.iter().all(|keys| keys.is_empty())
            && self.returned.is_empty()
            && self.checked.is_empty()
            && self.rejected_active.is_empty()
            && self.rejected_missing.is_empty()
            && self.rejects_seen.is_empty()
            && self.renewed.is_empty()
            && self.acceptance.is_none()
            && !(self.uses_acceptance || self.has_rejected_listings || self.rejects_gone)
    }
}

macro_rules! drop_stale_checks {
    () => {
        "delete from consent_checks where not exists (select 1 from consents c \
         where c.consent_key = consent_checks.consent_key and c.removed_at is null \
         and (c.missing_since is not null or c.withheld_since is not null))"
    };
}

macro_rules! drop_stale_returns {
    () => {
        "delete from pending_returns where last_run_id <> $1"
    };
}

macro_rules! drop_stale_renewals {
    () => {
        "delete from renewed_consents where last_run_id <> $1"
    };
}

/// PostgreSQL: the last transaction of a run that leaves nothing but itself, in one statement (two round trips). Writes nothing
/// where the lease is lost, or where an earlier try went through.
const FINISH_PLAIN: &str = concat!(
    with_lease!(
        "expires_at = clock_timestamp() + case when $32 then interval '0' else interval '90 seconds' end, \
         holder = case when $32 then null else holder end where name = 'sync' and holder = ",
        "$27",
        " and fence = ",
        "$28"
    ),
    ", saved as (",
    save_run_sql!(),
    " and batches = $29 and (select is_set from patience) is not null returning 1), ",
    "state as (update sync_state set judged_runs = judged_runs + $30, endpoint = coalesce($3, endpoint), \
     pages_usable_at = coalesce($31, pages_usable_at) where id = 1 and exists (select 1 from saved)), checks as (",
    drop_stale_checks!(),
    " and exists (select 1 from saved)), returns as (",
    drop_stale_returns!(),
    " and exists (select 1 from saved)), renewals as (",
    drop_stale_renewals!(),
    " and exists (select 1 from saved)) select exists (select 1 from lease), \
     (select batches from sync_runs where id = $1), (select count(*) from saved)"
);

async fn finish_plain(
    conn: &mut Conn,
    run: &Run,
    row: &RunRow,
    ending: &Ending,
    release: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Conn::Postgres(c) = conn else { return Ok(()) };
    let finish = bind_run!(sqlx::query_as(FINISH_PLAIN), row, run.batches + 1)
        .bind(&run.lease.holder)
        .bind(run.lease.fence)
        .bind(run.batches)
        .bind(i64::from(ending.judged))
        .bind(ending.pages_usable.then_some(now))
        .bind(release);
    let (is_held, batches, saved): (bool, Option<i64>, i64) =
        finish.persistent(false).fetch_one(&mut **c).await?;
    if !is_held {
        return Err(run.lease.lost(conn).await);
    }
    is_replay(batches, run)?;
    must_have_stored(saved.cast_unsigned(), 1)
}

const SAVE_ENDPOINT: &str = "update sync_state set endpoint = coalesce($1, endpoint) where id = 1";

impl Store {
    /// Ends a complete run: marks, returns, counters, outcome, use of an acceptance. All of it or nothing. None: another
    /// acceptance has come or gone meanwhile, and nothing was written. `release`: gives the lease back too.
    pub async fn finish(
        &mut self,
        run: &mut Run,
        last: RunRow,
        ending: &Ending,
        release: bool,
        now: Timestamp,
    ) -> Result<Option<RunRow>, StoreError> {
        let mut done: Option<RunRow> = None;
        let finished = self
            .write(async |conn| {
                // An earlier try went through, and its answer got lost, perhaps with the lease.
                if let Some(row) = &done
                    && check_replay(conn, run).await?
                {
                    return Ok(Some(row.clone()));
                }
                let mut row = last.clone();
                if matches!(conn, Conn::Postgres(_)) && ending.is_plain() {
                    done = Some(row.clone());
                    finish_plain(conn, run, &row, ending, release, now).await?;
                    return Ok(Some(row));
                }
                run.lease.renew(conn, now).await?;
                check_replay(conn, run).await?;
                if let Some(expected) = &ending.acceptance
                    && *expected != acceptance(conn, run.row.started_at).await?
                {
                    return Ok(None);
                }
                mark_rows(conn, run, ending, &mut row, now).await?;
                let context = WriteContext { run_id: run.row.id, changed_at: now };
                let mut finish = Finish { conn: &mut *conn, context, ending };
                finish.record_checks().await?;
                finish.record_pending().await?;
                finish.record_rejected_listings().await?;
                finish.resolve_rejects().await?;
                finish.record_renewed().await?;
                finish.save_state(&row).await?;
                save_run(conn, &row, run.batches + 1).await?;
                if release {
                    run.lease.release(conn, now).await?;
                }
                done = Some(row.clone());
                Ok(Some(row))
            })
            .await?;
        run.is_released = release && finished.is_some();
        Ok(finished)
    }

    /// Ends a run that failed or was interrupted. What was stored stays.
    pub async fn fail(&mut self, run: &Run, row: &RunRow, now: Timestamp) -> Result<(), StoreError> {
        // The last pages went through though their answer got lost: their counters stand in the row already.
        // The run began by a wrong clock, and so did what it wrote at its begin.
        const RIGHT_TIME: &str = "update sync_runs set started_at = case when id = $1 then $2 else started_at end, \
             finished_at = case when id = $1 then finished_at else $2 end where id = $1 or finished_at = $3";
        const ENDED: &str = "update sync_runs set outcome = $2, finished_at = $3, error = $4, requests = $5, retries = $6 where id = $1";
        self.write(async |conn| {
            // What a database has forgotten cannot be counted any more, but that the run failed can still be told.
            run.lease.renew(conn, now).await?;
            let ahead = match check_replay(conn, run).await {
                Err(StoreError::Forgetful { .. }) => true,
                checked => checked?,
            };
            execute!(conn, SAVE_ENDPOINT, &row.endpoint)?;
            if row.started_at != run.row.started_at {
                execute!(conn, RIGHT_TIME, row.id, row.started_at, run.row.started_at)?;
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
                )?;
                return Ok(());
            }
            save_run(conn, row, run.batches + 1).await
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
) -> Result<(), StoreError> {
    const JUDGED: &str =
        "update sync_state set judged_runs = judged_runs + $1 where id = 1 returning judged_runs";
    const FIRST_JUDGED: &str =
        "update consents set missing_judged = $1 where missing_since is not null and missing_judged is null";
    if ending.judged {
        let _: (i64,) = row!(conn, JUDGED, 1_i64)?;
    }
    let lists = [&ending.missing, &ending.gone, &ending.withheld, &ending.removed];
    if lists.iter().all(|keys| keys.is_empty()) && ending.returned.is_empty() {
        return Ok(());
    }
    let changed_at = next_changed_at(conn, now).await?;
    let context = WriteContext { run_id: run.row.id, changed_at };
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
        // The first evaluated run without the row: this one, or else the next.
        let (judged_runs,): (i64,) = row!(conn, JUDGED, 0_i64)?;
        execute!(conn, FIRST_JUDGED, judged_runs + i64::from(!ending.judged))?;
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

type Mark = (Pair, Pair);

macro_rules! history {
    ($change:literal) => {
        from_list!(concat!(
            "insert into consent_changes (consent_key, run_id, changed_at, change) select value, $3, $2, '",
            $change,
            "'"
        ))
    };
}

const MISSING: Mark = (
    history!("missing"),
    in_list!(
        "update consents set missing_since = $2, withheld_since = null, item_hash = null, changed_at = $2, changed_run_id = $3, \
         missing_run_at = (select started_at from sync_runs where id = $3) where consent_key"
    ),
);

/// The guard does not count what a page or an acceptance said.
const GONE: Mark = (
    MISSING.0,
    in_list!(
        "update consents set missing_since = $2, withheld_since = null, item_hash = null, changed_at = $2, changed_run_id = $3 \
         where consent_key"
    ),
);

const REMOVED: Mark = (
    history!("removed"),
    in_list!("update consents set removed_at = $2, changed_at = $2, changed_run_id = $3 where consent_key"),
);

const WITHHELD: Pair = in_list!(
    "update consents set withheld_since = $2, item_hash = null, changed_at = $2, changed_run_id = $3 \
     where withheld_since is null and consent_key"
);

async fn mark(
    conn: &mut Conn,
    context: &WriteContext,
    (history, rows): Mark,
    keys: &[String],
) -> Result<(), StoreError> {
    for sql in [history, rows] {
        let stored = on_keys(conn, context, sql, keys).await?;
        must_have_stored(stored, keys.len())?;
    }
    Ok(())
}

macro_rules! record_checks {
    ($answers:literal) => {
        concat!(
            "insert into consent_checks (consent_key, checked_at, answer, answered_since) ",
            $answers,
            " where true on conflict (consent_key) do update set checked_at = excluded.checked_at, answer = excluded.answer, \
             answered_since = case when consent_checks.answer = excluded.answer then consent_checks.answered_since \
             else excluded.answered_since end"
        )
    };
}

macro_rules! count_listings {
    ($column:literal, $first:literal) => {
        in_list!(
            concat!(
                "insert into rejected_listings (consent_key, runs, skipped, last_run_id) select consent_key, ",
                $first,
                ", $2 from consents where substr(row_hash, 1, 16)"
            ),
            concat!(
                " on conflict (consent_key) do update set ",
                $column,
                " = rejected_listings.",
                $column,
                " + 1, last_run_id = excluded.last_run_id"
            )
        )
    };
}

/// What a complete run leaves besides its rows.
struct Finish<'a> {
    conn: &'a mut Conn,
    context: WriteContext,
    ending: &'a Ending,
}

impl Finish<'_> {
    async fn record_checks(&mut self) -> Result<(), StoreError> {
        const SQLITE: &str = record_checks!("select value ->> 0, $2, value ->> 1, $2 from json_each($1)");
        const POSTGRES: &str = record_checks!(
            "select key, $2, answer, $2 from unnest($1::text[], $3::text[]) as k(key, answer)"
        );
        let Self { conn, context, ending } = self;
        if !ending.checked.is_empty() {
            let pairs = ending.checked.iter().map(|check| (check.consent_key.as_str(), check.answer));
            match conn {
                Conn::Sqlite(c) => {
                    let list = json!(pairs.collect::<Vec<_>>()).to_string();
                    sqlx::query(SQLITE).bind(list).bind(context.changed_at).execute(&mut **c).await?;
                }
                Conn::Postgres(c) => {
                    let (keys, answers): (Vec<&str>, Vec<&str>) = pairs.unzip();
                    let query = sqlx::query(POSTGRES).bind(keys).bind(context.changed_at).bind(answers);
                    query.persistent(false).execute(&mut **c).await?;
                }
            }
        }
        // Answers are dropped once their row is listed or removed.
        execute!(conn, drop_stale_checks!())?;
        Ok(())
    }

    /// Which listed items wait for the confirmation of their return.
    async fn record_pending(&mut self) -> Result<(), StoreError> {
        const LISTED: Pair = from_list!(
            "insert into pending_returns (consent_key, listed_since, listed_runs, last_run_id) select value, $2, 1, $3",
            " where true on conflict (consent_key) do update set listed_runs = pending_returns.listed_runs + 1, \
             last_run_id = excluded.last_run_id"
        );
        const CHECKED: Pair =
            in_list!("update pending_returns set checked_at = $2 where last_run_id = $3 and consent_key");
        // The guard does not count rows that are listed again.
        const SEEN: Pair = in_list!(
            "update consents set missing_run_at = null where missing_run_at is not null and consent_key"
        );
        let Self { conn, context, ending } = self;
        for keys in ending.pending.chunks(CHUNK) {
            on_keys(conn, context, LISTED, keys).await?;
            execute_over!(conn, SEEN, keys)?;
        }
        for keys in ending.pending_checked.chunks(CHUNK) {
            on_keys(conn, context, CHECKED, keys).await?;
        }
        execute!(conn, drop_stale_returns!(), context.run_id)?;
        Ok(())
    }

    /// For how many runs rejected items have kept their rows, or their rows from being confirmed.
    async fn record_rejected_listings(&mut self) -> Result<(), StoreError> {
        const ACTIVE: Pair = count_listings!("runs", "1, 0");
        const MISSING: Pair = count_listings!("skipped", "0, 1");
        const STALE: &str = "delete from rejected_listings where not exists (select 1 from consents c \
             where c.consent_key = rejected_listings.consent_key and c.removed_at is null \
             and (c.missing_since is null and rejected_listings.skipped = 0 and rejected_listings.last_run_id = $1 \
             or c.missing_since is not null and rejected_listings.skipped > 0))";
        let Self { conn, context, ending } = self;
        if ending.rejected_active.is_empty()
            && ending.rejected_missing.is_empty()
            && !ending.has_rejected_listings
        {
            return Ok(());
        }
        for hashes in ending.rejected_active.chunks(CHUNK) {
            execute_over!(conn, ACTIVE, hex_keys(hashes), context.run_id)?;
        }
        if ending.judged {
            for hashes in ending.rejected_missing.chunks(CHUNK) {
                execute_over!(conn, MISSING, hex_keys(hashes), context.run_id)?;
            }
        }
        execute!(conn, STALE, context.run_id)?;
        Ok(())
    }

    async fn save_state(&mut self, row: &RunRow) -> Result<(), StoreError> {
        const USE: &str = "update sync_state set accepted_removals = null, accepted_by = null, accepted_at = null where id = 1";
        let Self { conn, context, ending } = self;
        execute!(conn, SAVE_ENDPOINT, &row.endpoint)?;
        if ending.pages_usable {
            execute!(conn, "update sync_state set pages_usable_at = $1 where id = 1", context.changed_at)?;
        }
        if ending.uses_acceptance {
            execute!(conn, USE)?;
        }
        Ok(())
    }

    async fn resolve_rejects(&mut self) -> Result<(), StoreError> {
        const SEEN: Pair = in_list!("update rejected_items set last_run_id = $2 where id");
        const GONE: &str =
            "update rejected_items set resolved_at = $2 where resolved_at is null and last_run_id <> $1";
        let Self { conn, context, ending } = self;
        for ids in ending.rejects_seen.chunks(CHUNK) {
            execute_over!(conn, SEEN, ids, context.run_id)?;
        }
        if ending.rejects_gone {
            execute!(conn, GONE, context.run_id, context.changed_at)?;
        }
        Ok(())
    }

    /// Who is listed under a new id now, and since when.
    async fn record_renewed(&mut self) -> Result<(), StoreError> {
        const LISTED: &str = "insert into renewed_consents (consent_id, email_hash, first_seen_at, last_run_id) values ($1, $2, $3, $4) \
             on conflict (consent_id) do update set email_hash = excluded.email_hash, last_run_id = excluded.last_run_id";
        let Self { conn, context, ending } = self;
        for (id, email_hash) in &ending.renewed {
            execute!(conn, LISTED, id, email_hash, context.changed_at, context.run_id)?;
        }
        execute!(conn, drop_stale_renewals!(), context.run_id)?;
        Ok(())
    }
}
