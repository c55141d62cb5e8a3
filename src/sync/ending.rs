//! The end of a complete scan: what absence means, who returns, the last transaction.

use std::collections::HashSet;

use super::error::Failure;
use super::lookup::Lookups;
use super::target::Target;
use super::wait::Wait;
use super::{RunError, RunOptions, RunReport, Syncer, count_requests, fail};
use crate::api::Traffic;
use crate::consent::is_askable;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::reconcile::{Absence, Evidence, Guard, Pass, PendingReturn, RowWrite};
use crate::store::{Acceptance, Candidate, Checked, Ending, Run, RunRow, Standing, Store, Timestamp};

/// A scan from the start to the end, all of it stored, and what was asked for since.
pub(super) struct Walked {
    pass: Pass,
    active_before: u64,
    blocked_in_a_row: u32,
    has_rejected_listings: bool,
    returns: Vec<PendingReturn>,
    lookups: Lookups,
}

/// A complete run that waits to be recorded.
pub(super) struct Complete {
    pub(super) row: RunRow,
    pub(super) ending: Ending,
    pub(super) message: Option<String>,
    pub(super) exit: Exit,
    walked: Walked,
}

/// What was decided about absence.
struct Decision {
    absence: Absence,
    /// After look-ups.
    evidence: Evidence,
    /// By which acceptance the guard was passed.
    accepted: Option<Acceptance>,
    /// The guard's rule held, so that an acceptance counts.
    held: bool,
    gone: Vec<String>,
}

/// An acceptance that comes or goes while a run ends is looked at again, so often.
const MAX_DECISIONS: u32 = 5;

impl Walked {
    pub(super) fn new(
        mut pass: Pass,
        active_before: u64,
        blocked_in_a_row: u32,
        has_rejected_listings: bool,
    ) -> Self {
        let returns = pass.take_pending().into_sorted();
        let lookups = Lookups::with_controls(pass.controls());
        Self { pass, active_before, blocked_in_a_row, has_rejected_listings, returns, lookups }
    }

    fn evidence(&self, standing: &Standing) -> Evidence {
        Evidence {
            active: self.active_before,
            own: self.pass.own_rows().count() as u64,
            back: standing.back,
            lists_somebody: self.pass.lists_somebody(),
            new_nameless_reject: standing.new_nameless_reject || self.pass.rejects().has_new_nameless(),
            blocked_in_a_row: self.blocked_in_a_row,
        }
    }

    /// A rejected item that has the row's id takes this run out of the count towards its removal.
    fn may_confirm(&self, candidate: &Candidate) -> bool {
        self.pass.is_unlisted(&candidate.consent_key)
            && (candidate.overdue || !self.pass.is_rejected_missing(&candidate.consent_key))
    }

    /// What the pages of rows said, for `consent_checks`.
    fn checked(&self) -> Vec<Checked> {
        let returns = |key: &String| self.returns.binary_search_by(|item| item.key.cmp(key)).is_ok();
        let rows = self.lookups.answers.iter().filter(|(key, _)| !returns(key));
        rows.map(|(key, answer)| Checked { consent_key: key.clone(), answer: answer.as_str() }).collect()
    }
}

impl Syncer {
    /// Decides about absence and returns, asking for pages where that may help.
    pub(super) async fn decide(
        &mut self,
        target: &mut Target<'_>,
        mut walked: Walked,
        options: &RunOptions,
        wait: &Wait<'_>,
    ) -> Result<Complete, RunError> {
        let listed: Vec<String> = walked.returns.iter().map(|item| item.key.clone()).collect();
        let standing = target.standing(&listed).await?;
        let decision = self.decide_absence(target, &mut walked, &standing, options, wait).await?;
        self.look_up_returns(target, &mut walked, wait).await?;
        let mut ending = Ending {
            judged: decision.absence == Absence::Judged,
            accepted: decision.accepted.is_some(),
            rejected_active: walked.pass.rejected_active_rows().collect(),
            rejected_missing: walked.pass.rejected_missing_rows().collect(),
            has_rejected_listings: walked.has_rejected_listings,
            rejects_seen: walked.pass.rejects().seen().collect(),
            rejects_gone: walked.pass.rejects().any_gone(),
            renewed: walked.pass.renewed().clone(),
            ..Ending::default()
        };
        let by_option = decision.accepted.as_ref().is_some_and(|acceptance| acceptance.at.is_none());
        if decision.held && !by_option {
            ending.acceptance = Some(standing.acceptance.clone());
            ending.uses_acceptance = ending.judged && ending.accepted;
        }
        let gone: HashSet<&String> = decision.gone.iter().collect();
        if ending.judged {
            ending.missing = target.keys_of(walked.pass.own_rows()).await?;
            ending.missing.retain(|key| !gone.contains(key));
            ending.removed = self.confirm(target, &mut walked, &standing, wait).await?;
        } else {
            ending.withheld = target.keys_of(walked.pass.newly_withheld_rows()).await?;
            ending.withheld.retain(|key| !gone.contains(key));
        }
        let due = self.due(target);
        for item in &walked.returns {
            let there = walked.lookups.is_there(&item.key);
            match &item.write {
                Some(write) if there || due.is_some_and(|due| item.is_listed_since(due.millis())) => {
                    ending.returned.push(RowWrite::Upsert(write.clone()));
                }
                _ => ending.pending.push(item.key.clone()),
            }
        }
        let asked = |key: &&String| walked.lookups.answers.contains_key(*key);
        ending.pending_checked = ending.pending.iter().filter(asked).cloned().collect();
        ending.checked = walked.checked();
        ending.pages_usable = walked.lookups.usable == Some(true);
        ending.gone.clone_from(&decision.gone);
        let mut row = target.row().clone();
        let left = (ending.missing.len() + ending.gone.len()).cast_signed() as i64;
        let returned = ending.returned.len().cast_signed() as i64;
        row.active = Some(walked.pass.known().active_now().cast_signed() - left + returned);
        row.returns_pending -= returned;
        let (message, exit) = conclude(&mut row, &decision);
        Ok(Complete { row, ending, message, exit, walked })
    }

    /// Judges the rows that were not listed; where they stay active, their pages are asked for first.
    async fn decide_absence(
        &mut self,
        target: &mut Target<'_>,
        walked: &mut Walked,
        standing: &Standing,
        options: &RunOptions,
        wait: &Wait<'_>,
    ) -> Result<Decision, RunError> {
        let removal = &self.config.removal;
        let guard = Guard { max_percent: removal.max_percent, min_count: removal.min_count };
        let mut evidence = walked.evidence(standing);
        let held = guard.holds(&evidence);
        let enough = |acceptance: &&Acceptance| acceptance.removals >= evidence.own;
        let accepted = options.acceptance.as_ref().filter(enough);
        let accepted = accepted.or_else(|| standing.acceptance.as_ref().filter(enough));
        let accepted = accepted.filter(|_| held).cloned();
        let mut gone = Vec::new();
        if guard.evaluate(&evidence, accepted.is_some()) != Absence::Judged {
            let candidates = target.unlisted_candidates(walked.pass.own_rows(), self.max_lookups()).await?;
            let keys: Vec<String> = candidates.into_iter().map(|candidate| candidate.consent_key).collect();
            self.look_up(target, &mut walked.lookups, keys.iter().cloned(), wait).await?;
            gone = keys.into_iter().filter(|key| walked.lookups.is_gone(key)).collect();
            evidence.own -= gone.len() as u64;
        }
        let absence = guard.evaluate(&evidence, accepted.is_some());
        // Where the pages alone let everybody through, it was no help and is kept.
        let helps = absence == Absence::Judged && guard.evaluate(&evidence, false) != Absence::Judged;
        let accepted = accepted.filter(|_| helps);
        Ok(Decision { absence, evidence, accepted, held, gone })
    }

    async fn look_up_returns(
        &mut self,
        target: &mut Target<'_>,
        walked: &mut Walked,
        wait: &Wait<'_>,
    ) -> Result<(), RunError> {
        let due = self.due(target);
        let mut waiting: Vec<&PendingReturn> = walked
            .returns
            .iter()
            .filter(|item| item.has_page() && item.write.is_some())
            .filter(|item| !due.is_some_and(|due| item.is_listed_since(due.millis())))
            .collect();
        waiting.sort_by_key(|item| item.known.and_then(|known| known.checked_at));
        let keys: Vec<String> = waiting.into_iter().map(|item| item.key.clone()).collect();
        self.look_up(target, &mut walked.lookups, keys.into_iter(), wait).await
    }

    /// The missing rows whose removal this run confirms: by their page, or, where there is none, by the time.
    async fn confirm(
        &mut self,
        target: &mut Target<'_>,
        walked: &mut Walked,
        standing: &Standing,
        wait: &Wait<'_>,
    ) -> Result<Vec<String>, RunError> {
        let confirm_runs = self.config.removal.confirm_runs;
        let judged_runs = standing.judged_runs;
        // Rows that are passed over below take no place.
        let passed_over = walked.pass.rejected_missing_rows().count() + target.unwritten_returns().len();
        let Some(store) = target.store() else { return Ok(Vec::new()) };
        let most = self.max_lookups().saturating_add(passed_over);
        let mut candidates = store.candidates(judged_runs, confirm_runs, most).await?;
        candidates.retain(|candidate| walked.may_confirm(candidate));
        let keys: Vec<String> = candidates.into_iter().map(|candidate| candidate.consent_key).collect();
        self.look_up(target, &mut walked.lookups, keys.iter().cloned(), wait).await?;
        let mut removed: Vec<String> = keys.into_iter().filter(|key| walked.lookups.is_gone(key)).collect();
        let due = self.due(target);
        if let (Some(due), Some(store)) = (due, target.store()) {
            let usable =
                walked.lookups.usable == Some(true) || standing.pages_usable_at.is_some_and(|at| at > due);
            let overdue = store.overdue_rows(judged_runs, confirm_runs, due).await?;
            let by_time = |candidate: &Candidate| {
                let has_page = candidate.consent_id.as_deref().is_some_and(is_askable);
                !(has_page && usable) && walked.may_confirm(candidate)
            };
            let by_time = overdue.into_iter().filter(by_time).map(|candidate| candidate.consent_key);
            removed.extend(by_time.filter(|key| !walked.lookups.is_gone(key)));
        }
        Ok(removed)
    }

    /// What began before then has lasted for `removal.confirm_after`; None where the clock was not checked.
    fn due(&self, target: &mut Target<'_>) -> Option<Timestamp> {
        let checked = *target.clock_checked();
        checked.then(|| Timestamp::now().minus(self.config.removal.confirm_after))
    }

    /// Records a complete run. Where an acceptance came or went meanwhile, it is decided anew.
    pub(super) async fn complete(
        &mut self,
        store: &mut Store,
        mut run: Run,
        mut complete: Complete,
        options: &RunOptions,
        wait: &Wait<'_>,
        traffic: &Traffic,
    ) -> Result<RunReport, Failure> {
        for _ in 0..MAX_DECISIONS {
            let Complete { mut row, ending, message, exit, walked } = complete;
            count_requests(&mut row, traffic, &self.api.traffic());
            (run.row.requests, run.row.retries) = (row.requests, row.retries);
            match store.finish(&run, row, &ending, Timestamp::now()).await {
                Ok(Some(row)) => {
                    let not_before = walked.lookups.not_before;
                    return Ok(RunReport { row, exit, message, not_before });
                }
                Ok(None) => {}
                Err(error) => return Err(fail(store, run, error.into()).await),
            }
            let target = &mut Target::Database { store, run: &mut run };
            complete = match Box::pin(self.decide(target, walked, options, wait)).await {
                Ok(complete) => complete,
                Err(error) => return Err(fail(store, run, error).await),
            };
        }
        Err(fail(store, run, RunError::AcceptanceChanges).await)
    }
}

/// Completes the row and says what the figures alone do not.
fn conclude(row: &mut RunRow, decision: &Decision) -> (Option<String>, Exit) {
    "succeeded".clone_into(&mut row.outcome);
    row.absence = Some(decision.absence.as_str().to_owned());
    row.finished_at = Some(Timestamp::now());
    let evidence = &decision.evidence;
    match decision.absence {
        Absence::Judged => {
            if let Some(acceptance) = &decision.accepted {
                row.accepted_removals = Some(evidence.own.cast_signed());
                row.accepted_by = Some(acceptance.by.clone());
            }
            (None, Exit::Done)
        }
        Absence::Withheld => {
            row.removals_withheld = evidence.own.cast_signed();
            let message = withheld(evidence);
            row.error = Some(message.clone());
            (Some(message), Exit::Data)
        }
        Absence::Blocked => {
            let people = match evidence.own {
                1 => "the person who is no longer listed".to_owned(),
                n => format!("one of the {n} people no longer listed"),
            };
            let message = format!(
                "removals not evaluated: a record without an id was rejected and could be {people}; see rejected_items"
            );
            (Some(message), Exit::Done)
        }
    }
}

fn withheld(evidence: &Evidence) -> String {
    let (own, n) = (evidence.own, evidence.own + evidence.back);
    let of = evidence.active + evidence.back;
    let since = if evidence.back > 0 {
        format!(" ({} of them left the list in the last 24 hours before this run)", evidence.back)
    } else {
        String::new()
    };
    let why = if evidence.lists_somebody {
        "more than removal.max_percent and removal.min_count allow within 24 hours"
    } else {
        "and the list names nobody who can be stored"
    };
    let line = Invocation::current().line_then_run(&format!("accept-removals {own}"));
    format!(
        "removals withheld: {n} of {of} active consents are no longer listed{since}, {why}; {own} stay active. If they really \
         left, run: {line}"
    )
}
