//! One walk through the list, item by item.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::known::{Known, Slot};
use super::reject::KnownRejects;
use super::suppression::{Suppressed, Suppressions};
use super::{Batch, RowWrite, Upsert, UpsertKind};
use crate::consent::{Consent, Item, Page, Rejected};
use crate::hash::{RowHash, Salt};

/// What a pass is judged by besides the rows.
#[derive(Debug)]
pub struct ScanSettings {
    pub salt: Salt,
    /// `api.company_id`
    pub company_id: Option<String>,
    pub suppressed: Suppressions,
}

/// A row that has the natural key that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namesake {
    pub consent_key: String,
}

/// Rows by natural key, the first seen first.
pub type Namesakes = HashMap<String, Vec<Namesake>>;

/// One walk through the list.
#[derive(Debug)]
pub struct Pass {
    settings: ScanSettings,
    known: Known,
    rejects: KnownRejects,
    lists_somebody: bool,
    renewed: BTreeMap<String, String>,
}

impl Pass {
    /// A walk from the start over what the database holds.
    pub fn new(settings: ScanSettings, known: Known, rejects: KnownRejects) -> Self {
        Self { settings, known, rejects, lists_somebody: false, renewed: BTreeMap::new() }
    }

    /// What the pass has seen of the rows.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// What the pass has seen of the rejected items.
    pub fn rejects(&self) -> &KnownRejects {
        &self.rejects
    }

    /// Whether any item of the pass was stored or known.
    pub fn lists_somebody(&self) -> bool {
        self.lists_somebody
    }

    /// Consents of erased people under ids that were not erased, and the hash of their address.
    pub fn renewed(&self) -> &BTreeMap<String, String> {
        &self.renewed
    }

    /// Whether the row with this key is one that the pass has not listed.
    pub fn is_unlisted(&self, key: &str) -> bool {
        self.known.find(self.settings.salt.key(key)).is_some_and(|slot| !self.known.is_listed(slot))
    }

    /// The natural keys that the store must be asked for before [`Pass::process_page`]: an item without id lists every row of its
    /// natural key, and rows with an id are not found by it otherwise.
    pub fn questions(&self, page: &Page<'_>) -> Vec<String> {
        if !self.known.has_ids() {
            return Vec::new();
        }
        let nameless = page.items.iter().filter_map(|item| match item {
            Item::Consent(consent) if consent.consent_id.is_none() => Some(consent.natural_key()),
            _ => None,
        });
        let unique: HashSet<String> = nameless.collect();
        unique.into_iter().collect()
    }

    pub fn process_page(&mut self, page: Page<'_>, namesakes: &Namesakes) -> Batch {
        let mut batch = Batch::default();
        batch.tally.pages = 1;
        batch.tally.items = page.items.len() as u64;
        let mut index = PageIndex::new(&page);
        for item in page.items {
            match item {
                Item::Rejected(rejected) => self.process_rejected(rejected, &mut batch),
                Item::Consent(consent) => {
                    self.process_consent(consent, namesakes, &mut index, &mut batch);
                }
            }
        }
        batch
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
            self.mark_listed(slot, id, batch);
        }
        if self.rejects.record(&rejected.fingerprint, rejected.id.is_none()) {
            batch.rejects.push(rejected);
        }
    }

    fn process_consent(
        &mut self,
        consent: Consent<'_>,
        namesakes: &Namesakes,
        index: &mut PageIndex,
        batch: &mut Batch,
    ) {
        if self.settings.company_id.as_ref().is_some_and(|ours| *ours != consent.company_id) {
            batch.tally.foreign_items += 1;
            return;
        }
        if let Some(suppressed) = self.settings.suppressed.find(&self.settings.salt, &consent) {
            self.process_suppressed(suppressed, &consent, batch);
            return;
        }
        self.lists_somebody = true;
        match &consent.consent_id {
            Some(id) => {
                let id = id.clone();
                self.process_item_with_id(&id, consent, index, batch);
            }
            None => self.process_item_without_id(consent, namesakes, index, batch),
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
                    && !self.known.is_unlisted(slot)
                {
                    self.mark_listed(slot, &key, batch);
                }
            }
        }
    }

    fn process_item_with_id(
        &mut self,
        key: &str,
        consent: Consent<'_>,
        index: &mut PageIndex,
        batch: &mut Batch,
    ) {
        let hash = self.settings.salt.key(key);
        if self.known.is_fresh(hash) {
            batch.tally.duplicates += 1;
        } else if let Some(slot) = self.known.find(hash) {
            if !self.known.is_stored(slot) {
                index.record_upsert(&consent, key);
            }
            self.upsert_known(slot, key, hash, consent, batch);
        } else if let Some(kind) = self.row_to_take_over(hash, &consent) {
            index.record_upsert(&consent, key);
            if let UpsertKind::TakeOver { old_key, .. } = &kind {
                index.record_move(old_key, key);
            }
            self.push_upsert(key, hash, consent, kind, batch);
        } else {
            index.record_upsert(&consent, key);
            self.known.add(hash, false);
            self.push_upsert(key, hash, consent, UpsertKind::Add, batch);
        }
    }

    /// The row of the natural key that this id takes over, if there is one (contract, section 5.8).
    fn row_to_take_over(&mut self, new: u64, consent: &Consent<'_>) -> Option<UpsertKind> {
        if !self.known.has_natural() {
            return None;
        }
        let natural_key = consent.natural_key();
        let natural = self.settings.salt.key(&natural_key);
        if self.known.is_fresh(natural) {
            self.known.rename_fresh(natural, new);
            return Some(UpsertKind::TakeOver { old_key: natural_key, keep_content: true, returns: false });
        }
        let (slot, old_key) = match self.known.find(natural) {
            Some(slot) => (slot, natural_key),
            None => self.erased_row(&natural_key)?,
        };
        let keep_content = self.known.is_stored(slot);
        let returns = self.known.is_unlisted(slot) && !self.known.is_listed(slot);
        self.known.take_over(slot, new);
        Some(UpsertKind::TakeOver { old_key, keep_content, returns })
    }

    /// What retention left of a natural key.
    fn erased_row(&self, natural_key: &str) -> Option<(Slot, String)> {
        if !self.known.has_erased_natural() {
            return None;
        }
        let key = self.settings.salt.erased_key(natural_key);
        let slot = self.known.find(self.settings.salt.key(&key))?;
        self.known.is_erased(slot).then_some((slot, key))
    }

    fn process_item_without_id(
        &mut self,
        consent: Consent<'_>,
        namesakes: &Namesakes,
        index: &PageIndex,
        batch: &mut Batch,
    ) {
        let natural_key = consent.natural_key();
        let stored: &[Namesake] = namesakes.get(&natural_key).map_or(&[], Vec::as_slice);
        let mut rows = index.still(stored, &natural_key);
        let first = rows.next().or_else(|| index.first(&natural_key));
        for key in rows {
            if let Some(slot) = self.known.find(self.settings.salt.key(key)) {
                self.mark_listed(slot, key, batch);
            }
        }
        let key = first.unwrap_or(&natural_key);
        let hash = self.settings.salt.key(key);
        if self.known.is_fresh(hash) {
            batch.tally.duplicates += 1;
        } else if let Some(slot) = self.known.find(hash) {
            self.upsert_known(slot, key, hash, consent, batch);
        } else if let Some((slot, old_key)) = self.erased_row(&natural_key) {
            self.known.take_over(slot, hash);
            let kind = UpsertKind::TakeOver { old_key, keep_content: false, returns: true };
            self.push_upsert(key, hash, consent, kind, batch);
        } else {
            self.known.add(hash, true);
            self.push_upsert(key, hash, consent, UpsertKind::Add, batch);
        }
    }

    fn upsert_known(&mut self, slot: Slot, key: &str, hash: u64, consent: Consent<'_>, batch: &mut Batch) {
        if self.known.is_stored(slot) {
            batch.tally.duplicates += 1;
            return;
        }
        let returns = self.known.is_unlisted(slot) && !self.known.is_listed(slot);
        let withheld = self.known.is_withheld(slot) && !self.known.is_listed(slot);
        self.known.store(slot);
        let now = self.settings.salt.content(&consent);
        if self.known.same_content(slot, now) && !returns {
            batch.tally.unchanged += 1;
            if withheld {
                batch.writes.push(RowWrite::MarkListed { key: key.to_owned(), returns: false });
            }
            return;
        }
        self.push_upsert(key, hash, consent, UpsertKind::Change { returns }, batch);
    }

    fn push_upsert(&self, key: &str, hash: u64, consent: Consent<'_>, kind: UpsertKind, batch: &mut Batch) {
        let natural = consent.natural_hash();
        let hash = RowHash { key: hash, content: self.settings.salt.content(&consent) };
        batch.writes.push(RowWrite::Upsert(Box::new(Upsert {
            key: key.to_owned(),
            consent: consent.into_owned(),
            hash,
            natural,
            kind,
        })));
    }

    /// Counts as listed without an item of its own. What retention erased stays erased: there is no address to write to.
    fn mark_listed(&mut self, slot: Slot, key: &str, batch: &mut Batch) {
        if self.known.is_listed(slot) || self.known.is_erased(slot) {
            return;
        }
        let returns = self.known.is_unlisted(slot);
        if returns || self.known.is_withheld(slot) {
            batch.writes.push(RowWrite::MarkListed { key: key.to_owned(), returns });
        }
        self.known.list(slot);
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
