//! The store's promises over a few vectors: what store/write.rs, finish.rs, upkeep.rs and forget.rs do in SQL.

mod finish;
mod upkeep;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::json;
use understory_sync::consent::{natural_hash_of, natural_key, normalized_email};
use understory_sync::hash::{KnownItems, RowHash, Salt};
use understory_sync::reconcile::{
    Answers, Known, KnownPending, KnownReject, KnownRejects, Namesake, Questions, RowState, Suppressions,
};
use understory_sync::store::{Candidate, Loaded, RunRow, Standing, Timestamp};

/// What `sync_state.salt` is made to be.
pub(super) const SALT: [u8; 32] = [7; 32];

/// A row of `consents`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) key: String,
    pub(super) id: Option<String>,
    pub(super) company: String,
    pub(super) email: Option<String>,
    pub(super) name: Option<String>,
    pub(super) source: Option<String>,
    pub(super) extra: Option<String>,
    pub(super) first_seen_at: Timestamp,
    pub(super) changed_at: Timestamp,
    pub(super) missing_since: Option<Timestamp>,
    pub(super) withheld_since: Option<Timestamp>,
    pub(super) removed_at: Option<Timestamp>,
    pub(super) erased_at: Option<Timestamp>,
    pub(super) first_run: i64,
    pub(super) changed_run: i64,
    hash: RowHash,
    pub(super) item_hash: Option<u64>,
    natural_hash: Option<i64>,
    missing_judged: Option<i64>,
    pub(super) missing_run_at: Option<Timestamp>,
    pub(super) previous_key: Option<String>,
}

impl Row {
    pub(super) fn is_active(&self) -> bool {
        self.missing_since.is_none() && self.removed_at.is_none()
    }

    /// But for what the guard remembers of it, and how its item was written.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let (missing_run_at, item_hash) = (self.missing_run_at, self.item_hash);
        *self == Self { item_hash, missing_run_at, ..other.clone() }
    }

    pub(super) fn natural_key(&self) -> String {
        let email = self.email.as_deref().unwrap_or_default();
        natural_key(&self.company, email, self.source.as_deref())
    }

    fn before(&self) -> String {
        let extra = self.extra.as_ref().map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
        json!({
            "consent_id": self.id, "company_id": self.company, "email": self.email, "full_name": self.name,
            "source": self.source, "refs": null, "extra": extra,
        })
        .to_string()
    }
}

/// A line of `consent_changes`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub(super) key: String,
    pub(super) run: Option<i64>,
    pub(super) at: Timestamp,
    pub(super) kind: &'static str,
    pub(super) before: Option<String>,
    pub(super) previous_key: Option<String>,
}

/// A row of `pending_returns`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pending {
    pub(super) since: Timestamp,
    pub(super) runs: i64,
    pub(super) checked_at: Option<Timestamp>,
    last_run: i64,
}

/// A row of `rejected_listings`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Listing {
    pub(super) runs: i64,
    pub(super) skipped: i64,
    last_run: i64,
}

/// A row of `consent_checks`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Check {
    pub(super) at: Timestamp,
    pub(super) answer: &'static str,
    pub(super) since: Timestamp,
}

/// A row of `rejected_items`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reject {
    pub(super) id: i64,
    pub(super) first_run: i64,
    pub(super) last_run: i64,
    pub(super) resolved_at: Option<Timestamp>,
    pub(super) item: String,
    has_id: bool,
    fingerprint: [u8; 32],
}

/// Somebody else holds the lease by now, or has forgotten somebody.
#[derive(Debug)]
pub(super) struct Fenced;

/// The whole database.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) salt: Salt,
    pub(super) rows: BTreeMap<String, Rc<Row>>,
    pub(super) changes: Vec<Rc<Change>>,
    pub(super) runs: Vec<Rc<RunRow>>,
    pub(super) rejects: Vec<Reject>,
    next_reject: i64,
    next_run: i64,
    pub(super) suppressions: BTreeMap<String, Timestamp>,
    /// Hash of the id, hash of the address.
    pub(super) suppressed_ids: BTreeSet<(String, String)>,
    pub(super) checks: BTreeMap<String, Check>,
    pub(super) pending: BTreeMap<String, Pending>,
    pub(super) listings: BTreeMap<String, Listing>,
    pub(super) companies: BTreeSet<String>,
    pages_usable_at: Option<Timestamp>,
    pub(super) last_changed_at: Timestamp,
    pub(super) judged_runs: i64,
    endpoint: Option<String>,
    suppression_no: i64,
    pub(super) fence: i64,
}

/// A run that is on, and what it knew when it began.
pub(super) struct Held {
    pub(super) row: RunRow,
    fence: i64,
    suppression_no: i64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            salt: Salt::new(SALT.to_vec()),
            rows: BTreeMap::new(),
            changes: Vec::new(),
            runs: Vec::new(),
            rejects: Vec::new(),
            next_reject: 1,
            next_run: 1,
            suppressions: BTreeMap::new(),
            suppressed_ids: BTreeSet::new(),
            checks: BTreeMap::new(),
            pending: BTreeMap::new(),
            listings: BTreeMap::new(),
            companies: BTreeSet::new(),
            pages_usable_at: None,
            last_changed_at: Timestamp::default(),
            judged_runs: 0,
            endpoint: None,
            suppression_no: 0,
            fence: 0,
        }
    }

    /// The rows with this address, in normal form.
    pub(super) fn rows_of<'a>(&'a self, address: &'a str) -> impl Iterator<Item = &'a Rc<Row>> {
        self.rows
            .values()
            .filter(move |row| row.email.as_deref().is_some_and(|email| normalized_email(email) == address))
    }

    pub(super) fn active(&self) -> usize {
        self.rows.values().filter(|row| row.is_active()).count()
    }

    pub(super) fn begin(&mut self, now: Timestamp) -> Held {
        self.fence += 1;
        for run in &mut self.runs {
            if run.outcome == "running" {
                let run = Rc::make_mut(run);
                "interrupted".clone_into(&mut run.outcome);
                run.finished_at = Some(now);
                run.error.get_or_insert_with(|| "the process ended in the middle of the run".to_owned());
            }
        }
        let row = RunRow {
            id: self.next_run,
            started_at: now,
            outcome: "running".to_owned(),
            trigger: "once".to_owned(),
            ..RunRow::default()
        };
        self.next_run += 1;
        self.runs.push(Rc::new(row.clone()));
        Held { row, fence: self.fence, suppression_no: self.suppression_no }
    }

    pub(super) fn load(&self, run: i64) -> Loaded {
        let mut known = Known::with_capacity(self.rows.len());
        for row in self.rows.values() {
            known.push(
                row.hash,
                RowState {
                    unlisted: !row.is_active(),
                    withheld: row.withheld_since.is_some(),
                    erased: row.erased_at.is_some(),
                    natural: row.id.is_none(),
                    removed: row.removed_at.is_some(),
                    written: row.changed_run == run,
                },
            );
        }
        known.loaded();
        let mut rejects = KnownRejects::default();
        for reject in &self.rejects {
            let known = KnownReject { id: reject.id, resolved: reject.resolved_at.is_some() };
            rejects.push(&reject.fingerprint, known);
            rejects.count_new(usize::from(reject.first_run == run));
        }
        let complete = self.runs.iter().rev().filter(|run| run.outcome == "succeeded").take(2);
        let blocked = complete.take_while(|run| run.absence.as_deref() == Some("blocked")).count();
        let items = self.rows.values().filter_map(|row| row.item_hash);
        Loaded {
            batch_rows: 5_000,
            known,
            items: Arc::new(KnownItems::new(self.salt.clone(), items.collect())),
            rejects,
            suppressed: Suppressions::new(
                self.suppressions.keys().cloned().collect(),
                self.suppressed_ids.iter().cloned().collect(),
            ),
            salt: self.salt.clone(),
            endpoint: self.endpoint.clone(),
            blocked_in_a_row: u32::try_from(blocked).unwrap(),
            pending: self
                .pending
                .iter()
                .map(|(key, pending)| {
                    let known = KnownPending {
                        listed_since: pending.since.millis(),
                        listed_runs: pending.runs,
                        checked_at: pending.checked_at.map(Timestamp::millis),
                    };
                    (self.salt.key(key), known)
                })
                .collect(),
            exhausted: self
                .listings
                .iter()
                .filter(|(_, listing)| listing.runs >= 2)
                .map(|(key, _)| self.salt.key(key))
                .collect(),
            has_rejected_listings: !self.listings.is_empty(),
        }
    }

    pub(super) fn knows_company(&self, companies: &[String]) -> bool {
        self.companies.is_empty() || companies.iter().any(|company| self.companies.contains(company))
    }

    pub(super) fn knows_other_company(&self, company: &str) -> bool {
        self.companies.iter().any(|other| other != company)
    }

    pub(super) fn namesakes(&self, questions: &Questions) -> Answers {
        let hashes: Vec<i64> =
            questions.iter().filter_map(|question| natural_hash_of(&question.natural_key)).collect();
        let erased =
            |row: &Row| questions.iter().find(|question| question.erased_key.as_ref() == Some(&row.key));
        let mut found: Vec<&Rc<Row>> = self
            .rows
            .values()
            .filter(|row| {
                row.natural_hash.is_some_and(|hash| hashes.contains(&hash)) || erased(row).is_some()
            })
            .collect();
        found.sort_by(|a, b| (a.first_seen_at, &a.key).cmp(&(b.first_seen_at, &b.key)));
        let mut namesakes = Answers::new();
        for row in found {
            let removed_at = row.removed_at.map_or(0, Timestamp::millis);
            let namesake = Namesake { consent_key: row.key.clone(), removed_at };
            let natural_key =
                erased(row).map_or_else(|| row.natural_key(), |question| question.natural_key.clone());
            namesakes.entry(natural_key).or_default().push(namesake);
        }
        namesakes
    }

    fn next_changed_at(&mut self, now: Timestamp) -> Timestamp {
        self.last_changed_at = now.max(self.last_changed_at.plus_millis(1));
        self.last_changed_at
    }

    fn save(&mut self, row: &RunRow) {
        let at = self.runs.iter().position(|run| run.id == row.id).unwrap();
        self.runs[at] = Rc::new(row.clone());
    }

    pub(super) fn keys_of(&self, hashes: &[u64]) -> Vec<String> {
        let hashes: HashSet<u64> = hashes.iter().copied().collect();
        self.rows.values().filter(|row| hashes.contains(&row.hash.key)).map(|row| row.key.clone()).collect()
    }

    fn candidate(&self, row: &Row, upto: i64) -> Candidate {
        Candidate {
            consent_key: row.key.clone(),
            consent_id: row.id.clone(),
            checked_at: self.checks.get(&row.key).map(|check| check.at),
            overdue: row.missing_judged.is_some_and(|judged| judged + self.skipped(&row.key) < upto),
        }
    }

    fn skipped(&self, key: &str) -> i64 {
        self.listings.get(key).map_or(0, |listing| listing.skipped)
    }

    pub(super) fn unlisted_candidates(&self, hashes: &[u64], most: usize) -> Vec<Candidate> {
        let hashes: HashSet<u64> = hashes.iter().copied().collect();
        let rows = self.rows.values().filter(|row| hashes.contains(&row.hash.key) && row.id.is_some());
        let mut found: Vec<Candidate> =
            rows.map(|row| Candidate { overdue: false, ..self.candidate(row, 0) }).collect();
        found.sort_by_key(|candidate| (candidate.checked_at, candidate.consent_key.clone()));
        found.truncate(most);
        found
    }

    pub(super) fn overdue_rows(
        &self,
        judged_runs: i64,
        confirm_runs: u32,
        before: Timestamp,
    ) -> Vec<Candidate> {
        let upto = judged_runs + 2 - i64::from(confirm_runs);
        self.rows
            .values()
            .filter(|row| row.removed_at.is_none() && row.missing_since.is_some_and(|at| at <= before))
            .filter(|row| row.missing_judged.is_some_and(|judged| judged + self.skipped(&row.key) <= upto))
            .map(|row| Candidate { checked_at: None, ..self.candidate(row, upto) })
            .collect()
    }

    pub(super) fn standing(&self, held: &Held, pending: &[String]) -> Standing {
        let day = held.row.started_at.plus_millis(-24 * 60 * 60 * 1000);
        let back = |row: &&Rc<Row>| {
            row.missing_since.is_some()
                && row.missing_run_at.is_some_and(|at| at >= day)
                && !pending.contains(&row.key)
        };
        Standing {
            back: self.rows.values().filter(back).count() as u64,
            new_nameless_reject: self.has_new_nameless_reject(held),
            acceptance: None,
            pages_usable_at: self.pages_usable_at,
            judged_runs: self.judged_runs,
            first_missing: self
                .rows
                .values()
                .filter(|row| row.missing_since.is_some() && row.removed_at.is_none())
                .filter_map(|row| Some(row.missing_judged? + self.skipped(&row.key)))
                .min(),
        }
    }

    pub(super) fn addresses(&self, keys: &[String]) -> HashMap<String, String> {
        let address = |key: &String| {
            let email = self.rows.get(key)?.email.as_deref()?;
            Some((key.clone(), understory_sync::consent::address(email).into_owned()))
        };
        keys.iter().filter_map(address).collect()
    }

    pub(super) fn candidates(&self, judged_runs: i64, confirm_runs: u32, most: usize) -> Vec<Candidate> {
        let upto = judged_runs + 2 - i64::from(confirm_runs);
        let mut found: Vec<&Rc<Row>> = self
            .rows
            .values()
            .filter(|row| row.missing_since.is_some() && row.removed_at.is_none() && row.id.is_some())
            .filter(|row| row.missing_judged.is_some_and(|judged| judged + self.skipped(&row.key) <= upto))
            .collect();
        found.sort_by_key(|row| {
            (self.checks.get(&row.key).map(|check| check.at), row.missing_judged, row.key.clone())
        });
        found.truncate(most);
        found.into_iter().map(|row| self.candidate(row, upto)).collect()
    }

    /// Rejected for the first time since the last complete run, whether or not that run ended well.
    fn has_new_nameless_reject(&self, held: &Held) -> bool {
        let complete = |run: &&Rc<RunRow>| run.outcome == "succeeded" && run.id < held.row.id;
        let last = self.runs.iter().filter(complete).map(|run| run.id).max().unwrap_or(0);
        self.rejects.iter().any(|reject| reject.first_run > last && !reject.has_id)
    }
}
