//! What is shown of the database: read without a lock, without personal data.

use super::conn::{Conn, row, rows};
use super::error::StoreError;
use super::evaluation::acceptance;
use super::notification::TOLD;
use super::{Counts, RunRow, Snapshot, Store, Timestamp};

/// Every column of [`RunRow`].
macro_rules! run_columns {
    ($tail:literal) => {
        concat!(
            "select id, started_at, finished_at, outcome, absence, trigger, endpoint, pages, items, added, updated, unchanged, ",
            "returned, returns_pending, duplicates, rejected, suppressed, foreign_items, missing, removed, removals_withheld, accepted_removals, ",
            "accepted_by, active, requests, ",
            "retries, error from sync_runs ",
            $tail
        )
    };
}

const NEWEST: &str = run_columns!("order by id desc limit $1");
const LAST_COMPLETE: &str = run_columns!("where outcome = 'succeeded' order by id desc limit 1");
const LAST_JUDGED: &str = "select finished_at from sync_runs where absence = 'judged' and outcome = 'succeeded' \
     order by id desc limit 1";
/// Every nth complete run, so that a year of them makes a chart of at most 400 points.
const OVER_TIME: &str = "select finished_at, active from (select finished_at, active, row_number() over (order by id desc) as n, \
     count(*) over () as total from sync_runs where outcome = 'succeeded' and active is not null and finished_at is not null) t \
     where (n - 1) % (total / 400 + 1) = 0 order by n desc";

const CHANGES: &str = "select started_at, added, returned, updated, missing from sync_runs \
     where started_at >= $1 and added + returned + updated + missing > 0 \
     and id > (select coalesce(min(id), 0) from sync_runs where outcome = 'succeeded') order by id desc limit 10000";

const CHANGES_MILLIS: i64 = 90 * 24 * 3_600_000;

/// One company, or none where there are several.
pub(super) const COMPANY: &str = "select case when count(*) = 1 then min(company_id) end from companies";

/// Missing consents whose page answered so, and since when the first of them.
const LOOKUPS: &str = "select count(*), min(k.answered_since) from consent_checks k \
     join consents c on c.consent_key = k.consent_key \
     where c.missing_since is not null and c.removed_at is null and k.answer = $1";

/// How many rows the guard keeps. A run that a rejected record blocked sets `withheld_since` too, but waits for nobody's decision.
pub(super) const WITHHELD: &str = "select case when (select absence from sync_runs where outcome = 'succeeded' \
     order by id desc limit 1) = 'withheld' then count(*) else 0 end \
     from consents where withheld_since is not null";

impl Store {
    /// The state in one view: the newest `runs` runs, the counts, the curve.
    pub async fn snapshot(&mut self, runs: u32) -> Result<Snapshot, StoreError> {
        self.read(async |conn| {
            let newest: Vec<RunRow> = rows!(conn, NEWEST, i64::from(runs))?;
            let complete: Vec<RunRow> = rows!(conn, LAST_COMPLETE)?;
            let judged: Vec<(Option<Timestamp>,)> = rows!(conn, LAST_JUDGED)?;
            let active_over_time: Vec<(Timestamp, i64)> = rows!(conn, OVER_TIME)?;
            let (withheld,): (i64,) = row!(conn, WITHHELD)?;
            let (rejected_items,): (i64,) =
                row!(conn, "select count(*) from rejected_items where resolved_at is null")?;
            let (restored_at,): (Option<Timestamp>,) =
                row!(conn, "select restored_at from sync_state where id = 1")?;
            let renewed: Vec<(String,)> =
                rows!(conn, "select consent_id from renewed_consents order by consent_id")?;
            let (renewed_people,): (i64,) =
                row!(conn, "select count(distinct email_hash) from renewed_consents")?;
            let (returns_pending,): (i64,) = row!(conn, "select count(*) from pending_returns")?;
            let (unlisted_there, unlisted_there_since): (i64, Option<Timestamp>) =
                row!(conn, LOOKUPS, "there")?;
            let (lookups_unclear, lookups_unclear_since): (i64, Option<Timestamp>) =
                row!(conn, LOOKUPS, "unclear")?;
            let (company_id,): (Option<String>,) = row!(conn, COMPANY)?;
            let (next_run_at,): (Option<Timestamp>,) =
                row!(conn, "select next_run_at from sync_state where id = 1")?;
            Ok(Snapshot {
                exists: true,
                company_id,
                next_run_at,
                acceptance: acceptance(conn, Timestamp::now()).await?,
                notifications: rows!(conn, TOLD)?,
                changes: rows!(conn, CHANGES, Timestamp::now().plus_millis(-CHANGES_MILLIS))?,
                runs: newest,
                last_complete: complete.into_iter().next(),
                last_judged_at: judged.into_iter().next().and_then(|(at,)| at),
                consents: counts(conn).await?,
                withheld,
                rejected_items,
                renewed_people,
                renewed: renewed.into_iter().map(|(id,)| id).collect(),
                returns_pending,
                unlisted_there,
                unlisted_there_since,
                lookups_unclear,
                lookups_unclear_since,
                active_over_time,
                readers: super::feed::readers(conn, Timestamp::now()).await?,
                restored_at,
            })
        })
        .await
    }
}

async fn counts(conn: &mut Conn) -> Result<Counts, StoreError> {
    let (all,): (i64,) = row!(conn, "select count(*) from consents")?;
    let unlisted = "select count(*), count(removed_at) from consents where missing_since is not null";
    let (unlisted, removed): (i64, i64) = row!(conn, unlisted)?;
    Ok(Counts { active: all - unlisted, missing: unlisted - removed, removed })
}
