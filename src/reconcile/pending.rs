//! Listed consents whose row is removed or erased: nothing of them is stored until their return is confirmed.

use std::collections::{BTreeSet, HashMap};

use super::Upsert;

/// Text of items that is held until the end of the scan. What does not fit waits for the next run.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// What earlier complete runs recorded (`pending_returns`); times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownPending {
    pub listed_since: i64,
    /// Complete runs in a row that listed it.
    pub listed_runs: i64,
    pub checked_at: Option<i64>,
}

/// A return that waits.
#[derive(Debug, Clone)]
pub struct PendingReturn {
    /// The key of the row, or the id of an item whose natural key has a removed row.
    pub key: String,
    pub known: Option<KnownPending>,
    /// What would be written; None where it could not be held.
    pub write: Option<Box<Upsert>>,
    /// An item of this scan had this id.
    pub(super) by_id: bool,
    pub(super) address: u64,
}

impl PendingReturn {
    /// Rows without an id have no page.
    pub fn has_page(&self) -> bool {
        !self.key.starts_with("nk:")
    }

    /// Whether every complete run since `until` or before listed it, at least two with the one that ends now.
    pub fn is_listed_since(&self, until: i64) -> bool {
        self.known.is_some_and(|known| known.listed_runs >= 1 && known.listed_since <= until)
    }

    /// What is held first where memory does not hold everything: what is due, then what was asked for longest ago. None: its
    /// return cannot be confirmed by this run.
    fn priority(&self, due: i64) -> Option<(u8, i64)> {
        let asked = self.known.and_then(|known| known.checked_at).unwrap_or(i64::MIN);
        if self.is_listed_since(due) {
            return Some((0, asked));
        }
        self.has_page().then_some((1, asked))
    }
}

/// The returns that this scan met, by the hash of their key.
#[derive(Debug, Default)]
pub struct PendingReturns {
    known: HashMap<u64, KnownPending>,
    /// Listed without a break since then, an item is due.
    due: i64,
    met: HashMap<u64, PendingReturn>,
    held: BTreeSet<((u8, i64), u64)>,
    bytes: usize,
}

impl PendingReturns {
    /// `due`: the time before which an item must have been listed for the first time to return without its page.
    pub fn new(known: HashMap<u64, KnownPending>, due: i64) -> Self {
        Self { known, due, ..Self::default() }
    }

    pub(super) fn get(&self, hash: u64) -> Option<&PendingReturn> {
        self.met.get(&hash)
    }

    pub(super) fn add(&mut self, hash: u64, key: String, by_id: bool, address: u64, write: Upsert) {
        let known = self.known.get(&hash).copied();
        let mut item = PendingReturn { key, known, write: None, by_id, address };
        if let Some(priority) = item.priority(self.due) {
            self.bytes += size(&write);
            item.write = Some(Box::new(write));
            self.held.insert((priority, hash));
        }
        self.met.insert(hash, item);
        while self.bytes > MAX_BYTES
            && let Some((_, last)) = self.held.pop_last()
        {
            let write = self.met.get_mut(&last).and_then(|item| item.write.take());
            self.bytes -= write.map_or(0, |write| size(&write));
        }
    }

    /// In the order of their keys.
    pub fn into_sorted(self) -> Vec<PendingReturn> {
        let mut all: Vec<PendingReturn> = self.met.into_values().collect();
        all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        all
    }
}

fn size(write: &Upsert) -> usize {
    write.key.len() + write.consent.bytes()
}
