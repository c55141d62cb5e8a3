//! Which unusable items are on record already, so that a page that still holds them asks the database nothing.

use std::collections::HashMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownReject {
    pub id: i64,
    pub resolved: bool,
}

/// New rejected items that one run stores at the most (contract, section 5.14).
const MAX_NEW: usize = 10_000;

/// `rejected_items` by the first 8 bytes of the fingerprint.
#[derive(Debug, Default)]
pub struct KnownRejects {
    rows: HashMap<u64, (KnownReject, bool)>,
    new_nameless: bool,
    /// Items that this run has stored as new.
    new: usize,
}

impl KnownRejects {
    pub fn push(&mut self, fingerprint: &[u8], row: KnownReject) {
        self.rows.insert(short(fingerprint), (row, false));
    }

    /// So many were stored as new by an earlier scan of this run.
    pub fn count_new(&mut self, new: usize) {
        self.new += new;
    }

    /// Records an item; true where the record is to be written (a new item, or one that was resolved).
    pub(super) fn record(&mut self, fingerprint: &[u8], nameless: bool) -> bool {
        if let Some((row, seen)) = self.rows.get_mut(&short(fingerprint)) {
            let write = row.resolved && !*seen;
            *seen = true;
            write
        } else {
            self.new_nameless |= nameless;
            if self.new >= MAX_NEW {
                return false;
            }
            self.new += 1;
            self.rows.insert(short(fingerprint), (KnownReject { id: 0, resolved: false }, true));
            true
        }
    }

    /// Whether an item without a usable id came that was not on record.
    pub fn has_new_nameless(&self) -> bool {
        self.new_nameless
    }

    /// The rows on record that this scan held again.
    pub fn seen(&self) -> impl Iterator<Item = i64> + '_ {
        self.rows.values().filter(|(row, seen)| *seen && row.id != 0).map(|(row, _)| row.id)
    }

    /// Whether any row of the record is unresolved and was not held by this scan.
    pub fn any_gone(&self) -> bool {
        self.rows.values().any(|(row, seen)| !*seen && !row.resolved)
    }
}

fn short(fingerprint: &[u8]) -> u64 {
    fingerprint.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
