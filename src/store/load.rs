//! What a pass needs to know before it begins: the rows in 24 bytes each, the rejected items, the suppressions, the state.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::conn::{Conn, Pair, Results, decode, row, rows_over};
use super::error::StoreError;
use super::{Store, Timestamp};
use crate::consent::natural_hash_of;
use crate::hash::{ITEM_HASH_DIGITS, KnownItems, ROW_HASH_DIGITS, RowHash, Salt, item_hash_from_hex};
use crate::reconcile::{
    Answers, Known, KnownPending, KnownReject, KnownRejects, MAX_REJECTED_RUNS, Namesake, Questions,
    RowState, Suppressions,
};

/// What the database knows when a pass begins.
#[derive(Debug)]
pub struct Loaded {
    pub known: Known,
    /// The items that need not be read.
    pub items: Arc<KnownItems>,
    /// The rejected items on record.
    pub rejects: KnownRejects,
    pub suppressed: Suppressions,
    pub salt: Salt,
    /// The path that last worked here.
    pub endpoint: Option<String>,
    /// Complete runs in a row, the newest backwards, that were blocked.
    pub blocked_in_a_row: u32,
    /// `pending_returns`, by the hash of the key.
    pub pending: HashMap<u64, KnownPending>,
    /// Active rows, by the hash of their key, that a rejected item has kept for two complete runs in a row.
    pub exhausted: HashSet<u64>,
    /// `rejected_listings` holds rows.
    pub has_rejected_listings: bool,
    /// How many rows share a transaction at the most, whole pages apart.
    pub batch_rows: usize,
}

/// What [`Store::load`] has found and the store itself is asked for later on, before the run has written anything.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Every company; none where they were not looked for, or are very many.
    companies: Option<Vec<String>>,
    /// No erased line of the feed stands there that is older than this; none where it is not known.
    pub(super) erasures_since: Option<Timestamp>,
}

/// Companies that are kept in memory at the most.
const MAX_COMPANIES: usize = 1_000;

/// Rows that share a transaction at the most.
const BATCH_ROWS: usize = 5_000;

/// SQLite writes a page of an index anew in each transaction that touches it, and a first load touches all of them in each.
const FIRST_LOAD_BATCH_ROWS: usize = 10_000;

impl Loaded {
    /// What a database that does not exist yet knows. The salt is of no consequence: nothing is stored with it.
    pub fn empty() -> Self {
        Self {
            known: Known::default(),
            items: Arc::default(),
            rejects: KnownRejects::default(),
            suppressed: Suppressions::default(),
            salt: Salt::new(Vec::new()),
            endpoint: None,
            blocked_in_a_row: 0,
            pending: HashMap::new(),
            exhausted: HashSet::new(),
            has_rejected_listings: false,
            batch_rows: BATCH_ROWS,
        }
    }
}

// The hashes of many rows come as one value, and those of their items as another: a million single rows would cost the driver
// more than the whole walk. A row that is not simply active under an id (a known item says that it is) has letters for its
// state before its hash: 'w' and up for one that is removed or was written by this run, then 'g' and up. SQLite: in stretches of
// the table. PostgreSQL: in 256 groups over one scan.
const ROWS_SQLITE: &str = "select group_concat(case when item_hash is not null and changed_run_id <> $3 then row_hash \
     else char(119 + (removed_at is not null) + 2 * (changed_run_id = $3), \
     103 + (missing_since is not null or removed_at is not null) + 2 * (withheld_since is not null) \
     + 4 * (erased_at is not null) + 8 * (consent_id is null)) || row_hash end, ''), group_concat(item_hash, '') \
     from consents where rowid >= $1 and rowid < $2";

macro_rules! state {
    () => {
        "select salt, endpoint from sync_state where id = 1; \
         select id, fingerprint, resolved_at, first_run_id from rejected_items; \
         select email_hash from suppressions; \
         select id_hash, email_hash from suppressed_ids; \
         select absence from sync_runs where outcome = 'succeeded' order by id desc limit 2; \
         select consent_key, listed_since, listed_runs, checked_at from pending_returns; \
         select consent_key, runs from rejected_listings; \
         select company_id from companies limit 1001; \
         select min(changed_at) from consent_changes where change = 'erased' and run_id is null"
    };
}

/// Without a value, so that all of it is one round trip.
macro_rules! load_postgres {
    ($run:literal) => {
        concat!(
            "select count(*) as rows from consents; ",
            "select string_agg(case when item_hash is not null and changed_run_id <> run.id then row_hash ",
            "else chr(119 + (removed_at is not null)::int + 2 * (changed_run_id = run.id)::int) ",
            "|| chr(103 + (missing_since is not null or removed_at is not null)::int + 2 * (withheld_since is not null)::int ",
            "+ 4 * (erased_at is not null)::int + 8 * (consent_id is null)::int) || row_hash end, '') as row_hashes, ",
            "string_agg(item_hash, '') as item_hashes ",
            "from consents cross join (select ",
            $run,
            " as id) as run group by substr(row_hash, 1, 2); ",
            state!()
        )
    };
}

/// For the run that is on: nobody but the lease's holder has one.
const LOAD_POSTGRES: &str =
    load_postgres!("coalesce((select max(id) from sync_runs where outcome = 'running'), 0)");

/// For a dry run, which has written nothing.
const REHEARSE_POSTGRES: &str = load_postgres!("0");

const CHUNK_ROWS: i64 = 16_384;

impl Store {
    /// Reads all of it for this run, in one view of the database.
    ///
    /// # Errors
    /// What the database says; an error where an internal column is not what this program wrote.
    pub async fn load(&mut self, run_id: i64) -> Result<Loaded, StoreError> {
        let (rows, state) = if self.location.is_sqlite() {
            self.read(async |conn| Ok((load_rows(conn, run_id).await?, conn.results(STATE).await?))).await?
        } else {
            let load = if run_id == 0 { REHEARSE_POSTGRES } else { LOAD_POSTGRES };
            self.look_while(load, STATES, LoadedRows::default, take_rows).await?
        };
        let LoadedRows { mut known, items } = rows;
        known.loaded();
        refuse_equal_keys(&known)?;
        let (mut loaded, seen) = read_state(run_id, known, items, state)?;
        self.seen = seen;
        self.is_first_load |= self.location.is_sqlite() && loaded.known.is_empty();
        if self.is_first_load {
            loaded.batch_rows = FIRST_LOAD_BATCH_ROWS;
        }
        Ok(loaded)
    }

    /// Whether the database holds, or ever held, a consent of one of these companies, or none at all.
    pub async fn knows_company(&mut self, companies: &[String]) -> Result<bool, StoreError> {
        if let Some(known) = &self.seen.companies {
            return Ok(known.is_empty() || companies.iter().any(|company| known.contains(company)));
        }
        self.read(async |conn| {
            for company in companies {
                let (known,): (bool,) =
                    row!(conn, "select exists (select 1 from companies where company_id = $1)", company)?;
                if known {
                    return Ok(true);
                }
            }
            let (any,): (bool,) = row!(conn, "select exists (select 1 from companies)")?;
            Ok(!any)
        })
        .await
    }

    /// Whether the database holds, or ever held, a consent of another company than this one.
    pub async fn knows_other_company(&mut self, company: &str) -> Result<bool, StoreError> {
        self.read(async |conn| {
            let (other,): (bool,) =
                row!(conn, "select exists (select 1 from companies where company_id <> $1)", company)?;
            Ok(other)
        })
        .await
    }

    /// The rows that have these natural keys, the first seen first.
    pub async fn namesakes(&mut self, questions: &Questions) -> Result<Answers, StoreError> {
        const SQLITE: &str = "select consent_key, company_id, email, source, removed_at from consents \
             where natural_hash in (select value from json_each($1)) \
             or consent_key in (select value from json_each($2)) order by first_seen_at, consent_key";
        const POSTGRES: &str = "select consent_key, company_id, email, source, removed_at from consents \
             where natural_hash = any($1) or consent_key = any($2) order by first_seen_at, consent_key";
        type Found = (String, String, Option<String>, Option<String>, Option<Timestamp>);
        let hashes: Vec<i64> =
            questions.iter().filter_map(|question| natural_hash_of(&question.natural_key)).collect();
        let erased: HashMap<&str, &str> = questions
            .iter()
            .filter_map(|question| Some((question.erased_key.as_deref()?, question.natural_key.as_str())))
            .collect();
        let erased_keys: Vec<&str> = erased.keys().copied().collect();
        let found: Vec<Found> = self
            .read(async |conn| {
                Ok(match conn {
                    Conn::Sqlite(c) => {
                        let query = sqlx::query_as(SQLITE).bind(serde_json::json!(hashes).to_string());
                        query.bind(serde_json::json!(erased_keys).to_string()).fetch_all(&mut **c).await
                    }
                    Conn::Postgres(c) => {
                        let query = sqlx::query_as(POSTGRES).bind(&hashes).bind(&erased_keys);
                        query.persistent(false).fetch_all(&mut **c).await
                    }
                }?)
            })
            .await?;
        let mut answers = Answers::new();
        for (consent_key, company_id, email, source, removed_at) in found {
            let natural_key = match (erased.get(consent_key.as_str()), email) {
                (Some(natural_key), _) => (*natural_key).to_owned(),
                (None, Some(email)) => crate::consent::natural_key(&company_id, &email, source.as_deref()),
                (None, None) => continue,
            };
            let removed_at = removed_at.map_or(0, Timestamp::millis);
            answers.entry(natural_key).or_default().push(Namesake { consent_key, removed_at });
        }
        Ok(answers)
    }

    /// The addresses of rows, in their normal form, by key.
    pub async fn addresses(&mut self, keys: &[String]) -> Result<HashMap<String, String>, StoreError> {
        const ADDRESSES: Pair = (
            "select consent_key, address from consents \
             where consent_key in (select value from json_each($1)) and address is not null",
            "select consent_key, address from consents where consent_key = any($1) and address is not null",
        );
        self.read(async |conn| {
            let found: Vec<(String, String)> = rows_over!(conn, ADDRESSES, keys)?;
            Ok(found.into_iter().collect())
        })
        .await
    }
}

/// The rows, and the hashes of the items that are known.
#[derive(Default)]
struct LoadedRows {
    known: Known,
    items: Vec<u64>,
}

impl LoadedRows {
    fn with_capacity(rows: i64) -> Self {
        let rows = usize::try_from(rows).unwrap_or(0);
        Self { known: Known::with_capacity(rows), items: Vec::with_capacity(rows) }
    }

    fn push(&mut self, rows: &str, items: &str) -> Result<(), StoreError> {
        push(&mut self.known, rows)?;
        for digits in items.as_bytes().chunks(ITEM_HASH_DIGITS) {
            let item = item_hash_from_hex(digits);
            self.items.push(item.ok_or_else(|| StoreError::corrupt("consents.item_hash"))?);
        }
        Ok(())
    }
}

async fn load_rows(conn: &mut Conn, run_id: i64) -> Result<LoadedRows, StoreError> {
    // Each by itself: the index alone answers them, and all in one would look at every row.
    let bounds = "select coalesce((select min(rowid) from consents), 0), \
         coalesce((select max(rowid) from consents), -1), (select count(*) from consents)";
    let (mut low, high, count): (i64, i64, i64) = row!(conn, bounds)?;
    let mut loaded = LoadedRows::with_capacity(count);
    while low <= high {
        let (rows, items): (Option<String>, Option<String>) =
            row!(conn, ROWS_SQLITE, low, low + CHUNK_ROWS, run_id)?;
        loaded.push(&rows.unwrap_or_default(), &items.unwrap_or_default())?;
        low += CHUNK_ROWS;
    }
    Ok(loaded)
}

/// Takes what is no part of the state.
fn take_rows(loaded: &mut LoadedRows, row: &PgRow) -> Result<bool, StoreError> {
    match row.columns().first().map(sqlx::Column::name) {
        Some("rows") => *loaded = LoadedRows::with_capacity(row.try_get(0)?),
        Some("row_hashes") => {
            let items: Option<&str> = row.try_get(1)?;
            loaded.push(row.try_get(0)?, items.unwrap_or_default())?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// One of two rows with equal hashes would never be found again.
fn refuse_equal_keys(known: &Known) -> Result<(), StoreError> {
    if known.has_equal_keys() {
        Err(StoreError::corrupt("two equal values of consents.row_hash"))
    } else {
        Ok(())
    }
}

fn push(known: &mut Known, rows: &str) -> Result<(), StoreError> {
    let corrupt = || StoreError::corrupt("consents.row_hash");
    let mut rest = rows.as_bytes();
    while let Some(&first) = rest.first() {
        let letters = if first < b'g' { 0 } else { 2 };
        let (letters, digits) = rest.split_at_checked(letters).ok_or_else(corrupt)?;
        let (hash, after) = digits.split_at_checked(ROW_HASH_DIGITS).ok_or_else(corrupt)?;
        let (high, low) = match letters {
            [high, low] => (high.wrapping_sub(b'w'), low.wrapping_sub(b'g')),
            _ => (0, 0),
        };
        let state = RowState {
            unlisted: low & 1 != 0,
            withheld: low & 2 != 0,
            erased: low & 4 != 0,
            natural: low & 8 != 0,
            removed: high & 1 != 0,
            written: high & 2 != 0,
        };
        known.push(RowHash::from_hex(hash).ok_or_else(corrupt)?, state);
        rest = after;
    }
    Ok(())
}

const STATE: &str = state!();
const STATES: usize = 9;

fn read_state(
    run_id: i64,
    known: Known,
    items: Vec<u64>,
    state: Results,
) -> Result<(Loaded, Seen), StoreError> {
    type Reject = (i64, Vec<u8>, Option<Timestamp>, i64);
    type Pending = (String, Timestamp, i64, Option<Timestamp>);
    let (state, found, suppressed, ids, complete, pending, listings, companies, erasures) = decode!(
        state,
        (Vec<u8>, Option<String>),
        Reject,
        (String,),
        (String, String),
        (Option<String>,),
        Pending,
        (String, i64),
        (String,),
        (Option<Timestamp>,)
    )?;
    let (salt, endpoint) = state.into_iter().next().ok_or(sqlx::Error::RowNotFound)?;
    let salt = Salt::new(salt);
    let mut rejects = KnownRejects::default();
    rejects.count_new(found.iter().filter(|(.., first_run_id)| *first_run_id == run_id).count());
    for (id, fingerprint, resolved_at, _) in found {
        rejects.push(&fingerprint, KnownReject { id, resolved: resolved_at.is_some() });
    }
    let blocked = complete.iter().take_while(|(absence,)| absence.as_deref() == Some("blocked")).count();
    let companies =
        (companies.len() <= MAX_COMPANIES).then(|| companies.into_iter().map(|(company,)| company).collect());
    let erasures_since = erasures.first().map(|(oldest,)| oldest.unwrap_or_else(Timestamp::now));
    let seen = Seen { companies, erasures_since };
    let loaded = Loaded {
        known,
        items: Arc::new(KnownItems::new(salt.clone(), items)),
        rejects,
        suppressed: Suppressions::new(suppressed.into_iter().map(|(hash,)| hash).collect(), ids),
        endpoint,
        blocked_in_a_row: u32::try_from(blocked).unwrap_or(2),
        pending: pending
            .into_iter()
            .map(|(key, since, listed_runs, checked_at)| {
                let checked_at = checked_at.map(Timestamp::millis);
                let known = KnownPending { listed_since: since.millis(), listed_runs, checked_at };
                (salt.key(&key), known)
            })
            .collect(),
        has_rejected_listings: !listings.is_empty(),
        batch_rows: BATCH_ROWS,
        exhausted: listings
            .into_iter()
            .filter(|(_, runs)| *runs >= MAX_REJECTED_RUNS)
            .map(|(key, _)| salt.key(&key))
            .collect(),
        salt,
    };
    Ok((loaded, seen))
}
