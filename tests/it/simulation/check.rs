//! What holds after every step, whatever happened (contract, section 5), found without the program's own rules.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use understory_sync::consent::normalized_email;
use understory_sync::store::RunRow;

use super::model::{Model, Row};
use super::run::Listed;
use super::world::email;

/// As far as the clock may jump within a step, in milliseconds.
const JUMP: i64 = 600_000_000;

/// What was done.
#[expect(clippy::large_enum_variant, reason = "one at a time")]
#[derive(Debug)]
pub(super) enum Step {
    /// A write was refused.
    Nothing,
    Begin,
    Batch {
        run: i64,
    },
    Finish {
        row: Box<RunRow>,
        listed: Listed,
        /// Rows whose own page is gone.
        gone: HashSet<String>,
        /// Milliseconds before which a row must be missing to be removed without its page.
        by_time: i64,
        /// Returns that were confirmed.
        returned: usize,
        accept: Option<u64>,
        /// Rows not listed, before look-ups, and those that the guard counts again.
        own: u64,
        back: u64,
        active_before: u64,
        restarted: bool,
    },
    Fail,
    Retain {
        run: i64,
    },
    Forget,
}

pub(super) struct Checker {
    before: Model,
    /// With the ids that were erased.
    pub(super) forgotten: BTreeMap<u8, HashSet<String>>,
    /// Judged runs in a row without the row.
    absent: BTreeMap<String, u32>,
    blocked: u32,
    pub(super) confirm_runs: u32,
    pub(super) max_percent: f64,
    pub(super) min_count: u64,
    /// Nothing takes lines of history away.
    pub(super) whole_history: bool,
}

impl Checker {
    pub(super) fn new(model: &Model) -> Self {
        Self {
            before: model.clone(),
            forgotten: BTreeMap::new(),
            absent: BTreeMap::new(),
            blocked: 0,
            confirm_runs: 2,
            max_percent: 20.0,
            min_count: 20,
            whole_history: true,
        }
    }

    pub(super) fn is_forgotten(&self, who: u8) -> bool {
        self.forgotten.contains_key(&who)
    }

    /// Whether an item with this address and this id may be stored nowhere.
    pub(super) fn is_suppressed(&self, who: u8, id: Option<&str>) -> bool {
        self.is_forgotten(who)
            || id.is_some_and(|id| self.forgotten.values().any(|erased| erased.contains(id)))
    }

    pub(super) fn after(&mut self, now: &Model, step: &Step) {
        let before = std::mem::replace(&mut self.before, now.clone());
        let touched: Vec<&Rc<Row>> = now
            .rows
            .values()
            .filter(|row| {
                before.rows.get(&row.key).is_none_or(|old| !Rc::ptr_eq(old, row) && !old.is_same(row))
            })
            .collect();
        Self::rows_are_whole(now, &touched);
        Self::changed_at_grows(&before, now, &touched, step);
        match step {
            Step::Nothing | Step::Begin | Step::Fail => {
                assert!(touched.is_empty() && before.rows.len() == now.rows.len(), "rows were written");
                assert_eq!(before.changes.len(), now.changes.len());
                if !matches!(step, Step::Begin) {
                    assert_eq!(before.last_changed_at, now.last_changed_at);
                }
            }
            Step::Batch { .. } => {
                assert!(now.rows.len() >= before.rows.len(), "a row is gone");
                for row in &touched {
                    assert!(row.is_active() && row.withheld_since.is_none(), "a listed row is not active");
                    self.absent.remove(&row.key);
                }
                let unlisted = |model: &Model| model.rows.len() - model.active();
                assert!(unlisted(now) <= unlisted(&before), "a page made somebody missing");
            }
            Step::Finish { .. } => self.finish(&before, now, step),
            Step::Retain { .. } => {
                for row in &touched {
                    assert!(row.erased_at.is_some(), "retention touched more than it erased");
                }
                assert_eq!(now.rows.len(), before.rows.len());
                for key in before.rows.keys().filter(|key| !now.rows.contains_key(*key)) {
                    if let Some(runs) = self.absent.remove(key) {
                        self.absent.insert(now.salt.erased_key(key), runs);
                    }
                }
            }
            Step::Forget => {
                assert!(touched.is_empty(), "somebody else's row was touched");
                for row in before.rows.values().filter(|row| !now.rows.contains_key(&row.key)) {
                    let told =
                        now.changes.iter().any(|change| change.key == row.key && change.kind == "erased");
                    assert!(told, "readers of the feed never hear of an erasure");
                }
                // A return of somebody else's row goes too where it told the address.
                self.whole_history = false;
            }
        }
        if self.whole_history {
            Self::history_tells_the_state(now, &touched);
        }
        let running = now.runs.iter().filter(|run| run.outcome == "running").count();
        assert!(running <= 1, "{running} runs are on");
        self.nobody_forgotten_is_there(now);
    }

    fn rows_are_whole(now: &Model, touched: &[&Rc<Row>]) {
        for row in touched {
            assert_eq!(row.email.is_none(), row.erased_at.is_some());
            assert!(
                row.erased_at.is_none() || row.missing_since.is_some(),
                "erased without having been missing"
            );
            assert!(
                row.removed_at.is_none() || row.missing_since.is_some(),
                "removed without having been missing"
            );
            assert!(row.withheld_since.is_none() || row.missing_since.is_none());
            match &row.id {
                Some(id) => assert_eq!(*id, row.key),
                None if row.erased_at.is_none() => assert_eq!(row.natural_key(), row.key),
                None => assert!(row.key.starts_with("nk:")),
            }
            assert!(now.runs.iter().any(|run| run.id == row.changed_run), "the run of a row is gone");
        }
    }

    fn changed_at_grows(before: &Model, now: &Model, touched: &[&Rc<Row>], step: &Step) {
        assert!(now.last_changed_at >= before.last_changed_at, "changed_at went back");
        for row in touched {
            assert!(row.changed_at > before.last_changed_at, "a reader of changed_at misses a change");
            assert_eq!(row.changed_at, now.last_changed_at);
            let run = match step {
                Step::Batch { run } | Step::Retain { run } => *run,
                Step::Finish { row, .. } => row.id,
                _ => panic!("{step:?} wrote a row"),
            };
            assert_eq!(row.changed_run, run);
        }
    }

    fn finish(&mut self, before: &Model, now: &Model, step: &Step) {
        let Step::Finish {
            row: run,
            listed,
            gone,
            by_time,
            returned,
            accept,
            own,
            back,
            active_before,
            restarted,
        } = step
        else {
            return;
        };
        let rows = now.rows.len() - before.rows.len();
        assert!(rows <= *returned, "the end of a run added somebody who did not wait");
        let absence = run.absence.as_deref().unwrap();
        let newly = |was: fn(&Row) -> bool, is: fn(&Row) -> bool| -> Vec<&Rc<Row>> {
            let old = |row: &Row| before.rows.get(&row.key);
            now.rows
                .values()
                .filter(|row| is(row) && old(row).is_some_and(|old| !is(old) && was(old)))
                .collect()
        };
        let rejected = |row: &Row| row.id.as_ref().is_some_and(|id| listed.rejected_ids.contains(id));
        let missing = newly(Row::is_active, |row| row.missing_since.is_some());
        let removed = newly(|row| row.removed_at.is_none(), |row| row.removed_at.is_some());
        // An item without id lists every row of its natural key, whatever becomes of that in the walk.
        let surely = |row: &Row| match &row.id {
            Some(id) => listed.ids.contains(id),
            None => listed.natural_keys.contains(&row.key),
        };
        let perhaps = |row: &Row| surely(row) || listed.natural_keys.contains(&row.natural_key());
        for row in &missing {
            assert!(!surely(row), "somebody who is listed is missing");
        }
        if absence == "judged" {
            for row in now.rows.values().filter(|row| row.is_active()) {
                let fine = perhaps(row) || rejected(row) || row.changed_run == run.id;
                assert!(fine, "somebody who is not listed is active");
            }
            for row in now.rows.values() {
                if row.is_active() {
                    self.absent.remove(&row.key);
                } else if !rejected(row) || missing.iter().any(|new| new.key == row.key) {
                    *self.absent.entry(row.key.clone()).or_default() += 1;
                }
            }
            let rest = missing.iter().filter(|row| !gone.contains(&row.key)).count() as u64;
            let (n, of) = (rest + back, active_before + back);
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let many = n > self.min_count && n as f64 * 100.0 > of as f64 * self.max_percent;
            let nobody = listed.usable == 0;
            let accepted = accept.is_some_and(|most| *own <= most);
            assert!(rest == 0 || !(many || nobody) || accepted, "{n} of {of} were let through");
        } else {
            assert!(missing.iter().all(|row| gone.contains(&row.key)), "absence was not judged");
            assert!(removed.is_empty(), "absence was not judged");
        }
        for row in &removed {
            assert!(self.absent[&row.key] >= self.confirm_runs, "removed too early");
            let long = row.missing_since.is_some_and(|at| at.millis() <= by_time + JUMP);
            assert!(gone.contains(&row.key) || long, "removed without having been asked for");
        }
        for row in now.rows.values() {
            assert!(!surely(row) || row.withheld_since.is_none(), "a listed row is withheld");
            let due = absence == "judged"
                && row.id.is_none()
                && !row.is_active()
                && row.missing_since.is_some_and(|at| at.millis() <= by_time - JUMP)
                && self.absent.get(&row.key).is_some_and(|runs| *runs >= self.confirm_runs);
            assert!(!due || row.removed_at.is_some(), "a removal is overdue");
            if absence != "judged"
                && row.is_active()
                && !perhaps(row)
                && !rejected(row)
                && row.changed_run != run.id
            {
                assert!(row.withheld_since.is_some(), "an unlisted row is not marked withheld");
            }
        }
        self.blocked = if absence == "blocked" { self.blocked + 1 } else { 0 };
        assert!(self.blocked <= 2, "blocked for ever");
        Self::counters(now, run, &missing, &removed, *restarted);
    }

    fn counters(now: &Model, run: &RunRow, missing: &[&Rc<Row>], removed: &[&Rc<Row>], restarted: bool) {
        if !restarted {
            let sum = run.added
                + run.updated
                + run.unchanged
                + run.returned
                + run.returns_pending
                + run.duplicates
                + run.rejected
                + run.suppressed
                + run.foreign_items;
            assert_eq!(run.items, sum, "{run:?}");
        }
        assert_eq!(run.active, i64::try_from(now.active()).ok(), "{run:?}");
        assert_eq!(
            (run.missing, run.removed),
            (missing.len().cast_signed() as i64, removed.len().cast_signed() as i64)
        );
    }

    /// The last word of the history is the state of the row, and each word can follow the one before.
    fn history_tells_the_state(now: &Model, touched: &[&Rc<Row>]) {
        for row in touched {
            let mut state = "active";
            let of_row = now.changes.iter().filter(|change| change.key == row.key);
            // What was erased before the row was added anew.
            for change in of_row.filter(|change| change.kind != "erased") {
                state = match (state, change.kind) {
                    ("active", "updated") | ("missing" | "removed", "returned") => "active",
                    ("active", "missing") => "missing",
                    ("missing", "removed") => "removed",
                    (state, kind) => panic!("{kind} after {state}"),
                };
            }
            let is = match (row.missing_since, row.removed_at) {
                (None, _) => "active",
                (_, None) => "missing",
                _ => "removed",
            };
            assert_eq!(state, is, "the history tells another story");
        }
    }

    fn nobody_forgotten_is_there(&self, now: &Model) {
        if self.forgotten.is_empty() {
            return;
        }
        let addresses: HashSet<String> = self.forgotten.keys().map(|who| email(*who, 1)).collect();
        for row in now.rows.values() {
            let there =
                row.email.as_deref().is_some_and(|email| addresses.contains(&normalized_email(email)));
            assert!(!there, "somebody who was forgotten is back");
        }
        for address in &addresses {
            let quoted = format!("\"{address}\"");
            let told = now.changes.iter().filter_map(|change| change.before.as_ref());
            assert!(!told.map(|text| text.to_lowercase()).any(|text| text.contains(&quoted)));
            assert!(!now.rejects.iter().any(|reject| reject.item.contains(&quoted)));
        }
    }
}
