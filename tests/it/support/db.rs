//! A database for one test: a file in a folder of its own, or a database of its own on the server.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Row as _, ValueRef as _};
use sqlx::{PgConnection, SqliteConnection};
use tempfile::TempDir;
use understory_sync::config;

use super::server;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

/// A database for one test; it is gone when this is dropped. Nothing is in it, no schema either.
pub(crate) struct TestDb {
    engine: Engine,
    url: String,
    folder: TempDir,
    name: String,
}

impl TestDb {
    /// A new one.
    pub(crate) async fn on(engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => Self::sqlite(),
            Engine::Postgres => Self::postgres().await,
        }
    }

    /// A file that is not there yet.
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        Self { engine: Engine::Sqlite, url, folder, name: String::new() }
    }

    /// An empty database on the server.
    pub(crate) async fn postgres() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("understory_test_{}_{number}", std::process::id());
        let mut url = url::Url::parse(server::url()).expect("TEST_POSTGRES_URL is no URL");
        administer(&format!("create database {name} template template0")).await;
        url.set_path(&name);
        Self { engine: Engine::Postgres, url: url.into(), folder: tempfile::tempdir().unwrap(), name }
    }

    /// Which engine it is.
    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    /// Whether it is PostgreSQL.
    pub(crate) fn is_postgres(&self) -> bool {
        self.engine == Engine::Postgres
    }

    /// For `database.url`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// For the store.
    pub(crate) fn config(&self) -> config::Database {
        config::Database { url: self.url.clone().into(), schema: None, is_borrowed: false }
    }

    /// SQLite: the file.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder().join("test.db")
    }

    /// SQLite: the file's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs statements.
    pub(crate) async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.engine {
            Engine::Sqlite => {
                let mut conn = self.sqlite_connection().await;
                sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
            }
            Engine::Postgres => {
                let mut conn = PgConnection::connect(&self.url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
            }
        }
    }

    /// The rows of a query, every value as the database writes it as text, none as null. Blobs come as hex.
    pub(crate) async fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.engine {
            Engine::Sqlite => {
                let mut conn = self.sqlite_connection().await;
                let rows = sqlx::raw_sql(sql).fetch_all(&mut conn).await.unwrap();
                conn.close().await.unwrap();
                rows.iter()
                    .map(|row| (0..row.columns().len()).map(|at| sqlite_text(row, at)).collect())
                    .collect()
            }
            Engine::Postgres => {
                let mut conn = PgConnection::connect(&self.url).await.unwrap();
                let rows = sqlx::raw_sql(sql).fetch_all(&mut conn).await.unwrap();
                conn.close().await.unwrap();
                // The simple protocol sends every value as text.
                rows.iter()
                    .map(|row| {
                        let text = |at| {
                            let value = row.try_get_raw(at).unwrap();
                            (!value.is_null()).then(|| value.as_str().unwrap().to_owned())
                        };
                        (0..row.columns().len()).map(text).collect()
                    })
                    .collect()
            }
        }
    }

    /// The rows of a query, one text each: values with `|` between them, `-` for null.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let rows = self.query(sql).await;
        rows.into_iter()
            .map(|row| {
                let values: Vec<String> =
                    row.into_iter().map(|value| value.unwrap_or_else(|| "-".to_owned())).collect();
                values.join("|")
            })
            .collect()
    }

    /// The only value of the only row, `-` for null.
    pub(crate) async fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql).await;
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows.into_iter().next().unwrap()
    }

    /// The first value of the first row; none where there is no such row, no such table or no database yet.
    pub(crate) async fn find(&self, sql: &str) -> Option<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.engine {
            Engine::Sqlite => {
                let mut conn = SqliteConnection::connect(&self.url).await.ok()?;
                let found = sqlx::raw_sql(sql).fetch_optional(&mut conn).await;
                conn.close().await.ok()?;
                sqlite_text(&found.ok()??, 0)
            }
            Engine::Postgres => {
                let mut conn = self.postgres_connection().await;
                let found = sqlx::raw_sql(sql).fetch_optional(&mut conn).await;
                conn.close().await.ok()?;
                let row = found.ok()??;
                let value = row.try_get_raw(0).ok()?;
                (!value.is_null()).then(|| value.as_str().unwrap().to_owned())
            }
        }
    }

    /// As [`TestDb::find`], a number.
    pub(crate) async fn find_number(&self, sql: &str) -> Option<i64> {
        self.find(sql).await?.parse().ok()
    }

    /// PostgreSQL: a connection of one's own, to hold something with.
    pub(crate) async fn postgres_connection(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// The only value of the only row, a number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let value = self.value(sql).await;
        value.parse().unwrap_or_else(|_| panic!("{sql}: {value} is no number"))
    }

    /// How many rows a table or view has.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        self.number(&format!("select count(*) from {table}")).await
    }

    /// The names of a query's columns.
    pub(crate) async fn columns(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.engine {
            Engine::Sqlite => {
                let mut conn = self.sqlite_connection().await;
                let row = sqlx::raw_sql(sql).fetch_one(&mut conn).await.unwrap();
                row.columns().iter().map(|c| c.name().to_owned()).collect()
            }
            Engine::Postgres => {
                let mut conn = PgConnection::connect(&self.url).await.unwrap();
                let row = sqlx::raw_sql(sql).fetch_one(&mut conn).await.unwrap();
                row.columns().iter().map(|c| c.name().to_owned()).collect()
            }
        }
    }

    async fn sqlite_connection(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::from_str(&self.url).unwrap();
        SqliteConnection::connect_with(&options.create_if_missing(true)).await.unwrap()
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        if self.engine == Engine::Sqlite {
            return;
        }
        let sql = format!("drop database if exists {} with (force)", self.name);
        // A runtime cannot be entered from within another one, so that it gets a thread of its own.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(administer(&sql));
        });
        // A test that failed must not hide its message behind a second one.
        let _ = dropping.join();
    }
}

async fn administer(sql: &str) {
    assert!(try_administer(sql).await, "the user of TEST_POSTGRES_URL must be allowed to create databases");
}

/// Runs a statement of an administrator; false where the server refuses it.
pub(crate) async fn try_administer(sql: &str) -> bool {
    let mut conn = PgConnection::connect(server::url())
        .await
        .expect("the server of TEST_POSTGRES_URL cannot be reached");
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.is_ok();
    conn.close().await.unwrap();
    done
}

fn sqlite_text(row: &sqlx::sqlite::SqliteRow, at: usize) -> Option<String> {
    if row.try_get_raw(at).unwrap().is_null() {
        return None;
    }
    if let Ok(text) = row.try_get_unchecked::<String, _>(at) {
        return Some(text);
    }
    let bytes: Vec<u8> = row.try_get_unchecked(at).unwrap();
    Some(bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}
