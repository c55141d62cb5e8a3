//! The end of a complete scan: what absence means, who returns, the last transaction.

use std::collections::HashSet;

use super::lookup::Lookups;
use super::{ActiveRun, RunError};
use crate::consent::is_askable;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::reconcile::{Absence, Evidence, PendingReturn, RemovalGuard, RowWrite, Scan};
use crate::store::{Acceptance, Candidate, Checked, Ending, RunRow, Standing, Timestamp};

/// A scan from the start to the end, all of it stored, and what was asked for since.
pub(super) struct CompleteScan {
    pub(super) scan: Scan,
    pub(super) blocked_in_a_row: u32,
    pub(super) has_rejected_listings: bool,
    pub(super) returns: Vec<PendingReturn>,
    pub(super) lookups: Lookups,
}

/// A complete run that waits to be recorded.
pub(super) struct Complete {
    pub(super) row: RunRow,
    pub(super) ending: Ending,
    pub(super) message: Option<String>,
    pub(super) exit: Exit,
    pub(super) scan: CompleteScan,
}

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

impl CompleteScan {
    fn evidence(&self, standing: &Standing) -> Evidence {
        Evidence {
            active: self.scan.known().active_before(),
            own: self.scan.own_rows().count() as u64,
            back: standing.back,
            lists_somebody: self.scan.lists_somebody(),
            new_nameless_reject: standing.new_nameless_reject || self.scan.rejects().has_new_nameless(),
            blocked_in_a_row: self.blocked_in_a_row,
        }
    }

    /// A rejected item that has the row's id takes this run out of the count towards its removal.
    fn may_confirm(&self, candidate: &Candidate) -> bool {
        self.scan.is_unlisted(&candidate.consent_key)
            && (candidate.overdue || !self.scan.is_rejected_missing(&candidate.consent_key))
    }

    /// What the pages of rows said, for `consent_checks`.
    fn checked(&self) -> Vec<Checked> {
        let returns = |key: &String| self.returns.binary_search_by(|item| item.key.cmp(key)).is_ok();
        let rows = self.lookups.answers.iter().filter(|(key, _)| !returns(key));
        rows.map(|(key, answer)| Checked { consent_key: key.clone(), answer: answer.as_str() }).collect()
    }
}

impl ActiveRun<'_> {
    /// Decides about absence and returns, asking for pages where that may help.
    pub(super) async fn decide(&mut self, mut complete: CompleteScan) -> Result<Complete, RunError> {
        let listed: Vec<String> = complete.returns.iter().map(|item| item.key.clone()).collect();
        let standing = self.sink.standing(&listed).await?;
        let decision = self.decide_absence(&mut complete, &standing).await?;
        self.look_up_returns(&mut complete).await?;
        let scan = &complete.scan;
        let mut ending = Ending {
            judged: decision.absence == Absence::Judged,
            accepted: decision.accepted.is_some(),
            rejected_active: scan.rejected_active_rows().collect(),
            rejected_missing: scan.rejected_missing_rows().collect(),
            has_rejected_listings: complete.has_rejected_listings,
            rejects_seen: scan.rejects().seen().collect(),
            rejects_gone: scan.rejects().any_gone(),
            renewed: scan.renewed().clone(),
            ..Ending::default()
        };
        let by_option = decision.accepted.as_ref().is_some_and(|acceptance| acceptance.at.is_none());
        if decision.held && !by_option {
            ending.acceptance = Some(standing.acceptance.clone());
            ending.uses_acceptance = ending.judged && ending.accepted;
        }
        let gone: HashSet<&String> = decision.gone.iter().collect();
        if ending.judged {
            ending.missing = self.sink.keys_of(scan.own_rows()).await?;
            ending.missing.retain(|key| !gone.contains(key));
            ending.removed = self.confirm_removals(&mut complete, &standing).await?;
        } else {
            ending.withheld = self.sink.keys_of(scan.newly_withheld_rows()).await?;
            ending.withheld.retain(|key| !gone.contains(key));
        }
        let due = self.due();
        for item in &complete.returns {
            let there = complete.lookups.is_there(&item.key);
            match &item.write {
                Some(write) if there || due.is_some_and(|due| item.is_listed_since(due.millis())) => {
                    ending.returned.push(RowWrite::Upsert(write.clone()));
                }
                _ => ending.pending.push(item.key.clone()),
            }
        }
        let asked = |key: &&String| complete.lookups.answers.contains_key(*key);
        ending.pending_checked = ending.pending.iter().filter(asked).cloned().collect();
        ending.checked = complete.checked();
        ending.pages_usable = complete.lookups.usable == Some(true);
        ending.gone.clone_from(&decision.gone);
        let mut row = self.sink.row().clone();
        let left = (ending.missing.len() + ending.gone.len()).cast_signed() as i64;
        let returned = ending.returned.len().cast_signed() as i64;
        row.active = Some(complete.scan.known().active_now().cast_signed() - left + returned);
        row.returns_pending -= returned;
        let (message, exit) = conclude(&mut row, &decision);
        Ok(Complete { row, ending, message, exit, scan: complete })
    }

    /// Judges the rows that were not listed; where they stay active, their pages are asked for first.
    async fn decide_absence(
        &mut self,
        complete: &mut CompleteScan,
        standing: &Standing,
    ) -> Result<Decision, RunError> {
        let removal = &self.syncer.config.removal;
        let guard = RemovalGuard { max_percent: removal.max_percent, min_count: removal.min_count };
        let mut evidence = complete.evidence(standing);
        let held = guard.holds(&evidence);
        let enough = |acceptance: &&Acceptance| acceptance.removals >= evidence.own;
        let accepted = self.options.acceptance.as_ref().filter(enough);
        let accepted = accepted.or_else(|| standing.acceptance.as_ref().filter(enough));
        let accepted = accepted.filter(|_| held).cloned();
        let mut gone = Vec::new();
        if guard.evaluate(&evidence, accepted.is_some()) != Absence::Judged {
            let limit = self.max_lookups();
            let candidates = self.sink.unlisted_candidates(complete.scan.own_rows(), limit).await?;
            gone = keys(candidates);
            self.look_up(&mut complete.lookups, gone.iter().cloned()).await?;
            gone.retain(|key| complete.lookups.is_gone(key));
            evidence.own -= gone.len() as u64;
        }
        let absence = guard.evaluate(&evidence, accepted.is_some());
        // Where the pages alone let everybody through, it was no help and is kept.
        let helps = absence == Absence::Judged && guard.evaluate(&evidence, false) != Absence::Judged;
        let accepted = accepted.filter(|_| helps);
        Ok(Decision { absence, evidence, accepted, held, gone })
    }

    async fn look_up_returns(&mut self, complete: &mut CompleteScan) -> Result<(), RunError> {
        let due = self.due();
        let mut waiting: Vec<&PendingReturn> = complete
            .returns
            .iter()
            .filter(|item| item.has_page() && item.write.is_some())
            .filter(|item| !due.is_some_and(|due| item.is_listed_since(due.millis())))
            .collect();
        waiting.sort_by_key(|item| item.known.and_then(|known| known.checked_at));
        let keys: Vec<String> = waiting.into_iter().map(|item| item.key.clone()).collect();
        self.look_up(&mut complete.lookups, keys.into_iter()).await
    }

    /// The missing rows whose removal this run confirms: by their page, or, where there is none, by the time.
    async fn confirm_removals(
        &mut self,
        complete: &mut CompleteScan,
        standing: &Standing,
    ) -> Result<Vec<String>, RunError> {
        let confirm_runs = self.syncer.config.removal.confirm_runs;
        if !standing.has_due_rows(confirm_runs) {
            return Ok(Vec::new());
        }
        let judged_runs = standing.judged_runs;
        // Rows that are passed over below take no place.
        let passed_over = complete.scan.rejected_missing_rows().count() + self.sink.unwritten_returns().len();
        let limit = self.max_lookups().saturating_add(passed_over);
        let Some(store) = self.sink.store() else { return Ok(Vec::new()) };
        let mut candidates = store.candidates(judged_runs, confirm_runs, limit).await?;
        candidates.retain(|candidate| complete.may_confirm(candidate));
        let mut removed = keys(candidates);
        self.look_up(&mut complete.lookups, removed.iter().cloned()).await?;
        removed.retain(|key| complete.lookups.is_gone(key));
        let due = self.due();
        if let (Some(due), Some(store)) = (due, self.sink.store()) {
            let usable =
                complete.lookups.usable == Some(true) || standing.pages_usable_at.is_some_and(|at| at > due);
            let mut overdue = store.overdue_rows(judged_runs, confirm_runs, due).await?;
            overdue.retain(|candidate| {
                let has_page = candidate.consent_id.as_deref().is_some_and(is_askable);
                !(has_page && usable)
                    && complete.may_confirm(candidate)
                    && !complete.lookups.is_gone(&candidate.consent_key)
            });
            removed.extend(keys(overdue));
        }
        Ok(removed)
    }

    /// What began before then has lasted for `removal.confirm_after`; None where the clock was not checked.
    fn due(&mut self) -> Option<Timestamp> {
        let confirm_after = self.syncer.config.removal.confirm_after;
        self.sink.clock_checked().then(|| Timestamp::now().minus(confirm_after))
    }
}

fn keys(candidates: Vec<Candidate>) -> Vec<String> {
    candidates.into_iter().map(|candidate| candidate.consent_key).collect()
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
