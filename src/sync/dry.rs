//! The whole pass with nothing written: no lease, no run row, no file, no schema.

mod unwritten;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::ending::{Walked, conclude};
use super::error::Failure;
use super::wait::Wait;
use super::walk::companies;
use super::{RunError, RunOptions, Syncer, count_requests};
use crate::api::{ApiError, Lookup, QUICKSTART_PATH};
use crate::exit::Exit;
use crate::reconcile::{
    Absence, Batch, Namesakes, Pass, RowWrite, ScanSettings, Tally, UpsertKind, evaluate_removals,
};
use crate::store::{Loaded, RunRow, Store, Timestamp};
use unwritten::Unwritten;

/// One row that a run would write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChange {
    /// `added`, `updated`, `returned`, `missing`, `removed`, `withheld`
    pub kind: &'static str,
    /// `consent_key`
    pub key: String,
}

/// What a run would have reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryReport {
    /// The row that it would have recorded; `id` is 0.
    pub row: RunRow,
    /// How it would have ended.
    pub exit: Exit,
    /// What it would have said besides the figures.
    pub message: Option<String>,
}

impl Syncer {
    /// The whole pass with nothing written. `would` is told every row that a run would write.
    ///
    /// # Errors
    /// As [`Syncer::run_once`].
    pub async fn dry_run(
        &mut self,
        options: RunOptions,
        cancel: &CancellationToken,
        would: &mut dyn FnMut(PlannedChange),
    ) -> Result<DryReport, Failure> {
        let started = tokio::time::Instant::now();
        let timeout = self.config.schedule.run_timeout;
        let before = self.api.traffic().clone();
        let deadline = timeout.map(|timeout| started + timeout);
        let wait = Wait { cancel, deadline, timeout, progress: &|_| {}, progress_every: Duration::MAX };
        let opened = Store::open_to_read(&self.config.database, self.bounds.for_deadline(deadline)).await;
        let mut store = opened.map_err(RunError::from)?;
        let result = self.dry_pass(store.as_mut(), options, &wait, would).await;
        if let Some(store) = store {
            store.close().await;
        }
        let mut report = result?;
        count_requests(&mut report.row, &before, self.api.traffic());
        Ok(report)
    }

    async fn dry_pass(
        &mut self,
        mut store: Option<&mut Store>,
        options: RunOptions,
        wait: &Wait<'_>,
        would: &mut dyn FnMut(PlannedChange),
    ) -> Result<DryReport, RunError> {
        let mut restarts = 0;
        loop {
            let loaded = match &mut store {
                Some(store) => store.load().await?,
                None => Loaded::empty(),
            };
            let active_before = loaded.known.active_before();
            let blocked_in_a_row = loaded.blocked_in_a_row;
            let mut row =
                RunRow { started_at: Timestamp::now(), trigger: "once".to_owned(), ..RunRow::default() };
            match self.dry_walk(store.as_deref_mut(), loaded, &mut row, wait, would).await {
                Ok(pass) => {
                    let walked = Walked { pass, active_before, blocked_in_a_row };
                    return self.dry_ending(store, walked, row, options, wait, would).await;
                }
                Err(RunError::Api(ApiError::CursorRefused)) if restarts < 2 => restarts += 1,
                Err(RunError::Api(ApiError::CursorRefused)) => return Err(RunError::CursorRefused),
                Err(error) => return Err(error),
            }
        }
    }

    async fn dry_walk(
        &mut self,
        mut store: Option<&mut Store>,
        loaded: Loaded,
        row: &mut RunRow,
        wait: &Wait<'_>,
        would: &mut dyn FnMut(PlannedChange),
    ) -> Result<Pass, RunError> {
        if let (Some(company), Some(store)) = (&self.config.api.company_id, store.as_mut())
            && store.knows_other_company(company).await?
        {
            return Err(RunError::OtherCompanysDatabase);
        }
        let paths = self.paths(loaded.endpoint);
        let settings = ScanSettings {
            salt: loaded.salt,
            company_id: self.config.api.company_id.clone(),
            suppressed: loaded.suppressed,
        };
        let mut pass = Pass::new(settings, loaded.known, loaded.rejects);
        let mut unwritten = Unwritten::default();
        let mut trusted = self.config.api.company_id.is_some();
        let mut walk = self.api.walk(paths, wait.api_deadline());
        let mut clock_compared = false;
        loop {
            let page = tokio::select! {
                biased;
                () = wait.over() => return Err(wait.reason(row)),
                page = walk.next_page() => page?,
            };
            row.endpoint = Some(walk.endpoint().to_owned());
            if !std::mem::replace(&mut clock_compared, true) {
                self.clock.check(walk.server_times(), store.as_deref_mut()).await?;
            }
            let Some(raw) = page else { return Ok(pass) };
            let page = raw.read();
            if let Some(store) = &mut store {
                let companies = companies(&page);
                if !trusted && !companies.is_empty() {
                    if !store.knows_company(&companies).await? {
                        return Err(RunError::OtherCompany);
                    }
                    trusted = true;
                }
            }
            let mut namesakes = Namesakes::new();
            let questions = pass.questions(&page);
            if !questions.is_empty() {
                if let Some(store) = &mut store {
                    namesakes = store.namesakes(&questions).await?;
                }
                unwritten.amend(&mut namesakes, &questions);
            }
            let batch = pass.process_page(page, &namesakes);
            unwritten.note(&batch);
            row.count(&report_batch(batch, would));
        }
    }

    async fn dry_ending(
        &mut self,
        mut store: Option<&mut Store>,
        walked: Walked,
        mut row: RunRow,
        options: RunOptions,
        wait: &Wait<'_>,
        would: &mut dyn FnMut(PlannedChange),
    ) -> Result<DryReport, RunError> {
        let evidence = walked.evidence(walked.pass.rejects().has_new_nameless(), options.accept_removals);
        let removal = self.config.removal.clone();
        let absence = evaluate_removals(&evidence, removal.max_percent, removal.min_count);
        let known = walked.pass.known();
        row.active = Some(known.active_now().cast_signed());
        if let Some(store) = &mut store {
            let (kind, hashes) = match absence {
                Absence::Judged => ("missing", known.unlisted_active_rows().collect::<Vec<_>>()),
                Absence::Withheld => ("withheld", known.newly_withheld_rows().collect()),
                Absence::Blocked => ("missing", Vec::new()),
            };
            let keys = store.keys_of(&hashes).await?;
            if absence == Absence::Judged {
                row.missing = keys.len().cast_signed() as i64;
                row.active = row.active.map(|active| active - row.missing);
            }
            for key in keys {
                would(PlannedChange { kind, key });
            }
            if absence == Absence::Judged {
                let still_missing = |key: &str| walked.pass.is_unlisted(key);
                let nameless = store.nameless_candidates(removal.confirm_runs).await?;
                for key in nameless.into_iter().filter(|key| still_missing(key)) {
                    row.removed += 1;
                    would(PlannedChange { kind: "removed", key });
                }
                let candidates = store.candidates(removal.confirm_runs, removal.max_checks).await?;
                let list_path = row.endpoint.clone().unwrap_or_else(|| QUICKSTART_PATH.to_owned());
                for candidate in
                    candidates.into_iter().filter(|candidate| still_missing(&candidate.consent_key))
                {
                    let answer = tokio::select! {
                        biased;
                        () = wait.cancel.cancelled() => return Err(RunError::Interrupted),
                        () = wait.over() => break,
                        answer = self.api.lookup(&list_path, &candidate.consent_id, wait.api_deadline()) => answer,
                    };
                    match answer {
                        Ok(Lookup::Gone) => {
                            row.removed += 1;
                            would(PlannedChange { kind: "removed", key: candidate.consent_key });
                        }
                        Ok(Lookup::Listed) => {}
                        Ok(Lookup::Unclear { .. }) | Err(_) => break,
                    }
                }
            }
        }
        let (message, exit) = conclude(&mut row, absence, &evidence);
        Ok(DryReport { row, exit, message })
    }
}

/// Tells what would be written and counts it as a run would.
fn report_batch(batch: Batch, would: &mut dyn FnMut(PlannedChange)) -> Tally {
    let mut tally = batch.tally;
    for op in batch.writes {
        let (kind, key) = match op {
            RowWrite::Upsert(put) => {
                let kind = match put.kind {
                    UpsertKind::Add => "added",
                    UpsertKind::Change { returns: true } | UpsertKind::TakeOver { returns: true, .. } => {
                        "returned"
                    }
                    UpsertKind::Change { .. } | UpsertKind::TakeOver { .. } => "updated",
                };
                match kind {
                    "added" => tally.added += 1,
                    "returned" => tally.returned += 1,
                    _ => tally.updated += 1,
                }
                (kind, put.key)
            }
            RowWrite::MarkListed { key, returns: true } => ("returned", key),
            RowWrite::MarkListed { .. } => continue,
        };
        would(PlannedChange { kind, key });
    }
    tally
}
