//! Many rows in one statement: where SQL truly differs between the engines.
//!
//! SQLite takes new rows as a `values` list and everything else as one JSON array; PostgreSQL takes arrays.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use sqlx::PgConnection;

use super::conn::{Conn, Pair, execute, execute_over, in_list, rows_over};
use super::error::StoreError;
use super::insert::{Columns, bind_row};
use super::write::{WriteContext, must_have_stored};
use crate::consent::{Consent, Rejected};
use crate::hash::RowHash;

/// Rows that one statement of SQLite changes at the most: each page that it touches is held as it was until it ends.
const SQLITE_ROWS: usize = 500;

/// Text that SQLite is given as a value of its own: taken out of a JSON list it would be held many times over.
const LARGE: usize = 64 * 1024;

/// A row as it stands before it is changed.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct WrittenRow {
    pub(super) consent_key: String,
    pub(super) consent_id: Option<String>,
    company_id: String,
    email: Option<String>,
    full_name: Option<String>,
    source: Option<String>,
    refs: Option<String>,
    extra: Option<String>,
    row_hash: String,
    unlisted: bool,
}

impl WrittenRow {
    pub(super) fn is_unlisted(&self) -> bool {
        self.unlisted
    }

    /// Retention has taken its content.
    pub(super) fn is_erased(&self) -> bool {
        self.email.is_none()
    }

    pub(super) fn has_content(&self, content: u64) -> bool {
        RowHash::from_hex(self.row_hash.as_bytes()).is_some_and(|hash| hash.content == content)
    }

    /// For `consent_changes.before`.
    pub(super) fn before(&self) -> String {
        let before = Before {
            company_id: &self.company_id,
            consent_id: self.consent_id.as_deref(),
            email: self.email.as_deref(),
            extra: self.extra.as_deref().map(as_it_stands),
            full_name: self.full_name.as_deref(),
            refs: self.refs.as_deref().map(as_it_stands),
            source: self.source.as_deref(),
        };
        // Texts and checked JSON always serialize.
        serde_json::to_string(&before).unwrap_or_default()
    }

    /// The content and its hash; None where retention erased it.
    pub(super) fn content(self) -> Option<(u64, Consent<'static>)> {
        let hash = RowHash::from_hex(self.row_hash.as_bytes())?;
        let consent = Consent {
            consent_id: None,
            company_id: self.company_id.into(),
            email: self.email?.into(),
            full_name: self.full_name.map(Cow::Owned),
            source: self.source.map(Cow::Owned),
            refs: self.refs.map(Cow::Owned),
            extra: self.extra.map(Cow::Owned),
            item_hash: None,
        };
        Some((hash.content, consent))
    }
}

/// A row in the history. What was kept as JSON goes in as it stands: a reader of values would take some keys of it for its own.
#[derive(Serialize)]
struct Before<'a> {
    company_id: &'a str,
    consent_id: Option<&'a str>,
    email: Option<&'a str>,
    extra: Option<Cow<'a, RawValue>>,
    full_name: Option<&'a str>,
    refs: Option<Cow<'a, RawValue>>,
    source: Option<&'a str>,
}

/// Kept JSON, or a text where somebody else has put in what is none.
pub(super) fn as_it_stands(text: &str) -> Cow<'_, RawValue> {
    if let Ok(raw) = serde_json::from_str(text) {
        return Cow::Borrowed(raw);
    }
    let quoted = json!(text).to_string();
    Cow::Owned(RawValue::from_string(quoted).unwrap_or_else(|_| RawValue::NULL.to_owned()))
}

/// A row as it is to stand.
pub(super) struct RowUpdate<'a> {
    pub(super) key: &'a str,
    pub(super) consent: Consent<'a>,
    pub(super) hash: RowHash,
    pub(super) natural: i64,
    /// The natural key that an id takes over.
    pub(super) previous_key: Option<String>,
}

/// A line of `consent_changes`.
pub(super) struct HistoryLine {
    pub(super) consent_key: String,
    pub(super) kind: &'static str,
    pub(super) before: Option<String>,
    pub(super) previous_key: Option<String>,
}

/// Reads rows as they stand.
pub(super) async fn read(conn: &mut Conn, keys: &[&str]) -> Result<Vec<WrittenRow>, sqlx::Error> {
    const READ: Pair = in_list!(
        "select consent_key, consent_id, company_id, email, full_name, source, cast(refs as text) as refs, \
         cast(extra as text) as extra, row_hash, (missing_since is not null or removed_at is not null) as unlisted \
         from consents where consent_key"
    );
    rows_over!(conn, READ, keys)
}

// The key is never assigned here: a database that is sharded by it refuses such a statement (`rename_keys` is for keys).
const UPDATE_POSTGRES: &str = "update consents as c set consent_id = v.consent_id, \
     company_id = v.company_id, email = v.email, full_name = v.full_name, source = v.source, refs = v.refs::jsonb, \
     extra = v.extra::jsonb, row_hash = v.row_hash, natural_hash = v.natural_hash, address = v.address, \
     item_hash = v.item_hash, missing_since = null, withheld_since = null, removed_at = null, erased_at = null, missing_judged = null, missing_run_at = null, \
     previous_key = coalesce(v.previous_key, c.previous_key), changed_at = $13, changed_run_id = $14 \
     from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], \
     $9::text[], $10::bigint[], $11::text[], $12::text[], $15::text[]) as v(consent_key, consent_id, company_id, email, \
     full_name, source, refs, extra, row_hash, natural_hash, address, item_hash, previous_key) where c.consent_key = v.consent_key";

/// Row by row: of a statement that writes many, SQLite keeps every page as it was before until the statement ends.
const UPDATE_SQLITE: &str = "update consents set consent_id = ?2, company_id = ?3, email = ?4, \
     full_name = ?5, source = ?6, refs = ?7, extra = ?8, row_hash = ?9, natural_hash = ?10, address = ?11, item_hash = ?12, \
     missing_since = null, withheld_since = null, removed_at = null, erased_at = null, missing_judged = null, missing_run_at = null, \
     previous_key = coalesce(?13, previous_key), changed_at = ?14, changed_run_id = ?15 where consent_key = ?1";

/// Writes rows anew: listed, and with this content.
pub(super) async fn update(
    conn: &mut Conn,
    context: &WriteContext,
    writes: &[RowUpdate<'_>],
) -> Result<(), StoreError> {
    if writes.is_empty() {
        return Ok(());
    }
    let stored = match conn {
        Conn::Sqlite(c) => {
            let mut stored = 0;
            for row in writes {
                let query = sqlx::query(UPDATE_SQLITE);
                let query = bind_row(query, row.key, &row.consent, row.hash, row.natural)
                    .bind(&row.previous_key)
                    .bind(context.changed_at)
                    .bind(context.run_id);
                stored += query.execute(&mut **c).await?.rows_affected();
            }
            Ok(stored)
        }
        Conn::Postgres(c) => {
            let rows = Columns::new(writes.iter().map(|row| (row.key, &row.consent, row.hash, row.natural)));
            let query = rows
                .bind(sqlx::query(UPDATE_POSTGRES))
                .bind(context.changed_at)
                .bind(context.run_id)
                .bind(writes.iter().map(|row| row.previous_key.as_deref()).collect::<Vec<_>>());
            query.persistent(false).execute(&mut **c).await.map(|done| done.rows_affected())
        }
    }?;
    must_have_stored(stored, writes.len())
}

/// Makes rows active again whose content stays.
pub(super) async fn relist(
    conn: &mut Conn,
    context: &WriteContext,
    keys: &[String],
) -> Result<(), StoreError> {
    const RELIST: Pair = in_list!(
        "update consents set missing_since = null, withheld_since = null, removed_at = null, missing_judged = null, \
         missing_run_at = null, changed_at = $2, changed_run_id = $3 where consent_key"
    );
    if keys.is_empty() {
        return Ok(());
    }
    let stored = on_keys(conn, context, RELIST, keys).await?;
    must_have_stored(stored, keys.len())
}

/// A statement over a list of keys ($1) with `changed_at` ($2) and the run ($3), and how many rows it wrote.
pub(super) async fn on_keys(
    conn: &mut Conn,
    context: &WriteContext,
    sql: Pair,
    keys: &[String],
) -> Result<u64, sqlx::Error> {
    let most = if matches!(conn, Conn::Sqlite(_)) { SQLITE_ROWS } else { keys.len().max(1) };
    let mut stored = 0;
    for keys in keys.chunks(most) {
        stored += execute_over!(conn, sql, keys, context.changed_at, context.run_id)?;
    }
    Ok(stored)
}

/// Drops the notes about when the pages of these consents were asked for.
pub(super) async fn delete_checks(conn: &mut Conn, keys: &[String]) -> Result<(), sqlx::Error> {
    const DELETE: Pair = in_list!("delete from consent_checks where consent_key");
    execute_over!(conn, DELETE, keys).map(drop)
}

/// An update for both engines that sets one column, at its end, over pairs of a key and the value ($1).
macro_rules! from_pairs {
    ($update:literal $(, $and:literal)?) => {
        (
            concat!($update, "v.value ->> 1 from json_each($1) as v where c.consent_key = v.value ->> 0" $(, $and)?),
            concat!(
                $update, "v.value from unnest($1::text[], $2::text[]) as v(consent_key, value) \
                 where c.consent_key = v.consent_key" $(, $and)?
            ),
        )
    };
}

/// Gives rows, their history, and returns that wait, other keys: pairs of the old and the new one.
pub(super) async fn rename_keys(conn: &mut Conn, moves: &[(String, String)]) -> Result<(), StoreError> {
    const ROWS: Pair = (
        "update consents set consent_key = v.value ->> 1 from json_each($1) as v \
         where consents.consent_key = v.value ->> 0",
        "update consents as c set consent_key = v.new_key \
         from unnest($1::text[], $2::text[]) as v(old_key, new_key) where c.consent_key = v.old_key",
    );
    const HISTORY: Pair = from_pairs!("update consent_changes as c set consent_key = ");
    const RETURNS: Pair = from_pairs!("update pending_returns as c set consent_key = ");
    if moves.is_empty() {
        return Ok(());
    }
    let renamed = on_pairs(conn, ROWS, moves).await?;
    must_have_stored(renamed, moves.len())?;
    on_pairs(conn, HISTORY, moves).await?;
    on_pairs(conn, RETURNS, moves).await?;
    let old: Vec<String> = moves.iter().map(|(old, _)| old.clone()).collect();
    Ok(delete_checks(conn, &old).await?)
}

/// Pairs of a row's key and the hash of the item that says what it holds already.
pub(super) async fn set_item_hashes(conn: &mut Conn, items: &[(String, String)]) -> Result<(), StoreError> {
    const ITEMS: Pair = from_pairs!("update consents as c set item_hash = ");
    Ok(on_pairs(conn, ITEMS, items).await.map(drop)?)
}

/// Gives rows and their history another natural key that they had before an id: pairs of the row's key and that one.
pub(super) async fn replace_previous_keys(
    conn: &mut Conn,
    keys: &[(String, String)],
) -> Result<(), StoreError> {
    const ROWS: Pair =
        from_pairs!("update consents as c set previous_key = ", " and c.previous_key is not null");
    const HISTORY: Pair =
        from_pairs!("update consent_changes as c set previous_key = ", " and c.previous_key is not null");
    if keys.is_empty() {
        return Ok(());
    }
    on_pairs(conn, ROWS, keys).await?;
    on_pairs(conn, HISTORY, keys).await?;
    Ok(())
}

async fn on_pairs(
    conn: &mut Conn,
    (sqlite, postgres): Pair,
    pairs: &[(String, String)],
) -> Result<u64, sqlx::Error> {
    match conn {
        Conn::Sqlite(c) => {
            let mut changed = 0;
            for pairs in pairs.chunks(SQLITE_ROWS) {
                let query = sqlx::query(sqlite).bind(json!(pairs).to_string());
                changed += query.execute(&mut **c).await?.rows_affected();
            }
            Ok(changed)
        }
        Conn::Postgres(c) => {
            let (left, right): (Vec<&str>, Vec<&str>) =
                pairs.iter().map(|(left, right)| (left.as_str(), right.as_str())).unzip();
            let query = sqlx::query(postgres).bind(&left).bind(&right).persistent(false);
            query.execute(&mut **c).await.map(|done| done.rows_affected())
        }
    }
}

/// Writes distinct rejected items and tells how many rows that were. First the records that are there: an insert that finds
/// one would spend an id.
pub(super) async fn write_rejects(
    conn: &mut Conn,
    context: &WriteContext,
    rejects: &[&Rejected],
) -> Result<u64, sqlx::Error> {
    match conn {
        // In this process a statement costs no way, and a text that is bound alone is held once.
        Conn::Sqlite(_) => {
            let mut stored = 0;
            for reject in rejects {
                stored += write_reject(conn, context, reject).await?;
            }
            Ok(stored)
        }
        Conn::Postgres(c) => write_rejects_postgres(c, context.run_id, rejects).await,
    }
}

async fn write_reject(
    conn: &mut Conn,
    context: &WriteContext,
    reject: &Rejected,
) -> Result<u64, sqlx::Error> {
    const AGAIN: &str = "update rejected_items set last_run_id = $1, resolved_at = null, reason = $2, item = $3 \
         where fingerprint = $4";
    const REJECT: &str = "insert into rejected_items (first_run_id, last_run_id, reason, item, has_id, fingerprint) \
         values ($1, $1, $2, $3, $5, $4)";
    let reason = reject.reason.to_string();
    let fingerprint = reject.fingerprint.as_slice();
    match execute!(conn, AGAIN, context.run_id, &reason, &reject.item, fingerprint)? {
        0 => {
            let has_id = i64::from(reject.id.is_some());
            execute!(conn, REJECT, context.run_id, &reason, &reject.item, fingerprint, has_id)
        }
        again => Ok(again),
    }
}

async fn write_rejects_postgres(
    conn: &mut PgConnection,
    run_id: i64,
    rejects: &[&Rejected],
) -> Result<u64, sqlx::Error> {
    const AGAIN: &str = "update rejected_items as r set last_run_id = $1, resolved_at = null, reason = v.reason, item = v.item \
         from unnest($2::bytea[], $3::text[], $4::text[]) as v(fingerprint, reason, item) \
         where r.fingerprint = v.fingerprint";
    const NEW: &str = "insert into rejected_items (first_run_id, last_run_id, reason, item, has_id, fingerprint) \
         select $1, $1, v.reason, v.item, v.has_id, v.fingerprint \
         from unnest($2::bytea[], $3::text[], $4::text[], $5::bigint[]) as v(fingerprint, reason, item, has_id) \
         where not exists (select 1 from rejected_items as r where r.fingerprint = v.fingerprint)";
    let fingerprints: Vec<&[u8]> = rejects.iter().map(|reject| reject.fingerprint.as_slice()).collect();
    let reasons: Vec<String> = rejects.iter().map(|reject| reject.reason.to_string()).collect();
    let items: Vec<&str> = rejects.iter().map(|reject| reject.item.as_str()).collect();
    let has_id: Vec<i64> = rejects.iter().map(|reject| i64::from(reject.id.is_some())).collect();
    let again = sqlx::query(AGAIN).bind(run_id).bind(&fingerprints).bind(&reasons).bind(&items);
    let again = again.persistent(false).execute(&mut *conn).await?.rows_affected();
    if again == rejects.len() as u64 {
        return Ok(again);
    }
    let new = sqlx::query(NEW).bind(run_id).bind(&fingerprints).bind(&reasons).bind(&items).bind(&has_id);
    Ok(again + new.persistent(false).execute(conn).await?.rows_affected())
}

/// Adds lines to `consent_changes`.
pub(super) async fn record(
    conn: &mut Conn,
    context: &WriteContext,
    changes: &[HistoryLine],
) -> Result<(), StoreError> {
    const SQLITE: &str = "insert or fail into consent_changes \
         (consent_key, run_id, changed_at, change, before, previous_key) \
         select value ->> 0, $3, $2, value ->> 1, value ->> 2, value ->> 3 from json_each($1)";
    const SQLITE_LARGE: &str = "insert into consent_changes (consent_key, run_id, changed_at, change, before, previous_key) \
         values (?, ?, ?, ?, ?, ?)";
    const POSTGRES: &str = "insert into consent_changes (consent_key, run_id, changed_at, change, before, previous_key) \
         select v.consent_key, $6, $5, v.change, v.before::jsonb, v.previous_key \
         from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as v(consent_key, change, before, previous_key)";
    if changes.is_empty() {
        return Ok(());
    }
    let stored = match conn {
        Conn::Sqlite(c) => {
            let is_large =
                |change: &&HistoryLine| change.before.as_ref().is_some_and(|text| text.len() > LARGE);
            let (large, small): (Vec<_>, Vec<_>) = changes.iter().partition(is_large);
            let mut stored = 0;
            for change in large {
                let query = sqlx::query(SQLITE_LARGE)
                    .bind(&change.consent_key)
                    .bind(context.run_id)
                    .bind(context.changed_at)
                    .bind(change.kind)
                    .bind(&change.before)
                    .bind(&change.previous_key);
                let done = query.execute(&mut **c).await;
                stored += done?.rows_affected();
            }
            let list: Vec<_> = small
                .iter()
                .map(|change| json!([change.consent_key, change.kind, change.before, change.previous_key]))
                .collect();
            let list = serde_json::Value::from(list).to_string();
            let query = sqlx::query(SQLITE).bind(list).bind(context.changed_at).bind(context.run_id);
            query.execute(&mut **c).await.map(|done| stored + done.rows_affected())
        }
        Conn::Postgres(c) => {
            let keys: Vec<&str> = changes.iter().map(|change| change.consent_key.as_str()).collect();
            let kinds: Vec<&str> = changes.iter().map(|change| change.kind).collect();
            let before: Vec<Option<&str>> = changes.iter().map(|change| change.before.as_deref()).collect();
            let previous: Vec<Option<&str>> =
                changes.iter().map(|change| change.previous_key.as_deref()).collect();
            let query = sqlx::query(POSTGRES).bind(&keys).bind(&kinds).bind(&before).bind(&previous);
            let query = query.bind(context.changed_at).bind(context.run_id).persistent(false);
            query.execute(&mut **c).await.map(|done| done.rows_affected())
        }
    }?;
    must_have_stored(stored, changes.len())
}
