//! What the database holds, in 16 bytes a row, so that an unchanged page asks it nothing.

use std::collections::HashMap;

use super::key_set::KeySet;
use crate::hash::{Buckets, RowHash};

/// The state of a row as far as a scan needs it.
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowState {
    pub unlisted: bool,
    pub removed: bool,
    pub withheld: bool,
    pub erased: bool,
    /// Keyed by its natural key.
    pub natural: bool,
    /// Written by an earlier scan of this run.
    pub written: bool,
}

/// What became of a row that a dry run does not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowChange {
    /// Active again, its content as it was.
    Listed,
    Written {
        content: u64,
        is_natural: bool,
    },
    /// It goes on under another key.
    Moved,
}

pub(super) const UNLISTED: u64 = 1;
pub(super) const WITHHELD: u64 = 2;
pub(super) const ERASED: u64 = 4;
pub(super) const NATURAL: u64 = 8;
/// Its removal was recorded: it does not return at once.
pub(super) const REMOVED: u64 = 16;
pub(super) const WRITTEN: u64 = 32;
/// Counts as listed by this scan.
pub(super) const LISTED: u64 = 64;
/// An item of this scan was stored to it.
pub(super) const STORED: u64 = 128;
/// That item had its id.
pub(super) const BY_ID: u64 = 256;
/// Its key was taken over in this scan: the row goes on under another key.
const TAKEN: u64 = 512;
/// A rejected item of this scan has its id.
pub(super) const REJECTED: u64 = 1024;
/// All of them; of the content's hash the other 52 bits are known.
const FLAGS: u64 = (1 << 12) - 1;

fn is_rejected_missing(flags: u64) -> bool {
    flags & (REJECTED | UNLISTED | REMOVED | LISTED) == REJECTED | UNLISTED
}

/// Every row of the database by its hashes, with what this scan has seen of it.
#[derive(Debug, Default)]
pub struct Known {
    /// (hash of the key, 52 bits of the content's hash and 12 flags), sorted once loaded.
    rows: Vec<(u64, u64)>,
    /// Over their keys.
    buckets: Buckets,
    /// Keys that this scan added.
    fresh: KeySet,
    active: u64,
    natural: u64,
    ids: u64,
    erased_natural: bool,
    added: u64,
    returned: u64,
}

/// A row in [`Known`]; only good until the next row is added to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot(usize);

impl Known {
    /// Room for the rows, so that loading never copies.
    pub fn with_capacity(rows: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), ..Self::default() }
    }

    pub fn push(&mut self, hash: RowHash, state: RowState) {
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        let flags = flag(state.unlisted, UNLISTED)
            | flag(state.withheld, WITHHELD)
            | flag(state.erased, ERASED)
            | flag(state.natural, NATURAL)
            | flag(state.removed, REMOVED)
            | flag(state.written, WRITTEN);
        self.push_row(hash.key, (hash.content << 8) & !FLAGS | flags);
    }

    fn push_row(&mut self, key: u64, row: u64) {
        self.rows.push((key, row));
        self.active += u64::from(row & UNLISTED == 0);
        self.natural += u64::from(row & NATURAL != 0);
        self.ids += u64::from(row & NATURAL == 0);
        self.erased_natural |= row & (ERASED | NATURAL) == ERASED | NATURAL;
    }

    /// Makes the rows of the database into what they would be after the writes of an earlier scan, by the hash of their keys.
    pub fn apply(&mut self, mut changes: HashMap<u64, RowChange>) {
        if changes.is_empty() {
            return;
        }
        for (key, row) in std::mem::take(self).rows {
            match changes.get(&key) {
                None => self.push_row(key, row),
                Some(RowChange::Listed) => {
                    changes.remove(&key);
                    self.push_row(key, row & !(UNLISTED | WITHHELD | REMOVED) | WRITTEN);
                }
                Some(RowChange::Written { .. } | RowChange::Moved) => {}
            }
        }
        for (key, change) in changes {
            if let RowChange::Written { content, is_natural } = change {
                let state = RowState { natural: is_natural, written: true, ..RowState::default() };
                self.push(RowHash { key, content }, state);
            }
        }
        self.loaded();
    }

    pub fn loaded(&mut self) {
        self.buckets = Buckets::sort(&mut self.rows, |row| row.0);
    }

    /// Whether two rows have the same hash of their key: one of them would never be found again.
    pub fn has_equal_keys(&self) -> bool {
        self.rows.windows(2).any(|pair| pair[0].0 == pair[1].0)
    }

    /// The database holds no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows that were active when the scan began.
    pub fn active_before(&self) -> u64 {
        self.active
    }

    /// Rows that are active now, as far as this scan has changed that.
    pub fn active_now(&self) -> u64 {
        self.active + self.added + self.returned
    }

    /// Whether any row has a natural key, one added by this scan included.
    pub(super) fn has_natural(&self) -> bool {
        self.natural > 0
    }

    /// Whether any row has an id, one added by this scan included.
    pub(super) fn has_ids(&self) -> bool {
        self.ids > 0
    }

    pub(super) fn has_erased_natural(&self) -> bool {
        self.erased_natural
    }

    /// The row with this key hash.
    pub(super) fn find(&self, key: u64) -> Option<Slot> {
        let bucket = self.buckets.range(key);
        let at = bucket.start + self.rows[bucket].iter().position(|row| row.0 == key)?;
        self.first_usable(at, key)
    }

    fn first_usable(&self, at: usize, key: u64) -> Option<Slot> {
        let row = &self.rows[at];
        (row.0 == key && row.1 & TAKEN == 0).then_some(Slot(at))
    }

    pub(super) fn key(&self, slot: Slot) -> u64 {
        self.rows[slot.0].0
    }

    pub(super) fn same_content(&self, slot: Slot, content: u64) -> bool {
        (self.rows[slot.0].1 ^ content << 8) & !FLAGS == 0
    }

    pub(super) fn has(&self, slot: Slot, flag: u64) -> bool {
        self.rows[slot.0].1 & flag != 0
    }

    pub(super) fn set(&mut self, slot: Slot, flag: u64) {
        self.rows[slot.0].1 |= flag;
    }

    /// It was active when the scan began, by its own id and with nothing else to be said about it, and no item was stored to it
    /// since then.
    pub(super) fn is_untouched(&self, slot: Slot) -> bool {
        self.rows[slot.0].1 & FLAGS & !(LISTED | REJECTED) == 0
    }

    /// It was active before the scan, or the scan has listed it.
    pub(super) fn is_active(&self, slot: Slot) -> bool {
        self.rows[slot.0].1 & (UNLISTED | LISTED) != UNLISTED
    }

    pub(super) fn is_rejected_missing(&self, slot: Slot) -> bool {
        is_rejected_missing(self.rows[slot.0].1)
    }

    /// Counts as listed from now on; a row that was missing or removed is active again.
    pub(super) fn list(&mut self, slot: Slot) {
        let row = &mut self.rows[slot.0].1;
        if *row & UNLISTED != 0 && *row & LISTED == 0 {
            self.returned += 1;
        }
        *row |= LISTED;
    }

    pub(super) fn store(&mut self, slot: Slot) {
        self.list(slot);
        self.rows[slot.0].1 |= STORED;
    }

    /// The row goes on under another key.
    pub(super) fn take_over(&mut self, slot: Slot, key: u64) {
        self.store(slot);
        self.rows[slot.0].1 |= TAKEN;
        self.ids += 1;
        self.fresh.insert(key);
    }

    pub(super) fn is_fresh(&self, key: u64) -> bool {
        self.fresh.contains(key)
    }

    pub(super) fn add(&mut self, key: u64, natural: bool) {
        self.fresh.insert(key);
        self.added += 1;
        self.natural += u64::from(natural);
        self.ids += u64::from(!natural);
    }

    /// A row that this scan added goes on under another key.
    pub(super) fn rename_fresh(&mut self, old: u64, new: u64) {
        self.fresh.remove(old);
        self.fresh.insert(new);
        self.ids += 1;
    }

    /// Active rows that this scan did not list: the hash of the key, whether a rejected item has their id, and whether the
    /// guard keeps them active already.
    pub(super) fn unlisted(&self) -> impl Iterator<Item = (u64, bool, bool)> + '_ {
        self.rows
            .iter()
            .filter(|row| row.1 & (UNLISTED | LISTED) == 0)
            .map(|row| (row.0, row.1 & REJECTED != 0, row.1 & WITHHELD != 0))
    }

    /// Missing rows that only a rejected item listed.
    pub(super) fn rejected_missing(&self) -> impl Iterator<Item = u64> + '_ {
        self.rows.iter().filter(|row| is_rejected_missing(row.1)).map(|row| row.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(keys: impl IntoIterator<Item = u64>) -> Known {
        let mut known = Known::default();
        for key in keys {
            known.push(RowHash { key, content: 1 }, RowState::default());
        }
        known.loaded();
        known
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn a_row_is_found_by_its_key_and_by_no_other(
            mut keys in prop::collection::hash_set(any::<u64>(), 0..600),
            others in prop::collection::vec(any::<u64>(), 50),
            close in any::<u64>(),
        ) {
            // Keys that share all their first bits, and both ends.
            keys.extend((0..20).map(|step| (close & !0xff) + step));
            keys.extend([0, u64::MAX]);
            let known = known(keys.iter().copied());
            for key in &keys {
                let slot = known.find(*key);
                prop_assert_eq!(slot.map(|slot| known.rows[slot.0].0), Some(*key));
            }
            for key in others.iter().filter(|key| !keys.contains(key)) {
                prop_assert!(known.find(*key).is_none());
            }
        }
    }

    #[test]
    fn nothing_is_found_where_there_is_nothing() {
        assert!(known([]).find(7).is_none());
        assert!(Known::default().find(7).is_none());
    }
}
