//! The end of a complete walk, as sync/ending.rs makes it.

use std::rc::Rc;

use understory_sync::reconcile::{Absence, Evidence, Pass, evaluate_removals};
use understory_sync::store::{Ending, RunRow};

use super::{Listed, Over, Plan, Simulation};
use crate::simulation::check::Step;
use crate::simulation::model::Row;
use crate::simulation::world::{Entry, id};

impl Simulation<'_> {
    pub(super) fn end(
        &mut self,
        plan: &Plan,
        pass: &Pass,
        listed: &Listed,
        active: u64,
        blocked_in_a_row: u32,
        restarted: bool,
    ) -> Result<RunRow, Over> {
        self.may_die(plan)?;
        let known = pass.known();
        let evidence = Evidence {
            active,
            unlisted: known.unlisted_active(),
            lists_somebody: pass.lists_somebody(),
            new_nameless_reject: self.twin.has_new_nameless_reject(),
            blocked_in_a_row,
            accepted: plan.accept,
        };
        let absence = evaluate_removals(&evidence, self.removal.max_percent, self.removal.min_count);
        let mut ending = Ending {
            confirm_runs: self.removal.confirm_runs,
            rejects_seen: pass.rejects().seen().collect(),
            rejects_gone: pass.rejects().any_gone(),
            ..Ending::default()
        };
        match absence {
            Absence::Judged => {
                ending.judged = true;
                ending.missing = self.twin.keys_of(&known.unlisted_active_rows().collect::<Vec<_>>());
                self.look_up(plan, &mut ending)?;
            }
            Absence::Withheld => {
                ending.withheld = self.twin.keys_of(&known.newly_withheld_rows().collect::<Vec<_>>());
            }
            Absence::Blocked => {}
        }
        let now = self.now();
        let mut row = self.twin.row().clone();
        row.active = Some(known.active_now().cast_signed() - i64::try_from(ending.missing.len()).unwrap());
        "succeeded".clone_into(&mut row.outcome);
        row.absence = Some(absence.as_str().to_owned());
        row.finished_at = Some(now);
        if absence == Absence::Withheld {
            row.removals_withheld = evidence.unlisted.cast_signed();
        }
        self.may_die(plan)?;
        let done = self.twin.finish(&row, &ending, now);
        let step = match &done {
            Ok(row) => Step::Finish {
                row: Box::new(row.clone()),
                listed: listed.clone(),
                gone: ending.removed.iter().cloned().collect(),
                accept: plan.accept,
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
            ("updated", row.updated),
            ("unchanged", row.unchanged),
            ("duplicate items", row.duplicates),
            ("rejected items", row.rejected),
            ("suppressed items", row.suppressed),
            ("foreign items", row.foreign_items),
        ] {
            *self.met.entry(what).or_default() += times.cast_unsigned();
        }
        self.may_die(plan)?;
        let now = self.now();
        self.twin.retain(&self.retention.clone(), now);
        self.check.after(&self.twin.model, &Step::Retain { run: row.id });
        let erased = |row: &Rc<Row>| row.erased_at == Some(self.twin.model.last_changed_at);
        if self.twin.model.rows.values().any(erased) {
            self.meet("erased by retention");
        }
        self.twin.die();
        Ok(row)
    }

    fn look_up(&mut self, plan: &Plan, ending: &mut Ending) -> Result<(), Over> {
        for candidate in self.twin.candidates(self.removal.confirm_runs, self.removal.max_checks) {
            self.may_die(plan)?;
            ending.checked.push(candidate.consent_key.clone());
            if self.dice.chance(plan.unclear) {
                break;
            }
            let is_listed = |entry: &Entry| matches!(entry, Entry::Good { id: number, .. } if id(*number) == candidate.consent_id);
            if !self.world.list.iter().any(is_listed) {
                ending.removed.push(candidate.consent_key);
            }
        }
        Ok(())
    }
}
