//! The store's semantics (store/write.rs, finish.rs, forget.rs, upkeep.rs) over a vector.

use std::collections::{HashMap, HashSet};

use super::listing::{Entry, ScanPlan, email, item, item_of, text};
use crate::consent::{Consent, Item, MAX_ADDRESSES, Page, Rejected, any_address, natural_key};
use crate::hash::{KnownItems, RowHash, Salt};
use crate::reconcile::{
    Absence, Answers, Batch, Evidence, Known, KnownPending, KnownReject, KnownRejects, Namesake,
    PendingReturns, Questions, RemovalGuard, RowState, RowWrite, Scan, ScanSettings, Suppressions, Tally,
    UpsertKind,
};

#[expect(clippy::struct_excessive_bools, reason = "the columns of a row, as flags")]
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) no: usize,
    pub(super) key: String,
    pub(super) id: Option<String>,
    pub(super) consent: Option<Consent<'static>>,
    hash: RowHash,
    item: Option<u64>,
    pub(super) active: bool,
    pub(super) removed: bool,
    withheld: bool,
    pub(super) erased: bool,
    first_seen: u64,
    missing_judged: u64,
    changes: u32,
}

impl Row {
    /// All that a reader of the database sees.
    pub(super) fn seen(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let texts = self.consent.as_ref().map(|consent| (consent.email.clone(), consent.full_name.clone()));
        let state = (self.active, self.removed, self.withheld, self.erased);
        (self.key.clone(), self.id.clone(), texts, self.hash, state, self.first_seen, self.missing_judged)
    }

    pub(super) fn has_id(&self, id: u8) -> bool {
        self.id.as_deref() == Some(&format!("id{id}"))
    }

    pub(super) fn has_email(&self, number: u8) -> bool {
        self.consent.as_ref().is_some_and(|consent| consent.email == email(number))
    }
}

#[derive(Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) absence: Option<Absence>,
    pub(super) sums: bool,
    pub(super) most_changes: u32,
    /// Rows and rejected items written, and rows newly missing.
    pub(super) written: usize,
    pub(super) tally: Tally,
}

pub(super) struct World {
    salt: Salt,
    /// It knows items by their bytes.
    pub(super) recognizes: bool,
    /// Items that were recognized so far.
    pub(super) recognized: usize,
    pub(super) rows: Vec<Row>,
    /// With `resolved_at`, and whether this run wrote it.
    rejects: Vec<(Rejected, bool, bool)>,
    suppressed: HashSet<String>,
    blocked: u32,
    judged: u64,
    clock: u64,
    /// Complete runs in a row for which a rejected item kept a row, by the hash of its key.
    kept: HashMap<u64, u32>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            salt: Salt::new(vec![7; 32]),
            recognizes: true,
            recognized: 0,
            rows: Vec::new(),
            rejects: Vec::new(),
            suppressed: HashSet::new(),
            blocked: 0,
            judged: 0,
            clock: 0,
            kept: HashMap::new(),
        }
    }
}

impl World {
    /// What a pass may use of a list.
    pub(super) fn usable(&self, list: &[Entry]) -> Vec<Entry> {
        let mut list = list.to_vec();
        list.retain(|entry| match entry {
            Entry::Good { email: number, .. } | Entry::BadNameless(number) => {
                !self.suppressed.contains(&self.salt.address(&email(*number)))
            }
            Entry::BadWithId(_) => true,
            Entry::Foreign => false,
        });
        list
    }

    pub(super) fn holds_suppressed(&self) -> bool {
        let wanted = |text: &str| self.suppressed.contains(&self.salt.address(text));
        let mut emails = self.rows.iter().filter_map(|row| row.consent.as_ref());
        emails.any(|consent| wanted(&consent.email))
            || self.rejects.iter().any(|(reject, ..)| any_address(&reject.item, MAX_ADDRESSES, wanted))
    }

    pub(super) fn forget(&mut self, number: u8) {
        self.suppressed.insert(self.salt.address(&email(number)));
        self.rows.retain(|row| !row.has_email(number));
        self.rejects.retain(|(reject, ..)| !reject.item.contains(&email(number)));
    }

    pub(super) fn unforget(&mut self, number: u8) {
        self.suppressed.remove(&self.salt.address(&email(number)));
    }

    pub(super) fn erase_removed(&mut self) {
        for row in self.rows.iter_mut().filter(|row| row.removed && !row.erased) {
            if row.id.is_none() {
                row.key = self.salt.erased_key(&row.key);
            }
            row.erased = true;
            row.consent = None;
            assert!(row.item.is_none());
            row.hash = RowHash { key: self.salt.key(&row.key), content: 0 };
        }
    }

    fn known_items(&self) -> KnownItems {
        if !self.recognizes {
            return KnownItems::default();
        }
        KnownItems::new(self.salt.clone(), self.rows.iter().filter_map(|row| row.item).collect())
    }

    fn begin(&self) -> Scan {
        let mut known = Known::with_capacity(self.rows.len());
        for row in &self.rows {
            let state = RowState {
                unlisted: !row.active,
                withheld: row.withheld,
                erased: row.erased,
                natural: row.id.is_none(),
                removed: row.removed,
                written: false,
            };
            known.push(row.hash, state);
        }
        known.loaded();
        let mut rejects = KnownRejects::default();
        for (index, (reject, resolved, _)) in self.rejects.iter().enumerate() {
            let row = KnownReject { id: i64::try_from(index).unwrap() + 1, resolved: *resolved };
            rejects.push(&reject.fingerprint, row);
        }
        let settings = ScanSettings {
            salt: self.salt.clone(),
            company_id: Some("ours".into()),
            suppressed: Suppressions::new(self.suppressed.clone(), Vec::new()),
            exhausted: self.kept.iter().filter(|(_, runs)| **runs >= 2).map(|(key, _)| *key).collect(),
        };
        // Whoever was removed has been listed for long enough, so that a row without a page returns too.
        let listed = KnownPending { listed_since: 0, listed_runs: 1, checked_at: None };
        let waiting = self.rows.iter().filter(|row| row.removed).map(|row| (row.hash.key, listed));
        Scan::new(settings, known, rejects, PendingReturns::new(waiting.collect(), 1))
    }

    pub(super) fn run(&mut self, walk: &ScanPlan) -> Ended {
        self.rows.iter_mut().for_each(|row| row.changes = 0);
        self.rejects.iter_mut().for_each(|reject| reject.2 = false);
        let mut ended =
            Ended { absence: None, sums: true, most_changes: 0, written: 0, tally: Tally::default() };
        let mut new_nameless = false;
        if walk.restarts_at.is_some() {
            let first = self.walk(walk, walk.restarts_at, &mut ended);
            new_nameless = first.rejects().has_new_nameless();
            // Each walk is a pass of its own.
            self.rows.iter_mut().for_each(|row| row.changes = 0);
        }
        let mut pass = self.walk(walk, walk.dies_at, &mut ended);
        if walk.dies_at.is_none() {
            let own = pass.own_rows().count() as u64;
            let evidence = Evidence {
                active: pass.known().active_before(),
                own,
                back: 0,
                lists_somebody: pass.lists_somebody(),
                new_nameless_reject: new_nameless || pass.rejects().has_new_nameless(),
                blocked_in_a_row: self.blocked,
            };
            let accepted = walk.accept.is_some_and(|most| own <= most);
            let absence = RemovalGuard { max_percent: 50.0, min_count: 3 }.evaluate(&evidence, accepted);
            // Every page is there: whoever is listed returns at the end.
            let returned = self.return_all(&mut pass, &mut ended);
            self.finish(absence, &pass, &mut ended);
            for (key, hash) in pass.unrecorded_items() {
                let at = self.at(key).unwrap();
                self.rows[at].item = Some(*hash);
            }
            self.check_items();
            ended.absence = Some(absence);
            let active = self.rows.iter().filter(|row| row.active).count() as u64;
            let marked = if absence == Absence::Judged { own } else { 0 };
            assert_eq!(pass.known().active_now() + returned - marked, active, "sync_runs.active");
        }
        ended.most_changes = self.rows.iter().map(|row| row.changes).max().unwrap_or(0);
        ended
    }

    /// Walks to this page, or to the end.
    fn walk(&mut self, walk: &ScanPlan, until: Option<usize>, ended: &mut Ended) -> Scan {
        let mut pass = self.begin();
        let known = self.known_items();
        let texts: Vec<_> = walk.list.iter().map(|e| text(e, walk.version, walk.spelling)).collect();
        let items = walk.list.iter().zip(&texts).map(|(entry, text)| match text {
            Some(text) => item_of(text, &known),
            None => item(entry, walk.version),
        });
        let items: Vec<Item> = items.collect();
        let (mut batch, mut gathered) = (Batch::default(), 0);
        for (number, items) in items.chunks(walk.page_length).enumerate() {
            if until == Some(number) {
                break;
            }
            self.recognized += items.iter().filter(|item| matches!(item, Item::Known(_))).count();
            let page = Page { items: items.to_vec(), next: None };
            let questions = pass.questions(&page);
            if !questions.is_empty() {
                self.write(&std::mem::take(&mut batch), ended);
            }
            let namesakes = self.namesakes(&questions);
            batch.append(pass.process_page(page, &namesakes));
            gathered += 1;
            if gathered % walk.gather == 0 {
                self.write(&std::mem::take(&mut batch), ended);
            }
        }
        if until.is_none() || walk.restarts_at == until {
            self.write(&batch, ended);
        }
        pass
    }

    fn namesakes(&self, questions: &Questions) -> Answers {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| (row.first_seen, row.key.clone()));
        let mut answers = Answers::new();
        for row in rows {
            let asked = questions.iter().find(|question| match &row.consent {
                Some(consent) => {
                    question.natural_key == natural_key(&consent.company_id, &consent.email, None)
                }
                None => question.erased_key.as_ref() == Some(&row.key),
            });
            if let Some(question) = asked {
                let removed_at = i64::from(row.removed);
                let namesake = Namesake { consent_key: row.key.clone(), removed_at };
                answers.entry(question.natural_key.clone()).or_default().push(namesake);
            }
        }
        answers
    }

    fn return_all(&mut self, pass: &mut Scan, ended: &mut Ended) -> u64 {
        let writes: Vec<RowWrite> = pass
            .take_pending()
            .into_sorted()
            .into_iter()
            .filter_map(|item| item.write.map(RowWrite::Upsert))
            .collect();
        ended.written += writes.len();
        self.apply(&writes, &mut Tally::default());
        writes.len() as u64
    }

    fn write(&mut self, batch: &Batch, ended: &mut Ended) {
        ended.written += batch.writes.len() + batch.rejects.len();
        self.clock += 1;
        let mut tally = batch.tally;
        for reject in &batch.rejects {
            let same = |old: &&mut (Rejected, bool, bool)| old.0.fingerprint == reject.fingerprint;
            match self.rejects.iter_mut().find(same) {
                Some(old) => *old = (reject.clone(), false, true),
                None => self.rejects.push((reject.clone(), false, true)),
            }
        }
        self.apply(&batch.writes, &mut tally);
        tally.duplicates += batch.repeats.len() as u64;
        let Tally { items, .. } = tally;
        let parts = tally.added
            + tally.updated
            + tally.unchanged
            + tally.returned
            + tally.returns_pending
            + tally.duplicates
            + tally.rejected
            + tally.suppressed
            + tally.foreign_items;
        ended.sums &= items == parts;
        ended.tally.add(&tally);
        self.check_items();
    }

    /// What the database holds of itself (migration 5).
    fn check_items(&self) {
        for row in self.rows.iter().filter(|row| row.item.is_some()) {
            assert!(row.active && !row.withheld && !row.erased && row.id.is_some(), "{row:?}");
        }
    }

    fn apply(&mut self, writes: &[RowWrite], tally: &mut Tally) {
        // New rows go in first.
        for op in writes {
            if let RowWrite::Upsert(put) = op
                && put.kind == UpsertKind::Add
            {
                assert!(self.at(&put.key).is_none(), "a key is added twice");
                tally.added += 1;
                self.rows.push(Row {
                    no: self.rows.len() + usize::try_from(self.clock).unwrap() * 1_000,
                    key: put.key.clone(),
                    id: put.consent.consent_id.clone().map(String::from),
                    consent: Some(put.consent.clone()),
                    hash: put.hash,
                    item: put.consent.item_hash,
                    active: true,
                    removed: false,
                    withheld: false,
                    erased: false,
                    first_seen: self.clock,
                    missing_judged: 0,
                    changes: 1,
                });
            }
        }
        for op in writes {
            self.change(op, tally);
        }
    }

    fn at(&self, key: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.key == key)
    }

    fn change(&mut self, op: &RowWrite, tally: &mut Tally) {
        let (from, put) = match op {
            RowWrite::MarkListed { key, .. } => (key, None),
            RowWrite::Upsert(put) => match &put.kind {
                UpsertKind::Add => return,
                UpsertKind::Change { .. } => (&put.key, Some(put)),
                UpsertKind::TakeOver { old_key, .. } => (old_key, Some(put)),
            },
        };
        let at = self.at(from).unwrap();
        if let Some(put) = put
            && put.key != *from
        {
            assert!(self.at(&put.key).is_none(), "two rows with one key");
        }
        let row = &mut self.rows[at];
        let returned = !row.active;
        if let RowWrite::MarkListed { counts, .. } = op {
            tally.returned += u64::from(*counts && returned);
        }
        row.changes += u32::from(returned);
        if let Some(put) = put {
            *(if returned { &mut tally.returned } else { &mut tally.updated }) += u64::from(put.counts);
            let keeps = matches!(put.kind, UpsertKind::TakeOver { keep_content: true, .. });
            row.key.clone_from(&put.key);
            row.hash.key = put.hash.key;
            row.item = put.consent.item_hash.filter(|_| !keeps);
            if put.consent.consent_id.is_some() {
                row.id = put.consent.consent_id.clone().map(String::from);
            }
            if !keeps {
                row.consent = Some(put.consent.clone());
                row.hash = put.hash;
            }
            row.erased = false;
        }
        (row.active, row.removed, row.withheld) = (true, false, false);
    }

    fn finish(&mut self, absence: Absence, pass: &Scan, ended: &mut Ended) {
        self.blocked = if absence == Absence::Blocked { self.blocked + 1 } else { 0 };
        let own: HashSet<u64> = pass.own_rows().collect();
        let withheld: HashSet<u64> = pass.newly_withheld_rows().collect();
        let rejected: HashSet<u64> = pass.rejected_active_rows().collect();
        self.kept.retain(|key, _| rejected.contains(key));
        for key in rejected {
            *self.kept.entry(key).or_default() += 1;
        }
        self.judged += u64::from(absence == Absence::Judged);
        for row in &mut self.rows {
            match absence {
                Absence::Judged if own.contains(&row.hash.key) => {
                    (row.active, row.withheld, row.item) = (false, false, None);
                    row.missing_judged = self.judged;
                    row.changes += 1;
                    ended.written += 1;
                }
                Absence::Judged if !row.active && row.missing_judged < self.judged => {
                    row.changes += u32::from(!row.removed);
                    row.removed = true;
                }
                Absence::Withheld | Absence::Blocked if withheld.contains(&row.hash.key) => {
                    (row.withheld, row.item) = (true, None);
                    ended.written += 1;
                }
                _ => {}
            }
        }
        let seen: HashSet<i64> = pass.rejects().seen().collect();
        for (index, (_, resolved, new)) in self.rejects.iter_mut().enumerate() {
            *resolved |= !*new && !seen.contains(&(i64::try_from(index).unwrap() + 1));
        }
    }
}
