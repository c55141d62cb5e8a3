//! The end of a run, as store/finish.rs writes it.

use std::rc::Rc;

use understory_sync::store::{Ending, RunRow, Timestamp};

use super::{Check, Fenced, Held, Model, Pending, Row};

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
        self.judged_runs += i64::from(ending.judged);
        let lists = [&ending.missing, &ending.gone, &ending.withheld, &ending.removed];
        if lists.iter().any(|keys| !keys.is_empty()) || !ending.returned.is_empty() {
            let at = self.next_changed_at(now);
            let written = self.apply(&ending.returned, run, at);
            row.count(&written);
            let judged = self.judged_runs + i64::from(!ending.judged);
            let by_absence = Some(held.row.started_at).filter(|_| !ending.accepted);
            let missing = ending.missing.iter().map(|key| (key, by_absence));
            for (key, run_at) in missing.chain(ending.gone.iter().map(|key| (key, None))) {
                self.note(key, run, at, "missing", None);
                self.touch(key, run, at, |row| {
                    (row.missing_since, row.withheld_since, row.missing_judged) =
                        (Some(at), None, Some(judged));
                    row.missing_run_at = run_at;
                    row.item_hash = None;
                });
            }
            for key in &ending.withheld {
                self.touch(key, run, at, |row| (row.withheld_since, row.item_hash) = (Some(at), None));
            }
            for key in &ending.removed {
                self.note(key, run, at, "removed", None);
                self.touch(key, run, at, |row| row.removed_at = Some(at));
            }
            row.missing += i64::try_from(ending.missing.len() + ending.gone.len()).unwrap();
            row.removed += i64::try_from(ending.removed.len()).unwrap();
        }
        self.record_checks(ending, now);
        self.record_pending(ending, run, now);
        self.record_listings(ending, run);
        if ending.pages_usable {
            self.pages_usable_at = Some(now);
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

    fn record_checks(&mut self, ending: &Ending, now: Timestamp) {
        for check in &ending.checked {
            let old = self.checks.get(&check.consent_key).filter(|old| old.answer == check.answer);
            let since = old.map_or(now, |old| old.since);
            self.checks.insert(check.consent_key.clone(), Check { at: now, answer: check.answer, since });
        }
        let open = |row: &Row| {
            row.removed_at.is_none() && (row.missing_since.is_some() || row.withheld_since.is_some())
        };
        let rows = &self.rows;
        self.checks.retain(|key, _| rows.get(key).is_some_and(|row| open(row)));
    }

    fn record_pending(&mut self, ending: &Ending, run: i64, now: Timestamp) {
        for key in &ending.pending {
            let new = Pending { since: now, runs: 0, checked_at: None, last_run: run };
            let pending = self.pending.entry(key.clone()).or_insert(new);
            (pending.runs, pending.last_run) = (pending.runs + 1, run);
            if let Some(row) = self.rows.get_mut(key) {
                Rc::make_mut(row).missing_run_at = None;
            }
        }
        for key in &ending.pending_checked {
            self.pending.get_mut(key).unwrap().checked_at = Some(now);
        }
        self.pending.retain(|_, pending| pending.last_run == run);
    }

    fn record_listings(&mut self, ending: &Ending, run: i64) {
        for key in self.keys_of(&ending.rejected_active) {
            let listing = self.listings.entry(key).or_default();
            (listing.runs, listing.last_run) = (listing.runs + 1, run);
        }
        let missing = if ending.judged { self.keys_of(&ending.rejected_missing) } else { Vec::new() };
        for key in missing {
            let listing = self.listings.entry(key).or_default();
            (listing.skipped, listing.last_run) = (listing.skipped + 1, run);
        }
        let rows = &self.rows;
        self.listings.retain(|key, listing| {
            let Some(row) = rows.get(key).filter(|row| row.removed_at.is_none()) else { return false };
            match row.missing_since {
                None => listing.skipped == 0 && listing.last_run == run,
                Some(_) => listing.skipped > 0,
            }
        });
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
