//! The one way to the connection: every use is bounded in time, and one that is given up takes its connection along.

use std::sync::Arc;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use sqlx::postgres::PgRow;
use tokio::time::Instant;

use super::Store;
use super::conn::{Access, Conn, Intent, Results, execute};
use super::error::StoreError;
use super::location::Location;

/// How often a transaction is tried again after a conflict or a lost connection.
const MAX_TRIES: u32 = 8;

/// How long a lost connection is looked for anew, the last attempt apart.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long `Intent::Read` waits for the locks of others.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// SQLite: so many steps of its machine are a sign of life.
const PULSE_STEPS: i32 = 1_000_000;

/// A connection, and what it takes to get another.
pub(super) struct Session {
    location: Arc<Location>,
    access: Access,
    conn: Option<Conn>,
    pulse: Arc<AtomicWaker>,
}

impl Store {
    /// Runs `work` in a transaction that sees one state of the database and writes nothing. Tried again like
    /// [`Store::write`].
    pub(super) async fn read<T>(
        &mut self,
        work: impl AsyncFnMut(&mut Conn) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let intent = self.read_intent();
        self.use_session(async |session| session.transact(intent, work).await).await
    }

    /// Runs queries without values in a transaction of their own, on PostgreSQL in one round trip, and gives the rows of the last
    /// `count`. Tried again like [`Store::write`].
    pub(super) async fn look(&mut self, queries: &str, count: usize) -> Result<Results, StoreError> {
        let (intent, location) = (self.read_intent(), Arc::clone(&self.location));
        let schema = location.schema();
        self.use_session(async |session| {
            session.retry(async |conn, _| conn.look(intent, schema, queries, count).await).await
        })
        .await
    }

    /// As [`Store::look`] for PostgreSQL; `take` sees each row as it comes, and tells whether it is done with it. What it gathers
    /// begins anew with each try.
    pub(super) async fn look_while<T>(
        &mut self,
        queries: &str,
        count: usize,
        new: impl Fn() -> T,
        take: impl Fn(&mut T, &PgRow) -> Result<bool, StoreError>,
    ) -> Result<(T, Results), StoreError> {
        let (intent, location) = (self.read_intent(), Arc::clone(&self.location));
        let schema = location.schema();
        self.use_session(async |session| {
            session
                .retry(async |conn, _| {
                    let mut gathered = new();
                    let take = |row: &PgRow| take(&mut gathered, row);
                    let results = conn.look_while(intent, schema, queries, count, take).await?;
                    Ok((gathered, results))
                })
                .await
        })
        .await
    }

    fn read_intent(&self) -> Intent {
        if self.bounds.each_use < LOCK_TIMEOUT { Intent::Look } else { Intent::Read }
    }

    /// Runs `work` in a write transaction: all of it or nothing. Tried again after a conflict, and over a new connection
    /// where the old one broke; `work` must find out itself whether an earlier try went through after all.
    pub(super) async fn write<T>(
        &mut self,
        work: impl AsyncFnMut(&mut Conn) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.use_session(async |session| session.transact(Intent::Write, work).await).await
    }

    /// One use of the connection outside of [`Store::read`] and [`Store::write`]. Not tried again.
    pub(super) async fn use_conn<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Conn) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.use_session(async |session| work(session.connected().await?).await).await
    }

    /// Whatever is dropped in the middle, here or by whoever awaits this, takes the connection along: nobody ever speaks to a
    /// connection that was left in the middle of something. The next use opens another.
    async fn use_session<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut session = Session {
            location: Arc::clone(&self.location),
            access: self.access,
            conn: self.conn.take(),
            pulse: Arc::clone(&self.pulse),
        };
        let began = Instant::now();
        let using = async {
            let result = work(&mut session).await;
            (result, session)
        };
        let result = match self.bounds.wait(&self.pulse, using).await {
            Some((result, session)) => {
                self.conn = session.conn;
                result.map_err(|error| self.location.explain(error))
            }
            None => Err(StoreError::silent(self.place(), began.elapsed())),
        };
        if matches!(&result, Err(error) if error.is_connection_lost()) {
            self.conn = None;
            self.bounds = self.bounds.after_giving_up();
        }
        result
    }
}

impl Session {
    async fn connected(&mut self) -> Result<&mut Conn, StoreError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connect().await?,
        };
        Ok(self.conn.insert(conn))
    }

    async fn connect(&self) -> Result<Conn, StoreError> {
        let opened = Conn::open(&self.location, self.access).await;
        let mut conn = opened.map_err(|error| self.location.explain_closed(error))?;
        if let Conn::Sqlite(conn) = &mut conn {
            let pulse = Arc::clone(&self.pulse);
            let mut handle = conn.lock_handle().await?;
            handle.set_progress_handler(PULSE_STEPS, move || {
                pulse.wake();
                true
            });
        }
        Ok(conn)
    }

    async fn transact<T>(
        &mut self,
        intent: Intent,
        mut work: impl AsyncFnMut(&mut Conn) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let location = Arc::clone(&self.location);
        self.retry(async |conn, id_in_use| {
            conn.begin(intent, location.schema()).await?;
            if let Some(error) = id_in_use {
                advance_sequences(conn).await.map_err(|_| error)?;
            }
            let value = work(conn).await?;
            match intent {
                Intent::Write => conn.commit().await?,
                Intent::Read | Intent::Look | Intent::View => conn.rollback().await?,
            }
            Ok(value)
        })
        .await
    }

    /// Makes a transaction until it goes through, or until another try cannot help. It is given the error of an id that the
    /// database had given out before.
    async fn retry<T>(
        &mut self,
        mut transact: impl AsyncFnMut(&mut Conn, Option<StoreError>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut retries = Retries::default();
        let mut id_in_use: Option<StoreError> = None;
        let mut has_advanced = false;
        loop {
            let done = match self.connected().await {
                Ok(conn) => transact(conn, id_in_use.take()).await,
                Err(error) => Err(error),
            };
            let error = match done {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            // A transaction that does not go through is not left half open: the next one would fail in it. SQLite keeps it
            // open after some failures of a commit.
            if error.is_connection_lost() {
                self.conn = None;
            } else if let Some(conn) = &mut self.conn {
                drop(conn.rollback().await);
            }
            if matches!(error, StoreError::IdInUse { .. }) && !has_advanced {
                has_advanced = true;
                id_in_use = Some(error);
            } else {
                retries.wait_after(error).await?;
            }
        }
    }
}

/// How often a transaction was tried in vain, and since when there is no connection.
#[derive(Default)]
struct Retries {
    count: u32,
    lost_at: Option<Instant>,
}

impl Retries {
    /// Waits before another try, or gives the error back where none can help.
    async fn wait_after(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.count += 1;
        let lost = error.is_connection_lost();
        let lost_for = lost.then(|| self.lost_at.get_or_insert_with(Instant::now).elapsed());
        let too_long = lost_for.is_some_and(|lost_for| lost_for > RECONNECT_TIMEOUT);
        if self.count >= MAX_TRIES || too_long || !(lost || matches!(error, StoreError::Contended { .. })) {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(50 << self.count.min(6))).await;
        Ok(())
    }
}

/// PostgreSQL: sequences that are behind their tables, as after a restore of the rows alone, go on behind the last id.
async fn advance_sequences(conn: &mut Conn) -> Result<(), StoreError> {
    const TABLES: [&str; 3] = [
        "select setval(s, greatest(nextval(s), (select max(id) from sync_runs))) \
         from (select pg_get_serial_sequence('sync_runs', 'id')::regclass as s) as q",
        "select setval(s, greatest(nextval(s), (select max(id) from consent_changes))) \
         from (select pg_get_serial_sequence('consent_changes', 'id')::regclass as s) as q",
        "select setval(s, greatest(nextval(s), (select max(id) from rejected_items))) \
         from (select pg_get_serial_sequence('rejected_items', 'id')::regclass as s) as q",
    ];
    for table in TABLES {
        execute!(conn, table)?;
    }
    Ok(())
}
