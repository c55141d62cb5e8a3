//! From the first page to the last: read, decide, store.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::future::{MaybeDone, maybe_done};
use tokio::time::Instant;

use super::ending::{Complete, Walked};
use super::target::Target;
use super::wait::Wait;
use super::{Progress, RunError, RunOptions, Syncer};
use crate::api::{ApiError, Paths, QUICKSTART_PATH, REFERENCE_PATH, RawPage};
use crate::config::ConsentsPath;
use crate::consent::{Item, Page, RejectReason};
use crate::reconcile::{Answers, Batch, Pass, PendingReturns, Repeat, RowWrite, ScanSettings, Tally};
use crate::store::{Loaded, Timestamp};

/// A walk whose cursor is refused begins anew, so often.
const MAX_RESTARTS: u32 = 2;

/// Pages wait so long for others to share their transaction: a disk makes only so many a second.
const BATCH_DELAY: Duration = Duration::from_secs(1);

/// Rows that share a transaction at the most, whole pages apart.
const BATCH_ROWS: usize = 5_000;

/// Text that waits at the most, the last page apart: rows can be of any size.
const BATCH_BYTES: usize = 2 * 1024 * 1024;

/// A page with more text than this is done with before the next one is asked for: memory does not hold two of any size.
const PREFETCH_MAX_BYTES: usize = 1024 * 1024;

impl Syncer {
    /// Reads to the end and decides what absence means. Everything but the end is stored.
    pub(super) async fn pass(
        &mut self,
        target: &mut Target<'_>,
        options: &RunOptions,
        wait: &Wait<'_>,
    ) -> Result<Complete, RunError> {
        for restarts in 0.. {
            let loaded = target.load().await?;
            let active_before = loaded.known.active_before();
            let blocked_in_a_row = loaded.blocked_in_a_row;
            let has_rejected_listings = loaded.has_rejected_listings;
            match Box::pin(self.walk(target, loaded, wait)).await {
                Ok(pass) => {
                    let walked = Walked::new(pass, active_before, blocked_in_a_row, has_rejected_listings);
                    return Box::pin(self.decide(target, walked, options, wait)).await;
                }
                Err(RunError::Api(ApiError::CursorRefused)) if restarts < MAX_RESTARTS => {
                    tracing::warn!("the API refused one of its own cursors; the scan starts again");
                    target.row().restart();
                }
                Err(RunError::Api(ApiError::CursorRefused)) => break,
                Err(error) => return Err(error),
            }
        }
        Err(RunError::CursorRefused)
    }

    /// Where the list may be, the path that last worked first.
    pub(super) fn paths(&self, endpoint: Option<String>) -> Paths {
        match &self.config.api.consents_path {
            ConsentsPath::Auto => {
                // A path that was fixed once says nothing about the known two.
                let known = endpoint.filter(|path| path == QUICKSTART_PATH || path == REFERENCE_PATH);
                Paths::Auto { first: known.unwrap_or_else(|| QUICKSTART_PATH.to_owned()) }
            }
            ConsentsPath::Fixed(path) => Paths::Fixed(path.clone()),
        }
    }

    async fn walk(
        &mut self,
        target: &mut Target<'_>,
        loaded: Loaded,
        wait: &Wait<'_>,
    ) -> Result<Pass, RunError> {
        if let (Some(company), Some(store)) = (&self.config.api.company_id, target.store())
            && store.knows_other_company(company).await?
        {
            return Err(RunError::OtherCompanysDatabase);
        }
        let remembered = loaded.endpoint.clone();
        let paths = self.paths(loaded.endpoint);
        let settings = ScanSettings {
            salt: loaded.salt,
            company_id: self.config.api.company_id.clone(),
            suppressed: loaded.suppressed,
            exhausted: loaded.exhausted,
        };
        let due = Timestamp::now().minus(self.config.removal.confirm_after);
        let returns = PendingReturns::new(loaded.pending, due.millis());
        let mut pass = Pass::new(settings, loaded.known, loaded.rejects, returns);
        // Where a company is set, its items are picked one by one.
        let mut pending = PendingBatch::new(self.config.api.company_id.is_some());
        let mut walk = self.api.pages(paths, wait.api_deadline());
        let mut received: Option<RawPage> = None;
        let mut clock_compared = false;
        loop {
            if let Some(page) = received.take_if(|page| !pending.may_prefetch(page)) {
                process_page(page, &mut pass, target, &mut pending, wait).await?;
            }
            let arrived = {
                let mut next = pin!(maybe_done(walk.next_page()));
                if let Some(page) = received.take() {
                    let taken = process_page(page, &mut pass, target, &mut pending, wait);
                    run_while_prefetching(next.as_mut(), taken).await?;
                }
                await_page(next, target, &mut pending, wait).await
            };
            if arrived.is_ok() && target.row().endpoint.as_deref() != Some(walk.endpoint()) {
                log_endpoint(walk.endpoint(), remembered.as_deref());
                target.row().endpoint = Some(walk.endpoint().to_owned());
            }
            if arrived.is_ok() && !std::mem::replace(&mut clock_compared, true) {
                let checked = self.clock.check(walk.server_times(), target.store()).await?;
                *target.clock_checked() = checked;
            }
            received = match arrived {
                Ok(Some(page)) => Some(page),
                Ok(None) => break,
                Err(error) => {
                    // What was received before is good, and stays.
                    pending.flush_pending(target).await?;
                    return Err(error);
                }
            };
        }
        pending.trusted = true;
        pending.flush_pending(target).await?;
        Ok(pass)
    }
}

fn log_endpoint(endpoint: &str, remembered: Option<&str>) {
    if remembered.is_some_and(|path| path != endpoint) {
        tracing::warn!(endpoint, "the path of the consents has changed");
    } else {
        tracing::debug!(endpoint, "the consents are listed at this path");
    }
}

/// Decides what a page means, and stores it when enough of them have gathered.
async fn process_page(
    raw: RawPage,
    pass: &mut Pass,
    target: &mut Target<'_>,
    pending: &mut PendingBatch,
    wait: &Wait<'_>,
) -> Result<(), RunError> {
    // The client sends the next request in a task of its own: that comes first.
    tokio::task::yield_now().await;
    let page = raw.read();
    pending.check_company(target, &page).await?;
    let questions = pass.questions(&page);
    let answers = if questions.is_empty() {
        Answers::new()
    } else {
        pending.flush_pending(target).await?;
        target.namesakes(&questions).await?
    };
    let mut batch = pass.process_page(page, &answers);
    let repeats = std::mem::take(&mut batch.repeats);
    pending.push(batch);
    if !repeats.is_empty() {
        process_repeats(&repeats, &raw, pass, target, pending).await?;
    }
    drop(raw);
    target.row().active = Some(pass.known().active_now().cast_signed());
    pending.flush_if_due(target).await?;
    target.renew_lease_if_due().await?;
    (wait.progress)(pending.progress(target.row().id));
    Ok(())
}

/// Items whose id the scan held before: duplicates, or rejected where the first one has another address.
async fn process_repeats(
    repeats: &[Repeat],
    raw: &RawPage,
    pass: &mut Pass,
    target: &mut Target<'_>,
    pending: &mut PendingBatch,
) -> Result<(), RunError> {
    // The first one may still wait to be stored.
    pending.flush_pending(target).await?;
    let keys: Vec<String> = repeats.iter().map(|repeat| repeat.key.clone()).collect();
    let addresses = target.addresses(&keys).await?;
    for repeat in repeats {
        let would =
            target.would_have_address(&repeat.key, &repeat.address).filter(|_| repeat.first.is_none());
        let other = match would {
            Some(same) => !same,
            None => pass.is_other_address(repeat, addresses.get(&repeat.key).map(String::as_str)),
        };
        let rejected = other.then(|| raw.reject(repeat.number, &repeat.key, RejectReason::DuplicateId));
        pending.push(match rejected.flatten() {
            Some(rejected) => pass.process_repeat(rejected),
            None => Batch { tally: Tally { duplicates: 1, ..Tally::default() }, ..Batch::default() },
        });
    }
    Ok(())
}

/// Does the work to its end while the next page is on its way.
async fn run_while_prefetching<N: Future, T>(
    mut next: Pin<&mut MaybeDone<N>>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        // An answer that is there is kept until it is asked for.
        let _ = next.as_mut().poll(context);
        work.as_mut().poll(context)
    })
    .await
}

/// Waits for the page. Meanwhile pages that waited long enough are stored and the lease is renewed.
async fn await_page<N: Future<Output = Result<Option<RawPage>, ApiError>>>(
    mut next: Pin<&mut MaybeDone<N>>,
    target: &mut Target<'_>,
    pending: &mut PendingBatch,
    wait: &Wait<'_>,
) -> Result<Option<RawPage>, RunError> {
    let mut tell = wait.progress_interval();
    loop {
        let due = pending.due();
        tokio::select! {
            biased;
            () = wait.over() => return Err(wait.reason(target.row())),
            () = &mut next => break,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                pending.flush_pending(target).await?;
            }
            _ = tell.tick() => {
                (wait.progress)(pending.progress(target.row().id));
                target.renew_lease_if_due().await?;
            }
        }
    }
    // There is always an output: nobody else takes it.
    Ok(next.take_output().transpose()?.flatten())
}

/// Pages that share a transaction.
struct PendingBatch {
    batch: Batch,
    since: Option<Instant>,
    bytes: usize,
    /// The list is known to belong to the company whose consents the database holds.
    trusted: bool,
    pages: u64,
    items: u64,
}

impl PendingBatch {
    fn new(trusted: bool) -> Self {
        Self { batch: Batch::default(), since: None, bytes: 0, trusted, pages: 0, items: 0 }
    }

    /// Whether the next page may be asked for while this one is worked on.
    fn may_prefetch(&self, page: &RawPage) -> bool {
        self.trusted && page.bytes() <= PREFETCH_MAX_BYTES
    }

    fn push(&mut self, batch: Batch) {
        self.pages += batch.tally.pages;
        self.items += batch.tally.items;
        if !batch.is_empty() {
            self.since.get_or_insert_with(Instant::now);
        }
        let rejected = batch.rejects.iter().map(|reject| reject.item.len());
        self.bytes += batch.writes.iter().map(RowWrite::bytes).sum::<usize>() + rejected.sum::<usize>();
        self.batch.append(batch);
    }

    fn progress(&self, run_id: i64) -> Progress {
        Progress { run_id, pages: self.pages, items: self.items }
    }

    /// When the pages have waited long enough.
    fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.trusted).map(|since| since + BATCH_DELAY)
    }

    async fn flush_if_due(&mut self, target: &mut Target<'_>) -> Result<(), RunError> {
        let rows = self.batch.writes.len() + self.batch.rejects.len();
        let many = rows >= BATCH_ROWS;
        let full = many || self.bytes >= BATCH_BYTES;
        // So many rejected items and not one that can be used: they belong to nobody, and memory has an end.
        self.trusted |= many && self.batch.writes.is_empty();
        if (full && self.trusted) || self.due().is_some_and(|due| Instant::now() >= due) {
            self.flush_pending(target).await?;
        }
        Ok(())
    }

    /// Stores what there is. Pages without anything to write are only counted: they cost no transaction.
    async fn flush_pending(&mut self, target: &mut Target<'_>) -> Result<(), RunError> {
        if !self.trusted {
            return Ok(());
        }
        self.since = None;
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        target.write(&batch).await
    }

    /// The first page with an item that can be used must share a company with the database (contract, `api.company_id`).
    async fn check_company(&mut self, target: &mut Target<'_>, page: &Page<'_>) -> Result<(), RunError> {
        if self.trusted {
            return Ok(());
        }
        let companies = companies(page);
        if companies.is_empty() {
            return Ok(());
        }
        if let Some(store) = target.store()
            && !store.knows_company(&companies).await?
        {
            return Err(RunError::OtherCompany);
        }
        self.trusted = true;
        Ok(())
    }
}

/// The companies on a page, each once.
pub fn companies(page: &Page<'_>) -> Vec<String> {
    let mut companies: Vec<String> = page
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Consent(consent) => Some(consent.company_id.as_ref().to_owned()),
            Item::Rejected(_) => None,
        })
        .collect();
    companies.sort_unstable();
    companies.dedup();
    companies
}
