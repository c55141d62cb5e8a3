//! tokio-cron-scheduler, which looks at the clock twice a second and starts the job, with our schedule behind it.
//!
//! Its own arithmetic has three defects in 0.15.1. It turns the zone into a fixed offset when a job is added (its issues 87 and
//! 107), so that `0 0 3 * * *` in Europe/Copenhagen runs at 02:00 or 04:00 from the night the clocks change to the next restart.
//! It compares the wall clock with a stored next tick, so that a clock set back silences it for as long as it was set back. And
//! it starts a job while the last one still runs (issues 50 and 83). Its extension point avoids all three: the metadata store
//! says what is due, and the job only sends into a channel of one, to the loop that makes one run at a time.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, mpsc};
use tokio_cron_scheduler::job::job_data::{JobAndNextTick, JobStoredData};
use tokio_cron_scheduler::store::{DataStore, InitStore};
use tokio_cron_scheduler::{
    Job, JobScheduler, JobSchedulerError, MetaDataStorage, SimpleJobCode, SimpleMetadataStore,
    SimpleNotificationCode, SimpleNotificationStore,
};
use uuid::Uuid;

use super::Ticks;

/// A next tick that has come, whatever the clock says, in seconds since 1970.
const DUE: u64 = 1;
/// One that never comes: the last second of the year 9999.
const NOT_DUE: u64 = 253_402_300_799;
/// The scheduler's own channels: there is one job, and it is taken at once.
const CHANNEL_SIZE: usize = 16;

type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, JobSchedulerError>> + Send>>;

/// What the scheduler's store and the run loop share.
struct SharedTicks {
    ticks: Mutex<Ticks>,
    /// Ticks that came since the loop last asked.
    due_ticks: AtomicU64,
    /// Notified at each look at the clock.
    clock_checked: Notify,
}

impl SharedTicks {
    fn ticks(&self) -> MutexGuard<'_, Ticks> {
        self.ticks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_clock(&self) -> bool {
        self.clock_checked.notify_one();
        let ticks = self.ticks().count_due();
        self.due_ticks.fetch_add(ticks, Ordering::Relaxed);
        ticks > 0
    }
}

/// The crate's own store of jobs, but the times are those of our schedule.
struct ScheduleStore {
    jobs: SimpleMetadataStore,
    shared: Arc<SharedTicks>,
}

impl MetaDataStorage for ScheduleStore {
    fn list_next_ticks(&mut self) -> StoreFuture<Vec<JobAndNextTick>> {
        let next_tick = if self.shared.check_clock() { DUE } else { NOT_DUE };
        let jobs = self.jobs.list_next_ticks();
        Box::pin(async move {
            let with_tick = |job| JobAndNextTick { next_tick, last_tick: None, ..job };
            Ok(jobs.await?.into_iter().map(with_tick).collect())
        })
    }

    /// The scheduler's arithmetic, of which nothing is kept.
    fn set_next_and_last_tick(
        &mut self,
        _: Uuid,
        _: Option<DateTime<Utc>>,
        _: Option<DateTime<Utc>>,
    ) -> StoreFuture<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn time_till_next_job(&mut self) -> StoreFuture<Option<Duration>> {
        let ticks = self.shared.ticks();
        let left = (ticks.next() - ticks.now()).to_std().unwrap_or_default();
        Box::pin(std::future::ready(Ok(Some(left))))
    }
}

impl DataStore<JobStoredData> for ScheduleStore {
    fn get(&mut self, id: Uuid) -> StoreFuture<Option<JobStoredData>> {
        self.jobs.get(id)
    }

    fn add_or_update(&mut self, data: JobStoredData) -> StoreFuture<()> {
        self.jobs.add_or_update(data)
    }

    fn delete(&mut self, id: Uuid) -> StoreFuture<()> {
        self.jobs.delete(id)
    }
}

impl InitStore for ScheduleStore {
    fn init(&mut self) -> StoreFuture<()> {
        self.jobs.init()
    }

    fn inited(&mut self) -> StoreFuture<bool> {
        self.jobs.inited()
    }
}

/// The running scheduler, as the run loop sees it.
pub struct Scheduler {
    shared: Arc<SharedTicks>,
    due: mpsc::Receiver<()>,
    jobs: JobScheduler,
}

impl Scheduler {
    pub async fn start(ticks: Ticks) -> Result<Self, JobSchedulerError> {
        let shared = Arc::new(SharedTicks {
            ticks: Mutex::new(ticks),
            due_ticks: AtomicU64::new(0),
            clock_checked: Notify::new(),
        });
        let store = ScheduleStore { jobs: SimpleMetadataStore::default(), shared: Arc::clone(&shared) };
        let scheduler = JobScheduler::new_with_storage_and_code(
            Box::new(store),
            Box::<SimpleNotificationStore>::default(),
            Box::<SimpleJobCode>::default(),
            Box::<SimpleNotificationCode>::default(),
            CHANNEL_SIZE,
        )
        .await?;
        let (sender, due) = mpsc::channel(1);
        // The period is never used: the store says when.
        let job = Job::new_repeated_async(Duration::from_secs(1), move |_, _| {
            // Full: the loop has not come to the last one yet, and will hear of both.
            let _ = sender.try_send(());
            Box::pin(std::future::ready(()))
        })?;
        scheduler.add(job).await?;
        scheduler.start().await?;
        Ok(Self { shared, due, jobs: scheduler })
    }

    /// Waits for the next look at the clock or the next job. How many ticks have come, where any has.
    pub async fn wait(&mut self) -> Option<u64> {
        tokio::select! {
            biased;
            _ = self.due.recv() => Some(self.shared.due_ticks.swap(0, Ordering::Relaxed)).filter(|ticks| *ticks > 0),
            () = self.shared.clock_checked.notified() => None,
        }
    }

    /// Drops the ticks that came during a run, and returns how many they were.
    pub fn skip_missed(&self) -> u64 {
        self.shared.check_clock();
        self.shared.due_ticks.swap(0, Ordering::Relaxed)
    }

    /// When the next run is due, jitter included.
    pub fn next(&self) -> DateTime<Utc> {
        self.shared.ticks().next()
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.shared.ticks().now()
    }

    pub async fn stop(mut self) {
        // Nobody waits for its jobs: they do nothing.
        let _ = self.jobs.shutdown().await;
    }
}
