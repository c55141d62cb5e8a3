//! The whole reconcile against a small model, under lists that no API should send, and tables for contract 5.8.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod listing;
mod mixed;
mod suppressed;
mod world;

use proptest::prelude::*;

use super::Absence;
use listing::{Entry, ScanPlan};
use world::{Ended, Row, World};

/// What happens to the world, one after the other.
#[derive(Debug, Clone)]
enum Step {
    Run(ScanPlan),
    /// The address with this number is forgotten, or that is lifted.
    Forget(u8),
    Undo(u8),
    /// Retention erases whoever is removed.
    Erase,
}

impl World {
    fn make(&mut self, step: &Step) {
        match step {
            Step::Run(walk) => drop(self.run(walk)),
            Step::Forget(email) => self.forget(*email),
            Step::Undo(email) => self.unforget(*email),
            Step::Erase => self.erase_removed(),
        }
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let (id, email) = (0..4_u8, 0..3_u8);
    prop_oneof![
        6 => (id.clone(), email.clone()).prop_map(|(id, email)| Entry::Good { id: Some(id), email }),
        3 => id.clone().prop_map(|id| Entry::Good { id: Some(id), email: id % 3 }),
        6 => email.clone().prop_map(|email| Entry::Good { id: None, email }),
        1 => id.prop_map(Entry::BadWithId),
        1 => email.prop_map(Entry::BadNameless),
        1 => Just(Entry::Foreign),
    ]
}

fn walk() -> impl Strategy<Value = ScanPlan> {
    (
        prop::collection::vec(entry(), 0..7),
        1..4_usize,
        1..4_usize,
        prop::option::weighted(0.2, 0..4_usize),
        prop::option::weighted(0.1, 1..3_usize),
        prop::bool::weighted(0.3),
        0..2_u8,
        prop::bool::weighted(0.2),
    )
        .prop_map(|(list, page_length, gather, dies_at, restarts_at, accept, version, spelling)| {
            ScanPlan {
                list,
                page_length,
                gather,
                dies_at,
                restarts_at,
                accept: accept.then_some(1_000),
                version,
                spelling,
            }
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => walk().prop_map(Step::Run),
        1 => (0..3_u8).prop_map(Step::Forget),
        1 => (0..3_u8).prop_map(Step::Undo),
        1 => Just(Step::Erase),
    ]
}

/// The model: who counts as listed (contract 5.5 and 5.8).
fn counts_as_listed(row: &Row, list: &[Entry]) -> bool {
    list.iter().any(|entry| match entry {
        Entry::Good { id: Some(id), .. } => row.has_id(*id),
        Entry::Good { id: None, email } => row.has_email(*email),
        Entry::BadWithId(_) | Entry::BadNameless(_) | Entry::Foreign => false,
    })
}

/// Every usable item stands for an active row.
fn is_represented(entry: &Entry, rows: &[Row]) -> bool {
    match entry {
        Entry::Good { id: Some(id), .. } => rows.iter().any(|row| row.active && row.has_id(*id)),
        Entry::Good { id: None, email } => rows.iter().any(|row| row.active && row.has_email(*email)),
        _ => true,
    }
}

fn check(world: &mut World, walk: &ScanPlan) -> Result<(), TestCaseError> {
    let before = world.rows.clone();
    let ended = world.run(walk);
    let list = world.usable(&walk.list);
    prop_assert!(!world.holds_suppressed(), "a forgotten person came back");
    prop_assert!(ended.sums, "items do not add up");
    prop_assert!(ended.most_changes <= 1, "two changes of state in one pass");
    let newly_gone = |rows: &[Row]| {
        let gone = |old: &&Row| old.active && rows.iter().any(|row| row.no == old.no && !row.active);
        before.iter().filter(gone).count()
    };
    prop_assert_eq!(world.rows.len() >= before.len(), true, "a run deleted a row");
    if ended.absence != Some(Absence::Judged) {
        prop_assert_eq!(newly_gone(&world.rows), 0, "removed without judgement");
    }
    if ended.absence.is_none() {
        return Ok(());
    }
    // A removed row that waits under a new address is still found by its old one: such an item is stored by the next run.
    let moves = |entry: &Entry| match entry {
        Entry::Good { id: Some(id), email } => {
            before.iter().any(|row| row.removed && row.has_id(*id) && !row.has_email(*email))
        }
        _ => false,
    };
    if list.iter().any(moves) {
        return Ok(());
    }
    for item in &list {
        prop_assert!(is_represented(item, &world.rows), "{:?} has no row", item);
    }
    if ended.absence == Some(Absence::Judged) {
        for row in &world.rows {
            let listed = counts_as_listed(row, &list) && !row.erased;
            // A row of a removed natural key stays so where the item with an id was added.
            let kept = before.iter().any(|old| old.no == row.no && old.active)
                && list.iter().any(|entry| matches!(entry, Entry::BadWithId(id) if row.has_id(*id)));
            let others = row.removed && list.iter().any(|entry| matches!(entry, Entry::Good { .. }));
            prop_assert!(row.active == listed || kept && row.active || others, "{:?}", row);
        }
    }
    // A rejected item is known now, so the next run judges. And a list may contradict itself: where an item without id was
    // stored to a row whose own item has another address, the next pass may take them the other way round.
    let contradicts = list.iter().any(|entry| match entry {
        Entry::Good { id: Some(id), email } => {
            let of_row = |row: &&Row| row.has_id(*id);
            !world.rows.iter().find(of_row).is_some_and(|row| row.has_email(*email))
        }
        _ => false,
    });
    let rejected = list.iter().any(|entry| matches!(entry, Entry::BadWithId(_)));
    if ended.absence == Some(Absence::Blocked) || contradicts || rejected {
        return Ok(());
    }
    // A row that returned by another one's item may be the first of its natural key from now on.
    world.run(&ScanPlan { dies_at: None, restarts_at: None, ..walk.clone() });
    let again = world.run(&ScanPlan { dies_at: None, restarts_at: None, ..walk.clone() });
    prop_assert_eq!(again.written, 0, "the same list was written twice");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_active_set_is_what_the_last_judged_run_listed(steps in prop::collection::vec(step(), 1..7)) {
        let mut world = World::default();
        for step in &steps {
            match step {
                Step::Run(walk) => check(&mut world, walk)?,
                other => world.make(other),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_that_knows_items_by_their_bytes_ends_as_one_that_reads_them_all(
        steps in prop::collection::vec(step(), 1..9),
        // What was listed is mostly listed again.
        same in prop::collection::vec(prop::bool::weighted(0.7), 9),
    ) {
        let (mut quick, mut slow) = (World::default(), World::default());
        slow.recognizes = false;
        let mut last = None;
        for (step, same) in steps.iter().zip(same) {
            match step {
                Step::Run(walk) => {
                    let mut walk = walk.clone();
                    if let Some(list) = last.filter(|_| same) {
                        walk.list = list;
                    }
                    let ended = [quick.run(&walk), slow.run(&walk)];
                    prop_assert_eq!(&ended[0], &ended[1]);
                    last = Some(walk.list);
                }
                other => {
                    quick.make(other);
                    slow.make(other);
                }
            }
            let seen = |world: &World| world.rows.iter().map(Row::seen).collect::<Vec<_>>();
            prop_assert_eq!(seen(&quick), seen(&slow));
        }
    }
}

#[test]
fn items_are_recognized_once_they_were_read() {
    let mut world = World::default();
    let walk = |spelling| ScanPlan {
        list: (0..9).map(|id| Entry::Good { id: Some(id), email: id }).collect(),
        page_length: 4,
        gather: 1,
        dies_at: None,
        restarts_at: None,
        accept: None,
        version: 0,
        spelling,
    };
    // However they are written, the second time they are known, and nothing is written.
    for (spelling, recognized) in [(false, 0), (false, 9), (true, 9), (true, 18), (true, 27)] {
        world.run(&walk(spelling));
        assert_eq!(world.recognized, recognized);
    }
}

#[test]
fn the_test_is_not_idle() {
    let mut world = World::default();
    let good = |id: Option<u8>, email| Entry::Good { id, email };
    let walk = |list| ScanPlan {
        list,
        page_length: 2,
        gather: 1,
        dies_at: None,
        restarts_at: None,
        accept: None,
        version: 0,
        spelling: false,
    };
    let Ended { absence, .. } = world.run(&walk(vec![good(None, 0), good(Some(1), 1)]));
    assert_eq!(absence, Some(Absence::Judged));
    world.run(&walk(vec![good(Some(0), 0)]));
    assert_eq!(world.rows.len(), 2);
    assert!(world.rows[0].active && world.rows[0].has_id(0));
    assert!(!world.rows[1].active);
}
