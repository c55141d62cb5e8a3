//! Reading rows out: the export, a table for the demo, and SQLite's backup.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use sqlx::{Column as _, Row as _};

use super::conn::{Access, Conn, Intent, execute, row};
use super::error::{StoreError, from_sqlx};
use super::location::Location;
use super::lock::write_error;
use super::{Store, Timestamp};

/// One row of `consents` as it is exported: the columns of the contract.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct ExportRow {
    pub consent_key: String,
    pub consent_id: Option<String>,
    pub company_id: String,
    /// The address; none where retention erased it.
    pub email: Option<String>,
    pub full_name: Option<String>,
    /// Where the consent was given.
    pub source: Option<String>,
    pub refs: Option<String>,
    pub extra: Option<String>,
    /// When this program first saw it.
    pub first_seen_at: Timestamp,
    /// Last change of content or state.
    pub changed_at: Timestamp,
    /// First judged run that did not list it.
    pub missing_since: Option<Timestamp>,
    /// First complete run since when the guard keeps it active.
    pub withheld_since: Option<Timestamp>,
    /// When its removal was recorded.
    pub removed_at: Option<Timestamp>,
    /// When retention erased its personal data.
    pub erased_at: Option<Timestamp>,
    /// The run that first saw it.
    pub first_run_id: i64,
    /// The run that last changed it.
    pub changed_run_id: i64,
    pub address: Option<String>,
    pub previous_key: Option<String>,
}

/// Which rows are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportRows {
    /// Active and not withheld.
    Certain,
    /// Active, the withheld included.
    Active,
    All,
}

/// A query's answer as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub columns: Vec<String>,
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

const EXPORT_SQLITE: &str = export_sql!("");
const EXPORT_POSTGRES: &str = export_sql!("::text");

impl Store {
    /// Gives every active row (or every row), in the order of the key, from one view of the database. Memory does not
    /// follow the table.
    pub async fn export<E: From<StoreError>>(
        &mut self,
        rows: ExportRows,
        sink: impl FnMut(&[ExportRow]) -> Result<(), E>,
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
        mut sink: impl FnMut(&[ExportRow]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let (all, withheld) = (rows == ExportRows::All, rows != ExportRows::Certain);
        let location = Arc::clone(&self.location);
        let failed = |error: sqlx::Error| location.failed(&error);
        self.use_conn(async |conn| conn.begin(Intent::View, location.schema()).await.map_err(failed)).await?;
        let mut count = 0;
        let mut last = String::new();
        loop {
            // Whoever takes the rows may take their time: that is not the database's.
            let found: Vec<ExportRow> = self
                .use_conn(async |conn| {
                    match conn {
                        Conn::Sqlite(c) => {
                            sqlx::query_as(EXPORT_SQLITE)
                                .bind(&last)
                                .bind(all)
                                .bind(withheld)
                                .fetch_all(&mut **c)
                                .await
                        }
                        Conn::Postgres(c) => {
                            let query = sqlx::query_as(EXPORT_POSTGRES).bind(&last).bind(all).bind(withheld);
                            query.persistent(false).fetch_all(&mut **c).await
                        }
                    }
                    .map_err(failed)
                })
                .await?;
            let Some(row) = found.last() else { break };
            last.clone_from(&row.consent_key);
            count += found.len() as u64;
            sink(&found)?;
        }
        self.use_conn(async |conn| conn.rollback().await.map_err(failed)).await?;
        Ok(count)
    }

    /// Runs a query of the program's own and gives its answer as text. SQLite only: it is for the demo.
    pub async fn query_table(&mut self, sql: &'static str) -> Result<Table, StoreError> {
        let place = self.place();
        let found = self
            .use_conn(async |conn| match conn {
                Conn::Sqlite(conn) => {
                    sqlx::query(sql).fetch_all(&mut **conn).await.map_err(|error| from_sqlx(&error, &place))
                }
                Conn::Postgres(_) => Err(StoreError::SqliteOnly("this query")),
            })
            .await?;
        let columns = found
            .first()
            .map(|row| row.columns().iter().map(|column| column.name().to_owned()).collect())
            .unwrap_or_default();
        let rows = found
            .iter()
            .map(|row| {
                (0..row.len())
                    .map(|at| {
                        row.try_get_unchecked::<Option<String>, _>(at)
                            .map_err(|error| from_sqlx(&error, &place))
                    })
                    .collect()
            })
            .collect::<Result<_, _>>()?;
        Ok(Table { columns, rows })
    }

    /// SQLite: a consistent copy in a new file with mode 0600, made beside the target and moved into its place at the end.
    pub async fn backup(&mut self, target: &Path) -> Result<(), StoreError> {
        let location = Arc::clone(&self.location);
        if !location.is_sqlite() {
            return Err(StoreError::SqliteOnly("backup"));
        }
        if target.is_dir() {
            return Err(StoreError::Directory { path: target.to_path_buf() });
        }
        let file_on_disk =
            crate::file::AtomicFile::create_beside(target).map_err(|cause| write_error(target, &cause))?;
        let text = file_on_disk.path().display().to_string();
        let copied = self
            .use_conn(async |conn| {
                execute!(conn, "vacuum into $1", &text).map_err(|error| location.failed(&error))
            })
            .await;
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

    /// What readers of the change feed have seen of the original says nothing about the copy, which gets a feed of its own.
    async fn mark_copy(&self, copy: &Path) -> Result<(), StoreError> {
        const KEEPS_FEED: &str =
            "select count(*) > 0 from pragma_table_info('sync_state') where name = 'feed_id'";
        const MARK: &str = "update sync_state set feed_id = lower(hex(randomblob(16))), feed_file = 'copy', restored_at = $1 \
             where id = 1";
        let location = Location::Sqlite { path: copy.to_path_buf() };
        let mut copied = Self::at(location, Access::Write, None, self.bounds);
        let marked = copied
            .use_conn(async |conn| {
                let failed = |error: sqlx::Error| self.location.failed(&error);
                let (keeps_feed,): (bool,) = row!(&mut *conn, KEEPS_FEED).map_err(failed)?;
                if keeps_feed {
                    execute!(conn, MARK, Timestamp::now()).map_err(failed)?;
                }
                Ok(())
            })
            .await;
        copied.close().await;
        marked
    }
}
