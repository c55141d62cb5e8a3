//! What store/upkeep.rs and store/forget.rs take away.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use understory_sync::config::Retention;
use understory_sync::consent::{MAX_ADDRESSES, any_address, normalized_email};
use understory_sync::hash::RowHash;
use understory_sync::store::{RunRow, Timestamp};

use super::{Change, Model, Row};

impl Model {
    pub(in super::super) fn retain(
        &mut self,
        run: i64,
        retention: &Retention,
        confirm_after: Duration,
        now: Timestamp,
    ) {
        let before = |age: Duration| now.plus_millis(-i64::try_from(age.as_millis()).unwrap());
        if let Some(until) = retention.removed.map(before) {
            let never_removed = before(retention.removed.unwrap() + confirm_after);
            let old = |row: &Row| {
                let since = match row.removed_at {
                    Some(at) => at < until,
                    None => row.missing_since.is_some_and(|at| at < never_removed),
                };
                since && row.erased_at.is_none()
            };
            let keys: Vec<String> =
                self.rows.values().filter(|row| old(row)).map(|row| row.key.clone()).collect();
            if !keys.is_empty() {
                let at = self.next_changed_at(now);
                for key in keys {
                    self.erase(&key, run, at);
                }
            }
            self.rejects.retain(|reject| reject.resolved_at.is_none_or(|at| at >= until));
        }
        let until = before(retention.erasures);
        self.changes.retain(|change| change.run.is_some() || change.at >= until);
        if let Some(until) = retention.history.map(before) {
            self.changes.retain(|change| change.at >= until || change.run.is_none());
            self.prune_runs(until);
        }
    }

    fn prune_runs(&mut self, until: Timestamp) {
        let last = |wanted: &dyn Fn(&RunRow) -> bool| {
            self.runs
                .iter()
                .filter(|run| run.outcome == "succeeded" && wanted(run))
                .map(|run| run.id)
                .max()
                .unwrap_or(0)
        };
        let (complete, judged) = (last(&|_| true), last(&|run| run.absence.as_deref() == Some("judged")));
        let mut named: HashSet<i64> =
            self.rows.values().flat_map(|row| [row.first_run, row.changed_run]).collect();
        named.extend(self.changes.iter().filter_map(|change| change.run));
        named.extend(self.rejects.iter().flat_map(|reject| [reject.first_run, reject.last_run]));
        self.runs.retain(|run| {
            let old = run.finished_at.is_some_and(|at| at < until) && run.outcome != "running";
            !(old && run.id < complete && run.id != judged && !named.contains(&run.id))
        });
    }

    fn erase(&mut self, key: &str, run: i64, at: Timestamp) {
        for change in &mut self.changes {
            if change.key == key && change.before.is_some() {
                Rc::make_mut(change).before = None;
            }
            if change.key == key && change.previous_key.is_some() {
                let change = Rc::make_mut(change);
                change.previous_key = change.previous_key.as_ref().map(|key| self.salt.erased_key(key));
            }
        }
        let mut row = Row::clone(&self.rows.remove(key).unwrap());
        self.checks.remove(key);
        row.previous_key = row.previous_key.as_ref().map(|key| self.salt.erased_key(key));
        if row.id.is_none() {
            row.key = self.salt.erased_key(key);
            let new = row.key.clone();
            self.follow(key, &new);
        }
        (row.email, row.name, row.extra, row.natural_hash) = (None, None, None, None);
        row.hash = RowHash { key: self.salt.key(&row.key), content: 0 };
        (row.erased_at, row.changed_at, row.changed_run) = (Some(at), at, run);
        let there = self.rows.insert(row.key.clone(), Rc::new(row));
        assert!(there.is_none(), "an erased row takes another one's key");
    }

    pub(in super::super) fn forget(&mut self, email: &str, now: Timestamp) {
        self.fence += 1;
        self.suppression_no += 1;
        let wanted = normalized_email(email);
        self.suppressions.entry(self.salt.address(email)).or_insert(now);
        let is = |text: Option<&str>| text.is_some_and(|text| normalized_email(text) == wanted);
        let own: Vec<Rc<Row>> = self.rows_of(&wanted).cloned().collect();
        let gone: HashMap<String, Option<String>> =
            own.iter().map(|row| (row.key.clone(), row.previous_key.clone())).collect();
        let ids = own.iter().filter_map(|row| row.id.as_ref());
        self.suppressed_ids.extend(ids.map(|id| (self.salt.id(id), self.salt.address(email))));
        self.changes.retain(|change| {
            let before: Option<serde_json::Value> =
                change.before.as_ref().map(|text| serde_json::from_str(text).unwrap());
            !gone.contains_key(&change.key) && !before.is_some_and(|before| is(before["email"].as_str()))
        });
        self.rows.retain(|key, _| !gone.contains_key(key));
        for row in self.rows.values_mut().filter(|row| may_name_others(row)) {
            Rc::make_mut(row).item_hash = None;
        }
        self.checks.retain(|key, _| !gone.contains_key(key));
        if !own.is_empty() {
            let at = self.next_changed_at(now);
            // A reader that has not heard of the move yet holds the row under its previous key.
            let line = |(key, previous_key): (String, Option<String>)| {
                Rc::new(Change { key, run: None, at, kind: "erased", before: None, previous_key })
            };
            self.changes.extend(gone.into_iter().map(line));
        }
        self.rejects.retain(|reject| !any_address(&reject.item, MAX_ADDRESSES, |text| is(Some(text))));
    }

    pub(in super::super) fn unforget(&mut self, email: &str) {
        self.fence += 1;
        self.suppression_no += 1;
        let hash = self.salt.address(email);
        self.suppressions.remove(&hash);
        self.suppressed_ids.retain(|(_, of)| *of != hash);
    }
}

fn may_name_others(row: &Row) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._%+@-".contains(&byte);
    let texts = [&row.name, &row.source, &row.extra];
    texts.into_iter().flatten().any(|text| text.contains('@'))
        || row.email.as_ref().is_some_and(|email| !email.bytes().all(is_usual))
}
