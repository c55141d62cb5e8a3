//! What a run would have written by now. The store of a dry run does not know it, and so finds no row for an item without
//! id whose row an earlier page would have made, changed or renamed.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;

use crate::consent::natural_hash_of;
use crate::reconcile::{Batch, Namesake, Namesakes, Op, Put, PutKind};

/// The rows with an id that earlier pages would have written, as hashes: memory shall not follow the list's texts. A row
/// under its natural key is found by that.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// Their natural keys.
    natural: HashSet<i64>,
    /// The natural key that a row of the database would have by now, by the key that the database knows.
    now: HashMap<u64, i64>,
    keys: RandomState,
    /// One of them. It stands for all: an item that goes to any of them is a duplicate, and none needs to be listed again.
    any: Option<String>,
}

impl Unwritten {
    /// Remembers what a page would have written.
    pub(super) fn note(&mut self, batch: &Batch) {
        for op in &batch.ops {
            if let Op::Put(put) = op {
                self.note_row(put);
            }
        }
    }

    fn note_row(&mut self, put: &Put) {
        if put.consent.consent_id.is_none() && put.key.starts_with("nk:") {
            return;
        }
        let known_as = match &put.kind {
            PutKind::Add => None,
            PutKind::Change { .. } => Some(&put.key),
            PutKind::TakeOver { old_key, .. } => Some(old_key),
        };
        if let Some(key) = known_as {
            self.now.insert(self.keys.hash_one(key), put.natural);
        }
        self.natural.insert(put.natural);
        self.any.get_or_insert_with(|| put.key.clone());
    }

    /// Brings what the store says about these natural keys up to date.
    pub(super) fn amend(&self, namesakes: &mut Namesakes, natural_keys: &[String]) {
        let Some(any) = &self.any else { return };
        for natural_key in natural_keys {
            let Some(natural) = natural_hash_of(natural_key) else {
                continue;
            };
            let mut missing = self.natural.contains(&natural);
            let rows = namesakes.entry(natural_key.clone()).or_default();
            rows.retain_mut(
                |row| match self.now.get(&self.keys.hash_one(&row.consent_key)) {
                    None => true,
                    Some(now) if *now == natural => {
                        row.consent_key.clone_from(any);
                        missing = false;
                        true
                    }
                    Some(_) => false,
                },
            );
            if missing {
                rows.push(Namesake {
                    consent_key: any.clone(),
                });
            }
        }
    }
}
