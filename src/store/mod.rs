//! The database: one store, two engines.
//!
//! Owns every SQL statement. Knows nothing of HTTP. A [`Store`] is one connection; it is opened for a run or a command and
//! closed after it. Everything that writes goes through `Store::write`, which begins, commits, rolls back, and tries a
//! transaction again where the server says that this may help.

mod bulk;
mod conn;
mod diagnose;
mod error;
mod export;
mod feed;
mod finish;
mod forget;
mod insert;
mod lease;
mod load;
mod location;
mod lock;
mod migration;
mod run;
mod snapshot;
mod timestamp;
mod transaction;
mod upkeep;
mod write;

pub use error::{StoreError, WriteCause};
pub use export::{ExportRow, Table};
pub use feed::{Feed, FeedCursor, FeedLine, Hold, Reader, RefusedCursor};
pub use finish::{Candidate, Ending};
pub use forget::Forgotten;
pub use lease::{Lease, Run, new_holder};
pub use load::Loaded;
pub use location::identity;
pub use run::{Counts, RunRow, Snapshot, Trigger};
pub use timestamp::Timestamp;
pub use upkeep::Pruned;

use std::time::Duration;

use conn::{Conn, row};
use error::from_sqlx;
use location::Location;
use lock::FileLock;
use migration::Schema;

use crate::config;

/// What `check` finds.
pub enum Probe {
    /// As this program needs it, and it can be written.
    Ready(Box<Store>),
    /// Nothing is there yet, and it can be made.
    Absent { place: String },
}

pub struct Store {
    location: Location,
    conn: Conn,
    lock: Option<FileLock>,
}

impl Store {
    /// Opens the database for writing: makes what is missing, takes SQLite's lock, brings the schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Busy`] where another process holds SQLite's lock; else what the database says.
    pub async fn open(database: &config::Database) -> Result<Self, StoreError> {
        let location = Location::new(database)?;
        location.refuse_scraps()?;
        location.refuse_read_only()?;
        let lock = match &location {
            Location::Sqlite { path } => {
                if let Some(lock) = FileLock::acquire(path)? {
                    lock::create_private(path)?;
                    Some(lock)
                } else {
                    let holder = lease::holder_of(&location).await;
                    return Err(StoreError::Busy { holder });
                }
            }
            Location::Postgres { .. } => None,
        };
        let conn = Conn::open(&location).await;
        let mut store = Self { conn: conn.map_err(|error| location.explain_closed(error))?, location, lock };
        let ready = match store.prepare().await {
            Ok(()) => store.ensure_feed_identity(Timestamp::now()).await,
            Err(error) => Err(error),
        };
        match ready {
            Ok(()) => Ok(store),
            Err(error) => {
                let error = store.location.explain(error);
                store.close().await;
                Err(error)
            }
        }
    }

    async fn prepare(&mut self) -> Result<(), StoreError> {
        let place = self.location.place();
        if matches!(self.conn, Conn::Sqlite(_)) {
            // Look before the first byte is written: the file may be somebody else's.
            migration::inspect(&mut self.conn, &place).await?;
            self.conn
                .raw("pragma journal_mode = wal; pragma synchronous = full; pragma secure_delete = on; pragma cache_size = -1000")
                .await
                .map_err(|error| from_sqlx(&error, &place))?;
        }
        let schema = self.schema().map(str::to_owned);
        migration::migrate(&mut self.conn, schema.as_deref(), &place).await
    }

    /// Opens the database for reading only. None: there is nothing yet. Makes no file and no schema.
    pub async fn open_to_read(database: &config::Database) -> Result<Option<Self>, StoreError> {
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
        let conn = Conn::open_to_read(&location).await;
        match Self::look(conn, location.clone()).await {
            Err(StoreError::Write { cause: WriteCause::ReadOnly, .. }) if location.is_frozen() => {
                let conn = Conn::open_frozen(&location).await;
                Self::look(conn, location).await
            }
            looked => looked,
        }
    }

    async fn look(conn: Result<Conn, StoreError>, location: Location) -> Result<Option<Self>, StoreError> {
        let mut store =
            Self { conn: conn.map_err(|error| location.explain_closed(error))?, location, lock: None };
        match store.find_schema().await {
            Ok(Schema::Current) => Ok(Some(store)),
            Ok(Schema::Absent) => {
                store.close().await;
                Ok(None)
            }
            Ok(Schema::Older) => {
                let place = store.place();
                store.close().await;
                Err(StoreError::Older { place })
            }
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    /// Opens the database for a command that writes, waiting for a run to end.
    ///
    /// # Errors
    /// [`StoreError::Busy`] where the run outlasts `patience`; else what the database says.
    pub async fn open_between_runs(
        database: &config::Database,
        patience: Duration,
    ) -> Result<(Self, Lease), StoreError> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            let busy = match Self::open(database).await {
                Ok(mut store) => match store.acquire(Timestamp::now()).await {
                    Ok(lease) => return Ok((store, lease)),
                    Err(error) => {
                        store.close().await;
                        error
                    }
                },
                Err(error) => error,
            };
            if !matches!(busy, StoreError::Busy { .. }) || tokio::time::Instant::now() >= until {
                return Err(busy);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Opens a database that exists for a short write beside a run, without its lock or lease.
    pub async fn open_beside_run(database: &config::Database) -> Result<Self, StoreError> {
        let location = Location::new(database)?;
        if let Location::Sqlite { path } = &location
            && std::fs::metadata(path).map_or(0, |metadata| metadata.len()) == 0
        {
            return Err(StoreError::Absent { place: location.place() });
        }
        location.refuse_scraps()?;
        location.refuse_read_only()?;
        let conn = Conn::open(&location).await.map_err(|error| location.explain_closed(error))?;
        let mut store = Self { conn, location, lock: None };
        let place = store.place();
        let found = store.read(async |conn| migration::inspect(conn, &place).await).await;
        let refused = match found {
            Ok(Schema::Current) => match store.ensure_feed_identity(Timestamp::now()).await {
                Ok(()) => return Ok(store),
                Err(error) => error,
            },
            Ok(Schema::Older) => StoreError::Older { place },
            Ok(Schema::Absent) => StoreError::Absent { place },
            Err(error) => error,
        };
        store.close().await;
        Err(refused)
    }

    /// SQLite: opens the database as it is, whatever its schema, while no run is on. For a backup, which must not change
    /// what it copies.
    ///
    /// # Errors
    /// As [`Store::open_between_runs`].
    pub async fn open_as_it_is(database: &config::Database, patience: Duration) -> Result<Self, StoreError> {
        let location = Location::new(database)?;
        let Location::Sqlite { path } = &location else {
            return Err(StoreError::SqliteOnly("backup"));
        };
        if std::fs::metadata(path).map_or(0, |metadata| metadata.len()) == 0 {
            return Err(StoreError::Absent { place: location.place() });
        }
        let until = tokio::time::Instant::now() + patience;
        let lock = loop {
            match FileLock::acquire(path)? {
                Some(lock) => break lock,
                None if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                None => {
                    return Err(StoreError::Busy { holder: lease::holder_of(&location).await });
                }
            }
        };
        let mut store = Self { conn: Conn::open(&location).await?, location, lock: Some(lock) };
        let place = store.place();
        match migration::inspect(&mut store.conn, &place).await {
            Ok(Schema::Absent) => Err(StoreError::Absent { place }),
            Ok(_) | Err(StoreError::Newer { .. } | StoreError::Altered { .. }) => Ok(store),
            Err(error) => Err(store.location.explain(error)),
        }
    }

    /// Whether the database can be used as configured. Leaves nothing behind.
    pub async fn probe(database: &config::Database) -> Result<Probe, StoreError> {
        let location = Location::new(database)?;
        if let Location::Sqlite { path } = &location {
            // A run makes files beside the database, so their folder must let it.
            crate::file::AtomicFile::create_beside(path).map_err(|cause| lock::write_error(path, &cause))?;
            location.refuse_scraps()?;
        }
        let Some(mut store) = Self::open_to_read(database).await? else {
            return Ok(Probe::Absent { place: location.place() });
        };
        let place = store.place();
        if let Conn::Postgres(_) = &store.conn {
            const RIGHTS: &str = "select has_table_privilege('consents', 'insert') \
                 and has_table_privilege('consents', 'update') and has_table_privilege('sync_runs', 'insert')";
            let allowed = store
                .read(async |conn| {
                    let (allowed,): (bool,) =
                        row!(conn, RIGHTS).map_err(|error| from_sqlx(&error, &place))?;
                    Ok(allowed)
                })
                .await?;
            if !allowed {
                return Err(StoreError::Rights { place, code: "42501".to_owned() });
            }
        }
        Ok(Probe::Ready(Box::new(store)))
    }

    async fn find_schema(&mut self) -> Result<Schema, StoreError> {
        let place = self.place();
        if matches!(self.conn, Conn::Sqlite(_)) {
            self.conn.raw("pragma query_only = on").await.map_err(|error| from_sqlx(&error, &place))?;
        }
        self.read(async |conn| migration::inspect(conn, &place).await).await
    }

    /// The file or server, for messages: never a password.
    pub fn place(&self) -> String {
        self.location.place()
    }

    fn schema(&self) -> Option<&str> {
        match &self.location {
            Location::Postgres { schema, .. } => schema.as_deref(),
            Location::Sqlite { .. } => None,
        }
    }

    fn failed(&self, error: &sqlx::Error) -> StoreError {
        from_sqlx(error, &self.location.place())
    }

    /// Ends the connection in order. Errors are of no use to anybody at this point.
    pub async fn close(self) {
        let Self { conn, lock, .. } = self;
        // A server that is gone must not hold us up.
        let _ = tokio::time::timeout(Duration::from_secs(2), conn.close()).await;
        drop(lock);
    }
}
