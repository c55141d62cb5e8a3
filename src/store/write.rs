//! Writing pages: whole ones, each transaction proving the lease first.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use sqlx::{FromRow as _, PgConnection, Row as _};
use tokio::time::Instant;

use super::bulk::{self, HistoryLine, RowUpdate, WrittenRow};
use super::conn::{Conn, Pair, execute, execute_over, row, rows};
use super::error::StoreError;
use super::insert::{self, Columns, consents_postgres, insert_postgres};
use super::lease::{Run, with_lease};
use super::{RunRow, Store, Timestamp};
use crate::consent::Rejected;
use crate::exit::{Exit, Problem};
use crate::reconcile::{Batch, RowWrite, Tally, Upsert, UpsertKind};

/// What a transaction of a run knows.
pub(super) struct WriteContext {
    pub(super) run_id: i64,
    /// `changed_at` of everything it writes.
    pub(super) changed_at: Timestamp,
}

/// Whether the database stored what it was sent: a trigger, a rule or a row-level policy drops rows without an error.
pub(super) fn must_have_stored(stored: u64, sent: usize) -> Result<(), StoreError> {
    let sent = sent as u64;
    if stored < sent {
        let problem = Problem::new(Exit::Write, "the database {place} took {stored} of {sent} rows: a trigger or a rule drops the others").next_step("find the trigger, rule or row-level policy on our tables that drops rows, and remove it; nothing of this transaction was stored");
        return Err(problem.with("stored", stored).with("sent", sent).into());
    }
    Ok(())
}

macro_rules! save_run_sql {
    () => {
        "update sync_runs set batches = $2, endpoint = $3, pages = $4, items = $5, added = $6, updated = $7, unchanged = $8, \
         returned = $9, duplicates = $10, rejected = $11, suppressed = $12, foreign_items = $13, missing = $14, removed = $15, \
         removals_withheld = $16, active = $17, requests = $18, retries = $19, outcome = $20, absence = $21, finished_at = $22, \
         error = $23, returns_pending = $24, accepted_removals = $25, accepted_by = $26 where id = $1"
    };
}

/// Binds the row of a run as it stands, for `save_run_sql`.
macro_rules! bind_run {
    ($query:expr, $row:expr, $batches:expr) => {
        $query
            .bind($row.id)
            .bind($batches)
            .bind(&$row.endpoint)
            .bind($row.pages)
            .bind($row.items)
            .bind($row.added)
            .bind($row.updated)
            .bind($row.unchanged)
            .bind($row.returned)
            .bind($row.duplicates)
            .bind($row.rejected)
            .bind($row.suppressed)
            .bind($row.foreign_items)
            .bind($row.missing)
            .bind($row.removed)
            .bind($row.removals_withheld)
            .bind($row.active)
            .bind($row.requests)
            .bind($row.retries)
            .bind(&$row.outcome)
            .bind(&$row.absence)
            .bind($row.finished_at)
            .bind(&$row.error)
            .bind($row.returns_pending)
            .bind($row.accepted_removals)
            .bind(&$row.accepted_by)
    };
}

pub(super) use {bind_run, save_run_sql};

/// Writes the row of the run as it stands.
pub(super) async fn save_run(conn: &mut Conn, row: &RunRow, batches: i64) -> Result<(), StoreError> {
    let saved = match conn {
        Conn::Sqlite(c) => {
            bind_run!(sqlx::query(save_run_sql!()), row, batches).execute(&mut **c).await?.rows_affected()
        }
        Conn::Postgres(c) => {
            let save = bind_run!(sqlx::query(save_run_sql!()), row, batches);
            save.persistent(false).execute(&mut **c).await?.rows_affected()
        }
    };
    must_have_stored(saved, 1)
}

/// The next value of `changed_at`: one for each transaction, greater than any committed before, whatever the clock does.
pub(super) async fn next_changed_at(conn: &mut Conn, now: Timestamp) -> Result<Timestamp, StoreError> {
    // The update locks the row, so that two writers cannot take the same value.
    execute!(conn, "update sync_state set id = id where id = 1")?;
    let (last,): (Timestamp,) = row!(conn, "select last_changed_at from sync_state where id = 1")?;
    let next = now.max(last.plus_millis(1));
    let kept = execute!(conn, "update sync_state set last_changed_at = $1 where id = 1", next);
    must_have_stored(kept?, 1)?;
    super::feed::log_transaction(conn, next).await?;
    Ok(next)
}

/// Tells whether this transaction went through in an earlier try, whose answer got lost. The lease is proved already.
///
/// # Errors
/// [`StoreError::Forgetful`] where earlier transactions of this run are gone: the server failed over to a replica that was behind.
pub(super) async fn check_replay(conn: &mut Conn, run: &Run) -> Result<bool, StoreError> {
    let found: Vec<(i64,)> = rows!(conn, "select batches from sync_runs where id = $1", run.row.id)?;
    is_replay(found.first().map(|(batches,)| *batches), run)
}

pub(super) fn is_replay(batches: Option<i64>, run: &Run) -> Result<bool, StoreError> {
    match batches {
        Some(batches) if batches >= run.batches => Ok(batches > run.batches),
        _ => Err(StoreError::Forgetful { place: String::new() }),
    }
}

/// Text that is written by one statement at the most, the last row apart: on its way to the database it is held several times.
const SEGMENT_BYTES: usize = 512 * 1024;

/// PostgreSQL: new rows with no more text than this go in one statement.
const ONE_STATEMENT_BYTES: usize = 3 * 1024 * 1024;

/// Rows that are worth a larger cache of pages.
const MANY: usize = 500;

impl Store {
    /// Writes whole pages and the counters of the run with them, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where the lease is lost; else what the database says. Nothing of the batch is written then.
    pub async fn write_batch(
        &mut self,
        run: &mut Run,
        batch: &Batch,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let renewed_at = Instant::now();
        if batch.writes.len() >= MANY {
            self.prepare_for_many_rows().await?;
        }
        let adds = only_adds(batch);
        let mut done: Option<RunRow> = None;
        let row = self
            .write(async |conn| {
                let mut row = run.row.clone();
                row.count(&batch.tally);
                let is_new = match (&mut *conn, &adds) {
                    (Conn::Postgres(c), Some(adds)) => {
                        row.added += adds.len().cast_signed() as i64;
                        let stored = store_new_rows(c, run, adds, &row, now).await;
                        let (start, added) = stored?;
                        let is_new = start.changed_at(conn, run).await?.is_some();
                        if is_new {
                            must_have_stored(added, adds.len())?;
                        }
                        is_new
                    }
                    _ => match start_writing(conn, run, now).await? {
                        Some(changed_at) => {
                            let context = WriteContext { run_id: run.row.id, changed_at };
                            write_rejects(conn, &context, &batch.rejects).await?;
                            row.count(&write_rows(conn, &context, &batch.writes).await?);
                            save_run(conn, &row, run.batches + 1).await?;
                            true
                        }
                        None => false,
                    },
                };
                if !is_new {
                    // An earlier try went through, and its answer got lost.
                    return done.clone().ok_or(StoreError::Fenced);
                }
                done = Some(row.clone());
                Ok(row)
            })
            .await?;
        run.row = row;
        run.batches += 1;
        run.renewed_at = renewed_at;
        Ok(())
    }
}

impl Store {
    /// SQLite: many rows go to many places of its indexes at once, and wait in memory for each other. Not so from the start: what
    /// has been read once a daemon would hold for ever. A first load, which changes every page of the indexes in each transaction,
    /// brings them back into the file more seldom.
    async fn prepare_for_many_rows(&mut self) -> Result<(), StoreError> {
        let location = Arc::clone(&self.location);
        if !location.is_sqlite() {
            return Ok(());
        }
        let settings = if self.is_first_load {
            "pragma cache_size = -7000; pragma wal_autocheckpoint = 16000"
        } else {
            "pragma cache_size = -8000"
        };
        self.use_conn(async |conn| Ok(conn.raw(settings).await?)).await
    }
}

/// What every transaction that stores pages does first: it proves the lease, looks whether an earlier try went through, and
/// whether somebody was forgotten behind our back, whom our memory could bring back; then it takes the next `changed_at`. None:
/// an earlier try went through.
async fn start_writing(conn: &mut Conn, run: &Run, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    const SUPPRESSION_NO: &str = "select suppression_no from sync_state where id = 1";
    if let Conn::Postgres(_) = conn {
        let start: Start = row!(
            conn,
            START_POSTGRES,
            &run.lease.holder,
            run.lease.fence,
            now,
            run.suppression_no,
            run.row.id,
            run.batches
        )?;
        return start.changed_at(conn, run).await;
    }
    run.lease.renew(conn, now).await?;
    if check_replay(conn, run).await? {
        return Ok(None);
    }
    let (suppression_no,): (i64,) = row!(conn, SUPPRESSION_NO)?;
    if suppression_no != run.suppression_no {
        return Err(StoreError::Fenced);
    }
    next_changed_at(conn, now).await.map(Some)
}

/// What PostgreSQL says to [`START_POSTGRES`].
#[derive(sqlx::FromRow)]
struct Start {
    held: bool,
    batches: Option<i64>,
    /// None where anything stands in the way of writing.
    changed_at: Option<Timestamp>,
}

impl Start {
    /// As [`start_writing`] has it.
    async fn changed_at(self, conn: &mut Conn, run: &Run) -> Result<Option<Timestamp>, StoreError> {
        if !self.held {
            return Err(run.lease.lost(conn).await);
        }
        if is_replay(self.batches, run)? {
            return Ok(None);
        }
        self.changed_at.map(Some).ok_or(StoreError::Fenced)
    }
}

/// [`start_writing`] in one statement, since each costs a distant server two round trips. `state` has a row where nothing
/// stands in the way.
macro_rules! start_postgres {
    ($holder:literal, $fence:literal, $now:literal, $suppression_no:literal, $run:literal, $batches:literal) => {
        concat!(
            with_lease!($holder, $fence),
            ", state as (update sync_state set last_changed_at = greatest(",
            $now,
            ", last_changed_at + interval '1 millisecond') where id = 1 and suppression_no = ",
            $suppression_no,
            " and (select count(*) from suppressions) >= 0 and (select is_set from patience) is not null ",
            "and (select batches from sync_runs where id = ",
            $run,
            ") = ",
            $batches,
            " returning last_changed_at), ",
            "logged as (insert into feed_log (changed_at, nonce) ",
            "select last_changed_at, substr(replace(gen_random_uuid()::text, '-', ''), 1, 16) from state)"
        )
    };
}

macro_rules! started_postgres {
    ($run:literal) => {
        concat!(
            " select exists (select 1 from lease) as held, (select batches from sync_runs where id = ",
            $run,
            ") as batches, (select last_changed_at from state) as changed_at"
        )
    };
}

const START_POSTGRES: &str =
    concat!(start_postgres!("$1", "$2", "$3", "$4", "$5", "$6"), started_postgres!("$5"));

/// A whole transaction of a first load.
const STORE_NEW_POSTGRES: &str = concat!(
    start_postgres!("$13", "$14", "$15", "$16", "$17", "$18"),
    ", ",
    consents_postgres!(),
    ", ",
    insert_postgres!("v cross join state", "state.last_changed_at", "$17"),
    ", saved as (update sync_runs set batches = batches + 1, endpoint = $19, active = $20, pages = n[1], items = n[2], ",
    "added = n[3], unchanged = n[4], returns_pending = n[5], duplicates = n[6], rejected = n[7], suppressed = n[8], ",
    "foreign_items = n[9] from (select $21::bigint[] as n) as counters where id = $17 and exists (select 1 from state) returning 1)",
    started_postgres!("$17"),
    ", (select count(*) from added) * (select count(*) from saved) as added"
);

/// PostgreSQL: new rows alone, with everything that belongs to their transaction. Tells how many the database took.
async fn store_new_rows(
    conn: &mut PgConnection,
    run: &Run,
    adds: &[&Upsert],
    row: &RunRow,
    now: Timestamp,
) -> Result<(Start, u64), sqlx::Error> {
    let counters = [
        row.pages,
        row.items,
        row.added,
        row.unchanged,
        row.returns_pending,
        row.duplicates,
        row.rejected,
        row.suppressed,
        row.foreign_items,
    ];
    let stored = Columns::of_new(adds)
        .bind(sqlx::query(STORE_NEW_POSTGRES))
        .bind(&run.lease.holder)
        .bind(run.lease.fence)
        .bind(now)
        .bind(run.suppression_no)
        .bind(run.row.id)
        .bind(run.batches)
        .bind(&row.endpoint)
        .bind(row.active)
        .bind(counters)
        .persistent(false)
        .fetch_one(conn)
        .await?;
    Ok((Start::from_row(&stored)?, stored.try_get::<i64, _>("added")?.cast_unsigned()))
}

/// The new rows of a batch that holds nothing else, and little enough text for one statement.
fn only_adds(batch: &Batch) -> Option<Vec<&Upsert>> {
    let bytes: usize = batch.writes.iter().map(RowWrite::bytes).sum();
    if batch.writes.is_empty() || !batch.rejects.is_empty() || bytes > ONE_STATEMENT_BYTES {
        return None;
    }
    batch.writes.iter().map(as_add).collect::<Option<Vec<_>>>().map(sorted)
}

fn as_add(write: &RowWrite) -> Option<&Upsert> {
    match write {
        RowWrite::Upsert(put) if put.kind == UpsertKind::Add => Some(put),
        _ => None,
    }
}

/// In the order of the primary key: many rows in no order would each touch another page of its index.
fn sorted(mut adds: Vec<&Upsert>) -> Vec<&Upsert> {
    adds.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    adds
}

async fn write_rejects(
    conn: &mut Conn,
    context: &WriteContext,
    rejects: &[Rejected],
) -> Result<(), StoreError> {
    let mut seen = HashSet::new();
    let distinct: Vec<&Rejected> = rejects.iter().filter(|reject| seen.insert(&reject.fingerprint)).collect();
    for segment in segments(&distinct, |reject| reject.item.len()) {
        let stored = bulk::write_rejects(conn, context, segment).await?;
        must_have_stored(stored, segment.len())?;
    }
    Ok(())
}

/// Rows for one statement each: [`SEGMENT_BYTES`] and the last row.
fn segments<T>(mut rest: &[T], bytes_of: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|row| {
            let before = bytes;
            bytes += bytes_of(row);
            before < SEGMENT_BYTES
        });
        let (now, later) = rest.split_at(fits.count());
        rest = later;
        (!now.is_empty()).then_some(now)
    })
}

/// Remembers whose consents the database holds, for as long as it exists.
async fn record_companies(conn: &mut Conn, writes: &[RowWrite]) -> Result<(), StoreError> {
    const RECORD: Pair = (
        "insert into companies (company_id) select value from json_each($1) \
         where value not in (select company_id from companies) on conflict (company_id) do nothing",
        "insert into companies (company_id) select company_id from unnest($1::text[]) as v(company_id) \
         where not exists (select 1 from companies c where c.company_id = v.company_id) on conflict (company_id) do nothing",
    );
    let is_sqlite = matches!(conn, Conn::Sqlite(_));
    let companies: BTreeSet<&str> = writes
        .iter()
        .filter_map(|op| match op {
            // PostgreSQL's insert of new rows does this too.
            RowWrite::Upsert(put) if is_sqlite || put.kind != UpsertKind::Add => {
                Some(put.consent.company_id.as_ref())
            }
            _ => None,
        })
        .collect();
    if companies.is_empty() {
        return Ok(());
    }
    let companies: Vec<&str> = companies.into_iter().collect();
    execute_over!(conn, RECORD, &companies)?;
    Ok(())
}

/// Writes the rows and tells how many were added, updated and returned.
pub(super) async fn write_rows(
    conn: &mut Conn,
    context: &WriteContext,
    writes: &[RowWrite],
) -> Result<Tally, StoreError> {
    let adds = sorted(writes.iter().filter_map(as_add).collect());
    record_companies(conn, writes).await?;
    insert_all(conn, context, &adds).await?;
    let mut tally = Tally { added: adds.len() as u64, ..Tally::default() };
    // A row that is touched twice in one batch is written twice, in order: the second time builds on the first.
    let mut touched = HashSet::new();
    let (mut segment, mut bytes) = (Vec::new(), 0);
    for op in writes {
        let (from, to) = match op {
            RowWrite::Upsert(put) => match &put.kind {
                UpsertKind::Add => continue,
                UpsertKind::Change { .. } => (put.key.as_str(), put.key.as_str()),
                UpsertKind::TakeOver { old_key, .. } => (old_key.as_str(), put.key.as_str()),
            },
            RowWrite::MarkListed { key, .. } => (key.as_str(), key.as_str()),
        };
        if touched.contains(from) || touched.contains(to) || bytes >= SEGMENT_BYTES {
            change_rows(conn, context, &segment, &mut tally).await?;
            segment.clear();
            touched.clear();
            bytes = 0;
        }
        bytes += op.bytes();
        touched.insert(from);
        touched.insert(to);
        segment.push((from, op));
    }
    change_rows(conn, context, &segment, &mut tally).await?;
    Ok(tally)
}

/// In statements of [`SEGMENT_BYTES`].
async fn insert_all(conn: &mut Conn, context: &WriteContext, puts: &[&Upsert]) -> Result<(), StoreError> {
    for segment in segments(puts, |put| put.key.len() + put.consent.bytes()) {
        let stored = insert::insert(conn, context, segment).await?;
        must_have_stored(stored, segment.len())?;
    }
    Ok(())
}

async fn change_rows(
    conn: &mut Conn,
    context: &WriteContext,
    segment: &[(&str, &RowWrite)],
    tally: &mut Tally,
) -> Result<(), StoreError> {
    if segment.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = segment.iter().map(|(from, _)| *from).collect();
    let rows = bulk::read(conn, &keys).await?;
    let mut rows: HashMap<String, WrittenRow> =
        rows.into_iter().map(|row| (row.consent_key.clone(), row)).collect();
    let mut plan = Plan::default();
    let mut unknown: Vec<Upsert> = Vec::new();
    for (from, op) in segment {
        match (rows.remove(*from), op) {
            (Some(row), RowWrite::Upsert(put)) => plan.plan_upsert(row, put, tally),
            (Some(row), RowWrite::MarkListed { counts, .. }) => {
                tally.returned += u64::from(*counts && row.is_unlisted());
                plan.relist(row);
            }
            // The hash of another key was taken for this one's: it is new after all.
            (None, RowWrite::Upsert(put)) => {
                unknown.push(Upsert { kind: UpsertKind::Add, ..(**put).clone() });
            }
            (None, RowWrite::MarkListed { .. }) => {}
        }
    }
    tally.added += unknown.len() as u64;
    insert_all(conn, context, &unknown.iter().collect::<Vec<_>>()).await?;
    bulk::rename_keys(conn, &plan.moves).await?;
    bulk::record(conn, context, &plan.changes).await?;
    bulk::relist(conn, context, &plan.relisted).await?;
    bulk::update(conn, context, &plan.writes).await
}

/// What becomes of rows that exist.
#[derive(Default)]
struct Plan<'a> {
    writes: Vec<RowUpdate<'a>>,
    changes: Vec<HistoryLine>,
    relisted: Vec<String>,
    moves: Vec<(String, String)>,
}

impl<'a> Plan<'a> {
    fn plan_upsert(&mut self, row: WrittenRow, put: &'a Upsert, tally: &mut Tally) {
        let returned = row.is_unlisted();
        let takes_over = matches!(put.kind, UpsertKind::TakeOver { .. });
        let changed = takes_over || !row.has_content(put.hash.content);
        let before = (changed && !row.is_erased()).then(|| row.before());
        let (count, kind) =
            if returned { (&mut tally.returned, "returned") } else { (&mut tally.updated, "updated") };
        *count += u64::from(put.counts);
        let previous_key = (put.consent.consent_id.is_some() && takes_over).then(|| row.consent_key.clone());
        self.changes.push(HistoryLine {
            consent_key: put.key.clone(),
            kind,
            before,
            previous_key: previous_key.clone(),
        });
        let mut write = RowUpdate {
            key: &put.key,
            consent: put.consent.borrowed(),
            hash: put.hash,
            natural: put.natural,
            previous_key,
        };
        if let UpsertKind::TakeOver { old_key, keep_content, .. } = &put.kind {
            self.moves.push((old_key.clone(), put.key.clone()));
            if *keep_content && let Some((content, consent)) = row.content() {
                write.hash.content = content;
                write.consent = crate::consent::Consent {
                    consent_id: put.consent.consent_id.as_deref().map(Into::into),
                    ..consent
                };
            }
        } else {
            // An item without id is stored to a row that has one: the row keeps it.
            write.consent.consent_id = row.consent_id.map(Into::into);
        }
        self.writes.push(write);
    }

    fn relist(&mut self, row: WrittenRow) {
        if row.is_unlisted() {
            self.changes.push(HistoryLine {
                consent_key: row.consent_key.clone(),
                kind: "returned",
                before: None,
                previous_key: None,
            });
        }
        self.relisted.push(row.consent_key);
    }
}
