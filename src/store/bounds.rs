//! Time limits for the use of a database, set once when a [`super::Store`] is opened.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::{Instant, sleep_until};

/// A timer this late means that this process was paused, not that the database is slow.
const LATE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// For one use: connecting, a transaction with its retries, a checkpoint.
    pub each_use: Duration,
    /// Restart `each_use` at every sign of progress: for work whose duration grows with the database.
    pub extended_by_progress: bool,
    /// How far a use may outlast the deadline of the run.
    pub after_deadline: Duration,
    /// After a use that timed out: for everything that follows, such as recording the end of the run.
    pub last: Duration,
    pub until: Option<Instant>,
}

impl Bounds {
    /// A run: together less than 60 s after the database has fallen silent, and less than 30 s after the run's deadline.
    pub const RUN: Self = Self {
        each_use: Duration::from_secs(40),
        extended_by_progress: false,
        after_deadline: Duration::from_secs(18),
        last: Duration::from_secs(8),
        until: None,
    };

    /// A command that changes or copies the database, and the start of the daemon: less than 60 s without progress.
    pub const COMMAND: Self =
        Self { each_use: Duration::from_secs(48), extended_by_progress: true, ..Self::RUN };

    /// A look that must end within 10 s, counted from now.
    pub fn look() -> Self {
        let whole = Duration::from_secs(8);
        Self { each_use: whole, last: Duration::ZERO, ..Self::RUN }.within(whole)
    }

    pub fn for_deadline(self, deadline: Option<Instant>) -> Self {
        Self { until: deadline.map(|deadline| deadline + self.after_deadline), ..self }
    }

    /// Sets a deadline for everything, counted from now.
    pub fn within(self, whole: Duration) -> Self {
        Self { until: Some(Instant::now() + whole), ..self }
    }

    /// Limits all remaining uses together.
    pub(super) fn ending_within(self, whole: Duration) -> Self {
        Self { last: Duration::ZERO, ..self.within(whole) }
    }

    pub(super) fn after_giving_up(self) -> Self {
        self.ending_within(self.last)
    }

    /// Awaits one use of the database. None: it took too long and is dropped, whatever it was doing. `pulse` is woken by what
    /// works in another thread and gives no other sign of life.
    pub(super) async fn wait<T>(&self, pulse: &Arc<AtomicWaker>, work: impl Future<Output = T>) -> Option<T> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        let end_from = |from: Instant| {
            let end = from + self.each_use;
            self.until.map_or(end, |until| until.min(end))
        };
        let mut timer = pin!(sleep_until(end_from(Instant::now())));
        let mut work = Box::pin(work);
        poll_fn(|context| {
            pulse.register(context.waker());
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            let now = Instant::now();
            let fired = timer.as_mut().poll(context).is_ready();
            let late = fired && now.duration_since(timer.deadline()) > LATE;
            if late {
                timer.as_mut().reset(now + LATE);
            } else if fired {
                return Poll::Ready(None);
            } else if self.extended_by_progress {
                timer.as_mut().reset(end_from(now));
            }
            match timer.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn ends_after(bounds: Bounds, work: impl Future<Output = ()>) -> (Option<()>, u64) {
        let began = Instant::now();
        let waited = timeout(Duration::from_hours(1), bounds.wait(&Arc::default(), work)).await;
        (waited.ok().flatten(), began.elapsed().as_secs())
    }

    async fn steps(count: u64) {
        for _ in 0..count {
            sleep(SECOND * 30).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_use_ends_in_time_and_progress_extends_it_where_it_may() {
        let silent = std::future::pending;
        assert_eq!(ends_after(Bounds::RUN, silent()).await, (None, 40));
        assert_eq!(ends_after(Bounds::RUN, steps(1)).await, (Some(()), 30));
        assert_eq!(ends_after(Bounds::RUN, steps(9)).await, (None, 40));
        assert_eq!(ends_after(Bounds::COMMAND, steps(9)).await, (Some(()), 270));
        let then_silent = async {
            steps(3).await;
            silent().await;
        };
        assert_eq!(ends_after(Bounds::COMMAND, then_silent).await, (None, 90 + 48));
        assert_eq!(ends_after(Bounds::look(), silent()).await, (None, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_ends_soon_after_its_deadline() {
        let silent = std::future::pending;
        let bounds = Bounds::RUN.for_deadline(Some(Instant::now() + SECOND * 5));
        assert_eq!(ends_after(bounds, silent()).await, (None, 5 + 18));
        let last = bounds.after_giving_up();
        assert_eq!(ends_after(last, silent()).await, (None, 8));
        assert_eq!(ends_after(last.after_giving_up(), silent()).await, (None, 0));
    }
}
