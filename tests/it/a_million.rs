//! Many consents through the same code, with memory watched: 20,000 in the suite, a million (minutes) by
//!
//! `UNDERSTORY_SYNC_ROWS=1000000 UNDERSTORY_SYNC_BINARY=target/release/understory-sync cargo test --test it a_million -- --nocapture --test-threads 1`

#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use understory_mock_api::person;

use crate::support::{Engine, World};

/// How many people there are; a thousand of them leave.
fn people() -> u64 {
    std::env::var("UNDERSTORY_SYNC_ROWS").map_or(20_000, |rows| rows.parse().unwrap())
}

/// Above what is measured (37 MiB), far below what a table in memory, or the pages of all that a statement changes, would take.
const MOST_KIB: u64 = 64 * 1024;

/// Runs the binary, tells how long it took and how much memory it took at the most.
fn measured(world: &World, what: &str, arguments: &[&str], code: i32) -> u64 {
    let model = world.command(arguments);
    let program = std::env::var_os("UNDERSTORY_SYNC_BINARY");
    let mut command = Command::new(program.as_deref().unwrap_or(model.get_program()));
    command.args(arguments).env_clear().current_dir(world.home());
    command.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        // Before the child has become the program, the memory is still the tests' own.
        let became = text.starts_with("Name:\tunderstory-sync\n");
        let line = text.lines().find(|line| became && line.starts_with("VmHWM:"));
        let now = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        peak = peak.max(now.unwrap_or(0));
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let seconds = begun.elapsed().as_secs_f64();
    println!("{:?} {what}: {seconds:.1} s, at most {} MiB", world.db.engine(), peak / 1024);
    assert_eq!(ended.code(), Some(code), "{what}");
    assert!(peak < MOST_KIB, "{what}: {peak} KiB");
    peak
}

async fn go(engine: Engine) {
    let people = people();
    let world = World::on(engine).await;
    world.set("schedule.run_timeout", "off");
    // Longer pages than the API makes today: the mock API is what takes the time.
    world.api.configure(|api| api.page_length = Some(1_000));
    world.list_people(people);
    measured(&world, "first load", &["--run-once"], 0);
    assert_eq!(world.db.count("active_consents").await, i64::try_from(people).unwrap());
    let unchanged = measured(&world, "unchanged run", &["--run-once"], 0);
    assert_eq!(world.last_run("unchanged, added, updated").await, format!("{people}|0|0"));
    // One in twenty, so that each change is on a page of its own.
    let list: Vec<_> = (0..people)
        .map(|number| {
            let mut person = person(1, number);
            if number.is_multiple_of(20) {
                person["full_name"] = "Somebody Else".into();
            }
            person
        })
        .collect();
    world.api.set_people(&list);
    let changed = measured(&world, "one in twenty changed", &["--run-once"], 0);
    assert_eq!(world.last_run("updated").await, (people / 20).to_string());
    // One statement that changes many rows of SQLite would hold every page of theirs as it was until it ends: here 8 MiB more.
    assert!(changed < unchanged + 12 * 1024, "{changed} KiB with changes, {unchanged} KiB without");
    let step = usize::try_from(people / 1_000).unwrap();
    let email = world.api.people(|people| {
        let ids = people.ids();
        let gone: std::collections::HashSet<&String> = ids.iter().step_by(step).collect();
        people.remove_where(|item| gone.contains(&item["id"].as_str().unwrap().to_owned()));
        people.items()[step * 400]["email"].as_str().unwrap().to_owned()
    });
    measured(&world, "1,000 leave", &["--run-once"], 0);
    assert_eq!(world.last_run("absence, missing, active").await, format!("judged|1000|{}", people - 1_000));
    measured(&world, "500 looked up", &["--run-once"], 0);
    assert_eq!(world.last_run("removed").await, "500");
    measured(&world, "export, csv", &["export", "--format", "csv"], 0);
    measured(&world, "export, jsonl", &["export", "--format", "jsonl", "--all"], 0);
    measured(&world, "dry run", &["--run-once", "--dry-run"], 0);
    measured(&world, "forget", &["forget", &email], 0);
    if !world.db.is_postgres() {
        let size = std::fs::metadata(world.db.path()).unwrap().len();
        println!("Sqlite file: {} MiB", size >> 20);
    }
    world.list_people(0);
    measured(&world, "nobody is listed", &["--run-once"], 65);
    let all =
        measured(&world, "all are accepted", &["--run-once", "--accept-removals", &people.to_string()], 0);
    // A statement that changes many rows of SQLite holds every page of them twice until it ends: here 8 MiB more.
    assert!(all < unchanged + 9 * 1024, "{all} KiB where every row changes, {unchanged} KiB where none does");
    assert_eq!(world.db.count("active_consents").await, 0);
}

#[tokio::test]
async fn sqlite() {
    go(Engine::Sqlite).await;
}

#[tokio::test]
async fn postgres() {
    go(Engine::Postgres).await;
}
