//! Followers that know nothing but the contract mirror a table through random lives: lists that change, ids that come and go,
//! removals, returns, erasures by hand and by retention, restored backups, and kills at any instant.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use understory_mock_api::person;

use crate::bench::{Dice, number_from, say_loudly};
use crate::support::{Done, Engine, Follower, World, try_administer};

/// Few people, so that they meet each other's keys, ids and addresses.
const PEOPLE: u64 = 6;

#[derive(Clone, Copy)]
struct Entry {
    id: u64,
    email: u64,
    version: u64,
    has_source: bool,
}

/// A state of the database to go back to.
struct Backup {
    /// A file, or a database of the server.
    place: String,
    /// Whether it has a feed of its own wherever it is put.
    is_marked: bool,
    has_reader: bool,
}

struct Life {
    dice: Dice,
    world: World,
    list: Vec<Entry>,
    away: Vec<Entry>,
    /// Percent of the items that come with their id.
    ids: u64,
    /// Keeps its cursor itself.
    since: Follower,
    /// Is a name in the database.
    named: Follower,
    backups: Vec<Backup>,
    /// What they have read was lost by a restore: they must be told.
    since_must_begin_anew: bool,
    named_must_begin_anew: bool,
    readings: usize,
    log: String,
}

impl Life {
    async fn new(seed: u64, engine: Engine) -> Self {
        let mut dice = Dice::new(seed);
        let world = World::on(engine).await;
        world.set("removal.max_percent", if dice.chance(70) { "100" } else { "20" });
        world.set("removal.confirm_after", if dice.chance(70) { "0s" } else { "7d" });
        let ids = [100, 100, 0, 50][usize::try_from(dice.below(4)).unwrap()];
        Self {
            dice,
            world,
            list: Vec::new(),
            away: Vec::new(),
            ids,
            since: Follower::default(),
            named: Follower::default(),
            backups: Vec::new(),
            since_must_begin_anew: false,
            named_must_begin_anew: false,
            readings: 0,
            log: String::new(),
        }
    }

    fn note(&mut self, what: &str) {
        let _ = writeln!(self.log, "{what}");
    }

    fn some(&mut self, count: usize) -> usize {
        usize::try_from(self.dice.below(count.max(1) as u64)).unwrap()
    }

    fn change_list(&mut self) {
        match self.dice.below(16) {
            0..=3 => {
                let (id, other) = (self.dice.below(PEOPLE), self.dice.below(PEOPLE));
                let email = if self.dice.chance(25) { other } else { id };
                let entry =
                    Entry { id, email, version: self.dice.below(4), has_source: self.dice.chance(20) };
                self.list.push(entry);
            }
            4..=5 if !self.list.is_empty() => {
                let at = self.some(self.list.len());
                self.away.push(self.list.remove(at));
            }
            6..=7 if !self.away.is_empty() => {
                let at = self.some(self.away.len());
                self.list.insert(0, self.away.remove(at));
            }
            8 | 12 if !self.list.is_empty() => {
                let at = self.some(self.list.len());
                self.list[at].email = self.dice.below(PEOPLE);
            }
            9 if !self.list.is_empty() => {
                let at = self.some(self.list.len());
                self.list[at].version = self.dice.below(4);
            }
            10 | 13 | 14 => self.ids = [100, 0, 50][usize::try_from(self.dice.below(3)).unwrap()],
            11 if self.dice.chance(40) => self.away.append(&mut self.list),
            _ => {}
        }
    }

    fn publish(&mut self) {
        let company = person(1, 0)["company_id"].clone();
        let ids = self.ids;
        let items: Vec<Value> = self
            .list
            .iter()
            .map(|entry| {
                let mut item = json!({"company_id": company, "email": address(entry.email), "full_name": format!("Name {}", entry.version)});
                if entry.id * 100 / PEOPLE < ids {
                    item["id"] = json!(format!("id-{}", entry.id));
                }
                if entry.has_source {
                    item["source"] = json!("checkout");
                }
                item
            })
            .collect();
        self.world.api.set_people(&items);
    }

    fn configure(&mut self) {
        let mut age = |percent, rest: &'static str| if self.dice.chance(percent) { "1s" } else { rest };
        let (removed, erasures, history) = (age(50, "never"), age(15, "90d"), age(20, "never"));
        self.world.set("retention.removed", removed);
        self.world.set("retention.erasures", erasures);
        self.world.set("retention.history", history);
    }

    /// Runs a command that may be killed at any instant. None: it was.
    fn run_or_kill(&mut self, arguments: &[&str], kill: u64) -> Option<Done> {
        let mut running = self.world.start(arguments);
        if self.dice.chance(kill) {
            std::thread::sleep(Duration::from_micros(self.dice.below(60_000)));
            running.kill();
        }
        let done = running.wait();
        (done.code != 137).then_some(done)
    }

    async fn run(&mut self) {
        for _ in 0..=self.dice.below(4) {
            self.change_list();
        }
        self.publish();
        self.configure();
        // Retention looks at when a removal was recorded, the feed does not.
        if self.dice.chance(50) && self.world.db.find("select 1 from feed_log").await.is_some() {
            self.world.db.execute(LONG_AGO).await;
        }
        let percent = self.dice.below(30);
        let arguments: &[&str] =
            if percent < 6 { &["--run-once", "--accept-removals", "100"] } else { &["--run-once"] };
        if self.dice.chance(15) {
            // A reader does not wait for a run; what it misses comes with the next reading.
            let running = self.world.start(arguments);
            let code = self.follow_since(false).await;
            self.note(&format!("run beside a reading ({code}): {}", running.wait().code));
            self.let_names_go().await;
            return;
        }
        match self.run_or_kill(arguments, 12) {
            Some(done) => {
                assert!([0, 65, 75].contains(&done.code), "{done:?}");
                self.note(&format!("run {arguments:?} {}: {}", self.list.len(), done.code));
            }
            None => self.let_names_go().await,
        }
    }

    /// What was killed holds the lease and the reader's name for a while; none of that is what this is about.
    async fn let_names_go(&mut self) {
        if self.world.db.find("select 1 from feed_log").await.is_some() {
            self.world.db.execute(LET_GO).await;
        }
        self.note("a kill");
    }

    /// The follower that keeps its cursor itself.
    async fn follow_since(&mut self, alone: bool) -> i32 {
        let done = self.since.try_read(&self.world);
        if [0, 65].contains(&done.code) {
            let had_to = std::mem::take(&mut self.since_must_begin_anew);
            assert!(!had_to || done.code == 65, "silence after a restore: {done:?}");
        }
        match done.code {
            0 if alone => self.since.expect_equal(&self.world).await,
            65 => {
                assert!(self.since.cursor.is_some() && done.stderr.contains("begin anew"), "{done:?}");
                self.since.cursor = None;
                self.since.read(&self.world);
                if alone {
                    self.since.expect_equal(&self.world).await;
                }
            }
            // No database yet.
            0 | 78 => {}
            // A writer is at work.
            75 if !alone => {}
            _ => panic!("{done:?}"),
        }
        self.note(&format!("--since: {}", done.code));
        done.code
    }

    /// The follower whose cursor is in the database. Gives the exit code of the first try.
    async fn follow_named(&mut self, kill: u64) -> i32 {
        let mut first = None;
        loop {
            self.readings += 1;
            let file = self.world.home().join(format!("taken-{}", self.readings));
            let command = format!("exec cat >{}", file.display());
            let done = self.run_or_kill(&["changes", "--as", "crm", "--", "sh", "-c", &command], kill);
            self.named.take(&std::fs::read_to_string(&file).unwrap_or_default());
            let Some(done) = done else {
                self.let_names_go().await;
                return 137;
            };
            let code = *first.get_or_insert(done.code);
            if [0, 65].contains(&done.code) {
                let had_to = std::mem::take(&mut self.named_must_begin_anew);
                assert!(!had_to || done.code == 65, "silence after a restore: {done:?}");
            }
            match done.code {
                0 => {
                    self.named.expect_equal(&self.world).await;
                    self.note(&format!("--as: {code}"));
                    return code;
                }
                65 => drop(self.world.run(&["changes", "--forget-reader", "crm"]).expect(0)),
                78 => return 78,
                _ => panic!("{done:?}"),
            }
        }
    }

    async fn forget(&mut self) {
        let who = address(self.dice.below(PEOPLE));
        let arguments: &[&str] =
            if self.dice.chance(25) { &["forget", "--undo", &who] } else { &["forget", &who] };
        match self.run_or_kill(arguments, 10) {
            Some(done) => {
                assert!([0, 78].contains(&done.code), "{done:?}");
                self.note(&format!("{arguments:?}: {}", done.code));
            }
            None => self.let_names_go().await,
        }
    }

    async fn back_up(&mut self) {
        if self.world.db.find("select 1 from feed_log").await.is_none() {
            return;
        }
        let number = self.backups.len();
        let (place, is_marked) = match self.world.db.engine() {
            Engine::Sqlite => {
                let copy = self.world.home().join(format!("backup-{number}"));
                let is_marked = self.dice.chance(50);
                if is_marked {
                    self.world.run(&["backup", &copy.display().to_string()]).expect(0);
                } else {
                    copy_database(&self.world.db.path(), &copy);
                }
                (copy.display().to_string(), is_marked)
            }
            Engine::Postgres => {
                let (name, copy) = (self.name(), format!("{}_{number}", self.name()));
                assert!(try_administer(&format!("create database {copy} template {name}")).await);
                (copy, true)
            }
        };
        self.note(&format!("backup {number} to {place}"));
        let reader = "select cursor from feed_readers where name = 'crm'";
        let has_reader = self.world.db.find(reader).await.is_some();
        self.backups.push(Backup { place, is_marked, has_reader });
    }

    async fn restore(&mut self) {
        if self.backups.is_empty() {
            return;
        }
        let number = self.some(self.backups.len());
        let Backup { place, is_marked, has_reader } = &self.backups[number];
        let mut how = "create database";
        if self.world.db.is_postgres() {
            let name = self.name();
            assert!(try_administer(&format!("drop database {name} with (force)")).await);
            assert!(try_administer(&format!("create database {name} template {place}")).await);
        } else if self.dice.chance(50) {
            how = "mv";
            let between = self.world.db.folder().join("between");
            copy_database(Path::new(place), &between);
            drop_side_files(&self.world.db.path());
            std::fs::rename(&between, self.world.db.path()).unwrap();
            for (from, to) in side_files(&between).iter().zip(side_files(&self.world.db.path())) {
                let _ = std::fs::rename(from, to);
            }
        } else {
            how = "cp";
            copy_database(Path::new(place), &self.world.db.path());
        }
        // What they read of a plain copy's original may all be in the copy: then they go on, and lose nothing by it.
        self.since_must_begin_anew = self.since.cursor.is_some() && *is_marked;
        self.named_must_begin_anew = *has_reader && *is_marked;
        self.note(&format!("restore of {number} by {how}"));
        if self.dice.chance(15) {
            self.world.run(&["changes", "--restored"]).expect(0);
        }
    }

    fn name(&self) -> String {
        self.world.db.url().rsplit('/').next().unwrap().to_owned()
    }

    async fn live(&mut self) {
        for _ in 0..6 {
            self.change_list();
        }
        for _ in 0..15 + self.dice.below(25) {
            match self.dice.below(20) {
                0..=10 => self.run().await,
                11..=12 => drop(self.follow_since(true).await),
                13..=15 => drop(self.follow_named(15).await),
                16 => self.forget().await,
                17 => self.back_up().await,
                18 => self.restore().await,
                _ => {}
            }
        }
        self.run().await;
        self.follow_since(true).await;
        self.follow_named(0).await;
    }
}

const LONG_AGO: &str =
    "update consents set removed_at = '2020-01-01T00:00:00.000Z' where removed_at is not null";

const LET_GO: &str = "update sync_lease set holder = null, expires_at = '2000-01-01T00:00:00.000Z'; \
     update feed_readers set holder = null, held_until = null";

fn address(number: u64) -> String {
    format!("person{number}@example.com")
}

fn side_files(database: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|ending| PathBuf::from(format!("{}{ending}", database.display())))
}

fn drop_side_files(database: &Path) {
    for file in side_files(database) {
        let _ = std::fs::remove_file(file);
    }
}

/// As `cp` does it, onto a file that is there too; with the log of a process that was killed.
fn copy_database(from: &Path, to: &Path) {
    drop_side_files(to);
    std::fs::write(to, std::fs::read(from).unwrap()).unwrap();
    if let Ok(log) = std::fs::read(&side_files(from)[0]) {
        std::fs::write(&side_files(to)[0], log).unwrap();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if self.world.db.is_postgres() && !self.backups.is_empty() {
            let drops: Vec<String> = self
                .backups
                .iter()
                .map(|backup| format!("drop database if exists {}", backup.place))
                .collect();
            let dropping = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    for drop in drops {
                        try_administer(&drop).await;
                    }
                });
            });
            let _ = dropping.join();
        }
    }
}

fn live(engine: Engine) {
    let (first, lives) = (number_from("UNDERSTORY_SYNC_SEED", 1), number_from("UNDERSTORY_SYNC_FOLLOWED", 4));
    for seed in first..first + lives {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut life = runtime.block_on(Life::new(seed, engine));
        let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(life.live())));
        if let Err(cause) = outcome {
            say_loudly(&format!(
                "{engine:?}, seed {seed} fails (UNDERSTORY_SYNC_SEED={seed} UNDERSTORY_SYNC_FOLLOWED=1):\n{}",
                life.log
            ));
            resume_unwind(cause);
        }
    }
}

#[test]
fn followers_end_equal_to_the_active_consents_of_a_file_after_random_lives() {
    live(Engine::Sqlite);
}

#[test]
fn followers_end_equal_to_the_active_consents_of_a_server_after_random_lives() {
    live(Engine::Postgres);
}
