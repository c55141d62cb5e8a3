//! Every table of the model beside the same of the real store.

use std::collections::BTreeSet;

use understory_sync::store::Timestamp;

use super::{Real, Twin};
use crate::bench::sql::Db;
use crate::simulation::model::Model;

fn at(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

fn text(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "-".to_owned())
}

impl Twin {
    /// Every table holds the same on both sides.
    pub(super) fn compare(&mut self) {
        let Some(Real { db, .. }) = &mut self.real else {
            return;
        };
        let model = &self.model;
        let rows: BTreeSet<String> = model
            .rows
            .values()
            .map(|row| {
                [
                    row.key.clone(),
                    text(row.id.as_ref()),
                    row.company.clone(),
                    text(row.email.as_ref()),
                    text(row.name.as_ref()),
                    text(row.source.as_ref()),
                    text(row.extra.as_ref()),
                    row.first_seen_at.to_string(),
                    row.changed_at.to_string(),
                    at(row.missing_since),
                    at(row.withheld_since),
                    at(row.removed_at),
                    at(row.erased_at),
                    row.first_run.to_string(),
                    row.changed_run.to_string(),
                    text(row.previous_key.as_ref()),
                    at(row.missing_run_at),
                    row.item_hash.map_or_else(|| "-".to_owned(), |hash| format!("{hash:016x}")),
                ]
                .join("|")
            })
            .collect();
        let real = db.texts(
            "select concat_ws('|', consent_key, coalesce(consent_id, '-'), company_id, coalesce(email, '-'), coalesce(full_name, '-'), \
             coalesce(source, '-'), coalesce(extra, '-'), first_seen_at, changed_at, coalesce(missing_since, '-'), \
             coalesce(withheld_since, '-'), coalesce(removed_at, '-'), coalesce(erased_at, '-'), first_run_id, changed_run_id, \
             coalesce(previous_key, '-'), coalesce(missing_run_at, '-'), coalesce(item_hash, '-')) from consents",
        );
        assert_eq!(real.into_iter().collect::<BTreeSet<_>>(), rows);
        compare_lists(db, model);
        let others = |name: &str, pairs: &std::collections::BTreeMap<String, Timestamp>| -> Vec<String> {
            pairs.iter().map(|(key, at)| format!("{name}|{key}|{at}")).collect()
        };
        let mut expected: Vec<String> = Vec::new();
        for (key, check) in &model.checks {
            expected.push(format!("check|{key}|{}|{}|{}", check.at, check.answer, check.since));
        }
        for (key, pending) in &model.pending {
            expected.push(format!(
                "pending|{key}|{}|{}|{}",
                pending.since,
                pending.runs,
                at(pending.checked_at)
            ));
        }
        for (key, listing) in &model.listings {
            expected.push(format!("listing|{key}|{}|{}", listing.runs, listing.skipped));
        }
        expected.extend(model.companies.iter().map(|company| format!("company|{company}")));
        expected.extend(others("suppression", &model.suppressions));
        expected.extend(model.suppressed_ids.iter().map(|(id, email)| format!("id|{id}|{email}")));
        expected.push(format!("state|{}|{}", model.judged_runs, model.last_changed_at));
        let real = db.texts(
            "select concat_ws('|', 'check', consent_key, checked_at, answer, answered_since) as t from consent_checks union all \
             select concat_ws('|', 'pending', consent_key, listed_since, listed_runs, coalesce(checked_at, '-')) from pending_returns union all \
             select concat_ws('|', 'listing', consent_key, runs, skipped) from rejected_listings union all \
             select 'company|' || company_id from companies union all \
             select 'suppression|' || email_hash || '|' || created_at from suppressions union all \
             select 'id|' || id_hash || '|' || email_hash from suppressed_ids union all \
             select 'state|' || judged_runs || '|' || last_changed_at from sync_state order by 1",
        );
        expected.sort();
        assert_eq!(real, expected);
    }
}

/// What is kept in the order of time.
fn compare_lists(db: &mut Db, model: &Model) {
    let mut changes: Vec<String> = model
        .changes
        .iter()
        .map(|change| {
            [
                change.key.clone(),
                change.run.map_or_else(|| "-".to_owned(), |run| run.to_string()),
                change.at.to_string(),
                change.kind.to_owned(),
                text(change.before.as_ref()),
                text(change.previous_key.as_ref()),
            ]
            .join("|")
        })
        .collect();
    changes.sort();
    let mut real = db.texts("select concat_ws('|', consent_key, coalesce(run_id, '-'), changed_at, change, coalesce(before, '-'), coalesce(previous_key, '-')) from consent_changes");
    real.sort();
    assert_eq!(real, changes);
    let runs: Vec<String> = model
        .runs
        .iter()
        .map(|run| {
            [
                run.id.to_string(),
                run.outcome.clone(),
                text(run.absence.as_ref()),
                run.items.to_string(),
                run.added.to_string(),
                run.updated.to_string(),
                run.returned.to_string(),
                run.returns_pending.to_string(),
                run.unchanged.to_string(),
                run.missing.to_string(),
                run.removed.to_string(),
                text(run.error.as_ref()),
                at(run.finished_at),
            ]
            .join("|")
        })
        .collect();
    let real = db.texts(
        "select concat_ws('|', id, outcome, coalesce(absence, '-'), items, added, updated, returned, returns_pending, unchanged, missing, removed, \
         coalesce(error, '-'), coalesce(finished_at, '-')) from sync_runs order by id",
    );
    assert_eq!(real, runs);
    let rejects: Vec<String> = model
        .rejects
        .iter()
        .map(|reject| {
            [
                reject.first_run.to_string(),
                reject.last_run.to_string(),
                at(reject.resolved_at),
                reject.item.clone(),
            ]
            .join("|")
        })
        .collect();
    // Only the order of the ids is promised: SQLite spends one on an item that it finds on record.
    let real = db.texts("select concat_ws('|', first_run_id, last_run_id, coalesce(resolved_at, '-'), item) from rejected_items order by id");
    assert_eq!(real, rejects);
}
