//! The rules of a run: what is new, changed, missing, removed, returned, withheld.
//!
//! Pure: no clock, no socket, no database. A pass is told what the database holds ([`Known`]), is given one page after the
//! other, says for each what is to be written ([`Batch`]), and at the end who was not listed and whether that may count
//! ([`judge`]).

mod guard;
mod known;
mod pass;
mod reject;

#[cfg(test)]
mod tests;

pub use guard::{Absence, Evidence, judge};
pub use known::{Known, RowState};
pub use pass::{Namesake, Namesakes, Pass, Settings};
pub use reject::{KnownReject, KnownRejects};

use crate::consent::{Consent, Rejected};
use crate::hash::RowHash;

/// What a page, or several, ask the store to do, and how their items count.
#[derive(Debug, Default)]
pub struct Batch {
    /// Counters of the pages in it. `added`, `updated` and `returned` are what the store makes of `ops`.
    pub tally: Tally,
    /// In the order of the list.
    pub ops: Vec<Op>,
    /// Items that cannot be used and are not on record yet.
    pub rejects: Vec<Rejected>,
}

/// How the items of a pass count (contract, section 4, `sync_runs`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pages.
    pub pages: u64,
    /// Their items.
    pub items: u64,
    /// Not known before.
    pub added: u64,
    /// Known with other content.
    pub updated: u64,
    /// Known with this content.
    pub unchanged: u64,
    /// Known as missing or removed.
    pub returned: u64,
    /// Stored already in this pass.
    pub duplicates: u64,
    /// Cannot be used.
    pub rejected: u64,
    /// Of forgotten people.
    pub suppressed: u64,
    /// Of other companies.
    pub foreign_items: u64,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.pages += other.pages;
        self.items += other.items;
        self.added += other.added;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.returned += other.returned;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
        self.suppressed += other.suppressed;
        self.foreign_items += other.foreign_items;
    }
}

/// One row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A listed consent and what is to become of its row.
    Put(Box<Put>),
    /// A row that counts as listed though no item was stored to it: it is active again, its content stays.
    Relist {
        /// The row.
        key: String,
        /// It was missing or removed (else only withheld).
        returns: bool,
    },
}

impl Op {
    /// Bytes of text in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put(put) => put.key.len() + put.consent.bytes(),
            Self::Relist { key, .. } => key.len(),
        }
    }
}

/// A listed consent and what is to become of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The row's key from now on.
    pub key: String,
    /// What the API sent.
    pub consent: Consent<'static>,
    /// Of `key` and the content that the row will have.
    pub hash: RowHash,
    /// Of the natural key.
    pub natural: i64,
    /// Which row it goes to.
    pub kind: PutKind,
}

/// Which row a [`Put`] goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutKind {
    /// A new one.
    Add,
    /// The one with this key.
    Change {
        /// It was missing or removed.
        returns: bool,
    },
    /// One that had another key: a natural key that an id takes over, or what retention left of a natural key.
    TakeOver {
        /// Its key until now.
        old_key: String,
        /// It was stored already in this pass: only key and id change.
        keep_content: bool,
        /// It was missing or removed.
        returns: bool,
    },
}

impl Batch {
    /// Nothing to write: the page was known, to the last item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.rejects.is_empty()
    }

    /// Adds another one behind this one.
    pub fn append(&mut self, mut other: Self) {
        self.tally.add(&other.tally);
        self.ops.append(&mut other.ops);
        self.rejects.append(&mut other.rejects);
    }
}
