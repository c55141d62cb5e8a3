//! One connection, never shared and never pooled: opened for a run, closed after it.
//!
//! A pool could hand out a connection in which a cancelled future left a transaction open; here the connection dies with
//! whoever used it.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgRow, PgSslMode};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqlSafeStr, SqliteConnection};

use super::error::StoreError;
use super::location::{Location, sqlite_options};

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection to either engine.
pub(super) enum Conn {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>),
}

/// Runs one statement on either engine and gives the number of rows. Here and below: PostgreSQL needs two round trips for a statement
/// with values, which is parsed first, and one for a statement without.
macro_rules! execute {
    ($conn:expr, $sql:expr $(,)?) => {
        match $conn {
            $crate::store::conn::Conn::Sqlite(c) => {
                sqlx::query($sql).execute(&mut **c).await.map(|done| done.rows_affected())
            }
            $crate::store::conn::Conn::Postgres(c) => {
                sqlx::raw_sql($sql).execute(&mut **c).await.map(|done| done.rows_affected())
            }
        }
    };
    ($conn:expr, $sql:expr $(, $bind:expr)+ $(,)?) => {
        match $conn {
            $crate::store::conn::Conn::Sqlite(c) => {
                sqlx::query($sql)$(.bind($bind))*.execute(&mut **c).await.map(|done| done.rows_affected())
            }
            $crate::store::conn::Conn::Postgres(c) => {
                sqlx::query($sql)$(.bind($bind))*.persistent(false).execute(&mut **c).await.map(|done| done.rows_affected())
            }
        }
    };
}

/// Runs one query on either engine and gives its rows as tuples or structs (`query_as`).
macro_rules! rows {
    ($conn:expr, $sql:expr $(,)?) => {
        match $conn {
            $crate::store::conn::Conn::Sqlite(c) => sqlx::query_as($sql).fetch_all(&mut **c).await,
            $crate::store::conn::Conn::Postgres(c) => {
                let rows = sqlx::raw_sql($sql).fetch_all(&mut **c).await;
                rows.and_then(|rows| rows.iter().map(sqlx::FromRow::from_row).collect())
            }
        }
    };
    ($conn:expr, $sql:expr $(, $bind:expr)+ $(,)?) => {
        match $conn {
            $crate::store::conn::Conn::Sqlite(c) => {
                sqlx::query_as($sql)$(.bind($bind))*.fetch_all(&mut **c).await
            }
            $crate::store::conn::Conn::Postgres(c) => {
                sqlx::query_as($sql)$(.bind($bind))*.persistent(false).fetch_all(&mut **c).await
            }
        }
    };
}

/// Runs one query on either engine and gives its only row.
macro_rules! row {
    ($conn:expr, $sql:expr $(,)?) => {
        match $conn {
            $crate::store::conn::Conn::Sqlite(c) => sqlx::query_as($sql).fetch_one(&mut **c).await,
            $crate::store::conn::Conn::Postgres(c) => {
                let row = sqlx::raw_sql($sql).fetch_one(&mut **c).await;
                row.and_then(|row| sqlx::FromRow::from_row(&row))
            }
        }
    };
    ($conn:expr, $sql:expr $(, $bind:expr)+ $(,)?) => {
        match $conn {
            $crate::store::conn::Conn::Sqlite(c) => {
                sqlx::query_as($sql)$(.bind($bind))*.fetch_one(&mut **c).await
            }
            $crate::store::conn::Conn::Postgres(c) => {
                sqlx::query_as($sql)$(.bind($bind))*.persistent(false).fetch_one(&mut **c).await
            }
        }
    };
}

/// The rows of several queries as tuples or structs.
macro_rules! decode {
    ($results:expr, $($row:ty),+ $(,)?) => {
        match $results {
            $crate::store::conn::Results::Sqlite(mut results) => {
                (|| Ok::<_, sqlx::Error>(($($crate::store::conn::next::<_, $row>(&mut results)?,)+)))()
            }
            $crate::store::conn::Results::Postgres(mut results) => {
                (|| Ok::<_, sqlx::Error>(($($crate::store::conn::next::<_, $row>(&mut results)?,)+)))()
            }
        }
    };
}

pub(super) use {decode, execute, row, rows};

/// The rows of several queries, in order.
pub(super) enum Results {
    Sqlite(VecDeque<Vec<SqliteRow>>),
    Postgres(VecDeque<Vec<PgRow>>),
}

/// `take` sees each row as it comes, and tells whether it is done with it.
async fn results_of<'c, E, DB>(
    executor: E,
    sql: String,
    mut take: impl FnMut(&DB::Row) -> Result<bool, StoreError>,
) -> Result<VecDeque<Vec<DB::Row>>, StoreError>
where
    DB: sqlx::Database,
    E: sqlx::Executor<'c, Database = DB>,
{
    let mut results = VecDeque::new();
    let mut rows = Vec::new();
    let mut parts = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(executor);
    while let Some(part) = parts.try_next().await? {
        match part {
            sqlx::Either::Left(_) => results.push_back(std::mem::take(&mut rows)),
            sqlx::Either::Right(row) if !take(&row)? => rows.push(row),
            sqlx::Either::Right(_) => {}
        }
    }
    Ok(results)
}

/// Without what came before the last `count`, and without the end of the transaction.
fn last<T>(mut results: VecDeque<T>, count: usize) -> VecDeque<T> {
    results.pop_back();
    results.drain(..results.len().saturating_sub(count));
    results
}

/// The rows of the next query.
pub(super) fn next<R: sqlx::Row, T: for<'r> sqlx::FromRow<'r, R>>(
    results: &mut VecDeque<Vec<R>>,
) -> Result<Vec<T>, sqlx::Error> {
    let rows = results.pop_front().ok_or(sqlx::Error::RowNotFound)?;
    rows.iter().map(T::from_row).collect()
}

/// A statement for SQLite, and the same for PostgreSQL.
pub(super) type Pair = (&'static str, &'static str);

/// Runs a statement over a list ($1), with what else is bound, and gives the number of rows.
macro_rules! execute_over {
    ($conn:expr, $pair:expr, $list:expr $(, $bind:expr)* $(,)?) => {
        match $conn {
            $crate::store::conn::Conn::Sqlite(c) => {
                let query = sqlx::query($pair.0).bind(serde_json::json!($list).to_string())$(.bind($bind))*;
                query.execute(&mut **c).await.map(|done| done.rows_affected())
            }
            $crate::store::conn::Conn::Postgres(c) => {
                let query = sqlx::query($pair.1).bind($list)$(.bind($bind))*.persistent(false);
                query.execute(&mut **c).await.map(|done| done.rows_affected())
            }
        }
    };
}

/// Runs a query over a list ($1), with what else is bound, and gives its rows as tuples or structs.
macro_rules! rows_over {
    ($conn:expr, $pair:expr, $list:expr $(, $bind:expr)* $(,)?) => {
        match $conn {
            $crate::store::conn::Conn::Sqlite(c) => {
                let query = sqlx::query_as($pair.0).bind(serde_json::json!($list).to_string())$(.bind($bind))*;
                query.fetch_all(&mut **c).await
            }
            $crate::store::conn::Conn::Postgres(c) => {
                let query = sqlx::query_as($pair.1).bind($list)$(.bind($bind))*.persistent(false);
                query.fetch_all(&mut **c).await
            }
        }
    };
}

/// A statement for both engines whose condition ends with a column that is one of a list ($1).
macro_rules! in_list {
    ($before:expr $(, $after:expr)?) => {
        (
            concat!($before, " in (select value from json_each($1))" $(, $after)?),
            concat!($before, " = any($1)" $(, $after)?),
        )
    };
}

/// A statement for both engines that reads `value` from a list of texts ($1).
macro_rules! from_list {
    ($before:expr $(, $after:expr)?) => {
        (
            concat!($before, " from json_each($1) as k" $(, $after)?),
            concat!($before, " from unnest($1::text[]) as k(value)" $(, $after)?),
        )
    };
}

pub(super) use {execute_over, from_list, in_list, rows_over};

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// A consistent view, nothing written.
    Read,
    /// The same for whoever must answer soon.
    Look,
    /// The same for an export, whose reader may take its time.
    View,
    /// SQLite: the write lock from the start.
    Write,
}

/// What SQLite may do with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Write,
    Read,
    /// Reads, and takes no lock: nothing can change it.
    Frozen,
}

impl Access {
    /// For reading alone. SQLite brings a log that a dead process left into the file when the last connection that may
    /// write is closed; whoever only looks must not do that. Without such a log, a connection that may not write would
    /// leave files of its own behind.
    pub(super) fn to_read(location: &Location) -> Self {
        let log_is_there = match location {
            Location::Sqlite { path } => {
                let mut log = path.clone().into_os_string();
                log.push("-wal");
                std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > 0)
            }
            Location::Postgres { .. } => false,
        };
        if log_is_there { Self::Read } else { Self::Write }
    }
}

/// `localhost` is this machine, whatever a resolver says. Where the certificate has to be made for that name the driver looks it up, and
/// only a name that leads nowhere else is looked up.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    if options.get_socket().is_some() || !options.get_host().eq_ignore_ascii_case("localhost") {
        return PgConnection::connect_with(options).await;
    }
    if matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
        let mut addresses = tokio::net::lookup_host((options.get_host(), options.get_port())).await?;
        if !addresses.all(|address| address.ip().is_loopback()) {
            return Err(std::io::Error::from(std::io::ErrorKind::AddrNotAvailable).into());
        }
        return PgConnection::connect_with(options).await;
    }
    match PgConnection::connect_with(&options.clone().host("127.0.0.1")).await {
        Err(sqlx::Error::Io(refused)) => {
            let other = PgConnection::connect_with(&options.clone().host("::1")).await;
            other.map_err(|error| if matches!(error, sqlx::Error::Io(_)) { refused.into() } else { error })
        }
        done => done,
    }
}

impl Conn {
    /// The statement for this engine.
    pub(super) const fn pick(&self, (sqlite, postgres): Pair) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }

    pub(super) async fn open(location: &Location, access: Access) -> Result<Self, StoreError> {
        Ok(match location {
            Location::Sqlite { path } => {
                let options = sqlite_options(path)
                    .read_only(access != Access::Write)
                    .immutable(access == Access::Frozen);
                let conn = SqliteConnection::connect_with(&options).await?;
                Self::Sqlite(Box::new(conn))
            }
            Location::Postgres { options, .. } => {
                let connecting = Box::pin(connect(options));
                // The driver has no time-out of its own for this.
                let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
                let conn = connected.map_err(|_| StoreError::silent(location.place(), CONNECT_TIMEOUT))?;
                Self::Postgres(Box::new(conn?))
            }
        })
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self, intent: Intent, schema: Option<&str>) -> Result<(), sqlx::Error> {
        let begin = self.begin_sql(intent, schema);
        self.raw(AssertSqlSafe(begin)).await
    }

    /// The search path and the time-outs live in the transaction only, so that nothing is left behind in a pooler's server
    /// connection. `statement_timeout` is longer than we wait: it ends on the server what was given up here, and its locks with it.
    /// The driver offers no TCP keepalive, and a pooler refuses it at connection start-up.
    fn begin_sql(&self, intent: Intent, schema: Option<&str>) -> String {
        let begin = match (self, intent) {
            (Self::Sqlite(_), Intent::Write) => "begin immediate",
            (Self::Sqlite(_), _) => "begin",
            (Self::Postgres(_), Intent::Read) => {
                "begin isolation level repeatable read; set local idle_in_transaction_session_timeout = '10s'; \
                 set local lock_timeout = '10s'; set local statement_timeout = '60s'"
            }
            (Self::Postgres(_), Intent::Look) => {
                "begin isolation level repeatable read; set local idle_in_transaction_session_timeout = '10s'; \
                 set local lock_timeout = '5s'; set local statement_timeout = '60s'"
            }
            (Self::Postgres(_), Intent::View) => {
                "begin isolation level repeatable read; set local idle_in_transaction_session_timeout = '10min'; \
                 set local lock_timeout = '10s'; set local statement_timeout = '60s'"
            }
            (Self::Postgres(_), Intent::Write) => {
                "begin; set local idle_in_transaction_session_timeout = '10s'; set local lock_timeout = '10s'; \
                 set local statement_timeout = '60s'; set local synchronous_commit = 'on'"
            }
        };
        match schema {
            None => begin.to_owned(),
            Some(schema) => format!("{begin}; {}", set_search_path(schema)),
        }
    }

    /// The rows of queries without values.
    pub(super) async fn results(&mut self, queries: &str) -> Result<Results, StoreError> {
        let queries = queries.to_owned();
        match self {
            Self::Sqlite(conn) => results_of(&mut **conn, queries, |_| Ok(false)).await.map(Results::Sqlite),
            Self::Postgres(conn) => {
                results_of(&mut **conn, queries, |_| Ok(false)).await.map(Results::Postgres)
            }
        }
    }

    /// Runs queries without values in a transaction of their own, on PostgreSQL in one round trip. Gives the rows of the last `count`.
    pub(super) async fn look(
        &mut self,
        intent: Intent,
        schema: Option<&str>,
        queries: &str,
        count: usize,
    ) -> Result<Results, StoreError> {
        self.look_while(intent, schema, queries, count, |_| Ok(false)).await
    }

    /// As [`Conn::look`]; `take` sees each row of PostgreSQL as it comes, and tells whether it is done with it.
    pub(super) async fn look_while(
        &mut self,
        intent: Intent,
        schema: Option<&str>,
        queries: &str,
        count: usize,
        take: impl FnMut(&PgRow) -> Result<bool, StoreError>,
    ) -> Result<Results, StoreError> {
        let script = format!("{}; {queries}; rollback", self.begin_sql(intent, schema));
        let looked = match self {
            Self::Sqlite(conn) => results_of(&mut **conn, script, |_| Ok(false))
                .await
                .map(|all| Results::Sqlite(last(all, count))),
            Self::Postgres(conn) => {
                results_of(&mut **conn, script, take).await.map(|all| Results::Postgres(last(all, count)))
            }
        };
        if matches!(&looked, Err(error) if !error.is_connection_lost()) {
            drop(self.rollback().await);
        }
        looked
    }

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.raw("commit").await
    }

    pub(super) async fn rollback(&mut self) -> Result<(), sqlx::Error> {
        self.raw("rollback").await
    }

    pub(super) async fn raw(&mut self, sql: impl SqlSafeStr) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => sqlx::raw_sql(sql).execute(&mut **conn).await.map(drop),
            Self::Postgres(conn) => sqlx::raw_sql(sql).execute(&mut **conn).await.map(drop),
        }
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => conn.close().await,
            Self::Postgres(conn) => conn.close().await,
        }
    }
}

/// A statement of settings takes no bound values, and one that takes them would cost two more round trips in each transaction:
/// the name is quoted here.
fn set_search_path(schema: &str) -> String {
    format!("set local search_path = \"{}\"", schema.replace('"', "\"\""))
}

pub(super) async fn use_schema(conn: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(set_search_path(schema))).execute(conn).await.map(drop)
}

/// Makes the schema where it is missing. A name cannot be bound in this statement: the server itself quotes it, so that what is
/// run is an identifier whatever the name holds. (`do $$ … format('%I') … $$` would need plpgsql, which may have been dropped.)
pub(super) async fn ensure_schema(conn: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    const LOOK: &str = "select exists (select 1 from pg_namespace where nspname = $1), quote_ident($1)";
    let look = sqlx::query_as(LOOK).bind(schema).persistent(false);
    let (exists, quoted): (bool, String) = look.fetch_one(&mut *conn).await?;
    if exists {
        return Ok(());
    }
    let create = format!("create schema if not exists {quoted}");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(conn).await.map(drop)
}
