//! After a run: tells the receiver of `notify.url` what it should know, and remembers in the database that it was told.
//!
//! Nothing here fails a run. What could not be sent is tried again after the next run.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::config::Config;
use crate::invocation::Invocation;
use crate::observe::notice::{Due, Event, Notice, due};
use crate::store::{Bounds, NotificationOutcome, NotificationState, Store, StoreError, Timestamp};

/// All of it together takes no longer: at most two messages of 10 s each, a look of 8 s at the database, and 10 s to remember.
pub(super) const NOTIFY_TIMEOUT: Duration = Duration::from_secs(40);

/// A server that is silent holds up the next run no longer.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);

/// What has to outlive a database that is away; a process of its own for each run has none of it.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    /// As the database told it last.
    recorded: NotificationState,
    /// Failed runs that could not be recorded, and why the last one failed.
    unrecorded: i64,
    unrecorded_error: Option<String>,
    unsaved: Vec<(&'static str, NotificationOutcome, Timestamp)>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Delivered {
    pub(super) sent: u64,
    pub(super) failed: u64,
}

impl Notifier {
    pub(super) fn count_unrecorded_failure(&mut self, error: &str) {
        self.unrecorded += 1;
        self.unrecorded_error = Some(error.to_owned());
    }

    pub(super) fn reset_failures(&mut self) {
        (self.unrecorded, self.unrecorded_error) = (0, None);
        self.recorded.failures = 0;
    }

    /// What the database told last, and what it was not told.
    fn state(&self, config: &Config) -> NotificationState {
        let mut state = self.recorded.clone();
        state.failures += self.unrecorded;
        if self.unrecorded_error.is_some() {
            state.last_error.clone_from(&self.unrecorded_error);
        }
        if let Some(company) = &config.api.company_id {
            state.company = Some(company.clone());
        }
        for (event, told, at) in &self.unsaved {
            state.record_outcome(event, told, *at);
        }
        state
    }

    /// To be called after each run. A shutdown does not wait for it.
    pub(super) async fn after_run(&mut self, config: &Config, stop: &CancellationToken) -> Delivered {
        if config.notify.url.is_none() {
            return Delivered::default();
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => Delivered::default(),
            delivered = self.notify_receiver(config) => delivered,
        }
    }

    async fn notify_receiver(&mut self, config: &Config) -> Delivered {
        if let Ok(Some(found)) = read_state(config).await {
            self.recorded = found;
        }
        let now = Timestamp::now();
        let state = self.state(config);
        let Due { notices, ended, forget } =
            due(&state, config.notify.after_failures, now, Invocation::current());
        let mut delivered = Delivered::default();
        let mut news: Vec<(&'static str, NotificationOutcome)> =
            ended.into_iter().map(|event| (event, NotificationOutcome::Ended)).collect();
        if forget {
            news.push(("", NotificationOutcome::Forgotten));
        }
        for notice in notices {
            self.send_notice(config, &notice, &mut delivered, &mut news).await;
        }
        for (event, told) in news {
            // Of failures the last one is enough, however long the database is away.
            let is_outdated = |known: &NotificationOutcome| {
                matches!(
                    (known, &told),
                    (NotificationOutcome::Failed { .. }, NotificationOutcome::Failed { .. })
                )
            };
            self.unsaved.retain(|(of, known, _)| *of != event || !is_outdated(known));
            self.unsaved.push((event, told, now));
        }
        if !self.unsaved.is_empty() {
            match tokio::time::timeout(RECORD_TIMEOUT, self.save(config)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(hint = error.hint(), "a notification could not be recorded: {error}");
                }
                Err(_) => tracing::warn!(
                    "a notification could not be recorded: the database has not answered in time"
                ),
            }
        }
        delivered
    }

    async fn send_notice(
        &self,
        config: &Config,
        notice: &Notice,
        delivered: &mut Delivered,
        news: &mut Vec<(&'static str, NotificationOutcome)>,
    ) {
        let Some(url) = &config.notify.url else { return };
        let event = notice.event.name();
        let (content_type, text) = notice.body(config.notify.format);
        match Api::notify(url, &config.api.user_agent, content_type, text).await {
            Ok(()) => {
                delivered.sent += 1;
                tracing::info!(event, "notification sent");
                if notice.event == Event::Recovered {
                    news.push((event, NotificationOutcome::Forgotten));
                }
                news.push((event, NotificationOutcome::Sent { amount: notice.amount }));
            }
            Err(error) => {
                delivered.failed += 1;
                tracing::warn!(event, hint = error.hint(), "{error}; it is tried again after the next run");
                news.push((event, NotificationOutcome::Failed { error: error.to_string() }));
            }
        }
    }

    /// What cannot be saved now is saved after a later run: what was told while the database was away must neither go out again nor
    /// be forgotten when all is well.
    async fn save(&mut self, config: &Config) -> Result<(), StoreError> {
        let store = Store::open_beside_run(&config.database).await?;
        let saved = async |store: &mut Store| {
            while let Some((event, told, at)) = self.unsaved.first() {
                store.remember_notification(event, told, *at).await?;
                self.unsaved.remove(0);
            }
            Ok(())
        };
        store.close_after(saved).await
    }
}

async fn read_state(config: &Config) -> Result<Option<NotificationState>, StoreError> {
    let store = Store::open_to_read(&config.database, Bounds::look()).await?;
    let Some(store) = store else { return Ok(None) };
    store.close_after(async |store| store.notification_state().await.map(Some)).await
}
