//! The store's promises over a few vectors: what store/write.rs, finish.rs, upkeep.rs and forget.rs do in SQL.

mod finish;
mod upkeep;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use serde_json::json;
use understory_sync::consent::{natural_hash_of, natural_key, normalized_email};
use understory_sync::hash::{RowHash, Salt};
use understory_sync::reconcile::{
    Known, KnownReject, KnownRejects, Namesake, Namesakes, RowState, Suppressions,
};
use understory_sync::store::{Candidate, Loaded, RunRow, Timestamp};

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
    natural_hash: Option<i64>,
    missing_judged: Option<i64>,
}

impl Row {
    pub(super) fn is_active(&self) -> bool {
        self.missing_since.is_none() && self.removed_at.is_none()
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
    pub(super) checks: BTreeMap<String, Timestamp>,
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

    pub(super) fn load(&self) -> Loaded {
        let mut known = Known::with_capacity(self.rows.len());
        for row in self.rows.values() {
            known.push(
                row.hash,
                RowState {
                    unlisted: !row.is_active(),
                    withheld: row.withheld_since.is_some(),
                    erased: row.erased_at.is_some(),
                    natural: row.id.is_none(),
                },
            );
        }
        known.loaded();
        let mut rejects = KnownRejects::default();
        for reject in &self.rejects {
            let known = KnownReject { id: reject.id, resolved: reject.resolved_at.is_some() };
            rejects.push(&reject.fingerprint, known);
        }
        let complete = self.runs.iter().rev().filter(|run| run.outcome == "succeeded").take(2);
        let blocked = complete.take_while(|run| run.absence.as_deref() == Some("blocked")).count();
        Loaded {
            known,
            rejects,
            suppressed: Suppressions::new(
                self.suppressions.keys().cloned().collect(),
                self.suppressed_ids.iter().cloned().collect(),
            ),
            salt: self.salt.clone(),
            endpoint: self.endpoint.clone(),
            blocked_in_a_row: u32::try_from(blocked).unwrap(),
            judged_runs: self.judged_runs,
        }
    }

    pub(super) fn knows_company(&self, companies: &[String]) -> bool {
        self.rows.is_empty() || self.rows.values().any(|row| companies.contains(&row.company))
    }

    pub(super) fn namesakes(&self, natural_keys: &[String]) -> Namesakes {
        let hashes: Vec<i64> = natural_keys.iter().filter_map(|key| natural_hash_of(key)).collect();
        let mut found: Vec<&Rc<Row>> = self
            .rows
            .values()
            .filter(|row| row.natural_hash.is_some_and(|hash| hashes.contains(&hash)))
            .collect();
        found.sort_by(|a, b| (a.first_seen_at, &a.key).cmp(&(b.first_seen_at, &b.key)));
        let mut namesakes = Namesakes::new();
        for row in found {
            let namesake = Namesake { consent_key: row.key.clone() };
            namesakes.entry(row.natural_key()).or_default().push(namesake);
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

    pub(super) fn keys_of(&self, hashes: &[RowHash]) -> Vec<String> {
        let hashes: HashSet<RowHash> = hashes.iter().copied().collect();
        self.rows.values().filter(|row| hashes.contains(&row.hash)).map(|row| row.key.clone()).collect()
    }

    pub(super) fn candidates(&self, confirm_runs: u32, most: u32) -> Vec<Candidate> {
        let upto = self.judged_runs + 2 - i64::from(confirm_runs);
        let mut found: Vec<&Rc<Row>> = self
            .rows
            .values()
            .filter(|row| row.missing_since.is_some() && row.removed_at.is_none() && row.id.is_some())
            .filter(|row| row.missing_judged.is_some_and(|judged| judged <= upto))
            .collect();
        found.sort_by_key(|row| (self.checks.get(&row.key).copied(), row.missing_judged, row.key.clone()));
        found.truncate(usize::try_from(most).unwrap());
        found
            .into_iter()
            .map(|row| Candidate { consent_key: row.key.clone(), consent_id: row.id.clone().unwrap() })
            .collect()
    }

    pub(super) fn has_new_nameless_reject(&self, held: &Held) -> bool {
        self.rejects.iter().any(|reject| reject.first_run == held.row.id && !reject.has_id)
    }
}
