//! The full scan: every page from the first to the last is read, decided on, and stored.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{MaybeDone, maybe_done};
use tokio::time::Instant;

use super::ending::{Complete, CompleteScan};
use super::lookup::Lookups;
use super::sink::Sink;
use super::wait::Wait;
use super::{ActiveRun, Progress, RunError};
use crate::api::{ApiError, Paths, QUICKSTART_PATH, REFERENCE_PATH, RawPage};
use crate::config::{self, ConsentsPath};
use crate::consent::{Item, Page, RejectReason};
use crate::exit::{Exit, Problem};
use crate::reconcile::{Answers, Batch, PendingReturns, Repeat, RowWrite, Scan, ScanSettings, Tally};
use crate::store::{Loaded, Timestamp};

/// How often a scan starts again whose cursor is refused.
const MAX_RESTARTS: u32 = 2;

/// Pages wait this long for others to share their transaction: a disk makes only a few a second.
const BATCH_DELAY: Duration = Duration::from_secs(1);

/// Text of a row that waits, on the average and at the most, the last page apart: rows can be of any size.
const ROW_BYTES: usize = 400;

/// A page with more text than this is done with before the next one is asked for: memory does not hold two of any size.
const PREFETCH_MAX_BYTES: usize = 1024 * 1024;

impl ActiveRun<'_> {
    /// Scans to the end, storing all of it, and decides what absence means.
    pub(super) async fn scan_and_decide(&mut self) -> Result<Complete, RunError> {
        let Self { syncer, sink, wait, .. } = self;
        let config = &syncer.config;
        let mut loaded = load(sink, config).await?;
        let remembered = loaded.endpoint.take();
        let mut pager = syncer.api.pages(paths(config, remembered.clone()), wait.api_deadline());
        pager.recognize(Arc::clone(&loaded.items));
        let (mut blocked_in_a_row, mut has_rejected_listings) =
            (loaded.blocked_in_a_row, loaded.has_rejected_listings);
        // Where a company is set, its items are picked one by one.
        let mut pending = PendingBatch::new(config.api.company_id.is_some(), loaded.batch_rows);
        let mut scan = begin_scan(loaded, config);
        let mut received: Option<RawPage> = None;
        let mut restarts = 0;
        let mut clock_compared = false;
        loop {
            if let Some(page) = received.take_if(|page| !pending.may_prefetch(page)) {
                process_page(page, &mut scan, sink, &mut pending, wait).await?;
            }
            let arrived = {
                let mut next = pin!(maybe_done(pager.next_page()));
                if let Some(page) = received.take() {
                    let processing = process_page(page, &mut scan, sink, &mut pending, wait);
                    run_while_prefetching(next.as_mut(), processing).await?;
                }
                await_page(next, sink, &mut pending, wait).await
            };
            if arrived.is_ok() && sink.row().endpoint.as_deref() != Some(pager.endpoint()) {
                log_endpoint(pager.endpoint(), remembered.as_deref());
                sink.row().endpoint = Some(pager.endpoint().to_owned());
            }
            if arrived.is_ok() && !std::mem::replace(&mut clock_compared, true) {
                let checked = syncer.clock.check(pager.server_times(), sink.store()).await?;
                *sink.clock_checked() = checked;
            }
            pending.is_trusted |= matches!(arrived, Ok(None));
            if !matches!(arrived, Ok(Some(_))) {
                // What was received before an error is good, and stays.
                pending.flush_batch(sink).await?;
            }
            match arrived {
                Ok(Some(page)) => received = Some(page),
                Ok(None) => break,
                Err(RunError::Api(ApiError::CursorRefused)) if restarts == MAX_RESTARTS => {
                    return Err(refused_again());
                }
                Err(RunError::Api(ApiError::CursorRefused)) => {
                    tracing::warn!("the API refused one of its own cursors; the scan starts again");
                    restarts += 1;
                    sink.restart(scan.rejects().has_new_nameless());
                    // Memory does not hold two of them.
                    drop(scan);
                    pager.restart();
                    pager.recognize(Arc::default());
                    let loaded = load(sink, config).await?;
                    pager.recognize(Arc::clone(&loaded.items));
                    (blocked_in_a_row, has_rejected_listings) =
                        (loaded.blocked_in_a_row, loaded.has_rejected_listings);
                    pending = PendingBatch::new(config.api.company_id.is_some(), loaded.batch_rows);
                    scan = begin_scan(loaded, config);
                }
                Err(error) => return Err(error),
            }
        }
        let returns = scan.take_pending().into_sorted();
        let lookups = Lookups::with_controls(scan.controls());
        let complete = CompleteScan { scan, blocked_in_a_row, has_rejected_listings, returns, lookups };
        Box::pin(self.decide(complete)).await
    }
}

/// What the database holds. One that holds another company's consents than the configured one is refused.
async fn load(sink: &mut Sink<'_>, config: &config::Config) -> Result<Loaded, RunError> {
    let loaded = sink.load().await?;
    if let (Some(company), Some(store)) = (&config.api.company_id, sink.store())
        && store.knows_other_company(company).await?
    {
        return Err(Problem::new(
            Exit::Data,
            "the database holds, or once held, consents of another company than api.company_id: nothing was written",
        )
        .next_step("correct api.company_id, or let database.url name a new database for this company")
        .into());
    }
    Ok(loaded)
}

fn begin_scan(loaded: Loaded, config: &config::Config) -> Scan {
    let settings = ScanSettings {
        salt: loaded.salt,
        company_id: config.api.company_id.clone(),
        suppressed: loaded.suppressed,
        exhausted: loaded.exhausted,
    };
    let due = Timestamp::now().minus(config.removal.confirm_after);
    let returns = PendingReturns::new(loaded.pending, due.millis());
    Scan::new(settings, loaded.known, loaded.rejects, returns)
}

/// Where the list may be, the path that last worked first.
fn paths(config: &config::Config, endpoint: Option<String>) -> Paths {
    match &config.api.consents_path {
        ConsentsPath::Auto => {
            // A path that was fixed once says nothing about the known two.
            let known = endpoint.filter(|path| path == QUICKSTART_PATH || path == REFERENCE_PATH);
            Paths::Auto { first: known.unwrap_or_else(|| QUICKSTART_PATH.to_owned()) }
        }
        ConsentsPath::Fixed(path) => Paths::Fixed(path.clone()),
    }
}

fn refused_again() -> RunError {
    Problem::new(Exit::Retry, "the API refused one of its own cursors three times in one run (status 400)")
        .next_step(
            "the next run tries again; cursors are short-lived, so a faster api.requests_per_second can help",
        )
        .into()
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
    scan: &mut Scan,
    sink: &mut Sink<'_>,
    pending: &mut PendingBatch,
    wait: &Wait<'_>,
) -> Result<(), RunError> {
    // The client sends the next request in a task of its own: that comes first.
    tokio::task::yield_now().await;
    let page = raw.read();
    pending.check_company(sink, &page).await?;
    let questions = scan.questions(&page);
    let answers = if questions.is_empty() {
        Answers::new()
    } else {
        pending.flush_batch(sink).await?;
        sink.namesakes(&questions).await?
    };
    let mut batch = scan.process_page(page, &answers);
    let repeats = std::mem::take(&mut batch.repeats);
    pending.push(batch);
    if !repeats.is_empty() {
        process_repeats(&repeats, &raw, scan, sink, pending).await?;
    }
    drop(raw);
    sink.row().active = Some(scan.known().active_now().cast_signed());
    pending.flush_if_due(sink).await?;
    sink.renew_lease_if_due().await?;
    (wait.progress)(pending.progress(sink.row().id));
    Ok(())
}

/// Items whose id the scan held before: duplicates, or rejected where the first one has another address.
async fn process_repeats(
    repeats: &[Repeat],
    raw: &RawPage,
    scan: &mut Scan,
    sink: &mut Sink<'_>,
    pending: &mut PendingBatch,
) -> Result<(), RunError> {
    // The first one may still wait to be stored.
    pending.flush_batch(sink).await?;
    let keys: Vec<String> = repeats.iter().map(|repeat| repeat.key.clone()).collect();
    let addresses = sink.addresses(&keys).await?;
    for repeat in repeats {
        let would = sink.would_have_address(&repeat.key, &repeat.address).filter(|_| repeat.first.is_none());
        let other = match would {
            Some(same) => !same,
            None => scan.is_other_address(repeat, addresses.get(&repeat.key).map(String::as_str)),
        };
        let rejected = other.then(|| raw.reject(repeat.number, &repeat.key, RejectReason::DuplicateId));
        pending.push(match rejected.flatten() {
            Some(rejected) => scan.process_repeat(rejected),
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
    sink: &mut Sink<'_>,
    pending: &mut PendingBatch,
    wait: &Wait<'_>,
) -> Result<Option<RawPage>, RunError> {
    let mut progress_due = wait.progress_interval();
    loop {
        let due = pending.due();
        tokio::select! {
            biased;
            () = wait.over() => return Err(wait.reason(sink.row())),
            () = &mut next => break,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                pending.flush_batch(sink).await?;
            }
            _ = progress_due.tick() => {
                (wait.progress)(pending.progress(sink.row().id));
                sink.renew_lease_if_due().await?;
            }
        }
    }
    // There is always an output: nobody else takes it.
    Ok(next.take_output().transpose()?.flatten())
}

struct PendingBatch {
    batch: Batch,
    since: Option<Instant>,
    bytes: usize,
    /// Rows that share a transaction at the most, whole pages apart.
    max_rows: usize,
    /// The list is known to belong to the company whose consents the database holds.
    is_trusted: bool,
    pages: u64,
    items: u64,
}

impl PendingBatch {
    fn new(is_trusted: bool, max_rows: usize) -> Self {
        Self { batch: Batch::default(), since: None, bytes: 0, max_rows, is_trusted, pages: 0, items: 0 }
    }

    /// Whether the next page may be asked for while this one is worked on.
    fn may_prefetch(&self, page: &RawPage) -> bool {
        self.is_trusted && page.bytes() <= PREFETCH_MAX_BYTES
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

    fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.is_trusted).map(|since| since + BATCH_DELAY)
    }

    async fn flush_if_due(&mut self, sink: &mut Sink<'_>) -> Result<(), RunError> {
        let rows = self.batch.writes.len() + self.batch.rejects.len();
        let many = rows >= self.max_rows;
        let full = many || self.bytes >= self.max_rows * ROW_BYTES;
        // So many rejected items and not one that can be used: they belong to nobody, and memory has an end.
        self.is_trusted |= many && self.batch.writes.is_empty();
        if (full && self.is_trusted) || self.due().is_some_and(|due| Instant::now() >= due) {
            self.flush_batch(sink).await?;
        }
        Ok(())
    }

    async fn flush_batch(&mut self, sink: &mut Sink<'_>) -> Result<(), RunError> {
        if !self.is_trusted {
            return Ok(());
        }
        self.since = None;
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        match sink {
            // Pages without anything to write are only counted: they cost no transaction.
            Sink::Database { run, .. } if batch.is_empty() => run.row.count(&batch.tally),
            Sink::Database { store, run } => store.write_batch(run, &batch, Timestamp::now()).await?,
            Sink::DryRun(dry) => dry.record(&batch),
        }
        Ok(())
    }

    /// The first page with an item that can be used must share a company with the database (contract, `api.company_id`).
    async fn check_company(&mut self, sink: &mut Sink<'_>, page: &Page<'_>) -> Result<(), RunError> {
        if self.is_trusted {
            return Ok(());
        }
        let companies = companies(page);
        if companies.is_empty() {
            return Ok(());
        }
        if let Some(store) = sink.store()
            && !store.knows_company(&companies).await?
        {
            return Err(RunError::other_company());
        }
        self.is_trusted = true;
        Ok(())
    }
}

pub fn companies(page: &Page<'_>) -> Vec<String> {
    let mut companies: Vec<String> = page
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Consent(consent) => Some(consent.company_id.as_ref().to_owned()),
            Item::Rejected(_) => None,
            Item::Known(known) => match known.read()? {
                Item::Consent(consent) => Some(consent.company_id.into_owned()),
                _ => None,
            },
        })
        .collect();
    companies.sort_unstable();
    companies.dedup();
    companies
}
