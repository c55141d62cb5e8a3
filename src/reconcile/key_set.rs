//! A set of hashes that grows without ever being copied into twice the room, as a hash table does.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// So many hashes wait to be merged at the least; of a large set, a thirty-second part of it.
const MIN_RECENT: usize = 4096;

/// Hashes, 8 bytes each. Hashes already: no second hashing.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    sorted: Vec<u64>,
    recent: HashSet<u64, BuildHasherDefault<Identity>>,
    /// In `sorted`, but removed.
    removed: HashSet<u64, BuildHasherDefault<Identity>>,
}

impl KeySet {
    pub(super) fn contains(&self, key: u64) -> bool {
        self.recent.contains(&key) || (self.is_sorted_in(key) && !self.removed.contains(&key))
    }

    pub(super) fn insert(&mut self, key: u64) {
        if !self.removed.remove(&key) && !self.is_sorted_in(key) {
            self.recent.insert(key);
        }
        if self.recent.len() > MIN_RECENT.max(self.sorted.len() / 32) {
            self.merge();
        }
    }

    pub(super) fn remove(&mut self, key: u64) {
        if !self.recent.remove(&key) && self.is_sorted_in(key) {
            self.removed.insert(key);
        }
    }

    fn is_sorted_in(&self, key: u64) -> bool {
        self.sorted.binary_search(&key).is_ok()
    }

    /// From the back, so that no second list is needed.
    fn merge(&mut self) {
        let mut recent: Vec<u64> = self.recent.drain().collect();
        recent.sort_unstable();
        let mut old = self.sorted.len();
        self.sorted.reserve_exact(recent.len());
        self.sorted.resize(old + recent.len(), 0);
        let mut end = self.sorted.len();
        while let Some(&new) = recent.last() {
            end -= 1;
            if old > 0 && self.sorted[old - 1] > new {
                old -= 1;
                self.sorted[end] = self.sorted[old];
            } else {
                self.sorted[end] = new;
                recent.pop();
            }
        }
    }
}

/// Passes on what is a hash already.
#[derive(Debug, Default, Clone, Copy)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn it_holds_what_was_put_in_and_not_taken_out(
            steps in prop::collection::vec((any::<bool>(), 0..12_000_u64), 0..30_000),
        ) {
            let spread = |step: u64| step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (mut set, mut model) = (KeySet::default(), HashSet::new());
            for (number, (removes, step)) in steps.iter().enumerate() {
                let key = spread(*step);
                // More come in than go out, so that it is merged several times.
                if *removes && number.is_multiple_of(3) {
                    set.remove(key);
                    model.remove(&key);
                } else {
                    set.insert(key);
                    model.insert(key);
                }
            }
            for step in 0..12_000 {
                prop_assert_eq!(set.contains(spread(step)), model.contains(&spread(step)));
            }
            prop_assert!(set.sorted.is_sorted());
            prop_assert!(set.sorted.capacity() <= set.sorted.len() + 64);
        }
    }
}
