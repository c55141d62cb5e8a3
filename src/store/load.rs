//! What a pass needs to know before it begins: the rows in 16 bytes each, the rejected items, the suppressions, the state.

use futures_util::TryStreamExt as _;

use super::conn::{Conn, row, rows};
use super::error::{StoreError, from_sqlx};
use super::{Store, Timestamp};
use crate::consent::natural_hash_of;
use crate::hash::{ROW_HASH_DIGITS, RowHash, Salt};
use crate::reconcile::{Known, KnownReject, KnownRejects, Namesake, Namesakes, RowState, Suppressions};

/// What the database knows when a pass begins.
#[derive(Debug)]
pub struct Loaded {
    pub known: Known,
    /// The rejected items on record.
    pub rejects: KnownRejects,
    pub suppressed: Suppressions,
    pub salt: Salt,
    /// The path that last worked here.
    pub endpoint: Option<String>,
    /// Complete runs in a row, the newest backwards, that were blocked.
    pub blocked_in_a_row: u32,
    /// How many runs have judged absence.
    pub judged_runs: i64,
}

impl Loaded {
    /// What a database that does not exist yet knows. The salt is of no consequence: nothing is stored with it.
    pub fn empty() -> Self {
        Self {
            known: Known::default(),
            rejects: KnownRejects::default(),
            suppressed: Suppressions::default(),
            salt: Salt::new(Vec::new()),
            endpoint: None,
            blocked_in_a_row: 0,
            judged_runs: 0,
        }
    }
}

// The hashes of many rows come as one value: a million single rows would cost the driver more than the whole walk. A row that
// is not simply active under an id has a letter for its state before its hash, 'g' and up. SQLite: in stretches of the table.
// PostgreSQL: in 256 groups over one scan.
const ROWS_SQLITE: &str = "select group_concat(case when missing_since is null and removed_at is null \
     and withheld_since is null and erased_at is null and consent_id is not null then row_hash \
     else char(103 + (missing_since is not null or removed_at is not null) + 2 * (withheld_since is not null) \
     + 4 * (erased_at is not null) + 8 * (consent_id is null)) || row_hash end, '') \
     from consents where rowid >= $1 and rowid < $2";

const ROWS_POSTGRES: &str = "select string_agg(case when missing_since is null and removed_at is null \
     and withheld_since is null and erased_at is null and consent_id is not null then row_hash \
     else chr(103 + (missing_since is not null or removed_at is not null)::int + 2 * (withheld_since is not null)::int \
     + 4 * (erased_at is not null)::int + 8 * (consent_id is null)::int) || row_hash end, '') \
     from consents group by substr(row_hash, 1, 2)";

const CHUNK_ROWS: i64 = 16_384;

impl Store {
    /// Reads all of it, in one view of the database.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] where an internal column is not what this program wrote.
    pub async fn load(&mut self) -> Result<Loaded, StoreError> {
        let place = self.place();
        self.read(async |conn| {
            let known = load_rows(conn, &place).await?;
            let rejects = load_rejects(conn, &place).await?;
            load_state(conn, known, rejects, &place).await
        })
        .await
    }

    /// Whether the database holds, or ever held, a consent of one of these companies, or none at all.
    pub async fn knows_company(&mut self, companies: &[String]) -> Result<bool, StoreError> {
        let place = self.place();
        self.read(async |conn| {
            let failed = |error: sqlx::Error| from_sqlx(&error, &place);
            for company in companies {
                let (known,): (bool,) =
                    row!(conn, "select exists (select 1 from companies where company_id = $1)", company)
                        .map_err(failed)?;
                if known {
                    return Ok(true);
                }
            }
            let (any,): (bool,) = row!(conn, "select exists (select 1 from companies)").map_err(failed)?;
            Ok(!any)
        })
        .await
    }

    /// Whether the database holds, or ever held, a consent of another company than this one.
    pub async fn knows_other_company(&mut self, company: &str) -> Result<bool, StoreError> {
        let place = self.place();
        self.read(async |conn| {
            let (other,): (bool,) =
                row!(conn, "select exists (select 1 from companies where company_id <> $1)", company)
                    .map_err(|error| from_sqlx(&error, &place))?;
            Ok(other)
        })
        .await
    }

    /// The rows that have these natural keys, the first seen first.
    pub async fn namesakes(&mut self, natural_keys: &[String]) -> Result<Namesakes, StoreError> {
        const SQLITE: &str = "select consent_key, company_id, email, source from consents \
             where natural_hash in (select value from json_each($1)) order by first_seen_at, consent_key";
        const POSTGRES: &str = "select consent_key, company_id, email, source from consents \
             where natural_hash = any($1) order by first_seen_at, consent_key";
        type Found = (String, String, Option<String>, Option<String>);
        let hashes: Vec<i64> = natural_keys.iter().filter_map(|key| natural_hash_of(key)).collect();
        let place = self.place();
        let found: Vec<Found> = self
            .read(async |conn| {
                match conn {
                    Conn::Sqlite(c) => {
                        let list = serde_json::json!(hashes).to_string();
                        sqlx::query_as(SQLITE).bind(list).fetch_all(&mut **c).await
                    }
                    Conn::Postgres(c) => {
                        sqlx::query_as(POSTGRES).bind(&hashes).persistent(false).fetch_all(&mut **c).await
                    }
                }
                .map_err(|error| from_sqlx(&error, &place))
            })
            .await?;
        let mut namesakes = Namesakes::new();
        for (consent_key, company_id, email, source) in found {
            let natural_key =
                crate::consent::natural_key(&company_id, &email.unwrap_or_default(), source.as_deref());
            namesakes.entry(natural_key).or_default().push(Namesake { consent_key });
        }
        Ok(namesakes)
    }
}

async fn load_rows(conn: &mut Conn, place: &str) -> Result<Known, StoreError> {
    let failed = |error: sqlx::Error| from_sqlx(&error, place);
    let (count,): (i64,) = row!(conn, "select count(*) from consents").map_err(failed)?;
    let mut known = Known::with_capacity(usize::try_from(count).unwrap_or(0));
    match conn {
        Conn::Sqlite(c) => {
            let bounds = "select coalesce(min(rowid), 0), coalesce(max(rowid), -1) from consents";
            let (mut low, high): (i64, i64) =
                sqlx::query_as(bounds).fetch_one(&mut **c).await.map_err(failed)?;
            while low <= high {
                let stretch =
                    sqlx::query_as(ROWS_SQLITE).bind(low).bind(low + CHUNK_ROWS).fetch_all(&mut **c);
                let stretch: Vec<(Option<String>,)> = stretch.await.map_err(failed)?;
                for (rows,) in stretch {
                    push(&mut known, &rows.unwrap_or_default(), place)?;
                }
                low += CHUNK_ROWS;
            }
        }
        Conn::Postgres(c) => {
            let mut groups = sqlx::query_as::<_, (String,)>(ROWS_POSTGRES).persistent(false).fetch(&mut **c);
            while let Some((rows,)) = groups.try_next().await.map_err(failed)? {
                push(&mut known, &rows, place)?;
            }
        }
    }
    known.loaded();
    Ok(known)
}

fn push(known: &mut Known, rows: &str, place: &str) -> Result<(), StoreError> {
    let corrupt = || StoreError::Corrupt { place: place.to_owned(), code: "consents.row_hash".to_owned() };
    let mut rest = rows.as_bytes();
    while let Some(&first) = rest.first() {
        let letter = first.checked_sub(b'g');
        let digits = rest.split_at_checked(usize::from(letter.is_some()));
        let (hash, after) =
            digits.and_then(|(_, digits)| digits.split_at_checked(ROW_HASH_DIGITS)).ok_or_else(corrupt)?;
        let state = letter.unwrap_or_default();
        let state = RowState {
            unlisted: state & 1 != 0,
            withheld: state & 2 != 0,
            erased: state & 4 != 0,
            natural: state & 8 != 0,
        };
        known.push(RowHash::from_hex(hash).ok_or_else(corrupt)?, state);
        rest = after;
    }
    Ok(())
}

async fn load_rejects(conn: &mut Conn, place: &str) -> Result<KnownRejects, StoreError> {
    type Reject = (i64, Vec<u8>, Option<Timestamp>);
    let found: Vec<Reject> = rows!(conn, "select id, fingerprint, resolved_at from rejected_items")
        .map_err(|error| from_sqlx(&error, place))?;
    let mut rejects = KnownRejects::default();
    for (id, fingerprint, resolved_at) in found {
        rejects.push(&fingerprint, KnownReject { id, resolved: resolved_at.is_some() });
    }
    Ok(rejects)
}

async fn load_state(
    conn: &mut Conn,
    known: Known,
    rejects: KnownRejects,
    place: &str,
) -> Result<Loaded, StoreError> {
    let failed = |error: sqlx::Error| from_sqlx(&error, place);
    let (salt, endpoint, judged_runs): (Vec<u8>, Option<String>, i64) =
        row!(conn, "select salt, endpoint, judged_runs from sync_state where id = 1").map_err(failed)?;
    let suppressed: Vec<(String,)> = rows!(conn, "select email_hash from suppressions").map_err(failed)?;
    let ids: Vec<(String, String)> =
        rows!(conn, "select id_hash, email_hash from suppressed_ids").map_err(failed)?;
    let complete: Vec<(Option<String>,)> =
        rows!(conn, "select absence from sync_runs where outcome = 'succeeded' order by id desc limit 2")
            .map_err(failed)?;
    let blocked = complete.iter().take_while(|(absence,)| absence.as_deref() == Some("blocked")).count();
    Ok(Loaded {
        known,
        rejects,
        suppressed: Suppressions::new(suppressed.into_iter().map(|(hash,)| hash).collect(), ids),
        salt: Salt::new(salt),
        endpoint,
        blocked_in_a_row: u32::try_from(blocked).unwrap_or(2),
        judged_runs,
    })
}
