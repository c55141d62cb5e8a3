//! What the database holds, in 16 bytes a row, so that an unchanged page asks it nothing.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use crate::hash::RowHash;

/// The state of a row as far as a pass needs it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "four facts that do not depend on each other"
)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowState {
    /// `missing_since` or `removed_at` set.
    pub unlisted: bool,
    /// `withheld_since` set.
    pub withheld: bool,
    /// `erased_at` set.
    pub erased: bool,
    /// Keyed by its natural key.
    pub natural: bool,
}

const UNLISTED: u64 = 1;
const WITHHELD: u64 = 2;
const ERASED: u64 = 4;
const NATURAL: u64 = 8;
/// Counts as listed by this pass.
const LISTED: u64 = 16;
/// An item of this pass was stored to it.
const STORED: u64 = 32;
/// Its key was taken over in this pass: the row goes on under another key.
const TAKEN: u64 = 64;

/// Every row of the database by its hashes, with what this pass has seen of it.
#[derive(Debug, Default)]
pub struct Known {
    /// (hash of the key, 56 bits hash of the content and 8 flags), sorted once loaded.
    rows: Vec<(u64, u64)>,
    /// Keys that this pass added. Hashes already: no second hashing.
    fresh: HashSet<u64, BuildHasherDefault<Identity>>,
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
    /// Room for so many rows, so that loading never copies.
    #[must_use]
    pub fn with_capacity(rows: usize) -> Self {
        Self {
            rows: Vec::with_capacity(rows),
            ..Self::default()
        }
    }

    /// Takes a row of the database.
    pub fn push(&mut self, hash: RowHash, state: RowState) {
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        let flags = flag(state.unlisted, UNLISTED)
            | flag(state.withheld, WITHHELD)
            | flag(state.erased, ERASED)
            | flag(state.natural, NATURAL);
        self.rows.push((hash.key, hash.content << 8 | flags));
        self.active += u64::from(!state.unlisted);
        self.natural += u64::from(state.natural);
        self.ids += u64::from(!state.natural);
        self.erased_natural |= state.erased && state.natural;
    }

    /// All rows are in.
    pub fn loaded(&mut self) {
        self.rows.sort_unstable();
    }

    /// Rows that were active when the pass began.
    #[must_use]
    pub fn active_before(&self) -> u64 {
        self.active
    }

    /// Rows that are active now, as far as this pass has changed that.
    #[must_use]
    pub fn active_now(&self) -> u64 {
        self.active + self.added + self.returned
    }

    /// Whether any row has a natural key, one added by this pass included.
    pub(super) fn has_natural(&self) -> bool {
        self.natural > 0
    }

    /// Whether any row has an id, one added by this pass included.
    pub(super) fn has_ids(&self) -> bool {
        self.ids > 0
    }

    pub(super) fn has_erased_natural(&self) -> bool {
        self.erased_natural
    }

    /// The row with this key hash. Keys are spread evenly, so a guess by proportion lands next to it.
    pub(super) fn find(&self, key: u64) -> Option<Slot> {
        let (mut low, mut high) = (0, self.rows.len());
        while high - low > 16 {
            let (first, last) = (self.rows[low].0, self.rows[high - 1].0);
            if key < first || key > last {
                return None;
            }
            let span = u128::from(last - first) + 1;
            let offset = u128::from(key - first) * ((high - low) as u128) / span;
            let guess = low + usize::try_from(offset).unwrap_or(0);
            match self.rows[guess].0.cmp(&key) {
                std::cmp::Ordering::Equal => return self.first_usable(guess, key),
                std::cmp::Ordering::Less => low = guess + 1,
                std::cmp::Ordering::Greater => high = guess,
            }
        }
        let at = low + self.rows[low..high].iter().position(|row| row.0 == key)?;
        self.first_usable(at, key)
    }

    fn first_usable(&self, at: usize, key: u64) -> Option<Slot> {
        let row = &self.rows[at];
        (row.0 == key && row.1 & TAKEN == 0).then_some(Slot(at))
    }

    pub(super) fn same_content(&self, slot: Slot, content: u64) -> bool {
        self.rows[slot.0].1 >> 8 == content
    }

    fn has(&self, slot: Slot, bit: u64) -> bool {
        self.rows[slot.0].1 & bit != 0
    }

    pub(super) fn is_unlisted(&self, slot: Slot) -> bool {
        self.has(slot, UNLISTED)
    }

    pub(super) fn is_withheld(&self, slot: Slot) -> bool {
        self.has(slot, WITHHELD)
    }

    pub(super) fn is_erased(&self, slot: Slot) -> bool {
        self.has(slot, ERASED)
    }

    pub(super) fn is_listed(&self, slot: Slot) -> bool {
        self.has(slot, LISTED)
    }

    pub(super) fn is_stored(&self, slot: Slot) -> bool {
        self.has(slot, STORED)
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
        self.fresh.contains(&key)
    }

    pub(super) fn add(&mut self, key: u64, natural: bool) {
        self.fresh.insert(key);
        self.added += 1;
        self.natural += u64::from(natural);
        self.ids += u64::from(!natural);
    }

    /// A row that this pass added goes on under another key.
    pub(super) fn rename_fresh(&mut self, old: u64, new: u64) {
        self.fresh.remove(&old);
        self.fresh.insert(new);
        self.ids += 1;
    }

    /// Active rows that this pass did not list.
    #[must_use]
    pub fn unlisted_active(&self) -> u64 {
        self.rows
            .iter()
            .filter(|row| row.1 & (UNLISTED | LISTED) == 0)
            .count() as u64
    }

    /// Their hashes.
    pub fn unlisted_active_rows(&self) -> impl Iterator<Item = RowHash> + '_ {
        self.rows
            .iter()
            .filter(|row| row.1 & (UNLISTED | LISTED) == 0)
            .map(|row| RowHash {
                key: row.0,
                content: row.1 >> 8,
            })
    }

    /// Of those, the ones that the guard does not keep active already.
    pub fn newly_withheld_rows(&self) -> impl Iterator<Item = RowHash> + '_ {
        self.rows
            .iter()
            .filter(|row| row.1 & (UNLISTED | LISTED | WITHHELD) == 0)
            .map(|row| RowHash {
                key: row.0,
                content: row.1 >> 8,
            })
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
