//! The end of a run, as store/finish.rs writes it.

use std::rc::Rc;

use understory_sync::store::{Ending, RunRow, Timestamp};

use super::{Fenced, Held, Model, Row};

impl Model {
    pub(in super::super) fn finish(
        &mut self,
        held: &Held,
        last: &RunRow,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<RunRow, Fenced> {
        if self.fence != held.fence {
            return Err(Fenced);
        }
        let (mut row, run) = (last.clone(), held.row.id);
        let mut nameless = Vec::new();
        if ending.judged {
            self.judged_runs += 1;
            let upto = self.judged_runs + 1 - i64::from(ending.confirm_runs);
            let due = |row: &Row| {
                row.missing_since.is_some()
                    && row.removed_at.is_none()
                    && row.id.is_none()
                    && row.missing_judged.is_some_and(|judged| judged <= upto)
            };
            nameless = self.rows.values().filter(|row| due(row)).map(|row| row.key.clone()).collect();
        }
        let removed: Vec<String> = ending.removed.iter().chain(&nameless).cloned().collect();
        if !(ending.missing.is_empty() && ending.withheld.is_empty() && removed.is_empty()) {
            let at = self.next_changed_at(now);
            for key in &ending.missing {
                self.note(key, run, at, "missing", None);
                let judged = self.judged_runs;
                self.touch(key, run, at, |row| {
                    (row.missing_since, row.withheld_since, row.missing_judged) =
                        (Some(at), None, Some(judged));
                });
            }
            for key in &ending.withheld {
                self.touch(key, run, at, |row| row.withheld_since = Some(at));
            }
            for key in &removed {
                self.note(key, run, at, "removed", None);
                self.touch(key, run, at, |row| row.removed_at = Some(at));
            }
            row.missing += i64::try_from(ending.missing.len()).unwrap();
            row.removed += i64::try_from(removed.len()).unwrap();
        }
        for key in &ending.checked {
            self.checks.insert(key.clone(), now);
        }
        for reject in &mut self.rejects {
            if ending.rejects_seen.contains(&reject.id) {
                reject.last_run = run;
            }
            if ending.rejects_gone && reject.resolved_at.is_none() && reject.last_run != run {
                reject.resolved_at = Some(now);
            }
        }
        if row.endpoint.is_some() {
            self.endpoint.clone_from(&row.endpoint);
        }
        self.save(&row);
        Ok(row)
    }

    fn touch(&mut self, key: &str, run: i64, at: Timestamp, work: impl FnOnce(&mut Row)) {
        let row = Rc::make_mut(self.rows.get_mut(key).expect("the row that is marked is there"));
        (row.changed_at, row.changed_run) = (at, run);
        work(row);
    }

    pub(in super::super) fn fail(&mut self, held: &Held, row: &RunRow) {
        if self.fence == held.fence {
            if row.endpoint.is_some() {
                self.endpoint.clone_from(&row.endpoint);
            }
            self.save(row);
        }
    }
}
