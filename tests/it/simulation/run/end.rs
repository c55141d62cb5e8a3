//! The end of a complete walk, as sync/ending.rs makes it.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use understory_sync::reconcile::{Absence, Evidence, PendingReturn, RemovalGuard, RowWrite, Scan};
use understory_sync::store::{Candidate, Checked, Ending, RunRow, Timestamp};

use super::{Listed, Over, Plan, Simulation};
use crate::simulation::check::Step;
use crate::simulation::model::Row;
use crate::simulation::world::{Entry, id};

/// The look-ups of one run.
#[derive(Default)]
struct Asked {
    answers: HashMap<String, &'static str>,
    usable: Option<bool>,
    unclear: u32,
}

impl Asked {
    fn is(&self, key: &str, answer: &str) -> bool {
        self.answers.get(key) == Some(&answer)
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    now.plus_millis(-i64::try_from(age.as_millis()).unwrap())
}

impl Simulation<'_> {
    #[expect(clippy::too_many_lines, reason = "the end of a run in its order")]
    pub(super) fn end(
        &mut self,
        plan: &Plan,
        mut pass: Scan,
        listed: &Listed,
        active: u64,
        blocked_in_a_row: u32,
        restarted: bool,
    ) -> Result<RunRow, Over> {
        self.may_die(plan)?;
        let returns = pass.take_pending().into_sorted();
        let keys: Vec<String> = returns.iter().map(|item| item.key.clone()).collect();
        let standing = self.twin.standing(&keys);
        let mut evidence = Evidence {
            active,
            own: pass.own_rows().count() as u64,
            back: standing.back,
            lists_somebody: pass.lists_somebody(),
            new_nameless_reject: standing.new_nameless_reject || pass.rejects().has_new_nameless(),
            blocked_in_a_row,
        };
        let (own, back) = (evidence.own, evidence.back);
        let guard = RemovalGuard { max_percent: self.removal.max_percent, min_count: self.removal.min_count };
        let accepted = guard.holds(&evidence) && plan.accept.is_some_and(|most| own <= most);
        let mut asked = Asked::default();
        let mut ending = Ending {
            rejected_active: pass.rejected_active_rows().collect(),
            rejected_missing: pass.rejected_missing_rows().collect(),
            has_rejected_listings: !self.twin.model.listings.is_empty(),
            rejects_seen: pass.rejects().seen().collect(),
            rejects_gone: pass.rejects().any_gone(),
            ..Ending::default()
        };
        if guard.evaluate(&evidence, accepted) != Absence::Judged {
            let most = usize::try_from(self.removal.max_checks).unwrap();
            let candidates = self.twin.unlisted_candidates(&pass.own_rows().collect::<Vec<_>>(), most);
            let keys: Vec<String> = candidates.into_iter().map(|candidate| candidate.consent_key).collect();
            self.look_up(plan, &pass, &mut asked, &keys)?;
            ending.gone = keys.into_iter().filter(|key| asked.is(key, "gone")).collect();
            evidence.own -= ending.gone.len() as u64;
        }
        let absence = guard.evaluate(&evidence, accepted);
        ending.judged = absence == Absence::Judged;
        ending.accepted = accepted && ending.judged;
        self.ask_returns(plan, &pass, &mut asked, &returns)?;
        if ending.judged {
            ending.missing = self.twin.keys_of(&pass.own_rows().collect::<Vec<_>>());
            let gone = ending.gone.clone();
            ending.missing.retain(|key| !gone.contains(key));
            ending.removed = self.confirm(plan, &pass, &mut asked, standing.judged_runs)?;
            let due = before(self.now(), self.removal.confirm_after);
            let usable = asked.usable == Some(true) || standing.pages_usable_at.is_some_and(|at| at > due);
            let overdue = self.twin.overdue_rows(standing.judged_runs, self.removal.confirm_runs, due);
            let by_time = overdue.into_iter().filter(|candidate| {
                (candidate.consent_id.is_none() || !usable) && Self::counts(&pass, candidate)
            });
            let keys = by_time.map(|candidate| candidate.consent_key);
            let keys: Vec<String> = keys.filter(|key| !asked.is(key, "gone")).collect();
            ending.removed.extend(keys);
        } else {
            ending.withheld = self.twin.keys_of(&pass.newly_withheld_rows().collect::<Vec<_>>());
            let gone = ending.gone.clone();
            ending.withheld.retain(|key| !gone.contains(key));
        }
        let due = before(self.now(), self.removal.confirm_after).millis();
        for item in &returns {
            match &item.write {
                Some(write) if asked.is(&item.key, "there") || item.is_listed_since(due) => {
                    ending.returned.push(RowWrite::Upsert(write.clone()));
                }
                _ => ending.pending.push(item.key.clone()),
            }
        }
        let answers = &asked.answers;
        ending.pending_checked =
            ending.pending.iter().filter(|key| answers.contains_key(*key)).cloned().collect();
        let rows = answers.iter().filter(|(key, _)| !keys.contains(key));
        ending.checked = rows.map(|(key, answer)| Checked { consent_key: key.clone(), answer }).collect();
        ending.pages_usable = asked.usable == Some(true);
        let now = self.now();
        let mut row = self.twin.row().clone();
        let left = i64::try_from(ending.missing.len() + ending.gone.len()).unwrap();
        let returned = i64::try_from(ending.returned.len()).unwrap();
        row.active = Some(pass.known().active_now().cast_signed() - left + returned);
        row.returns_pending -= returned;
        "succeeded".clone_into(&mut row.outcome);
        row.absence = Some(absence.as_str().to_owned());
        row.finished_at = Some(now);
        if absence == Absence::Withheld {
            row.removals_withheld = evidence.own.cast_signed();
        }
        self.may_die(plan)?;
        *self.met.entry("items recorded").or_default() += pass.unrecorded_items().len() as u64;
        self.twin.record_items(pass.unrecorded_items(), now);
        self.may_die(plan)?;
        let done = self.twin.finish(&row, &ending, now);
        let step = match &done {
            Ok(row) => Step::Finish {
                row: Box::new(row.clone()),
                listed: listed.clone(),
                gone: answers
                    .iter()
                    .filter(|(_, answer)| **answer == "gone")
                    .map(|(key, _)| key.clone())
                    .collect(),
                by_time: due,
                returned: ending.returned.len(),
                accept: plan.accept,
                own,
                back,
                active_before: active,
                restarted,
            },
            Err(_) => Step::Nothing,
        };
        self.check.after(&self.twin.model, &step);
        let row = done?;
        self.meet(match absence {
            Absence::Judged => "absence judged",
            Absence::Withheld => "absence withheld",
            Absence::Blocked => "absence blocked",
        });
        for (what, times) in [
            ("marked missing", row.missing),
            ("removed", row.removed),
            ("returned", row.returned),
            ("returns that wait", row.returns_pending),
            ("updated", row.updated),
            ("unchanged", row.unchanged),
            ("duplicate items", row.duplicates),
            ("rejected items", row.rejected),
            ("suppressed items", row.suppressed),
            ("foreign items", row.foreign_items),
            ("missing by their page", i64::try_from(ending.gone.len()).unwrap()),
        ] {
            *self.met.entry(what).or_default() += times.cast_unsigned();
        }
        self.may_die(plan)?;
        let now = self.now();
        self.twin.retain(&self.retention.clone(), self.removal.confirm_after, now);
        self.check.after(&self.twin.model, &Step::Retain { run: row.id });
        let at = self.twin.model.last_changed_at;
        let erased = |row: &Rc<Row>| row.erased_at == Some(at);
        if self.twin.model.rows.values().any(erased) {
            self.meet("erased by retention");
        }
        let never_removed = |row: &Rc<Row>| erased(row) && row.removed_at.is_none();
        if self.twin.model.rows.values().any(never_removed) {
            self.meet("erased without having been removed");
        }
        self.twin.die();
        Ok(row)
    }

    fn counts(pass: &Scan, candidate: &Candidate) -> bool {
        candidate.overdue || !pass.is_rejected_missing(&candidate.consent_key)
    }

    fn ask_returns(
        &mut self,
        plan: &Plan,
        pass: &Scan,
        asked: &mut Asked,
        returns: &[PendingReturn],
    ) -> Result<(), Over> {
        let due = before(self.now(), self.removal.confirm_after).millis();
        let mut waiting: Vec<&PendingReturn> = returns
            .iter()
            .filter(|item| item.has_page() && item.write.is_some() && !item.is_listed_since(due))
            .collect();
        waiting.sort_by_key(|item| item.known.and_then(|known| known.checked_at));
        let keys: Vec<String> = waiting.into_iter().map(|item| item.key.clone()).collect();
        self.look_up(plan, pass, asked, &keys)
    }

    fn confirm(
        &mut self,
        plan: &Plan,
        pass: &Scan,
        asked: &mut Asked,
        judged_runs: i64,
    ) -> Result<Vec<String>, Over> {
        let most = usize::try_from(self.removal.max_checks).unwrap();
        let most = most + pass.rejected_missing_rows().count();
        let candidates = self.twin.candidates(judged_runs, self.removal.confirm_runs, most);
        let candidates = candidates.into_iter().filter(|candidate| Self::counts(pass, candidate));
        let keys: Vec<String> = candidates.map(|candidate| candidate.consent_key).collect();
        self.look_up(plan, pass, asked, &keys)?;
        Ok(keys.into_iter().filter(|key| asked.is(key, "gone")).collect())
    }

    fn look_up(&mut self, plan: &Plan, pass: &Scan, asked: &mut Asked, keys: &[String]) -> Result<(), Over> {
        for key in keys {
            let full = asked.answers.len() >= usize::try_from(self.removal.max_checks).unwrap();
            if asked.answers.contains_key(key) || full || asked.unclear >= 3 {
                continue;
            }
            self.may_die(plan)?;
            if asked.usable.is_none() {
                let mut answers = Vec::new();
                for control in pass.controls() {
                    answers.push(self.page_of(plan, &control));
                    if answers.last() == Some(&"there") {
                        break;
                    }
                }
                asked.usable = Some(answers.contains(&"there"));
            }
            if asked.usable == Some(false) {
                return Ok(());
            }
            let answer = self.page_of(plan, key);
            asked.unclear = if answer == "unclear" { asked.unclear + 1 } else { 0 };
            asked.answers.insert(key.clone(), answer);
        }
        Ok(())
    }

    fn page_of(&mut self, plan: &Plan, key: &str) -> &'static str {
        if self.dice.chance(plan.unclear) {
            return "unclear";
        }
        let is_listed = |entry: &Entry| matches!(entry, Entry::Good { id: number, .. } if id(*number) == key);
        if self.world.list.iter().any(is_listed) { "there" } else { "gone" }
    }
}
