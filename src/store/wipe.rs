//! After an erasure: what was deleted must not stay readable in the database's files.
//!
//! SQLite writes its file anew. PostgreSQL keeps deleted rows in a table's pages, and a plain VACUUM frees their room without
//! overwriting it: only a table that is rewritten has none of it. CLUSTER does that in a transaction, with time limits that
//! end with it; VACUUM FULL could not have any behind a pooler.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::conn::{Conn, Intent, row};
use super::error::StoreError;
use super::lease::Lease;
use super::{Store, Timestamp};
use crate::exit::{Exit, Problem};

/// PostgreSQL: a table up to this size, indexes included, is rewritten while its readers wait. That takes seconds.
pub const REWRITE_LIMIT_BYTES: u64 = 256 << 20;

/// How long transactions of others may keep a table, or old rows in it, before the wipe is given up: longer than the 10 s after
/// which a server ends a paused transaction of this program.
const PATIENCE: Duration = Duration::from_secs(12);

const RETRY_DELAY: Duration = Duration::from_secs(1);

/// SQLSTATE `query_canceled`
const STATEMENT_TIMEOUT: &str = "57014";

/// What the server's files still hold of erased rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// With its schema, quoted for SQL.
    pub table: String,
    pub reason: LeftoverReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftoverReason {
    TooLarge {
        bytes: u64,
    },
    Rights,
    TooSlow,
    /// The server does not know the statements.
    Unsupported,
    /// The statistics of all tables: another role may rewrite them, or they were in use.
    Statistics,
}

enum Rewrite {
    Done,
    /// Somebody reads the table, or may still see the deleted rows.
    InUse,
    Left(LeftoverReason),
}

struct ErasedTable {
    name: &'static str,
    rewrite: &'static str,
    /// How many of the rows that were copied are dead: those that an older transaction may still see. A rewrite counts the
    /// living as the table's rows, and all of them as the index's.
    dead_rows: &'static str,
    analyze: &'static str,
}

macro_rules! table {
    ($name:literal) => {
        ErasedTable {
            name: $name,
            rewrite: concat!(
                "cluster ", $name, " using ", $name, "_pkey; alter table ", $name, " set without cluster"
            ),
            dead_rows: concat!(
                "select (greatest(i.reltuples, 0) - greatest(t.reltuples, 0))::bigint from pg_class as t, pg_class as i \
                 where t.oid = to_regclass('", $name, "') and i.oid = to_regclass('", $name, "_pkey')"
            ),
            analyze: concat!("analyze ", $name),
        }
    };
}

/// What [`Store::forget`] deletes from.
const TABLES: [ErasedTable; 6] = [
    table!("consents"),
    table!("consent_changes"),
    table!("rejected_items"),
    table!("pending_returns"),
    table!("rejected_listings"),
    table!("consent_checks"),
];

impl Store {
    /// Removes deleted rows from the database's files, and returns what it had to leave.
    pub async fn wipe(&mut self, lease: &Lease) -> Result<Vec<Leftover>, StoreError> {
        if self.location.is_sqlite() {
            self.rewrite_file().await.map(|()| Vec::new())
        } else {
            self.rewrite_tables(lease).await
        }
    }

    /// The log goes into the file, and the file is written anew, since a page that was rebuilt can keep old bytes behind its
    /// cells.
    async fn rewrite_file(&mut self) -> Result<(), StoreError> {
        const SIZE: &str = "select page_count, page_size from pragma_page_count, pragma_page_size";
        if !self.checkpoint().await? {
            return Err(self.reader_in_the_way());
        }
        let vacuumed = self
            .use_conn(async |conn| {
                // The copy that the rewrite makes would take as much memory as the file; a small one fits, and needs no writable
                // folder.
                let (pages, size): (i64, i64) = row!(conn, SIZE)?;
                if pages.saturating_mul(size) >= 32 << 20 {
                    conn.raw("pragma temp_store = file").await?;
                }
                Ok(conn.raw("vacuum").await?)
            })
            .await;
        match vacuumed {
            Err(StoreError::Locked { .. }) => return Err(self.reader_in_the_way()),
            other => other?,
        }
        if self.checkpoint().await? { Ok(()) } else { Err(self.reader_in_the_way()) }
    }

    fn reader_in_the_way(&self) -> StoreError {
        let problem = Problem::new(Exit::Retry, "{place} is being read by another program, so old content could not be wiped from it yet").next_step("end the reader (an open sqlite3 or psql shell, a backup, a long transaction), then run the command again");
        problem.with("place", self.place()).into()
    }

    async fn rewrite_tables(&mut self, lease: &Lease) -> Result<Vec<Leftover>, StoreError> {
        let until = Instant::now() + PATIENCE;
        let mut leftovers = Vec::new();
        let mut in_use = false;
        for table in &TABLES {
            match self.rewrite_table_until(lease, table, until).await? {
                Rewrite::Done => {}
                Rewrite::InUse => in_use = true,
                Rewrite::Left(reason) => {
                    // Statistics made anew at least do not name erased keys.
                    self.analyze(table).await?;
                    leftovers.push(Leftover { table: self.qualified(table.name).await?, reason });
                }
            }
        }
        if !self.rewrite_statistics(until).await? {
            let table = "pg_catalog.pg_statistic".to_owned();
            leftovers.push(Leftover { table, reason: LeftoverReason::Statistics });
        }
        if in_use { Err(self.reader_in_the_way()) } else { Ok(leftovers) }
    }

    async fn rewrite_table_until(
        &mut self,
        lease: &Lease,
        table: &ErasedTable,
        until: Instant,
    ) -> Result<Rewrite, StoreError> {
        loop {
            match self.rewrite_table(lease, table).await? {
                Rewrite::InUse if Instant::now() < until => sleep(RETRY_DELAY).await,
                other => return Ok(other),
            }
        }
    }

    async fn rewrite_table(&mut self, lease: &Lease, table: &ErasedTable) -> Result<Rewrite, StoreError> {
        let location = Arc::clone(&self.location);
        let rewritten = self
            .use_conn(async |conn| {
                conn.begin(Intent::Write, location.schema()).await?;
                let rewritten = rewrite(conn, lease, table).await;
                match &rewritten {
                    Ok(Rewrite::Done | Rewrite::InUse) => conn.commit().await?,
                    _ => drop(conn.rollback().await),
                }
                rewritten
            })
            .await;
        match rewritten {
            Err(StoreError::Locked { .. } | StoreError::Contended { .. }) => Ok(Rewrite::InUse),
            Err(StoreError::Rights { .. }) => Ok(Rewrite::Left(LeftoverReason::Rights)),
            Err(StoreError::Statement { .. }) => Ok(Rewrite::Left(LeftoverReason::Unsupported)),
            other => other,
        }
    }

    async fn analyze(&mut self, table: &ErasedTable) -> Result<(), StoreError> {
        unless_lost(self.write(async |conn| Ok(conn.raw(table.analyze).await?)).await).map(drop)
    }

    async fn qualified(&mut self, table: &'static str) -> Result<String, StoreError> {
        const NAME: &str = "select format('%I.%I', n.nspname, c.relname) from pg_class as c \
             join pg_namespace as n on n.oid = c.relnamespace where c.oid = to_regclass($1)";
        let found: Option<(String,)> =
            unless_lost(self.read(async |conn| Ok(row!(conn, NAME, table)?)).await)?;
        Ok(found.map_or_else(|| table.to_owned(), |(name,)| name))
    }

    /// What ANALYZE once made of texts (it makes nothing of them any more) lies in dead rows of a table of the server's. False
    /// where that was not rewritten.
    async fn rewrite_statistics(&mut self, until: Instant) -> Result<bool, StoreError> {
        loop {
            let rewritten = self.use_conn(async |conn| Ok(rewrite_statistics(conn).await?)).await;
            match unless_lost(rewritten)?.unwrap_or(Some(false)) {
                Some(done) => return Ok(done),
                None if Instant::now() >= until => return Ok(false),
                None => sleep(RETRY_DELAY).await,
            }
        }
    }
}

/// A server that is gone is an error; what else it refused is left undone.
fn unless_lost<T>(done: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match done {
        Err(error) if error.is_connection_lost() => Err(error),
        done => Ok(done.ok()),
    }
}

/// Within a transaction with short time-outs, so that other clients do not wait for long.
async fn rewrite(conn: &mut Conn, lease: &Lease, table: &ErasedTable) -> Result<Rewrite, StoreError> {
    const LIMITS: &str = "set local lock_timeout = '2s'; set local statement_timeout = '30s'";
    const SIZE: &str = "select pg_total_relation_size(to_regclass($1))";
    lease.renew(conn, Timestamp::now()).await?;
    let rewritten = async {
        let (bytes,): (i64,) = row!(conn, SIZE, table.name)?;
        let bytes = bytes.cast_unsigned();
        if bytes > REWRITE_LIMIT_BYTES {
            return Ok(Rewrite::Left(LeftoverReason::TooLarge { bytes }));
        }
        conn.raw(LIMITS).await?;
        conn.raw(table.rewrite).await?;
        let (dead,): (i64,) = row!(conn, table.dead_rows)?;
        conn.raw(table.analyze).await?;
        Ok(if dead > 0 { Rewrite::InUse } else { Rewrite::Done })
    };
    let rewritten: Result<Rewrite, sqlx::Error> = rewritten.await;
    rewritten.or_else(|error| {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        if code.as_deref() == Some(STATEMENT_TIMEOUT) {
            return Ok(Rewrite::Left(LeftoverReason::TooSlow));
        }
        Err(error.into())
    })
}

/// True: rewritten. False: not permitted. None: in use, or its dead rows are still visible to another transaction.
async fn rewrite_statistics(conn: &mut Conn) -> Result<Option<bool>, sqlx::Error> {
    const MAY: &str = "select (pg_has_role(d.datdba, 'usage') or r.rolsuper) \
         and pg_total_relation_size('pg_catalog.pg_statistic') <= $1 \
         from pg_database as d, pg_roles as r where d.datname = current_database() and r.rolname = current_user";
    const FILE: &str = "select pg_relation_filenode('pg_catalog.pg_statistic')::bigint, \
         (greatest(i.reltuples, 0) - greatest(t.reltuples, 0))::bigint from pg_class as t, pg_class as i \
         where t.oid = 'pg_catalog.pg_statistic'::regclass \
         and i.oid = 'pg_catalog.pg_statistic_relid_att_inh_index'::regclass";
    let (may,): (bool,) = row!(conn, MAY, REWRITE_LIMIT_BYTES.cast_signed())?;
    if !may {
        return Ok(Some(false));
    }
    let (old_file, _): (i64, i64) = row!(conn, FILE)?;
    // Skips locked tables: outside a transaction no time-out would apply.
    conn.raw("vacuum (full, skip_locked) pg_catalog.pg_statistic").await?;
    // Nobody is told whether a VACUUM did anything, but a rewritten table has another file.
    let (new_file, dead): (i64, i64) = row!(conn, FILE)?;
    Ok((new_file != old_file && dead <= 0).then_some(true))
}
