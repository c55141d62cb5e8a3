//! What a complete run has to know before it decides about absence and returns.

use super::conn::{Conn, Pair, in_list, row, rows, rows_over};
use super::error::StoreError;
use super::{Store, Timestamp};

/// Keys or hashes in one statement.
pub(super) const CHUNK: usize = 20_000;

/// A row that may be looked up at the API, or whose removal is due.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Candidate {
    pub consent_key: String,
    pub consent_id: Option<String>,
    pub checked_at: Option<Timestamp>,
    /// Unlisted in more evaluated runs than `removal.confirm_runs` asks for.
    pub overdue: bool,
}

/// A permission to let removals through that the guard would withhold.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Acceptance {
    pub removals: u64,
    /// Who gave it, on which host.
    pub by: String,
    /// When it was stored; none for one that was given on the command line.
    pub at: Option<Timestamp>,
}

impl Acceptance {
    /// When the stored one expires.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.at.map(|at| at.plus_millis(DAY))
    }
}

/// What a removal decision depends on besides the scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Rows marked missing in the last 24 hours that the guard counts again.
    pub back: u64,
    /// An item without a usable id was rejected for the first time since the last complete run.
    pub new_nameless_reject: bool,
    pub acceptance: Option<Acceptance>,
    /// When a control look-up last found its page.
    pub pages_usable_at: Option<Timestamp>,
    pub judged_runs: i64,
}

/// How long the guard remembers, and how long an acceptance is good.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Missing rows that were unlisted in enough evaluated runs, this run included.
macro_rules! missing_rows {
    ($checked_at:literal, $join:literal, $tail:literal) => {
        concat!(
            "select c.consent_key, c.consent_id, ",
            $checked_at,
            " as checked_at, (c.missing_judged + coalesce(r.skipped, 0) < $1) as overdue from consents c ",
            $join,
            "left join rejected_listings r on r.consent_key = c.consent_key \
             where c.missing_since is not null and c.removed_at is null \
             and c.missing_judged + coalesce(r.skipped, 0) <= $1 ",
            $tail
        )
    };
}

const CANDIDATES: &str = missing_rows!(
    "k.checked_at",
    "left join consent_checks k on k.consent_key = c.consent_key ",
    "and c.consent_id not in ('.', '..') \
     order by (k.checked_at is not null), k.checked_at, c.missing_judged, c.consent_key limit $2"
);

const OVERDUE: &str =
    missing_rows!("cast(null as timestamptz)", "", "and c.missing_since <= $2 order by c.consent_key");

impl Store {
    /// The keys of rows by the hashes of their keys, in no order.
    pub async fn keys_of(&mut self, hashes: &[u64]) -> Result<Vec<String>, StoreError> {
        const KEYS: Pair = in_list!("select consent_key from consents where substr(row_hash, 1, 16)");
        self.read(async |conn| {
            let mut keys = Vec::with_capacity(hashes.len());
            for chunk in hashes.chunks(CHUNK) {
                let found: Vec<(String,)> = rows_over!(conn, KEYS, hex_keys(chunk))?;
                keys.extend(found.into_iter().map(|(key,)| key));
            }
            Ok(keys)
        })
        .await
    }

    /// The rows among these that can be looked up by id; the one looked up longest ago first.
    pub async fn unlisted_candidates(
        &mut self,
        hashes: &[u64],
        most: usize,
    ) -> Result<Vec<Candidate>, StoreError> {
        const UNLISTED: Pair = in_list!(
            "select c.consent_key, c.consent_id, k.checked_at, false as overdue from consents c \
             left join consent_checks k on k.consent_key = c.consent_key where c.consent_id not in ('.', '..') \
             and substr(c.row_hash, 1, 16)",
            " order by (k.checked_at is not null), k.checked_at, c.consent_key limit $2"
        );
        self.read(async |conn| {
            let mut candidates: Vec<Candidate> = Vec::new();
            for chunk in hashes.chunks(CHUNK) {
                let found: Vec<Candidate> = rows_over!(conn, UNLISTED, hex_keys(chunk), limit(most))?;
                candidates.extend(found);
                candidates
                    .sort_by(|a, b| (a.checked_at, &a.consent_key).cmp(&(b.checked_at, &b.consent_key)));
                candidates.truncate(most);
            }
            Ok(candidates)
        })
        .await
    }

    /// Missing rows that can be looked up by id and were unlisted in enough evaluated runs, this run included; the one looked up
    /// longest ago first.
    pub async fn candidates(
        &mut self,
        judged_runs: i64,
        confirm_runs: u32,
        most: usize,
    ) -> Result<Vec<Candidate>, StoreError> {
        let first_judged = judged_runs + 2 - i64::from(confirm_runs);
        self.read(async |conn| Ok(rows!(conn, CANDIDATES, first_judged, limit(most))?)).await
    }

    /// Missing rows that were unlisted in enough evaluated runs, this run included, and for long enough.
    pub async fn overdue_rows(
        &mut self,
        judged_runs: i64,
        confirm_runs: u32,
        missing_before: Timestamp,
    ) -> Result<Vec<Candidate>, StoreError> {
        let first_judged = judged_runs + 2 - i64::from(confirm_runs);
        self.read(async |conn| Ok(rows!(conn, OVERDUE, first_judged, missing_before)?)).await
    }

    /// `pending`: keys of rows that the run listed although their removal was recorded.
    pub async fn standing(
        &mut self,
        run_id: i64,
        began: Timestamp,
        pending: &[String],
    ) -> Result<Standing, StoreError> {
        const NAMELESS: &str = "select exists (select 1 from rejected_items where has_id = 0 and first_run_id <= $1 \
             and first_run_id > (select coalesce(max(id), 0) from sync_runs where outcome = 'succeeded' and id < $1))";
        const STATE: &str = "select pages_usable_at, judged_runs from sync_state where id = 1";
        self.read(async |conn| {
            let (new_nameless_reject,): (bool,) = row!(conn, NAMELESS, run_id)?;
            let (pages_usable_at, judged_runs): (Option<Timestamp>, i64) = row!(conn, STATE)?;
            let back = count_back(conn, began.plus_millis(-DAY), pending).await?;
            let acceptance = acceptance(conn, began).await?;
            Ok(Standing { back, new_nameless_reject, acceptance, pages_usable_at, judged_runs })
        })
        .await
    }
}

/// Rows that the guard counts again, without those that are listed now.
async fn count_back(conn: &mut Conn, since: Timestamp, listed: &[String]) -> Result<u64, StoreError> {
    const BACK: Pair = (
        "select count(*) from consents where missing_since is not null and missing_run_at >= $2 \
         and consent_key not in (select value from json_each($1))",
        "select count(*) from consents where missing_since is not null and missing_run_at >= $2 \
         and consent_key <> all($1)",
    );
    let back: Vec<(i64,)> = rows_over!(conn, BACK, listed, since)?;
    Ok(back.first().map_or(0, |(back,)| back.cast_unsigned()))
}

/// The stored permission, unless it has expired.
pub(super) async fn acceptance(conn: &mut Conn, began: Timestamp) -> Result<Option<Acceptance>, StoreError> {
    const ACCEPTANCE: &str =
        "select accepted_removals, accepted_by, accepted_at from sync_state where id = 1";
    type Kept = (Option<i64>, Option<String>, Option<Timestamp>);
    let (removals, by, at): Kept = row!(conn, ACCEPTANCE)?;
    let good = at.is_some_and(|at| at >= began.plus_millis(-DAY));
    Ok(removals.filter(|removals| good && *removals > 0).map(|removals| Acceptance {
        removals: removals.cast_unsigned(),
        by: by.unwrap_or_default(),
        at,
    }))
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// As `row_hash` begins.
pub(super) fn hex_keys(hashes: &[u64]) -> Vec<String> {
    hashes.iter().map(|hash| crate::consent::hex(&hash.to_be_bytes())).collect()
}
