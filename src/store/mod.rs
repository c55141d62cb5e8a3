//! The database: one store, two engines.
//!
//! Owns every SQL statement. Knows nothing of HTTP. A [`Store`] is one connection; it is opened for a run or a command and
//! closed after it. Everything that writes goes through `Store::write`, which begins, commits, rolls back, and tries a
//! transaction again where the server says that this may help.

mod beside;
mod bounds;
mod bulk;
mod conn;
mod diagnose;
mod error;
mod evaluation;
mod export;
mod feed;
mod feed_identity;
mod finish;
mod forget;
mod insert;
mod lease;
mod load;
mod location;
mod lock;
mod migration;
mod notification;
mod person;
mod run;
mod snapshot;
mod timestamp;
mod trace;
mod transaction;
mod upkeep;
mod wipe;
mod write;

pub use bounds::Bounds;
pub use error::{StoreError, WriteCause};
pub use evaluation::{Acceptance, Candidate, Standing};
pub use export::{COLUMNS, Cell, ExportRows, Record, Table};
pub use feed::{Feed, FeedCursor, FeedLine, Hold, Reader, RefusedCursor};
pub use finish::{Checked, Ending};
pub use forget::{ForgetOutcome, Forgotten};
pub use lease::{Lease, Run, new_holder};
pub use load::Loaded;
pub use location::identity;
pub use notification::{Notification, NotificationOutcome, NotificationState};
pub use person::Person;
pub use run::{Change, Counts, RunRow, Snapshot, Trigger};
pub use timestamp::Timestamp;
pub use upkeep::Pruned;
pub use wipe::{Leftover, LeftoverReason, REWRITE_LIMIT_BYTES};

use std::sync::Arc;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use conn::{Access, Conn, row};
use location::Location;
use lock::FileLock;
use migration::Schema;

use crate::config;

pub enum Probe {
    /// As this program needs it, and it can be written.
    Ready(Box<Store>),
    /// Made by an older version; the next run brings it up to date.
    Older { place: String },
    /// Nothing is there yet, and it can be made.
    Absent { place: String },
}

pub struct Store {
    location: Arc<Location>,
    access: Access,
    /// None before the first use, and after a use that was given up or dropped in the middle.
    conn: Option<Conn>,
    lock: Option<FileLock>,
    bounds: Bounds,
    /// Woken by SQLite's thread while it works.
    pulse: Arc<AtomicWaker>,
    /// The change feed was seen to be that of a restored database, and has a new identity.
    has_renewed_feed: bool,
    /// SQLite: there was no row when this run began.
    is_first_load: bool,
    /// What the run's last look at the database has found besides.
    seen: load::Seen,
}

impl Store {
    fn at(location: Location, access: Access, lock: Option<FileLock>, bounds: Bounds) -> Self {
        Self {
            location: Arc::new(location),
            access,
            conn: None,
            lock,
            bounds,
            pulse: Arc::default(),
            has_renewed_feed: false,
            is_first_load: false,
            seen: load::Seen::default(),
        }
    }

    /// Opens the database for writing: makes what is missing, takes SQLite's lock, brings the schema up to date.
    pub async fn open(database: &config::Database, bounds: Bounds) -> Result<Self, StoreError> {
        let location = Location::new(database)?;
        location.refuse_scraps()?;
        location.refuse_read_only()?;
        let lock = Self::acquire_lock(&location, bounds).await?;
        if let Location::Sqlite { path } = &location {
            lock::create_private(path)?;
        }
        let mut store = Self::at(location, Access::Write, lock, bounds);
        let ready = match store.prepare().await {
            Ok(()) => store.ensure_feed_identity(Timestamp::now()).await,
            Err(error) => Err(error),
        };
        Ok(store.keep_after(ready).await?.0)
    }

    async fn acquire_lock(location: &Location, bounds: Bounds) -> Result<Option<FileLock>, StoreError> {
        let Location::Sqlite { path } = location else {
            return Ok(None);
        };
        if let Some(lock) = FileLock::acquire(path)? {
            return Ok(Some(lock));
        }
        let other = Self::to_look(location.clone(), bounds);
        let holder = other.close_after(async |other| other.holder().await).await;
        Err(StoreError::Busy { holder })
    }

    async fn prepare(&mut self) -> Result<(), StoreError> {
        let location = Arc::clone(&self.location);
        if location.must_be_alone() && self.inspect().await? == Schema::Absent {
            self.read(async |conn| migration::refuse_tables_of_others(conn).await).await?;
        }
        self.use_conn(async |conn| {
            if location.is_sqlite() {
                // Look before the first byte is written: the file may belong to another program.
                migration::inspect(conn, None).await?;
                conn.raw("pragma journal_mode = wal; pragma synchronous = full; pragma cache_size = -1000")
                    .await?;
            }
            migration::migrate(conn, location.schema()).await
        })
        .await
    }

    /// Opens the database for reading only. None: there is nothing yet. Makes no file and no schema.
    pub async fn open_to_read(
        database: &config::Database,
        bounds: Bounds,
    ) -> Result<Option<Self>, StoreError> {
        let location = Location::new(database)?;
        if let Location::Sqlite { path } = &location {
            match std::fs::metadata(path) {
                Ok(metadata) if metadata.len() == 0 => return Ok(None),
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(cause) => return Err(lock::write_error(path, &cause)),
                Ok(_) => {}
            }
        }
        location.refuse_scraps()?;
        let looked = match Self::to_look(location.clone(), bounds).with_schema(true).await {
            Err(StoreError::Write { cause: WriteCause::ReadOnly, .. }) if location.is_frozen() => {
                Self::at(location, Access::Frozen, None, bounds).with_schema(true).await
            }
            looked => looked,
        };
        match looked {
            Ok(store) => Ok(Some(store)),
            Err(StoreError::Absent { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Store::open_to_read`], for a database that must be there.
    pub async fn open_existing(database: &config::Database, bounds: Bounds) -> Result<Self, StoreError> {
        match Self::open_to_read(database, bounds).await? {
            Some(store) => Ok(store),
            None => Err(StoreError::Absent { place: Location::new(database)?.place() }),
        }
    }

    /// Opens the database for a command that writes, waiting for a run to end.
    pub async fn open_between_runs(
        database: &config::Database,
        patience: Duration,
        bounds: Bounds,
    ) -> Result<(Self, Lease), StoreError> {
        between_runs(patience, async || {
            let mut store = Self::open(database, bounds).await?;
            let lease = store.acquire(Timestamp::now()).await;
            store.keep_after(lease).await
        })
        .await
    }

    /// Opens a database that exists for a short write beside a run, without its lock or lease.
    pub async fn open_beside_run(database: &config::Database) -> Result<Self, StoreError> {
        let location = Location::new(database)?;
        location.refuse_absent()?;
        location.refuse_scraps()?;
        location.refuse_read_only()?;
        let store = Self::at(location, Access::Write, None, Bounds::COMMAND);
        let mut store = store.with_schema(false).await?;
        let ready = store.ensure_feed_identity(Timestamp::now()).await;
        Ok(store.keep_after(ready).await?.0)
    }

    /// SQLite: opens the database as it is, whatever its schema, while no run is on. For a backup, which must not change
    /// what it copies.
    pub async fn open_as_it_is(database: &config::Database, patience: Duration) -> Result<Self, StoreError> {
        let location = Location::new(database)?;
        if !location.is_sqlite() {
            return Err(StoreError::sqlite_only("backup"));
        }
        location.refuse_absent()?;
        let place = location.place();
        let lock =
            between_runs(patience, async || Self::acquire_lock(&location, Bounds::COMMAND).await).await?;
        let mut store = Self::at(location, Access::Write, lock, Bounds::COMMAND);
        match store.inspect().await {
            Ok(Schema::Absent) => Err(StoreError::Absent { place }),
            Ok(_) | Err(StoreError::Newer { .. } | StoreError::Altered { .. }) => Ok(store),
            Err(error) => Err(error),
        }
    }

    /// Opens the database for a rehearsal of a run. None: there is nothing yet, and the run could make it.
    pub async fn open_to_rehearse(
        database: &config::Database,
        bounds: Bounds,
    ) -> Result<Option<Self>, StoreError> {
        let opened = Self::open_to_read(database, bounds).await?;
        if opened.is_none() {
            let location = Location::new(database)?;
            location.refuse_read_only_folder()?;
            Self::to_look(location, bounds).close_after(Self::refuse_creation).await?;
        }
        Ok(opened)
    }

    /// Whether the database can be used as configured. Leaves nothing behind.
    pub async fn probe(database: &config::Database) -> Result<Probe, StoreError> {
        const MAY_WRITE: &str = "select has_table_privilege('consents', 'insert') \
             and has_table_privilege('consents', 'update') and has_table_privilege('sync_runs', 'insert')";
        const MAY_ALTER: &str =
            "select pg_has_role(relowner, 'usage') from pg_class where oid = to_regclass('consents')";
        let location = Location::new(database)?;
        location.refuse_read_only_folder()?;
        location.refuse_scraps()?;
        match Self::open_to_rehearse(database, Bounds::COMMAND).await {
            Ok(None) => Ok(Probe::Absent { place: location.place() }),
            Ok(Some(mut store)) => {
                let allowed = store.refuse_unless(MAY_WRITE).await;
                Ok(Probe::Ready(Box::new(store.keep_after(allowed).await?.0)))
            }
            Err(StoreError::Older { place }) => {
                let store = Self::to_look(location, Bounds::COMMAND);
                store.close_after(async |store| store.refuse_unless(MAY_ALTER).await).await?;
                Ok(Probe::Older { place })
            }
            Err(error) => Err(error),
        }
    }

    /// PostgreSQL: refuses a user for whom the answer to this query is no.
    async fn refuse_unless(&mut self, may: &'static str) -> Result<(), StoreError> {
        if self.location.is_sqlite() {
            return Ok(());
        }
        let (allowed,): (bool,) = self.read(async |conn| Ok(row!(conn, may)?)).await?;
        if allowed { Ok(()) } else { Err(self.lacks_right()) }
    }

    /// PostgreSQL: refuses what would keep the first run from making the tables.
    async fn refuse_creation(&mut self) -> Result<(), StoreError> {
        let location = Arc::clone(&self.location);
        if location.is_sqlite() {
            return Ok(());
        }
        let allowed = self
            .read(async |conn| {
                if location.must_be_alone() {
                    migration::refuse_tables_of_others(conn).await?;
                }
                migration::may_create(conn, location.schema()).await
            })
            .await?;
        if allowed { Ok(()) } else { Err(self.lacks_right()) }
    }

    fn lacks_right(&self) -> StoreError {
        StoreError::Rights { place: self.place(), code: "42501".to_owned() }
    }

    async fn inspect(&mut self) -> Result<Schema, StoreError> {
        let location = Arc::clone(&self.location);
        self.use_conn(async |conn| migration::inspect(conn, location.schema()).await).await
    }

    fn to_look(location: Location, bounds: Bounds) -> Self {
        let access = Access::to_read(&location);
        Self::at(location, access, None, bounds)
    }

    /// Connects to a database whose schema is this program's. Not tried again: a server that is not there is told at once.
    async fn with_schema(mut self, is_read_only: bool) -> Result<Self, StoreError> {
        let location = Arc::clone(&self.location);
        let place = location.place();
        let connected = self
            .use_conn(async |conn| {
                if is_read_only && location.is_sqlite() {
                    conn.raw("pragma query_only = on").await?;
                }
                Ok(())
            })
            .await;
        let found = match connected {
            Ok(()) => self.inspect().await,
            Err(error) => Err(error),
        };
        let current = match found {
            Ok(Schema::Current) => Ok(()),
            Ok(Schema::Older) => Err(StoreError::Older { place }),
            Ok(Schema::Absent) => Err(StoreError::Absent { place }),
            Err(error) => Err(error),
        };
        Ok(self.keep_after(current).await?.0)
    }

    /// The file or server, for messages: never a password.
    pub fn place(&self) -> String {
        self.location.place()
    }

    /// Limits all remaining uses together.
    pub fn end_within(&mut self, whole: Duration) {
        self.bounds = self.bounds.ending_within(whole);
    }

    /// Closes the connection cleanly; errors do not matter any more.
    pub async fn close(self) {
        let Self { conn, lock, .. } = self;
        if let Some(conn) = conn {
            // A server that is gone must not hold us up.
            let _ = tokio::time::timeout(Duration::from_secs(1), conn.close()).await;
        }
        drop(lock);
    }

    /// Runs `work` and closes the connection, whatever the result.
    pub async fn close_after<T>(mut self, work: impl AsyncFnOnce(&mut Self) -> T) -> T {
        let done = work(&mut self).await;
        self.close().await;
        done
    }

    /// Closes the connection if this failed.
    async fn keep_after<T>(self, done: Result<T, StoreError>) -> Result<(Self, T), StoreError> {
        match done {
            Ok(value) => Ok((self, value)),
            Err(error) => {
                self.close().await;
                Err(error)
            }
        }
    }
}

/// Tries until no run is on, or for as long as `patience` lasts.
async fn between_runs<T>(
    patience: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let until = Instant::now() + patience;
    loop {
        match attempt().await {
            Err(StoreError::Busy { .. }) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            other => return other,
        }
    }
}
