//! One run at a time: the lease row, and the run row that stands or falls with it.
//!
//! SQLite: the file lock decides, its owner takes the row over whatever it says. PostgreSQL: the row decides, 90 s by the
//! database's clock; its fence is checked in every transaction that writes, so a holder that slept past its end can write
//! nothing more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::conn::{Conn, Intent, execute, row, rows};
use super::error::StoreError;
use super::{RunRow, Store, Timestamp};

/// How long a lease lives without being renewed, in seconds.
const LEASE_SECONDS: u64 = 90;

/// A lease that was proved longer ago is renewed at the next look. With a look at least every 15 seconds it is never older than 30.
const RENEW_AFTER: Duration = Duration::from_secs(14);

const ACQUIRE_SQLITE: &str = "update sync_lease set holder = $1, fence = fence + 1, expires_at = $2 \
     where name = 'sync' returning fence";

/// PostgreSQL: the lease is looked at with a `lock_timeout` of 1 s, so that a paused holder blocks nobody; what follows in the
/// transaction waits for 10 s. One statement, since each costs a distant server two round trips: the settings stand in subqueries
/// without a row of their own, which are evaluated before the rows that depend on them are looked at.
macro_rules! with_lease {
    ($holder:literal, $fence:literal) => {
        with_lease!(
            "expires_at = clock_timestamp() + interval '90 seconds' where name = 'sync' and holder = ",
            $holder,
            " and fence = ",
            $fence
        )
    };
    ($($update:literal),+) => {
        concat!(
            "with look as materialized (select set_config('lock_timeout', '1s', true) as is_set), ",
            "lease as (update sync_lease set ",
            $($update,)+
            " and (select is_set from look) is not null returning fence), ",
            "patience as materialized (select set_config('lock_timeout', '10s', true) as is_set from lease)"
        )
    };
}

pub(super) use with_lease;

macro_rules! acquire_postgres {
    () => {
        with_lease!(
            "holder = $1, fence = fence + 1, expires_at = clock_timestamp() + interval '90 seconds' \
             where name = 'sync' and (holder is null or holder = $1 or expires_at <= clock_timestamp())"
        )
    };
}

const ACQUIRE_POSTGRES: &str =
    concat!(acquire_postgres!(), " select fence from lease where (select is_set from patience) is not null");

const RENEW_SQLITE: &str =
    "update sync_lease set expires_at = $3 where name = 'sync' and holder = $1 and fence = $2";

const RENEW_POSTGRES: &str = concat!(
    with_lease!("$1", "$2"),
    " select fence from lease where (select is_set from patience) is not null"
);

const HOLDER: &str = "select coalesce(holder, 'unknown') from sync_lease where name = 'sync'";

const FENCE: &str = "select fence from sync_lease where name = 'sync'";

/// The right to write, for the time of a run or a command. Every transaction that writes proves it.
#[derive(Debug, Clone)]
pub struct Lease {
    pub(super) holder: String,
    pub(super) fence: i64,
}

impl Lease {
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// First act of every transaction that writes: renews the lease, or finds that it is lost.
    pub(super) async fn renew(&self, conn: &mut Conn, now: Timestamp) -> Result<(), StoreError> {
        let held = match conn {
            Conn::Sqlite(_) => {
                let until = now.plus_millis(LEASE_SECONDS.cast_signed() * 1000);
                execute!(conn, RENEW_SQLITE, &self.holder, self.fence, until)?
            }
            // As many rows as fences.
            Conn::Postgres(_) => execute!(conn, RENEW_POSTGRES, &self.holder, self.fence)?,
        };
        if held == 1 { Ok(()) } else { Err(self.lost(conn).await) }
    }

    pub(super) async fn release(&self, conn: &mut Conn, now: Timestamp) -> Result<(), StoreError> {
        const RELEASE: &str = "update sync_lease set holder = null, expires_at = $3 \
             where name = 'sync' and holder = $1 and fence = $2";
        execute!(conn, RELEASE, &self.holder, self.fence, now)?;
        Ok(())
    }

    /// Why the lease is no longer held.
    pub(super) async fn lost(&self, conn: &mut Conn) -> StoreError {
        let fence: Result<Vec<(i64,)>, sqlx::Error> = rows!(conn, FENCE);
        match fence {
            // Fences only grow: a smaller one was acknowledged before ours.
            Ok(fence) if fence.first().is_none_or(|(fence,)| *fence < self.fence) => {
                StoreError::Forgetful { place: String::new() }
            }
            Ok(_) => StoreError::Fenced,
            Err(error) => error.into(),
        }
    }
}

/// The holder's name as others see it: host, process, and a number for this process's attempts.
pub fn new_holder() -> String {
    static ATTEMPT: AtomicU32 = AtomicU32::new(0);
    let host = match crate::host::name() {
        name if name.is_empty() => "unknown host".to_owned(),
        name => name,
    };
    let attempt = ATTEMPT.fetch_add(1, Ordering::Relaxed);
    let started = Timestamp::now().millis();
    format!("{host}, process {}, {started:x}.{attempt}", std::process::id())
}

impl Store {
    /// Takes the lease, or says who has it.
    ///
    /// # Errors
    /// [`StoreError::Busy`]; else what the database says.
    pub async fn acquire(&mut self, now: Timestamp) -> Result<Lease, StoreError> {
        let holder = new_holder();
        let taken = self.write(async |conn| try_acquire(conn, &holder, now).await).await;
        let fence = self.held(taken).await?;
        Ok(Lease { holder, fence })
    }

    /// What was got with the lease, or who has it.
    async fn held<T>(&mut self, taken: Result<Option<T>, StoreError>) -> Result<T, StoreError> {
        match taken {
            Ok(Some(taken)) => Ok(taken),
            Ok(None) => Err(self.busy().await),
            // The row itself is locked: its holder is in the middle of a transaction.
            Err(StoreError::Locked { .. }) if !self.location.is_sqlite() => Err(self.busy().await),
            Err(error) => Err(error),
        }
    }

    async fn busy(&mut self) -> StoreError {
        let found: Result<Vec<(String,)>, _> = self.read(async |conn| Ok(rows!(conn, HOLDER)?)).await;
        match found {
            Ok(holders) => {
                let holder = holders.into_iter().next().map(|(holder,)| holder);
                StoreError::Busy { holder: holder.unwrap_or_else(|| "unknown".to_owned()) }
            }
            Err(error) => error,
        }
    }

    /// SQLite: who holds the file's lock, read past it.
    pub(super) async fn holder(&mut self) -> String {
        let found: Result<(String,), _> = self.use_conn(async |conn| Ok(row!(conn, HOLDER)?)).await;
        match found {
            Ok((holder,)) if holder != "unknown" => holder,
            _ => "another process (it holds the lock file)".to_owned(),
        }
    }

    /// Keeps the lease while nothing is written: to be called at least every 15 seconds, after each page and in each wait.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where it is lost.
    pub async fn renew_lease_if_due(&mut self, run: &mut Run, now: Timestamp) -> Result<(), StoreError> {
        // SQLite's lock does not run out.
        if self.location.is_sqlite() || run.renewed_at.elapsed() < RENEW_AFTER {
            return Ok(());
        }
        let lease = run.lease.clone();
        let renewed_at = Instant::now();
        self.write(async |conn| lease.renew(conn, now).await).await?;
        run.renewed_at = renewed_at;
        Ok(())
    }

    /// Whether the database can be written, found out without writing anything.
    ///
    /// # Errors
    /// What the database says; a row that somebody else is writing just now is none.
    pub async fn try_writing(&mut self) -> Result<(), StoreError> {
        const TOUCH: &str = "update sync_state set id = id where id = 1";
        let location = Arc::clone(&self.location);
        let touched = self
            .use_conn(async |conn| {
                let touched = async {
                    conn.begin(Intent::Write, location.schema()).await?;
                    if !location.is_sqlite() {
                        conn.raw("set local lock_timeout = '1s'").await?;
                    }
                    execute!(conn, TOUCH)
                };
                let touched = touched.await;
                let _ = conn.rollback().await;
                Ok(touched?)
            })
            .await;
        match touched {
            Ok(_) | Err(StoreError::Locked { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// PostgreSQL's clock; SQLite has none of its own.
    pub async fn server_time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        if self.location.is_sqlite() {
            return Ok(None);
        }
        self.read(async |conn| {
            let (now,): (Timestamp,) = row!(conn, "select clock_timestamp()")?;
            Ok(Some(now))
        })
        .await
    }

    /// Gives the lease back. A lease that was lost is nobody's to give back.
    pub async fn release(&mut self, lease: &Lease, now: Timestamp) -> Result<(), StoreError> {
        self.write(async |conn| lease.release(conn, now).await).await
    }
}

async fn try_acquire(conn: &mut Conn, holder: &str, now: Timestamp) -> Result<Option<i64>, StoreError> {
    let taken = update_lease(conn, holder, now).await?;
    if taken.is_none() && restore_lease(conn).await? {
        return Ok(update_lease(conn, holder, now).await?);
    }
    Ok(taken)
}

/// Whether somebody had emptied the table.
async fn restore_lease(conn: &mut Conn) -> Result<bool, StoreError> {
    const RESTORE: &str = "insert into sync_lease (name, fence, expires_at) select 'sync', 0, $1 \
         where not exists (select 1 from sync_lease where name = 'sync')";
    Ok(execute!(conn, RESTORE, Timestamp::default())? > 0)
}

async fn update_lease(conn: &mut Conn, holder: &str, now: Timestamp) -> Result<Option<i64>, sqlx::Error> {
    let taken: Vec<(i64,)> = if matches!(conn, Conn::Sqlite(_)) {
        let until = now.plus_millis(LEASE_SECONDS.cast_signed() * 1000);
        rows!(conn, ACQUIRE_SQLITE, holder, until)?
    } else {
        rows!(conn, ACQUIRE_POSTGRES, holder)?
    };
    Ok(taken.first().map(|(fence,)| *fence))
}

/// A run that is on. No page can be written without one, and finishing consumes it.
#[derive(Debug)]
pub struct Run {
    /// The row as it will stand when the next transaction commits.
    pub row: RunRow,
    pub(super) lease: Lease,
    /// Transactions committed: tells after a lost connection whether the last one went through.
    pub(super) batches: i64,
    pub(super) suppression_no: i64,
    /// This machine's clock was compared with another one in this run: retention and `removal.confirm_after` may go by it.
    pub clock_checked: bool,
    /// When the lease was proved last.
    pub(super) renewed_at: Instant,
    /// The lease was given back with the last transaction.
    pub(super) is_released: bool,
}

impl Run {
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    pub fn is_released(&self) -> bool {
        self.is_released
    }
}

impl Store {
    /// Takes the lease under a name that may hold it already, and writes the row of a new run. Rows of runs that died are
    /// `interrupted` first.
    ///
    /// # Errors
    /// As [`Store::acquire`].
    pub async fn begin_run(
        &mut self,
        holder: &str,
        trigger: super::Trigger,
        now: Timestamp,
    ) -> Result<Run, StoreError> {
        let renewed_at = Instant::now();
        let mut tried: Option<i64> = None;
        let begun = self
            .write(async |conn| {
                // The row of an earlier try, whose answer got lost, is not a run that died.
                if let Some(id) = tried
                    && let Some(fence) = try_acquire(conn, holder, now).await?
                {
                    let begun: Vec<(i64, i64)> = rows!(conn, BEGUN, id)?;
                    if let Some((id, suppression_no)) = begun.first() {
                        return Ok(Some((fence, *id, *suppression_no)));
                    }
                }
                let begun = begin(conn, holder, trigger, now).await?;
                tried = begun.map(|(_, id, _)| id);
                Ok(begun)
            })
            .await;
        let (fence, id, suppression_no) = self.held(begun).await?;
        let lease = Lease { holder: holder.to_owned(), fence };
        let row = RunRow {
            id,
            started_at: now,
            outcome: "running".to_owned(),
            trigger: trigger.as_str().to_owned(),
            ..RunRow::default()
        };
        let is_released = false;
        Ok(Run { row, lease, batches: 0, suppression_no, clock_checked: false, renewed_at, is_released })
    }
}

const BEGUN: &str = "select r.id, s.suppression_no from sync_runs r cross join sync_state s \
     where r.id = $1 and r.outcome = 'running' and s.id = 1";

macro_rules! interrupt_dead_runs {
    ($now:literal) => {
        concat!(
            "update sync_runs set outcome = 'interrupted', finished_at = ",
            $now,
            ", error = coalesce(error, 'the process ended in the middle of the run') where outcome = 'running'"
        )
    };
}

const BEGIN_SQLITE: &str = "insert into sync_runs (started_at, outcome, trigger) values ($1, 'running', $2) \
     returning id, (select suppression_no from sync_state where id = 1)";

const BEGIN_POSTGRES: &str = concat!(
    acquire_postgres!(),
    ", dead as (",
    interrupt_dead_runs!("$2"),
    " and (select is_set from patience) is not null) ",
    "insert into sync_runs (started_at, outcome, trigger) select $2, 'running', $3 from lease \
     returning (select fence from lease), id, (select suppression_no from sync_state where id = 1)"
);

/// Takes the lease and writes the row of a new run: gives the fence, the run's id, and how often suppressions have changed. None:
/// somebody else has the lease.
async fn begin(
    conn: &mut Conn,
    holder: &str,
    trigger: super::Trigger,
    now: Timestamp,
) -> Result<Option<(i64, i64, i64)>, StoreError> {
    if let Conn::Postgres(_) = conn {
        let insert = async |conn: &mut Conn| rows!(conn, BEGIN_POSTGRES, holder, now, trigger.as_str());
        let mut begun: Vec<(i64, i64, i64)> = insert(conn).await?;
        if begun.is_empty() && restore_lease(conn).await? {
            begun = insert(conn).await?;
        }
        return Ok(begun.first().copied());
    }
    let Some(fence) = try_acquire(conn, holder, now).await? else { return Ok(None) };
    execute!(conn, interrupt_dead_runs!("$1"), now)?;
    let (id, suppression_no): (i64, i64) = row!(conn, BEGIN_SQLITE, now, trigger.as_str())?;
    Ok(Some((fence, id, suppression_no)))
}
