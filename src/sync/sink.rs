//! Where a scan's writes go: into the database, or, in a dry run, only into a report.

use std::collections::HashMap;

use super::RunError;
use super::dry_run::DryRun;
use crate::reconcile::{Answers, Questions};
use crate::store::{Candidate, Loaded, Run, RunRow, Standing, Store, Timestamp};

pub(super) enum Sink<'a> {
    Database { store: &'a mut Store, run: &'a mut Run },
    DryRun(Box<DryRun<'a>>),
}

impl Sink<'_> {
    /// None: there is no database yet.
    pub(super) fn store(&mut self) -> Option<&mut Store> {
        match self {
            Self::Database { store, .. } => Some(store),
            Self::DryRun(dry) => dry.store.as_deref_mut(),
        }
    }

    /// The row of the run as it stands.
    pub(super) fn row(&mut self) -> &mut RunRow {
        match self {
            Self::Database { run, .. } => &mut run.row,
            Self::DryRun(dry) => &mut dry.row,
        }
    }

    pub(super) fn clock_checked(&mut self) -> &mut bool {
        match self {
            Self::Database { run, .. } => &mut run.clock_checked,
            Self::DryRun(dry) => &mut dry.clock_checked,
        }
    }

    /// The scan starts again from the first page.
    pub(super) fn restart(&mut self, has_new_nameless_reject: bool) {
        self.row().restart();
        if let Self::DryRun(dry) = self {
            dry.has_nameless_reject |= has_new_nameless_reject;
        }
    }

    /// The keys of rows that are missing in the database, and would not be any more.
    pub(super) fn unwritten_returns(&self) -> &[String] {
        match self {
            Self::Database { .. } => &[],
            Self::DryRun(dry) => &dry.returned,
        }
    }

    pub(super) async fn load(&mut self) -> Result<Loaded, RunError> {
        let run_id = self.row().id;
        let mut loaded = match self.store() {
            Some(store) => store.load(run_id).await?,
            None => Loaded::empty(),
        };
        if let Self::DryRun(dry) = self {
            dry.begin_scan(&mut loaded);
        }
        Ok(loaded)
    }

    pub(super) async fn namesakes(&mut self, questions: &Questions) -> Result<Answers, RunError> {
        let mut answers = match self.store() {
            Some(store) => store.namesakes(questions).await?,
            None => Answers::new(),
        };
        if let Self::DryRun(dry) = self {
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
            Self::DryRun(dry) => dry.unwritten.has_address(key, address),
        }
    }

    pub(super) async fn renew_lease_if_due(&mut self) -> Result<(), RunError> {
        if let Self::Database { store, run } = self {
            store.renew_lease_if_due(run, Timestamp::now()).await?;
        }
        Ok(())
    }

    /// The keys of these rows. A row that only a dry run knows has no text of it and counts as an empty one.
    pub(super) async fn keys_of(
        &mut self,
        hashes: impl Iterator<Item = u64>,
    ) -> Result<Vec<String>, RunError> {
        let hashes: Vec<u64> = hashes.collect();
        let mut keys = match self.store() {
            Some(store) if !hashes.is_empty() => store.keys_of(&hashes).await?,
            _ => Vec::new(),
        };
        if matches!(self, Self::DryRun(_)) {
            keys.resize(keys.len().max(hashes.len()), String::new());
        }
        Ok(keys)
    }

    pub(super) async fn unlisted_candidates(
        &mut self,
        hashes: impl Iterator<Item = u64>,
        limit: usize,
    ) -> Result<Vec<Candidate>, RunError> {
        let hashes: Vec<u64> = hashes.collect();
        match self.store() {
            Some(store) if !hashes.is_empty() => Ok(store.unlisted_candidates(&hashes, limit).await?),
            _ => Ok(Vec::new()),
        }
    }

    pub(super) async fn standing(&mut self, pending: &[String]) -> Result<Standing, RunError> {
        let began = self.row().started_at;
        let (run_id, has_new_nameless_reject) = match self {
            Self::Database { run, .. } => (Some(run.row.id), false),
            Self::DryRun(dry) => (None, dry.has_nameless_reject),
        };
        let listed = [pending, self.unwritten_returns()].concat();
        let mut standing = match self.store() {
            Some(store) => store.standing(run_id, began, &listed).await?,
            None => Standing::default(),
        };
        standing.new_nameless_reject |= has_new_nameless_reject;
        Ok(standing)
    }
}
