//! How a scenario is played, and everything that is looked at afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use understory_mock_api::{Endpoint, Seen};

use super::super::support::{Done, Engine, World};
use super::report::Row;
use super::scenario::{After, Scenario, Stage, Start};

/// People who are in the database.
const SEEDED: u64 = 60;
/// People who are listed; the last five are new.
const LISTED: u64 = 65;
/// Two who left.
pub(super) const LEFT: std::ops::Range<u64> = 1_000..1_002;
/// The most memory of a run.
const MOST_KIB: u64 = 64 * 1024;

/// A word that faults put into their answers: nothing of an answer may be told.
pub(super) const FOREIGN: &str = "Wfk3nq";

/// Databases as runs left them, one for each start.
pub(super) struct Seeds {
    listed: Vec<u8>,
    leaving: Vec<u8>,
    removed: Vec<u8>,
}

impl Seeds {
    pub(super) fn make() -> Self {
        let make = |start| {
            block_on(async {
                let world = World::on(Engine::Sqlite).await;
                seed(&world, start);
                std::fs::read(world.db.path()).unwrap()
            })
        };
        Self { listed: make(Start::Listed), leaving: make(Start::Leaving), removed: make(Start::Removed) }
    }

    async fn world(&self, engine: Engine, start: Start) -> World {
        let world = World::on(engine).await;
        if engine == Engine::Postgres {
            seed(&world, start);
            return world;
        }
        let bytes = match start {
            Start::Listed => &self.listed,
            Start::Leaving => &self.leaving,
            Start::Removed => &self.removed,
        };
        std::fs::write(world.db.path(), bytes).unwrap();
        std::fs::set_permissions(world.db.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        world
    }
}

/// Clean runs that bring a database to its start.
fn seed(world: &World, start: Start) {
    world.list_people(SEEDED);
    if start != Start::Listed {
        world.api.people(|people| people.fill(1, LEFT));
        world.run_once().expect(0);
        world.list_people(SEEDED);
    }
    world.run_once().expect(0);
    if start == Start::Removed {
        world.run_once().expect(0);
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Every key that matters here, as it is without a fault.
fn baseline(world: &World) {
    for (key, value) in [
        ("auth.token_url", world.api.token_url().as_str()),
        ("api.base_url", world.api.base_url().as_str()),
        ("api.page_size", "10"),
        ("api.requests_per_second", "0"),
        ("retry.max_attempts", "3"),
        ("retry.base_delay", "2ms"),
        ("retry.max_delay", "10ms"),
        ("retry.rate_limit_delay", "20ms"),
        ("schedule.run_timeout", "50s"),
        // What is said at this level is the most that can ever be said.
        ("log.level", "trace"),
    ] {
        world.set(key, value);
    }
}

/// Plays one scenario, and the clean run after it.
pub(super) fn play(scenario: &Scenario, engine: Engine, seeds: &Seeds) -> Row {
    block_on(async {
        let stage = Stage::new(seeds.world(engine, scenario.start).await);
        let world = &stage.world;
        baseline(world);
        world.list_people(LISTED);
        let _ = world.api.take_requests();
        let settings = world.api.settings();
        let listed = world.api.people(|people| people.ids());
        let before = rows(world).await;
        (scenario.play)(&stage);
        let done = world.run_once();
        let seen = world.api.take_requests();
        let after = rows(world).await;

        let mut found = Findings::default();
        found.judge_run(scenario, &stage, &done, &seen);
        found.judge_rows(scenario, &before, &after);
        if scenario.complete {
            found.expect_active(&listed, &after, "the run");
        }
        found.judge_words(&done, &seen, world).await;
        if let Some(check) = &scenario.check {
            let after = After {
                stderr: &done.stderr,
                rows: &after,
                seen: &seen,
                took: done.took,
                heard: stage.heard(),
            };
            found.0.extend(check(&after).err());
        }

        for name in stage.overridden() {
            world.unset_variable(&name);
        }
        baseline(world);
        world.api.clear_faults();
        world.api.set_page_hook(None);
        world.api.configure(|now| *now = settings);
        world.list_people(LISTED);
        let healed = world.run_once();
        if healed.code != 0 {
            let said = tail(&healed.stderr);
            found.say(format!("the next run ended with {}: {said}", healed.code));
        }
        found.expect_active(&listed, &rows(world).await, "the next run");
        if !found.0.is_empty() {
            found.say(format!("it said: {}", tail(&done.stderr)));
        }
        Row {
            name: scenario.name.clone(),
            engine,
            exit: done.code,
            requests: seen.len() + stage.bare_connections(),
            peak_kib: done.peak_kib,
            took: done.took,
            complaints: found.0,
        }
    })
}

/// One line a consent: key, e-mail, name, source, and its state.
async fn rows(world: &World) -> Vec<String> {
    world
        .db
        .rows(
            "select consent_key, email, full_name, source, case when removed_at is not null then 'removed' \
             when missing_since is not null then 'missing' else 'active' end from consents order by consent_key",
        )
        .await
}

fn key(row: &str) -> &str {
    row.split('|').next().unwrap_or_default()
}

fn is_active(row: &str) -> bool {
    row.ends_with("|active")
}

fn tail(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| line.chars().take(300).collect()).collect();
    let from = lines.len().saturating_sub(5);
    format!("\n      {}", lines[from..].join("\n      "))
}

#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn say(&mut self, what: impl Into<String>) {
        self.0.push(what.into());
    }

    fn judge_run(&mut self, scenario: &Scenario, stage: &Stage, done: &Done, seen: &[Seen]) {
        if done.code != scenario.exit {
            self.say(format!("exit {} instead of {}", done.code, scenario.exit));
        }
        let (requests, most) = (seen.len() + stage.bare_connections(), scenario.most);
        if requests > most {
            self.say(format!("{requests} requests instead of {most} at the most"));
        }
        if done.peak_kib == 0 || done.peak_kib > MOST_KIB {
            self.say(format!("{} KiB of memory", done.peak_kib));
        }
        if done.took > scenario.within {
            self.say(format!("it took {:?}", done.took));
        }
        if stage.elsewhere.connections() > 0 {
            self.say("another host was asked");
        }
        let stray = |call: &&Seen| {
            let token = call.endpoint == Endpoint::Token;
            call.endpoint == Endpoint::Other
                || token != (call.method == "POST")
                || token == call.raw_body.is_empty()
        };
        if let Some(call) = seen.iter().find(stray) {
            self.say(format!("a request that nobody should make: {call:?}"));
        }
    }

    /// Whoever was active is active, and says what it said.
    fn judge_rows(&mut self, scenario: &Scenario, before: &[String], after: &[String]) {
        let after: BTreeMap<&str, &String> = after.iter().map(|row| (key(row), row)).collect();
        let active = || before.iter().filter(|row| is_active(row));
        let lost = active().filter(|row| !after.get(key(row)).is_some_and(|now| is_active(now))).count();
        if lost > 0 || after.len() < before.len() {
            self.say(format!("{lost} people were lost or marked missing"));
        }
        let changed = active().filter(|row| after.get(key(row)) != Some(row)).count();
        if changed > lost && !scenario.edits {
            self.say(format!("{changed} rows were changed"));
        }
    }

    fn expect_active(&mut self, listed: &[String], rows: &[String], when: &str) {
        let active: BTreeSet<&str> = rows.iter().filter(|row| is_active(row)).map(|row| key(row)).collect();
        let listed: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
        let short = listed.difference(&active).count();
        let long = active.difference(&listed).count();
        if short + long > 0 {
            self.say(format!("after {when} {short} listed people are not active, and {long} others are"));
        }
    }

    /// No secret, token, cursor, name or address in what is printed or recorded.
    async fn judge_words(&mut self, done: &Done, seen: &[Seen], world: &World) {
        let mut said = done.output();
        let sql = "select error from sync_runs where error is not null";
        for error in world.db.rows(sql).await {
            let _ = writeln!(said, "{error}");
        }
        let lower = said.to_lowercase();
        for (what, needle) in forbidden(seen) {
            if lower.contains(&needle.to_lowercase()) {
                self.say(format!("{what} was told: {needle}"));
            }
        }
        if done.code != 0 && !lower.contains("error") {
            self.say("it failed without a word");
        }
        if said.contains("panicked") {
            self.say("it panicked");
        }
    }
}

fn forbidden(seen: &[Seen]) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("a secret", "mock~secret".to_owned()),
        ("a secret", "mock%7Esecret".to_owned()),
        ("a token", "ory_at_".to_owned()),
        ("a part of an answer", FOREIGN.to_owned()),
        ("an address", "@".to_owned()),
    ];
    let cursors = seen.iter().filter_map(|call| call.query("cursor"));
    all.extend(cursors.filter(|cursor| cursor.len() > 8).map(|cursor| ("a cursor", cursor.to_owned())));
    for number in (0..LISTED).chain(LEFT) {
        let person = understory_mock_api::person(1, number);
        if let Some(name) = person.get("full_name").and_then(Value::as_str) {
            all.push(("a name", name.to_owned()));
        }
    }
    all
}
