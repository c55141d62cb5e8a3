//! `--dry-run`: the scan of a run into a sink that counts and reports. No lease, no run row, no file, no schema.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::Failure;
use super::sink::Sink;
use super::wait::Wait;
use super::{ActiveRun, RunError, RunOptions, RunReport, Syncer, count_requests};
use crate::consent::natural_hash_of;
use crate::hash::Salt;
use crate::reconcile::{Answers, Batch, Namesake, Questions, RowChange, RowWrite, Upsert, UpsertKind};
use crate::store::{Ending, Loaded, RunRow, Store, Timestamp};

/// One row that a run would write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChange {
    /// `added`, `updated`, `returned`, `missing`, `removed`, `withheld`
    pub kind: &'static str,
    pub key: String,
}

impl Syncer {
    /// A run with nothing written: its report is what the run's would be, with 0 as its id. `report` is called for every row
    /// that the run would write.
    pub async fn dry_run(
        &mut self,
        options: &RunOptions,
        cancel: &CancellationToken,
        report: &mut dyn FnMut(PlannedChange),
    ) -> Result<RunReport, Failure> {
        let traffic = self.api.traffic();
        let timeout = self.config.schedule.run_timeout;
        let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
        let wait = &Wait { cancel, deadline, timeout, progress: &|_| {}, progress_every: Duration::MAX };
        let bounds = self.bounds.for_deadline(deadline);
        let opened = Store::open_to_rehearse(&self.config.database, bounds).await;
        let mut store = opened.map_err(RunError::from)?;
        let sink = Sink::DryRun(Box::new(DryRun::new(store.as_mut(), report)));
        let mut active = ActiveRun { syncer: &mut *self, sink, options, wait };
        let result = Box::pin(active.scan_and_decide()).await.map(|complete| {
            let mut report = RunReport {
                row: complete.row,
                exit: complete.exit,
                message: complete.message,
                not_before: complete.scan.lookups.not_before,
            };
            if let Sink::DryRun(dry) = &mut active.sink {
                dry.finish(&mut report.row, &complete.ending);
            }
            report
        });
        drop(active);
        if let Some(store) = store {
            store.close().await;
        }
        let mut report = result?;
        count_requests(&mut report.row, &traffic, &self.api.traffic());
        Ok(report)
    }
}

/// Counts and reports what would be written. Without a store there is no database yet.
pub(super) struct DryRun<'a> {
    pub(super) store: Option<&'a mut Store>,
    pub(super) row: RunRow,
    pub(super) clock_checked: bool,
    pub(super) unwritten: Unwritten,
    /// Keys, in the database, of rows that would be active again.
    pub(super) returned: Vec<String>,
    /// A scan that was started again met a rejected item without an id that was not on record.
    pub(super) has_nameless_reject: bool,
    report: &'a mut dyn FnMut(PlannedChange),
    /// Keys that were reported: a scan that starts again reports none twice.
    reported: HashSet<u64>,
}

impl<'a> DryRun<'a> {
    fn new(store: Option<&'a mut Store>, report: &'a mut dyn FnMut(PlannedChange)) -> Self {
        Self {
            store,
            row: RunRow { started_at: Timestamp::now(), trigger: "once".to_owned(), ..RunRow::default() },
            clock_checked: false,
            unwritten: Unwritten::default(),
            returned: Vec::new(),
            has_nameless_reject: false,
            report,
            reported: HashSet::new(),
        }
    }

    /// Makes what the database holds into what it would hold after the scan before this one.
    pub(super) fn begin_scan(&mut self, loaded: &mut Loaded) {
        self.unwritten.salt = Some(loaded.salt.clone());
        self.unwritten.natural = Compact::default();
        self.unwritten.any = None;
        loaded.known.apply(self.unwritten.rows.iter().map(|(key, row)| (key, row.change)).collect());
    }

    pub(super) fn record(&mut self, batch: &Batch) {
        self.unwritten.record(batch);
        self.row.count(&batch.tally);
        self.report_writes(&batch.writes);
    }

    /// Reports a change unless one of its row was reported. True: it was reported now.
    fn report(&mut self, kind: &'static str, key: &str) -> bool {
        let is_new = self.reported.insert(self.unwritten.hash(key));
        if is_new {
            (self.report)(PlannedChange { kind, key: key.to_owned() });
        }
        is_new
    }

    fn report_writes(&mut self, writes: &[RowWrite]) {
        for write in writes {
            let (kind, key, old_key, counts) = match write {
                RowWrite::MarkListed { returns: false, .. } => continue,
                RowWrite::MarkListed { key, counts, .. } => ("returned", key, key, *counts),
                RowWrite::Upsert(upsert) => {
                    let (kind, old_key) = match &upsert.kind {
                        UpsertKind::Add => ("added", &upsert.key),
                        UpsertKind::Change { returns } => {
                            (if *returns { "returned" } else { "updated" }, &upsert.key)
                        }
                        UpsertKind::TakeOver { old_key, returns, .. } => {
                            (if *returns { "returned" } else { "updated" }, old_key)
                        }
                    };
                    (kind, &upsert.key, old_key, upsert.counts)
                }
            };
            if kind == "returned" {
                self.returned.push(old_key.clone());
            }
            let count = i64::from(self.report(kind, key) && counts);
            match kind {
                "added" => self.row.added += count,
                "returned" => self.row.returned += count,
                _ => self.row.updated += count,
            }
        }
    }

    /// Reports the end of the run.
    fn finish(&mut self, row: &mut RunRow, ending: &Ending) {
        self.row = row.clone();
        self.report_writes(&ending.returned);
        for (kind, keys) in [
            ("missing", &ending.missing),
            ("missing", &ending.gone),
            ("withheld", &ending.withheld),
            ("removed", &ending.removed),
        ] {
            for key in keys.iter().filter(|key| !key.is_empty()) {
                self.report(kind, key);
            }
        }
        self.row.missing = (ending.missing.len() + ending.gone.len()).cast_signed() as i64;
        self.row.removed = ending.removed.len().cast_signed() as i64;
        row.clone_from(&self.row);
    }
}

/// What a run would have written by now, which the database does not know: to it, an item without id has no row where an
/// earlier page would have made, changed or renamed it. Hashes: memory must not follow the texts of the list.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    salt: Option<Salt>,
    /// By the hash of the key that the database knows, or would know.
    rows: Compact<UnwrittenRow>,
    /// The natural keys of rows with an id that this scan would have written. A row under its natural key is found by that.
    natural: Compact<()>,
    /// One of them. It stands for all: an item that goes to any of them is a duplicate, and none needs to be listed again.
    any: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct UnwrittenRow {
    change: RowChange,
    /// The natural key that a row with an id would have by now.
    natural: Option<i64>,
    address: u64,
}

impl Unwritten {
    fn hash(&self, text: &str) -> u64 {
        self.salt.as_ref().map_or(0, |salt| salt.key(text))
    }

    fn record(&mut self, batch: &Batch) {
        for write in &batch.writes {
            match write {
                RowWrite::Upsert(upsert) => self.record_upsert(upsert),
                RowWrite::MarkListed { key, .. } => {
                    let key = self.hash(key);
                    if self.rows.get(key).is_none() {
                        let row = UnwrittenRow { change: RowChange::Listed, natural: None, address: 0 };
                        self.rows.insert(key, row);
                    }
                }
            }
        }
    }

    fn record_upsert(&mut self, upsert: &Upsert) {
        let is_natural = upsert.consent.consent_id.is_none() && upsert.key.starts_with("nk:");
        let natural = (!is_natural).then_some(upsert.natural);
        let change = RowChange::Written { content: upsert.hash.content, is_natural };
        let row = UnwrittenRow { change, natural, address: self.hash(&upsert.consent.address()) };
        self.rows.insert(upsert.hash.key, row);
        if let UpsertKind::TakeOver { old_key, .. } = &upsert.kind {
            self.rows.insert(self.hash(old_key), UnwrittenRow { change: RowChange::Moved, ..row });
        }
        if let Some(natural) = natural {
            self.natural.insert(natural.cast_unsigned(), ());
            self.any.get_or_insert_with(|| upsert.key.clone());
        }
    }

    /// Brings what the store says about these natural keys up to date.
    pub(super) fn amend(&self, namesakes: &mut Answers, questions: &Questions) {
        let Some(any) = &self.any else { return };
        for natural_key in questions.iter().map(|question| &question.natural_key) {
            let Some(natural) = natural_hash_of(natural_key) else {
                continue;
            };
            let mut is_absent = self.natural.get(natural.cast_unsigned()).is_some();
            let rows = namesakes.entry(natural_key.clone()).or_default();
            rows.retain_mut(|row| {
                match self.rows.get(self.hash(&row.consent_key)).and_then(|row| row.natural) {
                    None => true,
                    Some(now) if now == natural => {
                        row.consent_key.clone_from(any);
                        is_absent = false;
                        true
                    }
                    Some(_) => false,
                }
            });
            if is_absent {
                rows.push(Namesake { consent_key: any.clone(), removed_at: 0 });
            }
        }
    }

    /// Whether the row with this key would have this address by now; None where no page would have written it.
    pub(super) fn has_address(&self, key: &str, address: &str) -> Option<bool> {
        let row = self.rows.get(self.hash(key))?;
        matches!(row.change, RowChange::Written { .. }).then(|| row.address == self.hash(address))
    }
}

/// A map from hashes that takes little more than what is in it: nearly all of it lies sorted, what came last beside that.
#[derive(Debug)]
struct Compact<V> {
    sorted: Vec<(u64, V)>,
    recent: HashMap<u64, V>,
}

impl<V> Default for Compact<V> {
    fn default() -> Self {
        Self { sorted: Vec::new(), recent: HashMap::new() }
    }
}

impl<V: Copy> Compact<V> {
    /// Entries that always may lie beside the sorted ones.
    const FEW: usize = 4_096;

    fn insert(&mut self, hash: u64, value: V) {
        if let Ok(at) = self.sorted.binary_search_by_key(&hash, |(hash, _)| *hash) {
            self.sorted[at].1 = value;
            return;
        }
        self.recent.insert(hash, value);
        if self.recent.len() > Self::FEW + self.sorted.len() / 8 {
            self.sorted.extend(self.recent.drain());
            self.sorted.sort_unstable_by_key(|(hash, _)| *hash);
        }
    }

    fn get(&self, hash: u64) -> Option<V> {
        self.recent.get(&hash).copied().or_else(|| {
            let at = self.sorted.binary_search_by_key(&hash, |(hash, _)| *hash);
            Some(self.sorted[at.ok()?].1)
        })
    }

    fn iter(&self) -> impl Iterator<Item = (u64, V)> {
        self.sorted.iter().copied().chain(self.recent.iter().map(|(hash, value)| (*hash, *value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let mut map = Compact::default();
        // Far more than may lie beside the sorted ones, in no order.
        let hash = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for number in 0..20_000 {
            map.insert(hash(number), 0);
            map.insert(hash(number), number);
        }
        assert!(map.sorted.len() > 10_000 && !map.recent.is_empty());
        for number in 0..20_000 {
            assert_eq!(map.get(hash(number)), Some(number));
        }
        assert_eq!(map.iter().count(), 20_000);
        assert!((20_000..30_000).all(|number| map.get(hash(number)).is_none()));
    }
}
