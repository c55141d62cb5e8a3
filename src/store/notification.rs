//! What the database remembers of notifications, and what they are decided from.

use super::conn::{execute, row, rows};
use super::snapshot::{COMPANY, WITHHELD};
use super::{Store, StoreError, Timestamp};

#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct Notification {
    pub event: String,
    pub since: Timestamp,
    /// When a receiver last accepted a message about it.
    pub sent_at: Option<Timestamp>,
    /// How many consents or runs that message named.
    pub amount: i64,
    /// When a message about it last failed, and why; null again when one is accepted.
    pub failed_at: Option<Timestamp>,
    pub error: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotificationState {
    /// Rows that the guard keeps.
    pub withheld: i64,
    /// The last complete run has not evaluated removals, and people wait for that.
    pub deferred: bool,
    pub failures: i64,
    pub active: i64,
    pub last_error: Option<String>,
    pub company: Option<String>,
    pub told: Vec<Notification>,
}

impl NotificationState {
    pub fn told(&self, event: &str) -> Option<&Notification> {
        self.told.iter().find(|told| told.event == event)
    }

    /// The in-memory counterpart of [`Store::remember_notification`].
    pub fn record_outcome(&mut self, event: &str, told: &NotificationOutcome, now: Timestamp) {
        if *told == NotificationOutcome::Forgotten {
            self.told.clear();
            return;
        }
        let mut known = match self.told.iter().position(|known| known.event == event) {
            Some(place) => self.told.swap_remove(place),
            None => Notification { event: event.to_owned(), since: now, ..Notification::default() },
        };
        match told {
            NotificationOutcome::Sent { amount } => {
                (known.sent_at, known.amount) = (Some(now), *amount);
                (known.failed_at, known.error) = (None, None);
            }
            NotificationOutcome::Failed { error } => {
                (known.failed_at, known.error) = (Some(now), Some(error.clone()));
            }
            NotificationOutcome::Ended | NotificationOutcome::Forgotten => known.amount = 0,
        }
        self.told.push(known);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotificationOutcome {
    Sent {
        amount: i64,
    },
    Failed {
        error: String,
    },
    /// The trouble is over, another one goes on.
    Ended,
    /// All is well, and that was told or need not be.
    Forgotten,
}

pub(super) const TOLD: &str =
    "select event, since, sent_at, amount, failed_at, error from notifications order by event";

impl Store {
    pub async fn notification_state(&mut self) -> Result<NotificationState, StoreError> {
        const FAILURES: &str = "select count(*), (select error from sync_runs where outcome = 'failed' order by id desc limit 1) \
             from sync_runs where outcome = 'failed' \
             and id > (select coalesce(max(id), 0) from sync_runs where outcome = 'succeeded')";
        const CONSENTS: &str = "select count(*), count(withheld_since) from active_consents";
        self.read(async |conn| {
            let (failures, last_error): (i64, Option<String>) = row!(conn, FAILURES)?;
            let (company,): (Option<String>,) = row!(conn, COMPANY)?;
            let (active, unlisted): (i64, i64) = row!(conn, CONSENTS)?;
            let (withheld,): (i64,) = row!(conn, WITHHELD)?;
            let deferred = unlisted > 0 && withheld == 0;
            let told: Vec<Notification> = rows!(conn, TOLD)?;
            Ok(NotificationState { withheld, deferred, failures, active, last_error, company, told })
        })
        .await
    }

    pub async fn remember_notification(
        &mut self,
        event: &str,
        told: &NotificationOutcome,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const SENT: &str = "insert into notifications (event, since, sent_at, amount) values ($1, $2, $2, $3) \
             on conflict (event) do update set sent_at = $2, amount = $3, failed_at = null, error = null";
        const FAILED: &str = "insert into notifications (event, since, failed_at, error) values ($1, $2, $2, $3) \
             on conflict (event) do update set failed_at = $2, error = $3";
        self.write(async |conn| {
            match told {
                NotificationOutcome::Sent { amount } => execute!(conn, SENT, event, now, amount)?,
                NotificationOutcome::Failed { error } => execute!(conn, FAILED, event, now, error)?,
                NotificationOutcome::Ended => {
                    execute!(conn, "update notifications set amount = 0 where event = $1", event)?
                }
                NotificationOutcome::Forgotten => {
                    execute!(conn, "delete from notifications where event <> 'recovered'")?
                }
            };
            Ok(())
        })
        .await
    }
}
