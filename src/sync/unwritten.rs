//! What a run would have written by now. The store of a dry run does not know it, and so finds no row for an item without
//! id whose row an earlier page would have made, changed or renamed.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use crate::consent::natural_hash_of;
use crate::reconcile::{Answers, Batch, Namesake, Questions, RowWrite, Upsert, UpsertKind};

/// The rows with an id that earlier pages would have written, as hashes: memory shall not follow the list's texts. A row
/// under its natural key is found by that.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    natural: Compact<()>,
    /// The natural key that a row of the database would have by now, by the key that the database knows.
    now: Compact<i64>,
    keys: RandomState,
    /// One of them. It stands for all: an item that goes to any of them is a duplicate, and none needs to be listed again.
    any: Option<String>,
    /// Hashes of the addresses of rows with an id.
    addresses: Compact<i64>,
}

impl Unwritten {
    /// Remembers what a page would have written.
    pub(super) fn note(&mut self, batch: &Batch) {
        for op in &batch.writes {
            if let RowWrite::Upsert(put) = op {
                self.addresses.insert(self.hash(&put.key), self.hash(&put.consent.address()));
                self.note_row(put);
            }
        }
    }

    fn note_row(&mut self, put: &Upsert) {
        if put.consent.consent_id.is_none() && put.key.starts_with("nk:") {
            return;
        }
        let known_as = match &put.kind {
            UpsertKind::Add => None,
            UpsertKind::Change { .. } => Some(&put.key),
            UpsertKind::TakeOver { old_key, .. } => Some(old_key),
        };
        if let Some(key) = known_as {
            self.now.insert(self.hash(key), put.natural);
        }
        self.natural.insert(put.natural, ());
        self.any.get_or_insert_with(|| put.key.clone());
    }

    /// Brings what the store says about these natural keys up to date.
    pub(super) fn amend(&self, namesakes: &mut Answers, questions: &Questions) {
        let Some(any) = &self.any else { return };
        for natural_key in questions.iter().map(|question| &question.natural_key) {
            let Some(natural) = natural_hash_of(natural_key) else {
                continue;
            };
            let mut missing = self.natural.get(natural).is_some();
            let rows = namesakes.entry(natural_key.clone()).or_default();
            rows.retain_mut(|row| match self.now.get(self.hash(&row.consent_key)) {
                None => true,
                Some(now) if now == natural => {
                    row.consent_key.clone_from(any);
                    missing = false;
                    true
                }
                Some(_) => false,
            });
            if missing {
                rows.push(Namesake { consent_key: any.clone(), removed_at: 0 });
            }
        }
    }

    /// Whether the row with this key would have this address by now; None where no page would have written it.
    pub(super) fn has_address(&self, key: &str, address: &str) -> Option<bool> {
        Some(self.addresses.get(self.hash(key))? == self.hash(address))
    }

    fn hash(&self, key: &str) -> i64 {
        self.keys.hash_one(key).cast_signed()
    }
}

/// A map from hashes that takes little more than what is in it: nearly all of it lies sorted, what came last beside that.
#[derive(Debug, Default)]
struct Compact<V> {
    sorted: Vec<(i64, V)>,
    last: HashMap<i64, V>,
}

impl<V: Copy> Compact<V> {
    /// Entries that always may lie beside the sorted ones.
    const FEW: usize = 4_096;

    fn insert(&mut self, hash: i64, value: V) {
        self.last.insert(hash, value);
        if self.last.len() > Self::FEW + self.sorted.len() / 8 {
            self.sorted.extend(self.last.drain());
            self.sorted.sort_unstable_by_key(|(hash, _)| *hash);
        }
    }

    fn get(&self, hash: i64) -> Option<V> {
        let last = self.last.get(&hash).copied();
        last.or_else(|| {
            let at = self.sorted.binary_search_by_key(&hash, |(hash, _)| *hash);
            Some(self.sorted[at.ok()?].1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let mut map = Compact::default();
        // Far more than may lie beside the sorted ones, in no order.
        let hash = |number: i64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed());
        for number in 0..20_000 {
            map.insert(hash(number), number);
        }
        assert!(map.sorted.len() > 10_000 && !map.last.is_empty());
        for number in 0..20_000 {
            assert_eq!(map.get(hash(number)), Some(number));
        }
        assert!((20_000..30_000).all(|number| map.get(hash(number)).is_none()));
    }
}
