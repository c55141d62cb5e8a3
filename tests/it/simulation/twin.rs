//! The model, and where a test asks for it the real store beside it, told the same and compared after every step.

mod compare;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;
use tokio::runtime::Runtime;
use understory_sync::config::{Database, Retention};
use understory_sync::reconcile::{Answers, Batch, Questions};
use understory_sync::store::{
    Candidate, Ending, Loaded, Run, RunRow, Standing, Store, StoreError, Timestamp, Trigger, new_holder,
};

use super::model::{Fenced, Held, Model, SALT};
use crate::bench::sql::Db;

pub(super) struct Twin {
    pub(super) model: Model,
    held: Option<Held>,
    real: Option<Real>,
}

struct Real {
    runtime: Runtime,
    store: Store,
    run: Option<Run>,
    db: Db,
}

impl Twin {
    pub(super) fn alone() -> Self {
        Self { model: Model::new(), held: None, real: None }
    }

    /// With a real store in this folder.
    pub(super) fn beside(folder: &Path) -> Self {
        let url = format!("sqlite://{}", folder.join("consents.db").display());
        let database = Database { url: SecretString::from(url.clone()), schema: None, is_borrowed: false };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(Store::open(&database, understory_sync::store::Bounds::RUN)).unwrap();
        let mut db = Db::open(&url);
        db.run(&format!("update sync_state set salt = x'{}'", "07".repeat(SALT.len())));
        Self { real: Some(Real { runtime, store, run: None, db }), ..Self::alone() }
    }

    pub(super) fn begin(&mut self, now: Timestamp) {
        self.held = Some(self.model.begin(now));
        if let Some(Real { runtime, store, run, .. }) = &mut self.real {
            let begun = runtime.block_on(store.begin_run(&new_holder(), Trigger::Once, now));
            *run = Some(begun.unwrap());
        }
        self.compare();
    }

    /// The row of the run as it stands.
    pub(super) fn row(&mut self) -> &mut RunRow {
        &mut self.held.as_mut().unwrap().row
    }

    /// The process is gone, with what it had in mind.
    pub(super) fn die(&mut self) {
        self.held = None;
        if let Some(real) = &mut self.real {
            real.run = None;
        }
    }

    pub(super) fn load(&mut self) -> Loaded {
        let run_id = self.row().id;
        let loaded = self.model.load(run_id);
        if let Some(Real { runtime, store, .. }) = &mut self.real {
            let real = runtime.block_on(store.load(run_id)).unwrap();
            assert_eq!(format!("{:?}", real.known), format!("{:?}", loaded.known));
            assert_eq!(format!("{:?}", real.items), format!("{:?}", loaded.items));
            assert_eq!(real.suppressed, loaded.suppressed);
            assert_eq!(
                (real.endpoint, real.blocked_in_a_row, real.has_rejected_listings),
                (loaded.endpoint.clone(), loaded.blocked_in_a_row, loaded.has_rejected_listings)
            );
            assert_eq!((real.pending, real.exhausted), (loaded.pending.clone(), loaded.exhausted.clone()));
        }
        loaded
    }

    pub(super) fn knows_company(&mut self, companies: &[String]) -> bool {
        let known = self.model.knows_company(companies);
        if let Some(Real { runtime, store, .. }) = &mut self.real {
            assert_eq!(runtime.block_on(store.knows_company(companies)).unwrap(), known);
        }
        known
    }

    pub(super) fn knows_other_company(&mut self, company: &str) -> bool {
        let known = self.model.knows_other_company(company);
        if let Some(Real { runtime, store, .. }) = &mut self.real {
            assert_eq!(runtime.block_on(store.knows_other_company(company)).unwrap(), known);
        }
        known
    }

    pub(super) fn addresses(&mut self, keys: &[String]) -> HashMap<String, String> {
        let addresses = self.model.addresses(keys);
        if let Some(Real { runtime, store, .. }) = &mut self.real {
            assert_eq!(runtime.block_on(store.addresses(keys)).unwrap(), addresses);
        }
        addresses
    }

    pub(super) fn namesakes(&mut self, natural_keys: &Questions) -> Answers {
        let namesakes = self.model.namesakes(natural_keys);
        if let Some(Real { runtime, store, .. }) = &mut self.real {
            let real = runtime.block_on(store.namesakes(natural_keys)).unwrap();
            assert_eq!(real, namesakes);
        }
        namesakes
    }

    pub(super) fn keys_of(&mut self, hashes: &[u64]) -> Vec<String> {
        let keys = self.model.keys_of(hashes);
        if let Some(Real { runtime, store, .. }) = &mut self.real {
            let mut real = runtime.block_on(store.keys_of(hashes)).unwrap();
            real.sort();
            assert_eq!(real, keys);
        }
        keys
    }

    pub(super) fn candidates(&mut self, judged_runs: i64, confirm_runs: u32, most: usize) -> Vec<Candidate> {
        let candidates = self.model.candidates(judged_runs, confirm_runs, most);
        if let Some(Real { runtime, store, .. }) = &mut self.real {
            let real = runtime.block_on(store.candidates(judged_runs, confirm_runs, most)).unwrap();
            assert_eq!(real, candidates);
        }
        candidates
    }

    pub(super) fn unlisted_candidates(&mut self, hashes: &[u64], most: usize) -> Vec<Candidate> {
        let candidates = self.model.unlisted_candidates(hashes, most);
        if let Some(Real { runtime, store, .. }) = &mut self.real {
            let real = runtime.block_on(store.unlisted_candidates(hashes, most)).unwrap();
            assert_eq!(real, candidates);
        }
        candidates
    }

    pub(super) fn overdue_rows(
        &mut self,
        judged_runs: i64,
        confirm_runs: u32,
        before: Timestamp,
    ) -> Vec<Candidate> {
        let overdue = self.model.overdue_rows(judged_runs, confirm_runs, before);
        if let Some(Real { runtime, store, .. }) = &mut self.real {
            let real = runtime.block_on(store.overdue_rows(judged_runs, confirm_runs, before)).unwrap();
            assert_eq!(real, overdue);
        }
        overdue
    }

    pub(super) fn standing(&mut self, pending: &[String]) -> Standing {
        let held = self.held.as_ref().unwrap();
        let standing = self.model.standing(held, pending);
        if let Some(Real { runtime, store, .. }) = &mut self.real {
            let read = store.standing(Some(held.row.id), held.row.started_at, pending);
            assert_eq!(runtime.block_on(read).unwrap(), standing);
        }
        standing
    }

    pub(super) fn write_batch(&mut self, batch: &Batch, now: Timestamp) -> Result<(), Fenced> {
        let held = self.held.as_mut().unwrap();
        if let Some(Real { runtime, store, run, .. }) = &mut self.real {
            let run = run.as_mut().unwrap();
            run.row.clone_from(&held.row);
            let real = runtime.block_on(store.write_batch(run, batch, now));
            let written = self.model.write_batch(held, batch, now);
            match (&real, &written) {
                (Ok(()), Ok(())) => assert_eq!(run.row, held.row),
                (Err(StoreError::Fenced), Err(Fenced)) => {}
                _ => panic!("the store says {real:?}, the model {written:?}"),
            }
            self.compare();
            return written;
        }
        self.model.write_batch(held, batch, now)
    }

    pub(super) fn finish(
        &mut self,
        last: &RunRow,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<RunRow, Fenced> {
        let held = self.held.as_ref().unwrap();
        let done = self.model.finish(held, last, ending, now);
        if let Some(Real { runtime, store, run, .. }) = &mut self.real {
            let run = run.as_mut().unwrap();
            let real = runtime.block_on(store.finish(run, last.clone(), ending, false, now));
            match (&real, &done) {
                (Ok(Some(real)), Ok(done)) => assert_eq!(real, done),
                (Err(StoreError::Fenced), Err(Fenced)) => {}
                _ => panic!("the store says {real:?}, the model {done:?}"),
            }
        }
        self.compare();
        done
    }

    pub(super) fn record_items(&mut self, items: &[(String, u64)], now: Timestamp) {
        let done = self.model.record_items(self.held.as_ref().unwrap(), items);
        if let Some(Real { runtime, store, run, .. }) = &mut self.real {
            let lease = run.as_ref().unwrap().lease();
            match (runtime.block_on(store.record_items(lease, items, now)), done) {
                (Ok(()), Ok(())) | (Err(StoreError::Fenced), Err(Fenced)) => {}
                (real, done) => assert!(items.is_empty(), "the store says {real:?}, the model {done:?}"),
            }
        }
        self.compare();
    }

    pub(super) fn fail(&mut self, row: &RunRow, now: Timestamp) {
        self.model.fail(self.held.as_ref().unwrap(), row);
        if let Some(Real { runtime, store, run, .. }) = &mut self.real {
            // Fenced: then the model has not recorded it either, which the comparison shows.
            let _ = runtime.block_on(store.fail(run.as_ref().unwrap(), row, now));
        }
        self.compare();
    }

    pub(super) fn retain(&mut self, retention: &Retention, confirm_after: Duration, now: Timestamp) {
        let id = self.held.as_ref().unwrap().row.id;
        self.model.retain(id, retention, confirm_after, now);
        if let Some(Real { runtime, store, run, .. }) = &mut self.real {
            let lease = run.as_ref().unwrap().lease();
            runtime.block_on(store.retain(lease, id, retention, confirm_after, now)).unwrap();
        }
        self.compare();
    }

    pub(super) fn forget(&mut self, email: &str, now: Timestamp) {
        self.model.forget(email, now);
        self.with_lease(now, async |store, lease| {
            store.forget(lease, &[email.to_owned()], now).await.map(drop)
        });
    }

    pub(super) fn unforget(&mut self, email: &str, now: Timestamp) {
        self.model.unforget(email);
        self.with_lease(now, async |store, lease| {
            store.unforget(lease, &[email.to_owned()], now).await.map(drop)
        });
    }

    /// Another process takes the lease.
    pub(super) fn seize(&mut self, now: Timestamp) {
        self.model.fence += 1;
        self.with_lease(now, async |_, _| Ok(()));
    }

    fn with_lease(
        &mut self,
        now: Timestamp,
        work: impl AsyncFnOnce(&mut Store, &understory_sync::store::Lease) -> Result<(), StoreError>,
    ) {
        if let Some(Real { runtime, store, .. }) = &mut self.real {
            let done = runtime.block_on(async {
                let lease = store.acquire(now).await?;
                work(store, &lease).await
            });
            done.unwrap();
        }
        self.compare();
    }
}
