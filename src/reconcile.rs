//! The rules of a run: what is new, changed, missing, removed, returned, withheld.
//!
//! Pure: no clock, no socket, no database. A scan is given what the database holds ([`Known`]) and one page after the
//! other, says for each what is to be written ([`Batch`]), and at the end who was not listed and whether that may count
//! ([`RemovalGuard`]).

mod guard;
mod key_set;
mod known;
mod pending;
mod reject;
mod scan;
mod suppression;

#[cfg(test)]
mod tests;

pub use guard::{Absence, Evidence, MAX_REJECTED_RUNS, RemovalGuard};
pub use known::{Known, RowChange, RowState};
pub use pending::{KnownPending, PendingReturn, PendingReturns};
pub use reject::{KnownReject, KnownRejects};
pub use scan::{Answers, Namesake, Question, Questions, Scan, ScanSettings};
pub use suppression::Suppressions;

use crate::consent::{Consent, Rejected};
use crate::hash::RowHash;

/// What a page, or several, ask the store to do, and how their items count.
#[derive(Debug, Default)]
pub struct Batch {
    /// Counters of the pages in it. `added`, `updated` and `returned` are what the store makes of `writes`.
    pub tally: Tally,
    pub writes: Vec<RowWrite>,
    /// Items that cannot be used and are not on record yet.
    pub rejects: Vec<Rejected>,
    /// Items whose id the scan held before; neither counted nor written yet.
    pub repeats: Vec<Repeat>,
}

/// An item whose id the scan held before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    pub key: String,
    pub number: usize,
    pub address: String,
    /// Hash of the first one's address, where the first one is not stored.
    pub first: Option<u64>,
}

/// How the items of a scan count (contract, section 4, `sync_runs`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub pages: u64,
    pub items: u64,
    pub added: u64,
    pub updated: u64,
    pub unchanged: u64,
    /// Known as missing or removed.
    pub returned: u64,
    /// Known as removed or erased; their return is not confirmed.
    pub returns_pending: u64,
    /// Stored already in this scan.
    pub duplicates: u64,
    pub rejected: u64,
    pub suppressed: u64,
    pub foreign_items: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.pages += other.pages;
        self.items += other.items;
        self.added += other.added;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.returned += other.returned;
        self.returns_pending += other.returns_pending;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
        self.suppressed += other.suppressed;
        self.foreign_items += other.foreign_items;
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowWrite {
    Upsert(Box<Upsert>),
    /// A row that counts as listed though no item was stored to it: it is active again, its content stays.
    MarkListed {
        key: String,
        /// It was missing (else only withheld).
        returns: bool,
        /// The item that lists it counts as its return.
        counts: bool,
    },
}

impl RowWrite {
    pub fn bytes(&self) -> usize {
        match self {
            Self::Upsert(upsert) => upsert.key.len() + upsert.consent.bytes(),
            Self::MarkListed { key, .. } => key.len(),
        }
    }
}

/// A listed consent and what is to become of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upsert {
    /// The row's key from now on.
    pub key: String,
    pub consent: Consent<'static>,
    /// Of `key` and the content that the row will have.
    pub hash: RowHash,
    pub natural: i64,
    pub kind: UpsertKind,
    /// The item counts as what becomes of this row; else as the return of another one.
    pub counts: bool,
}

/// Which row an [`Upsert`] goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpsertKind {
    Add,
    /// The one with this key.
    Change {
        /// It was missing or removed.
        returns: bool,
    },
    /// One that had another key: a natural key that an id takes over, or what retention left of a natural key.
    TakeOver {
        old_key: String,
        /// It was stored already in this scan: only key and id change.
        keep_content: bool,
        /// It was missing or removed.
        returns: bool,
    },
}

impl Batch {
    /// Nothing to write: the page was known, to the last item.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.rejects.is_empty()
    }

    pub fn append(&mut self, mut other: Self) {
        self.tally.add(&other.tally);
        self.writes.append(&mut other.writes);
        self.rejects.append(&mut other.rejects);
        self.repeats.append(&mut other.repeats);
    }
}
