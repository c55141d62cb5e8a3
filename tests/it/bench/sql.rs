//! SQL beside the program, through a connection of the test's own.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tokio::runtime::Runtime;

pub(crate) struct Db {
    runtime: Runtime,
    conn: Option<Conn>,
}

enum Conn {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Db {
    #[track_caller]
    pub(crate) fn open(url: &str) -> Self {
        Self::try_open(url).unwrap()
    }

    pub(crate) fn try_open(url: &str) -> Result<Self, sqlx::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let conn = runtime.block_on(async {
            Ok::<_, sqlx::Error>(if url.starts_with("sqlite") {
                Conn::Sqlite(SqliteConnection::connect(url).await?)
            } else {
                // A pooler refuses the start-up parameter that the driver sends.
                let options: PgConnectOptions = url.parse()?;
                let options = options.extra_float_digits(None).statement_cache_capacity(0);
                Conn::Postgres(PgConnection::connect_with(&options).await?)
            })
        })?;
        Ok(Self { runtime, conn: Some(conn) })
    }

    /// Statements, one or several.
    #[track_caller]
    pub(crate) fn run(&mut self, sql: &str) {
        self.try_run(sql).unwrap();
    }

    pub(crate) fn try_run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        self.runtime.block_on(async {
            match self.conn.as_mut().unwrap() {
                Conn::Sqlite(conn) => sql.execute(conn).await.map(drop),
                Conn::Postgres(conn) => sql.execute(conn).await.map(drop),
            }
        })
    }

    /// The one text column of a query.
    #[track_caller]
    pub(crate) fn texts(&mut self, sql: &str) -> Vec<String> {
        self.try_texts(sql).unwrap()
    }

    pub(crate) fn try_texts(&mut self, sql: &str) -> Result<Vec<String>, sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        self.runtime.block_on(async {
            Ok(match self.conn.as_mut().unwrap() {
                Conn::Sqlite(conn) => sqlx::query_scalar(sql).fetch_all(conn).await?,
                Conn::Postgres(conn) => sqlx::query_scalar(sql).persistent(false).fetch_all(conn).await?,
            })
        })
    }

    /// The one number of a query.
    #[track_caller]
    pub(crate) fn number(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        self.runtime
            .block_on(async {
                match self.conn.as_mut().unwrap() {
                    Conn::Sqlite(conn) => sqlx::query_scalar(sql).fetch_one(conn).await,
                    Conn::Postgres(conn) => sqlx::query_scalar(sql).persistent(false).fetch_one(conn).await,
                }
            })
            .unwrap()
    }

    /// Ends the connection now.
    pub(crate) fn close(self) {
        drop(self);
    }
}

impl Drop for Db {
    /// In order, and before this returns: SQLite's last connection takes the -wal away.
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        self.runtime.block_on(async {
            let _ = match conn {
                Conn::Sqlite(conn) => conn.close().await,
                Conn::Postgres(conn) => conn.close().await,
            };
        });
    }
}
