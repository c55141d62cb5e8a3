//! The whole loop over a simulated API, store and clock: thousands of seeds, what the contract promises checked after every step,
//! and the model of the store compared with the real one.

mod check;
mod model;
mod run;
mod twin;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use understory_sync::config::{Removal, Retention};
use understory_sync::consent::Item;

use crate::bench::{Dice, number_from, say_loudly};
use check::Checker;
use run::{Clock, Plan, Simulation};
use twin::Twin;
use world::{Ids, OURS, World};

/// What happened how often.
type Met = BTreeMap<&'static str, u64>;

/// A life of a database: runs with everything that can go wrong, then peace, in which all must come right.
fn live(seed: u64, folder: Option<&Path>, met: &mut Met) {
    let mut dice = Dice::new(seed);
    let twin = folder.map_or_else(Twin::alone, Twin::beside);
    let mut check = Checker::new(&twin.model);
    let age = |dice: &mut Dice| dice.chance(30).then(|| Duration::from_millis(dice.below(100_000_000)));
    let retention = Retention {
        history: age(&mut dice),
        removed: age(&mut dice),
        erasures: age(&mut dice).unwrap_or(Duration::from_hours(90 * 24)),
    };
    let removal = Removal {
        confirm_runs: 2 + u32::try_from(dice.below(2)).unwrap(),
        max_percent: [0.0, 20.0, 50.0, 100.0][usize::try_from(dice.below(4)).unwrap()],
        min_count: dice.below(6),
        confirm_after: Duration::from_hours([0, 1, 24][usize::try_from(dice.below(3)).unwrap()]),
        max_checks: 1 + u32::try_from(dice.below(5)).unwrap(),
    };
    check.confirm_runs = removal.confirm_runs;
    (check.max_percent, check.min_count) = (removal.max_percent, removal.min_count);
    check.whole_history = retention.history.is_none();
    let mut life = Simulation {
        world: World::new(&mut dice),
        company: dice.chance(50).then(|| OURS.to_owned()),
        dice: &mut dice,
        twin,
        clock: Clock { at: 0 },
        check,
        removal,
        retention,
        batches: 0,
        met,
    };
    // Some lists hold another broken item each time.
    let breaks = life.dice.chance(15);
    for round in 0..4 + life.dice.below(12) {
        if breaks {
            life.world.break_anew(u8::try_from(round).unwrap());
        }
        for _ in 0..life.dice.below(5) {
            life.world.change(life.dice);
        }
        let who = u8::try_from(life.dice.below(14)).unwrap();
        match life.dice.below(20) {
            0 => life.forget(who),
            1 if life.check.is_forgotten(who) => life.unforget(who),
            _ => {}
        }
        let plan = plan(life.dice);
        // However it ended: what holds was checked on the way.
        let _ = life.run(&plan);
    }
    come_right(&mut life);
}

fn plan(dice: &mut Dice) -> Plan {
    let mut rarely = |percent| if dice.chance(25) { percent } else { 0 };
    let (death, failure, refusal, unrest, robbery, unclear) =
        (rarely(12), rarely(15), rarely(30), rarely(40), rarely(8), rarely(40));
    Plan {
        page_length: 1 + usize::try_from(dice.below(5)).unwrap(),
        flush: 20 + dice.below(80),
        death,
        failure,
        refusal,
        unrest,
        robbery,
        unclear,
        accept: dice.chance(25).then(|| dice.below(12)),
    }
}

/// Nothing goes wrong any more and nobody changes anything: what is stored becomes what is listed, and then nothing is written.
fn come_right(life: &mut Simulation<'_>) {
    let (mut quiet, mut runs) = (0, 0);
    // The clock may make retention due at any time; nothing else comes of itself.
    while quiet <= life.removal.confirm_runs {
        let before = life.twin.model.last_changed_at;
        match life.run(&Plan::peaceful(Some(1_000))) {
            Ok(row) if before == life.twin.model.last_changed_at && row.returns_pending == 0 => quiet += 1,
            Ok(_) => quiet = 0,
            // Whoever has only the other company's people is refused, and stays as it was.
            Err(run::Over::OtherCompany) => return,
            Err(over) => panic!("{over:?} in peace"),
        }
        runs += 1;
        assert!(runs < 300, "it does not come to rest");
    }
    let rows = life.twin.model.rows.len();
    life.run(&Plan::peaceful(None)).unwrap();
    assert_eq!(life.batches, 0, "a run over unchanged data wrote pages");
    assert_eq!(rows, life.twin.model.rows.len());
    let (mut ids, mut natural_keys) = (BTreeSet::new(), BTreeSet::new());
    for entry in &life.world.list {
        let (world::Entry::Good { email, .. } | world::Entry::Bad { email, .. }) = entry;
        match life.world.item(entry) {
            Item::Consent(consent) if life.check.is_suppressed(*email, consent.consent_id.as_deref()) => {}
            Item::Consent(consent)
                if life.company.as_ref().is_none_or(|ours| *ours == consent.company_id) =>
            {
                ids.extend(consent.consent_id.clone().map(String::from));
                natural_keys.insert(consent.natural_key());
            }
            _ => {}
        }
    }
    let active: Vec<_> = life.twin.model.rows.values().filter(|row| row.is_active()).collect();
    match life.world.ids {
        Ids::All => {
            let stored: BTreeSet<String> = active.iter().filter_map(|row| row.id.clone()).collect();
            assert!(ids.is_subset(&stored), "somebody who is listed is not active");
        }
        Ids::None | Ids::Some => {
            let stored: BTreeSet<String> = active.iter().map(|row| row.natural_key()).collect();
            assert!(
                natural_keys.is_subset(&stored) || life.world.ids == Ids::Some,
                "somebody who is listed is not active"
            );
        }
    }
}

/// Lives this seed; where it fails, says how to see it again.
fn live_or_tell(seed: u64, folder: Option<&Path>, test: &str, met: &mut Met) {
    let done = catch_unwind(AssertUnwindSafe(|| live(seed, folder, met)));
    if let Err(cause) = done {
        say_loudly(&format!(
            "seed {seed} fails; again: UNDERSTORY_SYNC_SEED={seed} UNDERSTORY_SYNC_SEEDS=1 cargo test --test it {test}"
        ));
        resume_unwind(cause);
    }
}

#[test]
fn whatever_happens_in_ten_thousand_lives_the_promises_of_a_run_hold() {
    let (first, seeds) =
        (number_from("UNDERSTORY_SYNC_SEED", 1), number_from("UNDERSTORY_SYNC_SEEDS", 10_000));
    let mut met = Met::new();
    for seed in first..first + seeds {
        live_or_tell(seed, None, "ten_thousand_lives", &mut met);
    }
    for (what, times) in &met {
        println!("{times:>9}  {what}");
    }
    assert!(
        seeds < 5_000 || met.len() == 28 && met.values().all(|times| *times > 20),
        "not everything is met often: {met:?}"
    );
}

#[test]
fn the_real_store_does_what_the_model_of_the_simulation_does() {
    let (first, seeds) =
        (number_from("UNDERSTORY_SYNC_SEED", 1), number_from("UNDERSTORY_SYNC_REAL_SEEDS", 150));
    // In memory, where the system has such a folder: it is the rules that are compared, not the disk.
    let memory = Path::new("/dev/shm");
    for seed in first..first + seeds {
        let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
        let (folder, test) = (Some(folder.path()), "model_of_the_simulation");
        live_or_tell(seed, folder, test, &mut Met::new());
    }
}
