//! After a run: tells the receiver of `notify.url` what it should know, and remembers in the database that it was told.
//!
//! Nothing here fails a run. What could not be sent is tried again after the next run.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::config::Config;
use crate::invocation::Invocation;
use crate::observe::notice::{Due, Notice, due};
use crate::store::{Bounds, NotificationState, Store, StoreError, Timestamp, Told};

/// All of it together takes no longer: at most two messages of 10 s each, a look of 8 s at the database, and 10 s to remember.
pub(super) const NOTIFY_TIMEOUT: Duration = Duration::from_secs(40);

/// A server that is silent holds up the next run no longer.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);

/// What has to outlive a database that is away; a process of its own for each run has none of it.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    /// As last seen in the database, and what was told since.
    state: NotificationState,
    /// Failed runs that could not be recorded.
    unrecorded: i64,
}

/// How many messages were accepted, and how many were not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) sent: u64,
    pub(super) failed: u64,
}

impl Notifier {
    /// A run has failed without a row.
    pub(super) fn count_unrecorded_failure(&mut self, error: &str) {
        self.unrecorded += 1;
        self.state.last_error = Some(error.to_owned());
    }

    pub(super) fn reset_failures(&mut self) {
        self.unrecorded = 0;
    }

    /// To be called after each run. A stop does not wait for it.
    pub(super) async fn after_run(&mut self, config: &Config, stop: &CancellationToken) -> Delivered {
        if config.notify.url.is_none() {
            return Delivered::default();
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => Delivered::default(),
            delivered = self.tell(config) => delivered,
        }
    }

    async fn tell(&mut self, config: &Config) -> Delivered {
        if let Ok(Some(found)) = look(config).await {
            let error = self.state.last_error.take().filter(|_| self.unrecorded > 0);
            self.state = found;
            self.state.last_error = error.or(self.state.last_error.take());
            self.state.failures += self.unrecorded;
        } else {
            self.state.failures = self.state.failures.max(self.unrecorded);
        }
        if let Some(company) = &config.api.company_id {
            self.state.company = Some(company.clone());
        }
        let now = Timestamp::now();
        let Due { notices, ended, forget } =
            due(&self.state, config.notify.after_failures, now, Invocation::current());
        let mut delivered = Delivered::default();
        let mut news: Vec<(&'static str, Told)> =
            ended.into_iter().map(|event| (event, Told::Ended)).collect();
        if forget && !self.state.told.is_empty() {
            news.push(("", Told::Forgotten));
        }
        for notice in notices {
            self.send(config, &notice, &mut delivered, &mut news).await;
        }
        if !news.is_empty() {
            match tokio::time::timeout(RECORD_TIMEOUT, self.remember(config, &news, now)).await {
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

    async fn send(
        &self,
        config: &Config,
        notice: &Notice,
        delivered: &mut Delivered,
        news: &mut Vec<(&'static str, Told)>,
    ) {
        let Some(url) = &config.notify.url else { return };
        let event = notice.event.name();
        let body = notice.body(config.notify.format);
        match Api::notify(url, &config.api.user_agent, body.content_type, body.text).await {
            Ok(()) => {
                delivered.sent += 1;
                tracing::info!(event, "notification sent");
                if notice.event == crate::observe::notice::Event::Recovered {
                    news.push((event, Told::Forgotten));
                }
                news.push((event, Told::Sent { amount: notice.amount }));
            }
            Err(error) => {
                delivered.failed += 1;
                tracing::warn!(event, hint = error.hint(), "{error}; it is tried again after the next run");
                news.push((event, Told::Failed { error: error.to_string() }));
            }
        }
    }

    /// Here first: a database that is away must not make the same message go out again after each run.
    async fn remember(
        &mut self,
        config: &Config,
        news: &[(&'static str, Told)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for (event, told) in news {
            self.state.note(event, told, now);
        }
        let mut store = Store::open_beside_run(&config.database).await?;
        let mut done = Ok(());
        for (event, told) in news {
            done = store.remember_notification(event, told, now).await;
            if done.is_err() {
                break;
            }
        }
        store.close().await;
        done
    }
}

async fn look(config: &Config) -> Result<Option<NotificationState>, StoreError> {
    let Some(mut store) = Store::open_to_read(&config.database, Bounds::look()).await? else {
        return Ok(None);
    };
    let state = store.notification_state().await;
    store.close().await;
    state.map(Some)
}
