//! What a complete run has to know before it decides about absence and returns.

use super::conn::{Conn, Pair, decode, in_list, row, rows, rows_over};
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
    /// The number of the evaluated run that marked the first of the missing rows; none where no row waits for its removal.
    pub first_missing: Option<i64>,
}

impl Standing {
    /// Whether any missing row was unlisted in enough evaluated runs, this run included.
    pub fn has_due_rows(&self, confirm_runs: u32) -> bool {
        self.first_missing.is_some_and(|first| first <= last_due(self.judged_runs, confirm_runs))
    }
}

/// The number of the evaluated run that a row must have been marked missing in, or before it.
fn last_due(judged_runs: i64, confirm_runs: u32) -> i64 {
    judged_runs + 2 - i64::from(confirm_runs)
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
        let last_due = last_due(judged_runs, confirm_runs);
        self.read(async |conn| Ok(rows!(conn, CANDIDATES, last_due, limit(most))?)).await
    }

    /// Missing rows that were unlisted in enough evaluated runs, this run included, and for long enough.
    pub async fn overdue_rows(
        &mut self,
        judged_runs: i64,
        confirm_runs: u32,
        missing_before: Timestamp,
    ) -> Result<Vec<Candidate>, StoreError> {
        let last_due = last_due(judged_runs, confirm_runs);
        self.read(async |conn| Ok(rows!(conn, OVERDUE, last_due, missing_before)?)).await
    }

    /// `listed`: keys of rows that the run listed although their removal was recorded. `run_id`: none in a dry run.
    pub async fn standing(
        &mut self,
        run_id: Option<i64>,
        began: Timestamp,
        listed: &[String],
    ) -> Result<Standing, StoreError> {
        let since = began.plus_millis(-DAY);
        let row: StandingRow = if run_id.is_some() && listed.is_empty() && !self.location.is_sqlite() {
            let (rows,) = decode!(self.look(STANDING_POSTGRES, 1).await?, StandingRow)?;
            rows.into_iter().next().ok_or(sqlx::Error::RowNotFound)?
        } else {
            let run_id = run_id.unwrap_or(i64::MAX);
            self.read(async |conn| {
                let mut row: StandingRow = row!(&mut *conn, STANDING, run_id, since)?;
                // Those that are listed now are not counted.
                let again: Vec<(i64,)> = rows_over!(conn, LISTED_AGAIN, listed, since)?;
                row.back -= again.first().map_or(0, |(again,)| *again);
                Ok(row)
            })
            .await?
        };
        Ok(Standing {
            back: row.back.cast_unsigned(),
            new_nameless_reject: row.new_nameless_reject,
            acceptance: row.kept.acceptance(began),
            pages_usable_at: row.pages_usable_at,
            judged_runs: row.judged_runs,
            first_missing: row.first_missing,
        })
    }
}

#[derive(sqlx::FromRow)]
struct StandingRow {
    new_nameless_reject: bool,
    back: i64,
    first_missing: Option<i64>,
    pages_usable_at: Option<Timestamp>,
    judged_runs: i64,
    #[sqlx(flatten)]
    kept: KeptAcceptance,
}

macro_rules! standing {
    ($run:literal, $since:literal) => {
        concat!(
            "select exists (select 1 from rejected_items where has_id = 0 and first_run_id <= ",
            $run,
            " and first_run_id > (select coalesce(max(id), 0) from sync_runs where outcome = 'succeeded' and id < ",
            $run,
            ")) as new_nameless_reject, ",
            "(select count(*) from consents where missing_since is not null and missing_run_at >= ",
            $since,
            ") as back, (select min(c.missing_judged + coalesce(r.skipped, 0)) from consents c ",
            "left join rejected_listings r on r.consent_key = c.consent_key ",
            "where c.missing_since is not null and c.removed_at is null) as first_missing, ",
            "pages_usable_at, judged_runs, accepted_removals, accepted_by, accepted_at from sync_state where id = 1"
        )
    };
}

const STANDING: &str = standing!("$1", "$2");

/// Without values, so that it is one round trip: for the run that is on.
const STANDING_POSTGRES: &str = standing!(
    "(select max(id) from sync_runs where outcome = 'running')",
    "(select max(started_at) - interval '1 day' from sync_runs where outcome = 'running')"
);

const LISTED_AGAIN: Pair = in_list!(
    "select count(*) from consents where missing_since is not null and missing_run_at >= $2 and consent_key"
);

/// The stored permission.
#[derive(sqlx::FromRow)]
#[expect(clippy::struct_field_names, reason = "as the columns are named")]
struct KeptAcceptance {
    accepted_removals: Option<i64>,
    accepted_by: Option<String>,
    accepted_at: Option<Timestamp>,
}

impl KeptAcceptance {
    /// Unless it has expired.
    fn acceptance(self, began: Timestamp) -> Option<Acceptance> {
        let good = self.accepted_at.is_some_and(|at| at >= began.plus_millis(-DAY));
        self.accepted_removals.filter(|removals| good && *removals > 0).map(|removals| Acceptance {
            removals: removals.cast_unsigned(),
            by: self.accepted_by.unwrap_or_default(),
            at: self.accepted_at,
        })
    }
}

/// The stored permission, unless it has expired.
pub(super) async fn acceptance(conn: &mut Conn, began: Timestamp) -> Result<Option<Acceptance>, StoreError> {
    const ACCEPTANCE: &str =
        "select accepted_removals, accepted_by, accepted_at from sync_state where id = 1";
    let kept: KeptAcceptance = row!(conn, ACCEPTANCE)?;
    Ok(kept.acceptance(began))
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// As `row_hash` begins.
pub(super) fn hex_keys(hashes: &[u64]) -> Vec<String> {
    hashes.iter().map(|hash| crate::consent::hex(&hash.to_be_bytes())).collect()
}
