//! The end of a complete walk: what absence means, single look-ups, the last transaction.

use tokio::time::Instant;

use super::error::Failure;
use super::wait::Wait;
use super::walk::Complete;
use super::{Progress, RunError, RunOptions, RunReport, Syncer, fail};
use crate::api::{Lookup, QUICKSTART_PATH};
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::reconcile::{Absence, Evidence, Pass, evaluate_removals};
use crate::store::{Candidate, Ending, Run, RunRow, Store, Timestamp};

/// A walk from the start to the end, all of it stored.
pub(super) struct Walked {
    pub(super) pass: Pass,
    pub(super) active_before: u64,
    pub(super) blocked_in_a_row: u32,
}

impl Syncer {
    /// Decides about absence and asks for the pages of those whose removal this run would confirm.
    pub(super) async fn decide(
        &mut self,
        store: &mut Store,
        run: &mut Run,
        walked: Walked,
        options: RunOptions,
        wait: &Wait<'_>,
    ) -> Result<Complete, RunError> {
        let new_nameless_reject = store.has_new_nameless_reject(run).await?;
        let evidence = walked.evidence(new_nameless_reject, options.accept_removals);
        let removal = &self.config.removal;
        let absence = evaluate_removals(&evidence, removal.max_percent, removal.min_count);
        let known = walked.pass.known();
        let mut ending = Ending {
            confirm_runs: removal.confirm_runs,
            rejects_seen: walked.pass.rejects().seen().collect(),
            rejects_gone: walked.pass.rejects().any_gone(),
            ..Ending::default()
        };
        let mut not_before = None;
        match absence {
            Absence::Judged => {
                ending.judged = true;
                ending.missing = store.keys_of(&known.unlisted_active_rows().collect::<Vec<_>>()).await?;
                let candidates = store.candidates(removal.confirm_runs, removal.max_checks).await?;
                not_before = self.look_up(store, run, candidates, &mut ending, wait).await?;
            }
            Absence::Withheld => {
                ending.withheld = store.keys_of(&known.newly_withheld_rows().collect::<Vec<_>>()).await?;
            }
            Absence::Blocked => {}
        }
        let mut row = run.row.clone();
        row.active = Some(known.active_now().cast_signed() - ending.missing.len().cast_signed() as i64);
        let (message, exit) = conclude(&mut row, absence, &evidence);
        Ok(Complete { row, ending, message, exit, not_before })
    }

    /// Asks for the page of each candidate: 404 or 410 confirms the removal, 200 keeps the row missing, anything else ends
    /// the look-ups, not the run (contract 5.6). Tells before when the API wants no further request.
    async fn look_up(
        &mut self,
        store: &mut Store,
        run: &mut Run,
        candidates: Vec<Candidate>,
        ending: &mut Ending,
        wait: &Wait<'_>,
    ) -> Result<Option<Instant>, RunError> {
        let list_path = run.row.endpoint.clone().unwrap_or_else(|| QUICKSTART_PATH.to_owned());
        for candidate in candidates {
            let id = &candidate.consent_id;
            let asking = self.api.lookup(&list_path, id, wait.api_deadline());
            let Some(answer) = wait.await_with_lease(asking, store, run).await? else {
                if wait.cancel.is_cancelled() {
                    return Err(RunError::Interrupted);
                }
                break;
            };
            match answer {
                Ok(Lookup::Gone) => ending.removed.push(candidate.consent_key.clone()),
                Ok(Lookup::Listed) => {}
                Ok(Lookup::Unclear { .. }) => {
                    // It has had its turn: one page that always fails must not keep all others from theirs.
                    ending.checked.push(candidate.consent_key);
                    tracing::warn!(
                        "the page of a single consent gave no clear answer; the other removals wait for the next run"
                    );
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "the pages of single consents could not be asked for; the other removals wait for the next run");
                    return Ok(error.not_before());
                }
            }
            ending.checked.push(candidate.consent_key);
            (wait.progress)(Progress {
                run_id: run.row.id,
                pages: run.row.pages.cast_unsigned(),
                items: run.row.items.cast_unsigned(),
            });
            store.renew_lease_if_due(run, Timestamp::now()).await?;
        }
        Ok(None)
    }

    pub(super) async fn complete(
        &mut self,
        store: &mut Store,
        run: Run,
        complete: Complete,
    ) -> Result<RunReport, Failure> {
        let Complete { mut row, ending, message, exit, not_before } = complete;
        row.requests = run.row.requests;
        row.retries = run.row.retries;
        match store.finish(&run, row, &ending, Timestamp::now()).await {
            Ok(row) => Ok(RunReport { row, exit, message, not_before }),
            Err(error) => Err(fail(store, run, error.into()).await),
        }
    }
}

impl Walked {
    pub(super) fn evidence(&self, new_nameless_reject: bool, accepted: Option<u64>) -> Evidence {
        Evidence {
            active: self.active_before,
            unlisted: self.pass.known().unlisted_active(),
            lists_somebody: self.pass.lists_somebody(),
            new_nameless_reject,
            blocked_in_a_row: self.blocked_in_a_row,
            accepted,
        }
    }
}

/// Completes the row and says what the figures alone do not.
pub(super) fn conclude(row: &mut RunRow, absence: Absence, evidence: &Evidence) -> (Option<String>, Exit) {
    "succeeded".clone_into(&mut row.outcome);
    row.absence = Some(absence.as_str().to_owned());
    row.finished_at = Some(Timestamp::now());
    match absence {
        Absence::Judged => (None, Exit::Done),
        Absence::Withheld => {
            row.removals_withheld = evidence.unlisted.cast_signed();
            let (n, of) = (evidence.unlisted, evidence.active);
            let why = if evidence.lists_somebody {
                "which is more than the guard lets through at once"
            } else {
                "and the list holds nobody at all who can be stored"
            };
            let message = format!(
                "removals withheld: {n} of {of} active consents are not listed any more, {why}; none was marked missing. If they really left, run: {}",
                Invocation::current().line_then_run(&format!("accept-removals {n}"))
            );
            row.error = Some(message.clone());
            (Some(message), Exit::Data)
        }
        Absence::Blocked => {
            let n = evidence.unlisted;
            let message = format!(
                "absence not judged: an item without a usable id was rejected for the first time, and it may be one of the \
                 {n} active consents that are not listed; see rejected_items"
            );
            (Some(message), Exit::Done)
        }
    }
}
