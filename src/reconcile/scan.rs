//! One full scan of the list, item by item.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::known::{
    BY_ID, ERASED, Known, LISTED, REJECTED, REMOVED, STORED, Slot, UNLISTED, WITHHELD, WRITTEN,
};
use super::pending::PendingReturns;
use super::reject::KnownRejects;
use super::suppression::{Suppressed, Suppressions};
use super::{Batch, Repeat, RowWrite, Tally, Upsert, UpsertKind};
use crate::consent::{Consent, Item, KnownItem, Page, Rejected, is_askable};
use crate::hash::{RowHash, Salt};

/// What a scan goes by besides the rows.
#[derive(Debug)]
pub struct ScanSettings {
    pub salt: Salt,
    /// `api.company_id`
    pub company_id: Option<String>,
    pub suppressed: Suppressions,
    /// Active rows, by the hash of their key, that a rejected item has kept for as many runs as it may.
    pub exhausted: HashSet<u64>,
}

/// A natural key that the store is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub natural_key: String,
    /// What retention would have made of it, where it made something of any.
    pub erased_key: Option<String>,
}

pub type Questions = Vec<Question>;

/// A row that has the natural key that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namesake {
    pub consent_key: String,
    /// In milliseconds; 0 where its removal was not recorded.
    pub removed_at: i64,
}

/// Rows by natural key, the first seen first.
pub type Answers = HashMap<String, Vec<Namesake>>;

/// How many consents are asked for to see whether pages can be used.
const CONTROLS: usize = 3;

/// Items whose hashes one scan collects at the most, and the text of their keys: a server that writes its items in another
/// order each time costs a run no more than this.
const MAX_UNRECORDED: usize = 10_000;
const MAX_UNRECORDED_BYTES: usize = 1024 * 1024;

/// One full scan of the list.
#[derive(Debug)]
pub struct Scan {
    settings: ScanSettings,
    known: Known,
    rejects: KnownRejects,
    pending: PendingReturns,
    lists_somebody: bool,
    controls: Vec<String>,
    pending_controls: Vec<String>,
    renewed: BTreeMap<String, String>,
    unrecorded: Vec<(String, u64)>,
    unrecorded_bytes: usize,
}

/// Where an item with an id goes that has no row of its own.
enum RowOrigin {
    New,
    TakeOver(UpsertKind),
    /// The row of its natural key was removed or erased.
    Removed,
}

impl Scan {
    pub fn new(settings: ScanSettings, known: Known, rejects: KnownRejects, pending: PendingReturns) -> Self {
        Self {
            settings,
            known,
            rejects,
            pending,
            lists_somebody: false,
            controls: Vec::new(),
            pending_controls: Vec::new(),
            renewed: BTreeMap::new(),
            unrecorded: Vec::new(),
            unrecorded_bytes: 0,
        }
    }

    pub fn known(&self) -> &Known {
        &self.known
    }

    pub fn rejects(&self) -> &KnownRejects {
        &self.rejects
    }

    /// Whether any item was stored or known.
    pub fn lists_somebody(&self) -> bool {
        self.lists_somebody
    }

    /// Consents of erased people under ids that were not erased, and the hash of their address.
    pub fn renewed(&self) -> &BTreeMap<String, String> {
        &self.renewed
    }

    /// Keys of rows that have not changed though the bytes of their items are not known, and the hashes of those.
    pub fn unrecorded_items(&self) -> &[(String, u64)] {
        &self.unrecorded
    }

    /// Takes out the returns that the scan met.
    pub fn take_pending(&mut self) -> PendingReturns {
        std::mem::take(&mut self.pending)
    }

    /// Consents that the scan listed, by their ids: those whose return is in doubt only where there are not enough others.
    pub fn controls(&self) -> Vec<String> {
        self.controls.iter().chain(&self.pending_controls).take(CONTROLS).cloned().collect()
    }

    /// The hashes of the keys of active rows that the scan did not list and that no rejected item keeps.
    pub fn own_rows(&self) -> impl Iterator<Item = u64> + '_ {
        self.own().map(|(key, _)| key)
    }

    /// Of those, the ones that the guard does not keep active already.
    pub fn newly_withheld_rows(&self) -> impl Iterator<Item = u64> + '_ {
        self.own().filter(|(_, withheld)| !withheld).map(|(key, _)| key)
    }

    fn own(&self) -> impl Iterator<Item = (u64, bool)> + '_ {
        let exhausted = &self.settings.exhausted;
        let own = move |(key, rejected, withheld): (u64, bool, bool)| {
            (!rejected || exhausted.contains(&key)).then_some((key, withheld))
        };
        self.known.unlisted().filter_map(own)
    }

    /// Active rows that only a rejected item listed.
    pub fn rejected_active_rows(&self) -> impl Iterator<Item = u64> + '_ {
        self.known.unlisted().filter(|(_, rejected, _)| *rejected).map(|(key, ..)| key)
    }

    /// Missing rows that only a rejected item listed.
    pub fn rejected_missing_rows(&self) -> impl Iterator<Item = u64> + '_ {
        self.known.rejected_missing()
    }

    /// Whether only a rejected item listed the missing row with this key.
    pub fn is_rejected_missing(&self, key: &str) -> bool {
        let slot = self.known.find(self.settings.salt.key(key));
        slot.is_some_and(|slot| self.known.is_rejected_missing(slot))
    }

    /// Whether the row with this key is one that the scan has not listed.
    pub fn is_unlisted(&self, key: &str) -> bool {
        self.known.find(self.settings.salt.key(key)).is_some_and(|slot| !self.known.has(slot, LISTED))
    }

    /// The natural keys that the store must be asked for before [`Scan::process_page`]: an item without id lists every row of its
    /// natural key, and rows with an id are not found by it otherwise.
    pub fn questions(&self, page: &Page<'_>) -> Questions {
        if !self.known.has_ids() {
            return Vec::new();
        }
        let nameless = page.items.iter().filter_map(|item| match item {
            Item::Consent(consent) if consent.consent_id.is_none() => Some(consent.natural_key()),
            _ => None,
        });
        let unique: HashSet<String> = nameless.collect();
        let erased = self.known.has_erased_natural();
        let question = |natural_key: String| Question {
            erased_key: erased.then(|| self.settings.salt.erased_key(&natural_key)),
            natural_key,
        };
        unique.into_iter().map(question).collect()
    }

    /// Whether an item has another address than the first one with its id, which the database stores by now under this one.
    pub fn is_other_address(&self, repeat: &Repeat, stored: Option<&str>) -> bool {
        let first = repeat.first.or_else(|| stored.map(|address| self.settings.salt.key(address)));
        first.is_some_and(|first| first != self.settings.salt.key(&repeat.address))
    }

    /// An item that is listed a second time under another address.
    pub fn process_repeat(&mut self, rejected: Rejected) -> Batch {
        let mut batch = Batch::default();
        self.process_rejected(rejected, &mut batch);
        batch
    }

    pub fn process_page(&mut self, page: Page<'_>, namesakes: &Answers) -> Batch {
        let mut batch = Batch::default();
        batch.tally.pages = 1;
        batch.tally.items = page.items.len() as u64;
        let mut open = OpenPage { batch, namesakes, index: PageIndex::new(&page), number: 0 };
        for (number, item) in page.items.into_iter().enumerate() {
            open.number = number;
            self.process_item(item, &mut open);
        }
        open.batch
    }

    fn process_item(&mut self, item: Item<'_>, page: &mut OpenPage<'_>) {
        match item {
            Item::Rejected(rejected) => self.process_rejected(rejected, &mut page.batch),
            Item::Consent(consent) => self.process_consent(consent, page),
            Item::Known(known) => {
                if !self.process_known_item(&known, page)
                    && let Some(item) = known.read()
                {
                    self.process_item(item, page);
                }
            }
        }
    }

    /// An item that was stored to its row byte for byte. It was of our company and named nobody who was erased, and still does
    /// (`KnownItems`). False where it has to be read: for more than its id, or because its row is not simply active.
    fn process_known_item(&mut self, item: &KnownItem<'_>, page: &mut OpenPage<'_>) -> bool {
        if page.index.mixed || self.controls.len() < CONTROLS {
            return false;
        }
        let slot = self.known.find(self.settings.salt.key(&item.id));
        let Some(slot) = slot.filter(|slot| self.known.is_untouched(*slot)) else {
            return false;
        };
        self.lists_somebody = true;
        self.known.store(slot);
        self.known.set(slot, BY_ID);
        page.batch.tally.unchanged += 1;
        true
    }

    fn process_rejected(&mut self, rejected: Rejected, batch: &mut Batch) {
        if self.settings.suppressed.has_rejected(&self.settings.salt, &rejected) {
            batch.tally.suppressed += 1;
            return;
        }
        batch.tally.rejected += 1;
        if let Some(id) = &rejected.id
            && let Some(slot) = self.known.find(self.settings.salt.key(id))
        {
            self.known.set(slot, REJECTED);
        }
        if self.rejects.record(&rejected.fingerprint, rejected.id.is_none()) {
            batch.rejects.push(rejected);
        }
    }

    fn process_consent(&mut self, consent: Consent<'_>, page: &mut OpenPage<'_>) {
        if self.settings.company_id.as_ref().is_some_and(|ours| *ours != consent.company_id) {
            page.batch.tally.foreign_items += 1;
            return;
        }
        if let Some(suppressed) = self.settings.suppressed.find(&self.settings.salt, &consent) {
            self.process_suppressed(suppressed, &consent, &mut page.batch);
            return;
        }
        self.lists_somebody = true;
        match &consent.consent_id {
            Some(id) => {
                let id = id.clone();
                self.process_item_with_id(&id, consent, page);
            }
            None => self.process_item_without_id(consent, page),
        }
    }

    fn process_suppressed(&mut self, suppressed: Suppressed, consent: &Consent<'_>, batch: &mut Batch) {
        batch.tally.suppressed += 1;
        match (suppressed, &consent.consent_id) {
            (Suppressed::Person { renewed: Some(hash) }, Some(id)) => {
                self.renewed.insert(id.as_ref().to_owned(), hash);
            }
            (Suppressed::Person { .. }, _) => {}
            (Suppressed::Mention, _) => {
                // Whoever names an erased person has not left: an active row stays, with what it holds.
                let key = consent.key();
                if let Some(slot) = self.known.find(self.settings.salt.key(&key))
                    && !self.known.has(slot, UNLISTED)
                {
                    self.mark_listed(&key, batch);
                }
            }
        }
    }

    fn process_item_with_id(&mut self, key: &str, consent: Consent<'_>, page: &mut OpenPage<'_>) {
        let hash = self.settings.salt.key(key);
        let waits = self.pending.get(hash);
        if waits.is_none()
            && self.controls.len() < CONTROLS
            && is_askable(key)
            && !self.controls.iter().any(|control| control == key)
        {
            self.controls.push(key.to_owned());
        }
        if let Some(waiting) = waits {
            if waiting.by_id {
                page.push_repeat(key, Some(waiting.address), &consent);
            } else {
                page.batch.tally.duplicates += 1;
            }
        } else if self.known.is_fresh(hash) {
            page.push_repeat(key, None, &consent);
        } else if let Some(slot) = self.known.find(hash) {
            self.process_item_of_row(slot, key, consent, page);
        } else {
            let kind = match self.row_origin(hash, &consent) {
                RowOrigin::Removed => {
                    self.wait_for_return(key, key, true, consent, UpsertKind::Add, &mut page.batch);
                    return;
                }
                RowOrigin::New => {
                    self.known.add(hash, false);
                    UpsertKind::Add
                }
                RowOrigin::TakeOver(kind) => kind,
            };
            page.index.record_upsert(&consent, key);
            if let UpsertKind::TakeOver { old_key, .. } = &kind {
                page.index.record_move(old_key, key);
            }
            self.push_upsert(key, hash, consent, kind, &mut page.batch);
        }
    }

    fn process_item_of_row(&mut self, slot: Slot, key: &str, consent: Consent<'_>, page: &mut OpenPage<'_>) {
        if self.known.has(slot, BY_ID) {
            page.push_repeat(key, None, &consent);
        } else if self.known.has(slot, STORED) {
            page.batch.tally.duplicates += 1;
        } else if self.known.has(slot, REMOVED) {
            let kind = UpsertKind::Change { returns: true };
            self.wait_for_return(key, key, true, consent, kind, &mut page.batch);
        } else {
            page.index.record_upsert(&consent, key);
            self.upsert_known(slot, key, consent, &mut page.batch);
            self.known.set(slot, BY_ID);
        }
    }

    /// Stores nothing of an item until the return of its row is confirmed (contract, section 5.6.4).
    fn wait_for_return(
        &mut self,
        waiting_key: &str,
        key: &str,
        by_id: bool,
        consent: Consent<'_>,
        kind: UpsertKind,
        batch: &mut Batch,
    ) {
        let waiting = self.settings.salt.key(waiting_key);
        if self.pending.get(waiting).is_some() {
            batch.tally.duplicates += 1;
            return;
        }
        batch.tally.returns_pending += 1;
        if by_id && is_askable(key) {
            self.controls.retain(|control| control != key);
            if self.pending_controls.len() < CONTROLS {
                self.pending_controls.push(key.to_owned());
            }
        }
        let address = self.settings.salt.key(&consent.address());
        let write = self.upsert(key, self.settings.salt.key(key), consent, kind);
        self.pending.add(waiting, waiting_key.to_owned(), by_id, address, write);
    }

    /// The row of the natural key that this id takes over, if there is one (contract, section 5.8).
    fn row_origin(&mut self, new: u64, consent: &Consent<'_>) -> RowOrigin {
        if !self.known.has_natural() {
            return RowOrigin::New;
        }
        let natural_key = consent.natural_key();
        let natural = self.settings.salt.key(&natural_key);
        if self.known.is_fresh(natural) {
            self.known.rename_fresh(natural, new);
            return RowOrigin::TakeOver(UpsertKind::TakeOver {
                old_key: natural_key,
                keep_content: true,
                returns: false,
            });
        }
        let Some(slot) = self.known.find(natural) else {
            return if self.erased_row(&natural_key).is_some() { RowOrigin::Removed } else { RowOrigin::New };
        };
        if self.known.has(slot, REMOVED) {
            return RowOrigin::Removed;
        }
        let keep_content = self.known.has(slot, STORED);
        let returns = self.known.has(slot, UNLISTED) && !self.known.has(slot, LISTED);
        self.known.take_over(slot, new);
        RowOrigin::TakeOver(UpsertKind::TakeOver { old_key: natural_key, keep_content, returns })
    }

    /// What retention left of a natural key.
    fn erased_row(&self, natural_key: &str) -> Option<(Slot, String)> {
        if !self.known.has_erased_natural() {
            return None;
        }
        let key = self.settings.salt.erased_key(natural_key);
        let slot = self.known.find(self.settings.salt.key(&key))?;
        self.known.has(slot, ERASED).then_some((slot, key))
    }

    /// Contract, section 5.8: it lists the active and missing rows of its natural key, only where there are none the one removed
    /// last, and is stored to the first of them.
    fn process_item_without_id(&mut self, consent: Consent<'_>, page: &mut OpenPage<'_>) {
        let natural_key = consent.natural_key();
        let stored = page.namesakes.get(&natural_key).map_or(&[][..], Vec::as_slice);
        let mut rows = self.rows_of(&natural_key, stored, &page.index);
        let batch = &mut page.batch;
        // A second item is a duplicate of the first, though the rows that the first one returned may stand before its own now.
        if let Some(at) = rows.iter().position(|key| self.is_stored_without_id(key)) {
            rows.swap(0, at);
        }
        if let Some((first, others)) = rows.split_first() {
            let returned = others.iter().filter(|key| self.mark_listed(key, batch)).count();
            let (before, tally) = (batch.writes.len(), batch.tally);
            self.store_to(first, consent, batch);
            if returned > 0 {
                count_as_return(batch, before, tally);
            }
            return;
        }
        if let Some((slot, key)) = self.last_removed(&natural_key, stored) {
            let natural = key.starts_with("nk:") && key != natural_key;
            let (new_key, kind) = if natural {
                let returns = true;
                let kind = UpsertKind::TakeOver { old_key: key.clone(), keep_content: false, returns };
                (natural_key.clone(), kind)
            } else {
                (key.clone(), UpsertKind::Change { returns: true })
            };
            if self.known.has(slot, REMOVED) {
                self.wait_for_return(&key, &new_key, false, consent, kind, batch);
            } else {
                let hash = self.settings.salt.key(&new_key);
                self.known.take_over(slot, hash);
                self.push_upsert(&new_key, hash, consent, kind, batch);
            }
            return;
        }
        let hash = self.settings.salt.key(&natural_key);
        self.known.add(hash, true);
        self.push_upsert(&natural_key, hash, consent, UpsertKind::Add, batch);
    }

    fn is_stored_without_id(&self, key: &str) -> bool {
        let slot = self.known.find(self.settings.salt.key(key));
        slot.is_some_and(|slot| self.known.has(slot, STORED) && !self.known.has(slot, BY_ID))
    }

    /// The keys of the active and missing rows of a natural key, the active ones first.
    fn rows_of(&self, natural_key: &str, stored: &[Namesake], index: &PageIndex) -> Vec<String> {
        let (mut active, mut missing): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        let own = (!stored.iter().any(|row| row.consent_key == natural_key)).then_some(natural_key);
        for key in index.still(stored, natural_key).chain(own) {
            let hash = self.settings.salt.key(key);
            if self.known.is_fresh(hash) {
                active.push(key.to_owned());
            } else if let Some(slot) = self.known.find(hash) {
                if self.known.is_active(slot) {
                    active.push(key.to_owned());
                } else if !self.known.has(slot, REMOVED) && !self.known.has(slot, ERASED) {
                    missing.push(key.to_owned());
                }
            }
        }
        if let Some(first) = index.first(natural_key)
            && !active.iter().any(|key| key == first)
        {
            missing.retain(|key| key != first);
            active.push(first.to_owned());
        }
        active.append(&mut missing);
        active
    }

    /// The row of a natural key that was removed last, or what retention left of one.
    fn last_removed(&self, natural_key: &str, stored: &[Namesake]) -> Option<(Slot, String)> {
        let find = |key: &str| self.known.find(self.settings.salt.key(key));
        let mut last: Option<&Namesake> = None;
        let left = |slot: Slot| self.known.has(slot, REMOVED) || self.known.has(slot, ERASED);
        for row in stored {
            if find(&row.consent_key).is_some_and(left)
                && last.is_none_or(|last| row.removed_at > last.removed_at)
            {
                last = Some(row);
            }
        }
        if let Some(row) = last
            && let Some(slot) = find(&row.consent_key)
        {
            return Some((slot, row.consent_key.clone()));
        }
        let row = find(natural_key).filter(|slot| left(*slot)).map(|slot| (slot, natural_key.to_owned()));
        row.or_else(|| self.erased_row(natural_key))
    }

    /// Stores an item without id to a row that is active or missing.
    fn store_to(&mut self, key: &str, consent: Consent<'_>, batch: &mut Batch) {
        let hash = self.settings.salt.key(key);
        let unstored = |slot: &Slot| !self.known.is_fresh(hash) && !self.known.has(*slot, STORED);
        match self.known.find(hash).filter(unstored) {
            Some(slot) => self.upsert_known(slot, key, consent, batch),
            None => batch.tally.duplicates += 1,
        }
    }

    fn upsert_known(&mut self, slot: Slot, key: &str, consent: Consent<'_>, batch: &mut Batch) {
        let returns = self.known.has(slot, UNLISTED) && !self.known.has(slot, LISTED);
        let withheld = self.known.has(slot, WITHHELD) && !self.known.has(slot, LISTED);
        self.known.store(slot);
        let now = self.settings.salt.content(&consent);
        if self.known.same_content(slot, now) && !returns {
            // A row that an earlier scan of this run wrote is counted already.
            batch.tally.unchanged += u64::from(!self.known.has(slot, WRITTEN));
            if withheld {
                let listed = RowWrite::MarkListed { key: key.to_owned(), returns: false, counts: false };
                batch.writes.push(listed);
            }
            self.collect_unrecorded(slot, key, consent.item_hash);
            return;
        }
        let hash = self.known.key(slot);
        self.push_upsert(key, hash, consent, UpsertKind::Change { returns }, batch);
    }

    fn collect_unrecorded(&mut self, slot: Slot, key: &str, item_hash: Option<u64>) {
        // A row that this run wrote knows its item.
        let hash = item_hash.filter(|_| !self.known.has(slot, WRITTEN));
        if let Some(hash) = hash
            && self.unrecorded.len() < MAX_UNRECORDED
            && self.unrecorded_bytes + key.len() <= MAX_UNRECORDED_BYTES
        {
            self.unrecorded_bytes += key.len();
            self.unrecorded.push((key.to_owned(), hash));
        }
    }

    fn push_upsert(&self, key: &str, hash: u64, consent: Consent<'_>, kind: UpsertKind, batch: &mut Batch) {
        batch.writes.push(RowWrite::Upsert(Box::new(self.upsert(key, hash, consent, kind))));
    }

    fn upsert(&self, key: &str, hash: u64, consent: Consent<'_>, kind: UpsertKind) -> Upsert {
        Upsert {
            key: key.to_owned(),
            natural: consent.natural_hash(),
            hash: RowHash { key: hash, content: self.settings.salt.content(&consent) },
            consent: consent.into_owned(),
            kind,
            counts: true,
        }
    }

    /// Counts as listed without an item of its own. True: the row is active again by that. What retention erased stays erased:
    /// the item that lists it has no address for it.
    fn mark_listed(&mut self, key: &str, batch: &mut Batch) -> bool {
        let Some(slot) = self.known.find(self.settings.salt.key(key)) else {
            return false;
        };
        if self.known.has(slot, LISTED) || self.known.has(slot, ERASED) {
            return false;
        }
        let returns = self.known.has(slot, UNLISTED);
        if returns || self.known.has(slot, WITHHELD) {
            batch.writes.push(RowWrite::MarkListed { key: key.to_owned(), returns, counts: false });
        }
        self.known.list(slot);
        returns
    }
}

/// An item by which another row than its own returned counts as that return, and only once: items add up.
fn count_as_return(batch: &mut Batch, own: usize, before: Tally) {
    let (others, own) = batch.writes.split_at_mut(own);
    for write in own {
        if let RowWrite::Upsert(upsert) = write {
            if matches!(upsert.kind, UpsertKind::Change { returns: true }) {
                return;
            }
            upsert.counts = false;
        }
    }
    batch.tally = before;
    let other = others.iter_mut().rev().find_map(|write| match write {
        RowWrite::MarkListed { returns: true, counts, .. } => Some(counts),
        _ => None,
    });
    if let Some(counts) = other {
        *counts = true;
    }
}

/// A page that is processed, and what it asks of the store so far.
struct OpenPage<'a> {
    batch: Batch,
    namesakes: &'a Answers,
    index: PageIndex,
    /// The item that is processed.
    number: usize,
}

impl OpenPage<'_> {
    /// An id that the scan holds twice: whether the addresses are the same is seen when the first is stored.
    fn push_repeat(&mut self, key: &str, first: Option<u64>, consent: &Consent<'_>) {
        let address = consent.address().into_owned();
        self.batch.repeats.push(Repeat { key: key.to_owned(), number: self.number, address, first });
    }
}

/// What this very page has done to rows with an id, which the store cannot know yet.
struct PageIndex {
    mixed: bool,
    /// The first of this page with this natural key.
    first: HashMap<String, String>,
    /// The natural key of a row from now on.
    natural: HashMap<String, String>,
    /// The key of a row from now on.
    moved: HashMap<String, String>,
}

impl PageIndex {
    fn new(page: &Page<'_>) -> Self {
        let nameless =
            |item: &Item<'_>| matches!(item, Item::Consent(consent) if consent.consent_id.is_none());
        let mixed = page.items.iter().any(nameless) && !page.items.iter().all(nameless);
        Self { mixed, first: HashMap::new(), natural: HashMap::new(), moved: HashMap::new() }
    }

    /// An item was stored to this row.
    fn record_upsert(&mut self, consent: &Consent<'_>, key: &str) {
        if self.mixed {
            let natural_key = consent.natural_key();
            self.first.entry(natural_key.clone()).or_insert_with(|| key.to_owned());
            self.natural.insert(key.to_owned(), natural_key);
        }
    }

    fn record_move(&mut self, old_key: &str, key: &str) {
        if self.mixed {
            self.moved.insert(old_key.to_owned(), key.to_owned());
        }
    }

    fn first(&self, natural_key: &str) -> Option<&str> {
        self.first.get(natural_key).map(String::as_str)
    }

    /// The rows that the store named, under the keys they have by now, without those that have another natural key by now.
    fn still<'a>(&'a self, stored: &'a [Namesake], natural_key: &'a str) -> impl Iterator<Item = &'a str> {
        let now = |row: &'a Namesake| self.moved.get(&row.consent_key).unwrap_or(&row.consent_key);
        stored
            .iter()
            .map(now)
            .filter(move |key| self.natural.get(*key).is_none_or(|natural| natural == natural_key))
            .map(String::as_str)
    }
}
