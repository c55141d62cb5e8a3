//! What a complete run has to know before it decides about absence and returns.

use serde_json::json;

use super::conn::{Conn, Pair, row, rows, rows_over};
use super::error::{StoreError, from_sqlx};
use super::{Store, Timestamp};

/// Keys or hashes in one statement.
pub(super) const CHUNK: usize = 20_000;

/// A row whose page may be asked for, or whose removal is due.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Candidate {
    pub consent_key: String,
    /// What its page is asked by.
    pub consent_id: Option<String>,
    pub checked_at: Option<Timestamp>,
    /// It was absent from more judged runs than it takes.
    pub overdue: bool,
}

/// A permission to let removals through that the guard would withhold.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Acceptance {
    pub removals: u64,
    /// Who gave it, on which host.
    pub by: String,
    /// When, if it is the one that the database keeps.
    pub at: Option<Timestamp>,
}

impl Acceptance {
    /// When the one that the database keeps is no longer good.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.at.map(|at| at.plus_millis(DAY))
    }
}

/// The state of the database that decides besides the scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Rows marked missing in the last 24 hours that the guard counts again.
    pub back: u64,
    /// An item without a usable id was rejected for the first time since the last complete run.
    pub new_nameless_reject: bool,
    /// The permission that the database keeps.
    pub acceptance: Option<Acceptance>,
    /// When a control look-up last found its page.
    pub pages_usable_at: Option<Timestamp>,
    pub judged_runs: i64,
}

/// How long the guard remembers, and how long an acceptance is good.
const DAY: i64 = 24 * 60 * 60 * 1000;

const CANDIDATE: &str = "select c.consent_key, c.consent_id, k.checked_at, \
     (c.missing_judged + coalesce(r.skipped, 0) < $1) as overdue from consents c \
     left join consent_checks k on k.consent_key = c.consent_key \
     left join rejected_listings r on r.consent_key = c.consent_key \
     where c.missing_since is not null and c.removed_at is null \
     and c.missing_judged + coalesce(r.skipped, 0) <= $1 and c.consent_id not in ('.', '..') \
     order by (k.checked_at is not null), k.checked_at, c.missing_judged, c.consent_key limit $2";

const TIMED: &str = "select c.consent_key, c.consent_id, \
     (c.missing_judged + coalesce(r.skipped, 0) < $1) as overdue from consents c \
     left join rejected_listings r on r.consent_key = c.consent_key \
     where c.missing_since is not null and c.removed_at is null \
     and c.missing_judged + coalesce(r.skipped, 0) <= $1 and c.missing_since <= $2 order by c.consent_key";

impl Store {
    /// The keys of rows by the hashes of their keys, in no order.
    pub async fn keys_of(&mut self, hashes: &[u64]) -> Result<Vec<String>, StoreError> {
        const KEYS: Pair = (
            "select consent_key from consents where substr(row_hash, 1, 16) in (select value from json_each($1))",
            "select consent_key from consents where substr(row_hash, 1, 16) = any($1)",
        );
        let place = self.place();
        self.read(async |conn| {
            let mut keys = Vec::with_capacity(hashes.len());
            for chunk in hashes.chunks(CHUNK) {
                let found: Vec<(String,)> = rows_over(conn, KEYS, &hex_keys(chunk))
                    .await
                    .map_err(|error| from_sqlx(&error, &place))?;
                keys.extend(found.into_iter().map(|(key,)| key));
            }
            Ok(keys)
        })
        .await
    }

    /// Of these rows, those with an id that a page can be asked by; those unasked longest first.
    pub async fn unlisted_candidates(
        &mut self,
        hashes: &[u64],
        most: usize,
    ) -> Result<Vec<Candidate>, StoreError> {
        const SQLITE: &str = "select c.consent_key, c.consent_id, k.checked_at, false as overdue from consents c \
             left join consent_checks k on k.consent_key = c.consent_key where c.consent_id not in ('.', '..') \
             and substr(c.row_hash, 1, 16) in (select value from json_each($1)) \
             order by (k.checked_at is not null), k.checked_at, c.consent_key limit $2";
        const POSTGRES: &str = "select c.consent_key, c.consent_id, k.checked_at, false as overdue from consents c \
             left join consent_checks k on k.consent_key = c.consent_key where c.consent_id not in ('.', '..') \
             and substr(c.row_hash, 1, 16) = any($1) \
             order by (k.checked_at is not null), k.checked_at, c.consent_key limit $2";
        let place = self.place();
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        self.read(async |conn| {
            let mut candidates: Vec<Candidate> = Vec::new();
            for chunk in hashes.chunks(CHUNK) {
                let list = hex_keys(chunk);
                let found: Vec<Candidate> = match conn {
                    Conn::Sqlite(c) => {
                        let query = sqlx::query_as(SQLITE).bind(json!(list).to_string()).bind(limit);
                        query.fetch_all(&mut **c).await
                    }
                    Conn::Postgres(c) => {
                        let query = sqlx::query_as(POSTGRES).bind(list).bind(limit).persistent(false);
                        query.fetch_all(&mut **c).await
                    }
                }
                .map_err(|error| from_sqlx(&error, &place))?;
                candidates.extend(found);
                candidates
                    .sort_by(|a, b| (a.checked_at, &a.consent_key).cmp(&(b.checked_at, &b.consent_key)));
                candidates.truncate(most);
            }
            Ok(candidates)
        })
        .await
    }

    /// Missing rows with an id that a page can be asked by, that were absent from enough judged runs, one more included; those unasked longest first.
    pub async fn candidates(
        &mut self,
        judged_runs: i64,
        confirm_runs: u32,
        most: usize,
    ) -> Result<Vec<Candidate>, StoreError> {
        let place = self.place();
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        self.read(async |conn| {
            rows!(conn, CANDIDATE, judged_runs + 2 - i64::from(confirm_runs), limit)
                .map_err(|error| from_sqlx(&error, &place))
        })
        .await
    }

    /// Missing rows that were absent from enough judged runs, one more included, and for long enough: the key, whether it has
    /// an id, and whether it was absent from more runs than it takes.
    pub async fn overdue_rows(
        &mut self,
        judged_runs: i64,
        confirm_runs: u32,
        missing_before: Timestamp,
    ) -> Result<Vec<Candidate>, StoreError> {
        let place = self.place();
        self.read(async |conn| {
            let found: Vec<(String, Option<String>, bool)> =
                rows!(conn, TIMED, judged_runs + 2 - i64::from(confirm_runs), missing_before)
                    .map_err(|error| from_sqlx(&error, &place))?;
            let candidate = |(consent_key, consent_id, overdue)| Candidate {
                consent_key,
                consent_id,
                checked_at: None,
                overdue,
            };
            Ok(found.into_iter().map(candidate).collect())
        })
        .await
    }

    /// What decides besides the scan of the run with this number, which began then. `pending`: keys of rows that it listed
    /// though their removal was recorded.
    pub async fn standing(
        &mut self,
        run_id: i64,
        began: Timestamp,
        pending: &[String],
    ) -> Result<Standing, StoreError> {
        const NAMELESS: &str = "select exists (select 1 from rejected_items where has_id = 0 and first_run_id <= $1 \
             and first_run_id > (select coalesce(max(id), 0) from sync_runs where outcome = 'succeeded' and id < $1))";
        const STATE: &str = "select pages_usable_at, judged_runs from sync_state where id = 1";
        let place = self.place();
        self.read(async |conn| {
            let failed = |error: sqlx::Error| from_sqlx(&error, &place);
            let (new_nameless_reject,): (bool,) = row!(conn, NAMELESS, run_id).map_err(failed)?;
            let (pages_usable_at, judged_runs): (Option<Timestamp>, i64) =
                row!(conn, STATE).map_err(failed)?;
            let back = count_back(conn, began.plus_millis(-DAY), pending, &place).await?;
            let acceptance = acceptance(conn, began, &place).await?;
            Ok(Standing { back, new_nameless_reject, acceptance, pages_usable_at, judged_runs })
        })
        .await
    }
}

/// Rows that the guard counts again, without those that are listed by now.
async fn count_back(
    conn: &mut Conn,
    since: Timestamp,
    listed: &[String],
    place: &str,
) -> Result<u64, StoreError> {
    const SQLITE: &str = "select count(*) from consents where missing_since is not null and missing_run_at >= $1 \
         and consent_key not in (select value from json_each($2))";
    const POSTGRES: &str = "select count(*) from consents where missing_since is not null and missing_run_at >= $1 \
         and consent_key <> all($2)";
    let found: Result<(i64,), sqlx::Error> = match conn {
        Conn::Sqlite(c) => {
            let query = sqlx::query_as(SQLITE).bind(since).bind(json!(listed).to_string());
            query.fetch_one(&mut **c).await
        }
        Conn::Postgres(c) => {
            let query = sqlx::query_as(POSTGRES).bind(since).bind(listed).persistent(false);
            query.fetch_one(&mut **c).await
        }
    };
    let (back,) = found.map_err(|error| from_sqlx(&error, place))?;
    Ok(back.cast_unsigned())
}

/// The permission that the database keeps, if it is still good.
pub(super) async fn acceptance(
    conn: &mut Conn,
    began: Timestamp,
    place: &str,
) -> Result<Option<Acceptance>, StoreError> {
    const ACCEPTANCE: &str =
        "select accepted_removals, accepted_by, accepted_at from sync_state where id = 1";
    type Kept = (Option<i64>, Option<String>, Option<Timestamp>);
    let (removals, by, at): Kept = row!(conn, ACCEPTANCE).map_err(|error| from_sqlx(&error, place))?;
    let good = at.is_some_and(|at| at >= began.plus_millis(-DAY));
    Ok(removals.filter(|removals| good && *removals > 0).map(|removals| Acceptance {
        removals: removals.cast_unsigned(),
        by: by.unwrap_or_default(),
        at,
    }))
}

/// As `row_hash` begins.
pub(super) fn hex_keys(hashes: &[u64]) -> Vec<String> {
    hashes.iter().map(|hash| crate::consent::hex(&hash.to_be_bytes())).collect()
}
