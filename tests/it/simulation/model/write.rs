//! Pages, as store/write.rs writes them.

use std::rc::Rc;

use understory_sync::consent::Consent;
use understory_sync::hash::RowHash;
use understory_sync::reconcile::{Batch, RowWrite, Tally, Upsert, UpsertKind};
use understory_sync::store::Timestamp;

use super::{Change, Fenced, Held, Model, Reject, Row};

impl Model {
    pub(in super::super) fn write_batch(
        &mut self,
        held: &mut Held,
        batch: &Batch,
        now: Timestamp,
    ) -> Result<(), Fenced> {
        if self.fence != held.fence || self.suppression_no != held.suppression_no {
            return Err(Fenced);
        }
        let (run, at) = (held.row.id, self.next_changed_at(now));
        for rejected in &batch.rejects {
            if let Some(old) = self.rejects.iter_mut().find(|old| old.fingerprint == rejected.fingerprint) {
                (old.last_run, old.resolved_at) = (run, None);
                old.item.clone_from(&rejected.item);
            } else {
                self.rejects.push(Reject {
                    id: self.next_reject,
                    first_run: run,
                    last_run: run,
                    resolved_at: None,
                    item: rejected.item.clone(),
                    has_id: rejected.id.is_some(),
                    fingerprint: rejected.fingerprint,
                });
                self.next_reject += 1;
            }
        }
        let written = self.apply(&batch.writes, run, at);
        held.row.count(&batch.tally);
        held.row.count(&written);
        let row = held.row.clone();
        self.save(&row);
        Ok(())
    }

    pub(super) fn apply(&mut self, writes: &[RowWrite], run: i64, at: Timestamp) -> Tally {
        let mut written = Tally::default();
        for op in writes {
            if let RowWrite::Upsert(put) = op {
                self.companies.insert(put.consent.company_id.to_string());
            }
        }
        for op in writes {
            if let RowWrite::Upsert(put) = op
                && put.kind == UpsertKind::Add
            {
                self.add(put, run, at);
                written.added += 1;
            }
        }
        for op in writes {
            match op {
                RowWrite::Upsert(put) if put.kind != UpsertKind::Add => {
                    self.change(put, run, at, &mut written);
                }
                RowWrite::Upsert(_) => {}
                RowWrite::MarkListed { key, counts, .. } => {
                    let returned = self.relist(key, run, at);
                    written.returned += u64::from(*counts && returned);
                }
            }
        }
        written
    }

    fn add(&mut self, put: &Upsert, run: i64, at: Timestamp) {
        let consent = &put.consent;
        let row = Row {
            key: put.key.clone(),
            id: consent.consent_id.clone().map(String::from),
            company: consent.company_id.to_string(),
            email: Some(consent.email.to_string()),
            name: consent.full_name.clone().map(String::from),
            source: consent.source.clone().map(String::from),
            extra: consent.extra.clone().map(String::from),
            first_seen_at: at,
            changed_at: at,
            missing_since: None,
            withheld_since: None,
            removed_at: None,
            erased_at: None,
            first_run: run,
            changed_run: run,
            hash: put.hash,
            item_hash: consent.item_hash,
            natural_hash: Some(put.natural),
            missing_judged: None,
            missing_run_at: None,
            previous_key: None,
        };
        let old = self.rows.insert(row.key.clone(), Rc::new(row));
        assert!(old.is_none(), "a row is added over another");
    }

    pub(super) fn note(
        &mut self,
        key: &str,
        run: i64,
        at: Timestamp,
        kind: &'static str,
        before: Option<String>,
    ) {
        let previous_key = None;
        self.changes.push(Rc::new(Change {
            key: key.to_owned(),
            run: Some(run),
            at,
            kind,
            before,
            previous_key,
        }));
    }

    pub(super) fn follow(&mut self, old: &str, new: &str) {
        for change in &mut self.changes {
            if change.key == old {
                new.clone_into(&mut Rc::make_mut(change).key);
            }
        }
        self.checks.remove(old);
        if let Some(pending) = self.pending.remove(old) {
            self.pending.insert(new.to_owned(), pending);
        }
    }

    fn change(&mut self, put: &Upsert, run: i64, at: Timestamp, written: &mut Tally) {
        let from = match &put.kind {
            UpsertKind::TakeOver { old_key, .. } => old_key,
            _ => &put.key,
        };
        let old = self.rows.remove(from).expect("the row that is changed is there");
        let mut row = Row::clone(&old);
        if let UpsertKind::TakeOver { old_key, .. } = &put.kind {
            self.follow(old_key, &put.key);
        }
        let takes_over = matches!(put.kind, UpsertKind::TakeOver { .. });
        let changed = takes_over || old.hash.content != put.hash.content;
        let before = (changed && old.email.is_some()).then(|| old.before());
        if old.is_active() {
            written.updated += u64::from(put.counts);
            self.note(&put.key, run, at, "updated", before);
        } else {
            written.returned += u64::from(put.counts);
            self.note(&put.key, run, at, "returned", before);
        }
        if takes_over && put.consent.consent_id.is_some() {
            row.previous_key = Some(old.key.clone());
            Rc::make_mut(self.changes.last_mut().unwrap()).previous_key = Some(old.key.clone());
        }
        let keeps =
            matches!(put.kind, UpsertKind::TakeOver { keep_content: true, .. }) && old.email.is_some();
        if keeps {
            row.hash = RowHash { key: put.hash.key, content: old.hash.content };
        } else {
            let Consent { company_id, email, full_name, source, extra, .. } = put.consent.clone();
            (row.company, row.email, row.name, row.source, row.extra) = (
                company_id.into_owned(),
                Some(email.into_owned()),
                full_name.map(String::from),
                source.map(String::from),
                extra.map(String::from),
            );
            row.hash = put.hash;
        }
        row.item_hash = put.consent.item_hash.filter(|_| !keeps);
        if takes_over {
            row.id = put.consent.consent_id.clone().map(String::from);
        }
        row.key.clone_from(&put.key);
        row.natural_hash = Some(put.natural);
        (row.missing_since, row.withheld_since, row.removed_at, row.erased_at) = (None, None, None, None);
        (row.missing_judged, row.missing_run_at) = (None, None);
        (row.changed_at, row.changed_run) = (at, run);
        let there = self.rows.insert(row.key.clone(), Rc::new(row));
        assert!(there.is_none(), "a row takes another one's key");
    }

    pub(in super::super) fn record_items(
        &mut self,
        held: &Held,
        items: &[(String, u64)],
    ) -> Result<(), Fenced> {
        if self.fence != held.fence {
            return Err(Fenced);
        }
        for (key, hash) in items {
            Rc::make_mut(self.rows.get_mut(key).expect("the row that was listed is there")).item_hash =
                Some(*hash);
        }
        Ok(())
    }

    fn relist(&mut self, key: &str, run: i64, at: Timestamp) -> bool {
        let row = self.rows.get_mut(key).expect("the row that is listed again is there");
        let was_active = row.is_active();
        let row = Rc::make_mut(row);
        (row.missing_since, row.withheld_since, row.removed_at, row.missing_judged) =
            (None, None, None, None);
        row.missing_run_at = None;
        (row.changed_at, row.changed_run) = (at, run);
        if !was_active {
            self.note(key, run, at, "returned", None);
        }
        !was_active
    }
}
