//! Transactions: begun, committed, rolled back, and tried again where that may help.

use std::time::Duration;

use super::Store;
use super::conn::{Conn, Intent};
use super::error::StoreError;

/// How often a transaction is tried again after a conflict or a lost connection.
const MAX_TRIES: u32 = 8;

impl Store {
    /// Runs `work` in a transaction that sees one state of the database and writes nothing. Tried again like
    /// [`Store::write`].
    pub(super) async fn read<T>(
        &mut self,
        mut work: impl AsyncFnMut(&mut Conn) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tried = 0;
        loop {
            match self.try_read(&mut work).await {
                Ok(value) => return Ok(value),
                Err(error) => self.repair(error, &mut tried).await?,
            }
        }
    }

    async fn try_read<T>(
        &mut self,
        work: &mut impl AsyncFnMut(&mut Conn) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.begin(Intent::Read).await?;
        let result = work(&mut self.conn).await;
        let ended = self.conn.rollback().await;
        let value = result?;
        ended.map_err(|error| self.failed(&error))?;
        Ok(value)
    }

    /// Runs `work` in a write transaction: all of it or nothing. Tried again after a conflict, and over a new connection
    /// where the old one broke; `work` must find out itself whether an earlier try went through after all.
    pub(super) async fn write<T>(
        &mut self,
        mut work: impl AsyncFnMut(&mut Conn) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tried = 0;
        loop {
            match self.try_write(&mut work).await {
                Ok(value) => return Ok(value),
                Err(error) => self.repair(error, &mut tried).await?,
            }
        }
    }

    async fn try_write<T>(
        &mut self,
        work: &mut impl AsyncFnMut(&mut Conn) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.begin(Intent::Write).await?;
        let result = work(&mut self.conn).await;
        match result {
            Ok(value) => {
                let ended = self.conn.commit().await;
                if let Err(error) = ended {
                    // SQLite keeps the transaction open after some failures of a commit.
                    let _ = self.conn.rollback().await;
                    return Err(self.failed(&error));
                }
                Ok(value)
            }
            Err(error) => {
                let _ = self.conn.rollback().await;
                Err(error)
            }
        }
    }

    /// A transaction that could not be set up whole is not left half open: the next one would fail in it.
    async fn begin(&mut self, intent: Intent) -> Result<(), StoreError> {
        let schema = self.schema().map(str::to_owned);
        let begun = self.conn.begin(intent, schema.as_deref()).await;
        if let Err(error) = begun {
            let _ = self.conn.rollback().await;
            return Err(self.failed(&error));
        }
        Ok(())
    }

    /// Makes ready for another try, or gives the error back where none can help.
    async fn repair(&mut self, error: StoreError, tried: &mut u32) -> Result<(), StoreError> {
        *tried += 1;
        if *tried >= MAX_TRIES || !(error.is_conflict() || error.is_connection_lost()) {
            return Err(self.location.explain(error));
        }
        tokio::time::sleep(Duration::from_millis(50 << (*tried).min(6))).await;
        if error.is_connection_lost() {
            self.reconnect().await?;
        }
        Ok(())
    }

    /// Gives up the connection, with whatever it was doing, and opens another.
    pub async fn reopen(&mut self) -> Result<(), StoreError> {
        self.reconnect().await
    }

    async fn reconnect(&mut self) -> Result<(), StoreError> {
        let mut last = None;
        for pause in [0, 200, 500, 1000, 2000, 3000] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            match Conn::open(&self.location).await {
                Ok(conn) => {
                    let old = std::mem::replace(&mut self.conn, conn);
                    drop(old);
                    return Ok(());
                }
                Err(error) if error.is_connection_lost() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or(StoreError::Fenced))
    }
}
