//! Killed at any instant, at any write, at any sync: no page is half written, and the next run heals without a hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bench::sql::Db;
use crate::bench::{Bench, Dice, Ran, must_be_whole, number_from};
use crate::support::not_run::strace_may_run;

/// Every call by which SQLite, or we, change a file. strace counts each call for itself.
const CALLS: [&str; 6] = ["pwrite64", "fsync", "fdatasync", "ftruncate", "unlink", "write"];

const PEOPLE: u64 = 6_000;
const PAGE: usize = 500;

/// Rows of one version are the first whole pages of the list, nobody is missing, and the file is whole.
#[track_caller]
/// `before` is the newest run from before: a process that dies early leaves the row of an older death as it is.
fn must_hold_whole_pages(bench: &Bench, version: u64, before: i64) {
    must_be_whole(&bench.file());
    let mut db = bench.db();
    if db.number("select count(*) from sqlite_master where name = 'consents'") == 0 {
        return;
    }
    let written: BTreeMap<String, String> = db
        .texts("select consent_key || '|' || full_name from consents")
        .into_iter()
        .map(|row| {
            let (key, name) = row.split_once('|').unwrap();
            (key.to_owned(), name.to_owned())
        })
        .collect();
    let name = format!("Version {version}");
    let ids = bench.api.people(|people| people.ids());
    let upto = ids.iter().take_while(|id| written.get(*id) == Some(&name)).count();
    assert!(upto % PAGE == 0, "a page is half written: {upto} rows");
    let after = ids[upto..].iter().filter(|id| written.get(*id) == Some(&name));
    assert_eq!(after.count(), 0, "rows out of the order of pages");
    assert_eq!(
        db.number("select count(*) from consents where missing_since is not null or removed_at is not null"),
        0
    );
    let running = db.number("select count(*) from sync_runs where outcome = 'running'");
    assert!(running <= 1);
    if running == 1 && newest_run(&mut db) > before {
        let counted = db.number("select added + updated from sync_runs where outcome = 'running'");
        assert_eq!(counted, i64::try_from(upto).unwrap(), "the counters are not those of the rows");
    }
    db.close();
}

fn newest_run(db: &mut Db) -> i64 {
    db.number("select coalesce(max(id), 0) from sync_runs")
}

#[test]
fn killed_at_any_instant_a_run_leaves_whole_pages_and_the_next_one_heals() {
    let seed = number_from("UNDERSTORY_SYNC_SEED", 1);
    let rounds = number_from("UNDERSTORY_SYNC_KILLS", 16);
    let mut dice = Dice::new(seed);
    let bench = Bench::new(0, PAGE);
    bench.rename_everybody(PEOPLE, "Version 0");
    let began = Instant::now();
    bench.run_well();
    let mut usual = began.elapsed();
    let mut cut = 0;
    for round in 1..=rounds {
        bench.rename_everybody(PEOPLE, &format!("Version {round}"));
        let after = Duration::from_micros(dice.below(u64::try_from(usual.as_micros()).unwrap()));
        let mut db = bench.db();
        let before = newest_run(&mut db);
        db.close();
        let mut child = bench.command(&["--run-once", "--quiet"]).spawn().unwrap();
        std::thread::sleep(after);
        let _ = child.kill();
        let status = child.wait().unwrap();
        cut += u64::from(status.code().is_none());
        println!("seed {seed}, round {round}: killed after {after:?}: {status}");
        must_hold_whole_pages(&bench, round, before);
        if dice.chance(30) {
            let began = Instant::now();
            bench.run_well();
            usual = usual.max(began.elapsed());
            bench.must_be_exact();
        }
    }
    assert!(cut * 2 > rounds, "only {cut} of {rounds} runs were killed");
    bench.run_well();
    bench.must_be_exact();
    let mut db = bench.db();
    let interrupted =
        db.number("select count(*) from sync_runs where outcome = 'interrupted' and error is not null");
    assert!(interrupted > 0);
}

/// A run in which the `n`th of these calls of a thread meets `fault`.
fn run_with(bench: &Bench, calls: &str, fault: &str) -> Ran {
    let trace = format!("trace={calls}");
    let inject = format!("inject={calls}:{fault}");
    let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let ran = bench.command_in(&wrapper, &["--run-once"]).output().unwrap();
    ran.into()
}

fn snapshot(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    for rest in ["-wal", "-shm", "-journal"] {
        let mut name = to.as_os_str().to_owned();
        name.push(rest);
        let _ = std::fs::remove_file(name);
    }
}

/// Everybody changes, some leave, some come, and the removal of some is confirmed: every kind of write of a run.
fn eventful(bench: &Bench) {
    bench.api.people(|people| {
        let ids = people.ids();
        for id in &ids[..4] {
            people.remove(id);
        }
    });
    bench.run_well();
    bench.api.people(|people| {
        let ids = people.ids();
        for id in &ids[..3] {
            people.remove(id);
        }
        for id in &ids[3..20] {
            people.update(id, |item| item["full_name"] = "Somebody Else".into());
        }
        people.fill(9, 0..30);
        people.add(&serde_json::json!({"id": "broken", "company_id": 3}));
    });
}

#[track_caller]
fn must_heal(bench: &Bench, what: &str) {
    must_be_whole(&bench.file());
    let ran = bench.run();
    assert_eq!(ran.code, Some(0), "after {what}: {ran:#?}");
    bench.api.people(|people| people.remove("broken"));
    let mut db = bench.db();
    assert_eq!(db.texts("pragma integrity_check"), ["ok"]);
    bench.must_be_exact_in(&mut db);
    // Two runs judged absence before; a run that died after its last transaction was complete, and counts.
    let judged = db.number("select count(*) from sync_runs where absence = 'judged'");
    let (missing, removed) = if judged == 4 { (0, 7) } else { (3, 4) };
    assert_eq!(
        db.texts(
            "select count(*) filter (where missing_since is not null and removed_at is null) || ' missing, ' \
             || count(*) filter (where removed_at is not null) || ' removed' from consents"
        ),
        [format!("{missing} missing, {removed} removed")],
        "{what}"
    );
    let changes = db.number("select count(*) from consent_changes");
    assert_eq!(changes, 4 + 3 + 17 + removed, "{what}");
    bench.api.people(|people| people.add(&serde_json::json!({"id": "broken", "company_id": 3})));
}

#[test]
fn killed_at_every_write_and_sync_of_a_run_the_next_one_heals() {
    if !strace_may_run("faults at every write and sync of a run") {
        return;
    }
    let bench = Bench::new(60, 20);
    bench.run_well();
    eventful(&bench);
    let before = bench.folder.path().join("before.db");
    snapshot(&bench.file(), &before);
    let mut deaths = 0;
    for call in CALLS {
        for n in 1.. {
            snapshot(&before, &bench.file());
            let ran = run_with(&bench, call, &format!("signal=SIGKILL:when={n}"));
            if ran.code == Some(0) {
                println!("{} places of death at {call}", n - 1);
                break;
            }
            assert_eq!(ran.code, None, "{ran:#?}");
            deaths += 1;
            must_heal(&bench, &format!("death at {call} {n}"));
        }
    }
    assert!(deaths > 20, "only {deaths} places of death");
}

#[test]
fn killed_at_every_write_and_sync_of_the_first_run_the_next_one_begins_anew_or_goes_on() {
    if !strace_may_run("faults at every write and sync of a run") {
        return;
    }
    let bench = Bench::new(60, 20);
    let mut deaths = 0;
    for call in &CALLS[..4] {
        for n in 1.. {
            for file in std::fs::read_dir(bench.folder.path()).unwrap().flatten() {
                std::fs::remove_file(file.path()).unwrap();
            }
            let ran = run_with(&bench, call, &format!("signal=SIGKILL:when={n}"));
            if ran.code == Some(0) {
                println!("{} places of death at {call}", n - 1);
                break;
            }
            assert_eq!(ran.code, None, "{ran:#?}");
            deaths += 1;
            let again = bench.run();
            assert_eq!(again.code, Some(0), "after death at {call} {n}: {again:#?}");
            must_be_whole(&bench.file());
            bench.must_be_exact();
        }
    }
    assert!(deaths > 20, "only {deaths} places of death");
}

/// Errors of the device, once or for good, at every call: the run says so and ends with 74, or it was past its last promise.
fn errors_at_every(calls: &str, error: &str, causes: &[&str]) {
    if !strace_may_run("faults at every write and sync of a run") {
        return;
    }
    let bench = Bench::new(60, 20);
    bench.run_well();
    eventful(&bench);
    let before = bench.folder.path().join("before.db");
    snapshot(&bench.file(), &before);
    let mut failures = 0;
    'times: for times in ["", "+"] {
        for n in 1.. {
            snapshot(&before, &bench.file());
            let ran = run_with(&bench, calls, &format!("error={error}:when={n}{times}"));
            let what = format!("{error} at {calls} {n}{times}");
            if ran.code == Some(0) {
                must_be_whole(&bench.file());
                // Past the last call, or at one whose failure costs nothing that was promised.
                if !ran.err.contains("could not be") {
                    continue 'times;
                }
                assert!(n < 500, "{what}");
            } else {
                failures += 1;
                let path = bench.file().canonicalize().unwrap();
                assert_eq!(ran.code, Some(74), "{what}: {ran:#?}");
                assert!(ran.err.contains(path.to_str().unwrap()), "{what}: {ran:#?}");
                let named = causes.iter().any(|cause| ran.err.contains(cause));
                assert!(named, "{what}: {ran:#?}");
                must_heal(&bench, &what);
            }
        }
    }
    println!("{error} at {calls}: {failures} failed runs");
    assert!(failures >= 2, "only {failures} failed runs");
}

#[test]
fn an_error_at_any_sync_ends_the_run_with_74_and_loses_nothing() {
    errors_at_every("fsync,fdatasync", "EIO", &["I/O error"]);
}

#[test]
fn a_disk_that_is_full_at_any_write_ends_the_run_with_74_and_loses_nothing() {
    errors_at_every("pwrite64", "ENOSPC", &["the disk is full", "I/O error"]);
}
