//! Reading rows out: the export, a table for the demo, and SQLite's backup.

use std::path::Path;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use sqlx::sqlite::{SqliteColumn, SqliteRow};
use sqlx::{Column as _, ColumnIndex, Decode, FromRow, Row as _, Type};

use super::bulk::as_it_stands;
use super::conn::{Access, Conn, Intent, Pair, execute, row, rows};
use super::error::StoreError;
use super::location::Location;
use super::lock::write_error;
use super::{Store, Timestamp};

/// The columns of `consents` that are exported, in the order of the query.
pub const COLUMNS: [&str; 18] = [
    "consent_key",
    "consent_id",
    "company_id",
    "email",
    "full_name",
    "source",
    "refs",
    "extra",
    "first_seen_at",
    "changed_at",
    "missing_since",
    "withheld_since",
    "removed_at",
    "erased_at",
    "first_run_id",
    "changed_run_id",
    "address",
    "previous_key",
];

/// A row as it is shown: its columns in the order of the query.
#[derive(Debug)]
pub struct Record(pub Vec<(String, Cell)>);

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Cell {
    Text(Option<String>),
    /// Embedded as JSON, byte for byte: serde_json treats some keys of a parsed value as its own.
    Json(#[serde(serialize_with = "as_json")] Option<String>),
    Time(Option<Timestamp>),
    Number(Option<i64>),
}

#[expect(clippy::ref_option, reason = "what serde calls it with")]
fn as_json<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().map(as_it_stands).serialize(serializer)
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, cell)| (name, cell)))
    }
}

/// The name of a column tells its type.
impl<'r, R: sqlx::Row> FromRow<'r, R> for Record
where
    usize: ColumnIndex<R>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    Option<Timestamp>: Decode<'r, R::Database> + Type<R::Database>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let ends = |name: &str, ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        let cell = |(at, column): (usize, &<R::Database as sqlx::Database>::Column)| {
            let name = column.name();
            let cell = match name {
                "refs" | "extra" | "before" => Cell::Json(row.try_get(at)?),
                _ if ends(name, &["_at", "_since"]) => Cell::Time(row.try_get(at)?),
                _ if name == "id" || ends(name, &["run_id", "_runs"]) => Cell::Number(row.try_get(at)?),
                _ => Cell::Text(row.try_get(at)?),
            };
            Ok((name.to_owned(), cell))
        };
        row.columns().iter().enumerate().map(cell).collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportRows {
    /// Active and not withheld.
    Certain,
    /// Active, the withheld included.
    Active,
    All,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    pub columns: Vec<String>,
    /// As many values in each as there are columns; none stands for null.
    pub rows: Vec<Vec<Option<String>>>,
}

macro_rules! export_sql {
    ($json:literal) => {
        concat!(
            "select consent_key, consent_id, company_id, email, full_name, source, refs",
            $json,
            " as refs, extra",
            $json,
            " as extra, first_seen_at, changed_at, missing_since, withheld_since, removed_at, erased_at, ",
            "first_run_id, changed_run_id, address, previous_key from consents where consent_key > $1 ",
            "and ($2 or (missing_since is null and removed_at is null and ($3 or withheld_since is null))) ",
            "order by consent_key limit 1000"
        )
    };
}

const EXPORT: Pair = (export_sql!(""), export_sql!("::text"));

impl Store {
    /// Streams rows in the order of the key from one snapshot of the database, in constant memory.
    pub async fn export<E: From<StoreError>>(
        &mut self,
        rows: ExportRows,
        sink: impl FnMut(&[Record]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let exported = self.export_view(rows, sink).await;
        if exported.is_err() {
            // It is in the middle of a transaction.
            self.conn = None;
        }
        exported
    }

    async fn export_view<E: From<StoreError>>(
        &mut self,
        rows: ExportRows,
        mut sink: impl FnMut(&[Record]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let (all, withheld) = (rows == ExportRows::All, rows != ExportRows::Certain);
        let location = Arc::clone(&self.location);
        self.use_conn(async |conn| Ok(conn.begin(Intent::View, location.schema()).await?)).await?;
        let mut count = 0;
        let mut last = String::new();
        loop {
            // The time that the consumer takes between batches does not count against the limits.
            let found: Vec<Record> = self
                .use_conn(async |conn| {
                    let sql = conn.pick(EXPORT);
                    Ok(rows!(conn, sql, &last, all, withheld)?)
                })
                .await?;
            let Some(Record(cells)) = found.last() else { break };
            if let Some((_, Cell::Text(Some(key)))) = cells.first() {
                last.clone_from(key);
            }
            count += found.len() as u64;
            sink(&found)?;
        }
        self.use_conn(async |conn| Ok(conn.rollback().await?)).await?;
        Ok(count)
    }

    /// Runs a query of the program's own and gives its answer as text. SQLite only: it is for the demo.
    pub async fn query_table(&mut self, sql: &'static str) -> Result<Table, StoreError> {
        self.use_conn(async |conn| {
            let Conn::Sqlite(conn) = conn else { return Err(StoreError::sqlite_only("this query")) };
            let found = sqlx::query(sql).fetch_all(&mut **conn).await?;
            let name = |column: &SqliteColumn| column.name().to_owned();
            let columns = found.first().map(|row| row.columns().iter().map(name).collect());
            let texts = |row: &SqliteRow| (0..row.len()).map(|at| row.try_get_unchecked(at)).collect();
            let rows = found.iter().map(texts).collect::<Result<_, sqlx::Error>>()?;
            Ok(Table { columns: columns.unwrap_or_default(), rows })
        })
        .await
    }

    /// SQLite: a consistent copy in a new file with mode 0600, made beside the target and moved into its place at the end.
    pub async fn backup(&mut self, target: &Path) -> Result<(), StoreError> {
        if target.is_dir() {
            return Err(StoreError::directory(target));
        }
        let file_on_disk =
            crate::file::AtomicFile::create_beside(target).map_err(|cause| write_error(target, &cause))?;
        let text = file_on_disk.path().display().to_string();
        let copied = self.use_conn(async |conn| Ok(execute!(conn, "vacuum into $1", &text)?)).await;
        copied.map_err(|error| match error {
            // What cannot be written here is the copy.
            StoreError::Write { cause, .. } => {
                StoreError::Write { place: target.display().to_string(), cause }
            }
            error => error,
        })?;
        self.mark_copy(file_on_disk.path()).await?;
        file_on_disk.persist(target).map_err(|cause| write_error(target, &cause))
    }

    /// The copy gets a feed identity of its own: cursors of the original do not apply to it.
    async fn mark_copy(&self, copy: &Path) -> Result<(), StoreError> {
        const KEEPS_FEED: &str =
            "select count(*) > 0 from pragma_table_info('sync_state') where name = 'feed_id'";
        const MARK: &str = "update sync_state set feed_id = lower(hex(randomblob(16))), feed_file = 'copy', restored_at = $1 \
             where id = 1";
        let location = Location::Sqlite { path: copy.to_path_buf() };
        let copied = Self::at(location, Access::Write, None, self.bounds);
        let mark = async |conn: &mut Conn| {
            let (keeps_feed,): (bool,) = row!(&mut *conn, KEEPS_FEED)?;
            if keeps_feed {
                execute!(conn, MARK, Timestamp::now())?;
            }
            Ok(())
        };
        copied.close_after(async |copied| copied.use_conn(mark).await).await
    }
}
