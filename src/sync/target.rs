//! Where a run's writes go: into the database, or, in a dry run, only into a report.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use super::RunError;
use super::dry::PlannedChange;
use super::unwritten::Unwritten;
use crate::reconcile::{Answers, Batch, Questions, RowWrite, UpsertKind};
use crate::store::{Candidate, Ending, Loaded, Run, RunRow, Standing, Store, Timestamp};

pub(super) enum Target<'a> {
    Database { store: &'a mut Store, run: &'a mut Run },
    Nothing(Box<DryTarget<'a>>),
}

/// A dry run: what would be written is reported and counted. Without a store there is no database yet.
pub(super) struct DryTarget<'a> {
    pub(super) store: Option<&'a mut Store>,
    pub(super) row: RunRow,
    pub(super) clock_checked: bool,
    pub(super) would: &'a mut dyn FnMut(PlannedChange),
    unwritten: Unwritten,
    /// Keys, in the database, of rows that would be active again.
    returned: Vec<String>,
    /// Keys that were reported: a scan that begins anew reports none twice.
    reported: HashSet<u64>,
    hasher: RandomState,
}

impl<'a> DryTarget<'a> {
    pub(super) fn new(store: Option<&'a mut Store>, would: &'a mut dyn FnMut(PlannedChange)) -> Self {
        Self {
            store,
            row: RunRow { started_at: Timestamp::now(), trigger: "once".to_owned(), ..RunRow::default() },
            clock_checked: false,
            would,
            unwritten: Unwritten::default(),
            returned: Vec::new(),
            reported: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Reports a change unless one of its row was reported. True: it was reported now.
    pub(super) fn report(&mut self, kind: &'static str, key: &str) -> bool {
        let new = self.reported.insert(self.hasher.hash_one(key));
        if new {
            (self.would)(PlannedChange { kind, key: key.to_owned() });
        }
        new
    }

    /// Reports what would be written and counts it as a run would.
    pub(super) fn report_writes(&mut self, writes: &[RowWrite]) {
        for op in writes {
            match op {
                RowWrite::Upsert(put) => {
                    let kind = kind_of(&put.kind);
                    if kind == "returned" {
                        let moved = match &put.kind {
                            UpsertKind::TakeOver { old_key, .. } => old_key,
                            _ => &put.key,
                        };
                        self.returned.push(moved.clone());
                    }
                    if self.report(kind, &put.key) && put.counts {
                        match kind {
                            "added" => self.row.added += 1,
                            "returned" => self.row.returned += 1,
                            _ => self.row.updated += 1,
                        }
                    }
                }
                RowWrite::MarkListed { key, returns: true, counts } => {
                    self.returned.push(key.clone());
                    self.row.returned += i64::from(self.report("returned", key) && *counts);
                }
                RowWrite::MarkListed { .. } => {}
            }
        }
    }

    /// Reports the end of the run.
    pub(super) fn finish(&mut self, row: RunRow, ending: &Ending) -> RunRow {
        self.row = row;
        self.report_writes(&ending.returned);
        for (kind, keys) in [
            ("missing", &ending.missing),
            ("missing", &ending.gone),
            ("withheld", &ending.withheld),
            ("removed", &ending.removed),
        ] {
            for key in keys {
                self.report(kind, key);
            }
        }
        self.row.missing = (ending.missing.len() + ending.gone.len()).cast_signed() as i64;
        self.row.removed = ending.removed.len().cast_signed() as i64;
        self.row.clone()
    }
}

fn kind_of(kind: &UpsertKind) -> &'static str {
    match kind {
        UpsertKind::Add => "added",
        UpsertKind::Change { returns: true } | UpsertKind::TakeOver { returns: true, .. } => "returned",
        UpsertKind::Change { .. } | UpsertKind::TakeOver { .. } => "updated",
    }
}

impl Target<'_> {
    /// None: there is no database yet.
    pub(super) fn store(&mut self) -> Option<&mut Store> {
        match self {
            Self::Database { store, .. } => Some(store),
            Self::Nothing(dry) => dry.store.as_deref_mut(),
        }
    }

    /// The row of the run as it stands.
    pub(super) fn row(&mut self) -> &mut RunRow {
        match self {
            Self::Database { run, .. } => &mut run.row,
            Self::Nothing(dry) => &mut dry.row,
        }
    }

    /// The keys of rows that are missing in the database, and would not be any more.
    pub(super) fn unwritten_returns(&self) -> &[String] {
        match self {
            Self::Database { .. } => &[],
            Self::Nothing(dry) => &dry.returned,
        }
    }

    pub(super) fn clock_checked(&mut self) -> &mut bool {
        match self {
            Self::Database { run, .. } => &mut run.clock_checked,
            Self::Nothing(dry) => &mut dry.clock_checked,
        }
    }

    pub(super) async fn load(&mut self) -> Result<Loaded, RunError> {
        let run_id = self.row().id;
        if let Self::Nothing(dry) = self {
            dry.unwritten = Unwritten::default();
        }
        Ok(match self.store() {
            Some(store) => store.load(run_id).await?,
            None => Loaded::empty(),
        })
    }

    pub(super) async fn namesakes(&mut self, questions: &Questions) -> Result<Answers, RunError> {
        let mut answers = match self.store() {
            Some(store) => store.namesakes(questions).await?,
            None => Answers::new(),
        };
        if let Self::Nothing(dry) = self {
            dry.unwritten.amend(&mut answers, questions);
        }
        Ok(answers)
    }

    /// The addresses of rows that this scan has written or found unchanged.
    pub(super) async fn addresses(&mut self, keys: &[String]) -> Result<HashMap<String, String>, RunError> {
        Ok(match self.store() {
            Some(store) => store.addresses(keys).await?,
            None => HashMap::new(),
        })
    }

    /// Whether a row that a dry run would have written has this address.
    pub(super) fn would_have_address(&self, key: &str, address: &str) -> Option<bool> {
        match self {
            Self::Database { .. } => None,
            Self::Nothing(dry) => dry.unwritten.has_address(key, address),
        }
    }

    pub(super) async fn write(&mut self, batch: &Batch) -> Result<(), RunError> {
        match self {
            Self::Database { store, run } if !batch.is_empty() => {
                store.write_batch(run, batch, Timestamp::now()).await?;
            }
            Self::Database { run, .. } => run.row.count(&batch.tally),
            Self::Nothing(dry) => {
                dry.unwritten.note(batch);
                dry.row.count(&batch.tally);
                dry.report_writes(&batch.writes);
            }
        }
        Ok(())
    }

    pub(super) async fn renew_lease_if_due(&mut self) -> Result<(), RunError> {
        if let Self::Database { store, run } = self {
            store.renew_lease_if_due(run, Timestamp::now()).await?;
        }
        Ok(())
    }

    pub(super) async fn keys_of(
        &mut self,
        hashes: impl Iterator<Item = u64>,
    ) -> Result<Vec<String>, RunError> {
        let hashes: Vec<u64> = hashes.collect();
        match self.store() {
            Some(store) if !hashes.is_empty() => Ok(store.keys_of(&hashes).await?),
            _ => Ok(Vec::new()),
        }
    }

    pub(super) async fn unlisted_candidates(
        &mut self,
        hashes: impl Iterator<Item = u64>,
        most: usize,
    ) -> Result<Vec<Candidate>, RunError> {
        let hashes: Vec<u64> = hashes.collect();
        match self.store() {
            Some(store) if !hashes.is_empty() => Ok(store.unlisted_candidates(&hashes, most).await?),
            _ => Ok(Vec::new()),
        }
    }

    pub(super) async fn standing(&mut self, pending: &[String]) -> Result<Standing, RunError> {
        let began = self.row().started_at;
        let run_id = match self {
            Self::Database { run, .. } => run.row.id,
            Self::Nothing(_) => i64::MAX,
        };
        let listed = [pending, self.unwritten_returns()].concat();
        Ok(match self.store() {
            Some(store) => store.standing(run_id, began, &listed).await?,
            None => Standing::default(),
        })
    }
}
