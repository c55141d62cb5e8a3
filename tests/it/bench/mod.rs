//! A place to run the real program in: a mock API, a folder, an environment of its own.

pub(crate) mod cluster;
pub(crate) mod mount;
pub(crate) mod proxy;
pub(crate) mod sql;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use understory_mock_api::{MockApi, MockSettings, person};

use sql::Db;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_understory-sync");

/// How a process ended and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    /// None: a signal.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// It ended with this code, and the error names all of these.
    #[track_caller]
    pub(crate) fn must(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {self:#?}");
        }
    }
}

/// The mock API, a folder, and what every process of the program is given.
pub(crate) struct Bench {
    pub(crate) api: MockApi,
    pub(crate) folder: TempDir,
    pub(crate) url: String,
    pub(crate) settings: Vec<(String, String)>,
}

impl Bench {
    /// So many people, so many on a page; the database will be a file in the folder.
    pub(crate) fn new(people: u64, page: usize) -> Self {
        let api =
            MockApi::start_blocking(MockSettings { page_length: Some(page), ..MockSettings::default() })
                .unwrap();
        api.people(|roster| roster.fill(1, 0..people));
        let folder = TempDir::with_prefix("understory-sync-test").unwrap();
        let url = format!("sqlite://{}", folder.path().join("consents.db").display());
        Self { api, folder, url, settings: Vec::new() }
    }

    /// The same API, another database.
    pub(crate) fn at(&mut self, url: impl Into<String>) {
        self.url = url.into();
    }

    /// Another key of the configuration, as `SECTION__KEY`.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// The database file of a bench that was not moved elsewhere.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("consents.db")
    }

    /// The program with this environment, run by `wrapper` where there is one.
    pub(crate) fn command_in(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let mut words = wrapper.iter().copied().chain([PROGRAM]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(arguments).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(self.folder.path());
        let settings = [
            ("AUTH__CLIENT_ID", "mock-key".to_owned()),
            ("AUTH__CLIENT_SECRET", "mock~secret".to_owned()),
            ("AUTH__TOKEN_URL", self.api.token_url()),
            ("API__BASE_URL", self.api.base_url()),
            ("API__REQUESTS_PER_SECOND", "0".to_owned()),
            ("RETRY__BASE_DELAY", "10ms".to_owned()),
            ("DATABASE__URL", self.url.clone()),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value));
        for (key, value) in settings.iter().chain(&self.settings) {
            command.env(format!("UNDERSTORY_SYNC__{key}"), value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_in(&[], arguments)
    }

    pub(crate) fn call(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    /// One run.
    pub(crate) fn run(&self) -> Ran {
        self.call(&["--run-once"])
    }

    /// One run that must be a good one.
    #[track_caller]
    pub(crate) fn run_well(&self) -> Ran {
        let ran = self.run();
        ran.must(0, &[]);
        ran
    }

    pub(crate) fn db(&self) -> Db {
        Db::open(&self.url)
    }

    /// Every active row is what the API lists, and nobody else is active.
    #[track_caller]
    pub(crate) fn must_be_exact(&self) {
        self.must_be_exact_in(&mut self.db());
    }

    #[track_caller]
    pub(crate) fn must_be_exact_in(&self, db: &mut Db) {
        let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_owned();
        let fields = ["id", "company_id", "email", "full_name", "source"];
        let listed: BTreeSet<String> = self
            .api
            .people(|people| people.items())
            .iter()
            .map(|item| fields.map(|field| text(item, field)).join("|"))
            .collect();
        let active: Vec<String> = db.texts(
            "select consent_id || '|' || company_id || '|' || email || '|' || coalesce(full_name, '') || '|' || coalesce(source, '') from active_consents",
        );
        let rows = active.len();
        let active: BTreeSet<String> = active.into_iter().collect();
        assert_eq!(rows, active.len(), "a consent is there twice");
        let (more, less) = (active.difference(&listed).count(), listed.difference(&active).count());
        assert!(more == 0 && less == 0, "{more} rows that are not listed, {less} listed that are no rows");
        assert_eq!(db.number("select count(*) from sync_runs where outcome = 'running'"), 0);
    }

    /// Lists the same people with another name each.
    pub(crate) fn rename_everybody(&self, people: u64, name: &str) {
        let items: Vec<Value> = (0..people)
            .map(|number| {
                let mut item = person(1, number);
                item["full_name"] = name.into();
                item
            })
            .collect();
        self.api.set_people(&items);
    }
}

/// A SQLite file is whole.
#[track_caller]
pub(crate) fn must_be_whole(file: &Path) {
    let mut db = Db::open(&format!("sqlite://{}", file.display()));
    assert_eq!(db.texts("pragma integrity_check"), ["ok"]);
}

/// Said past the harness, which shows what a test prints only where it fails.
pub(crate) fn say_loudly(words: &str) {
    let _ = std::io::stderr().lock().write_all(format!("\n*** {words}\n").as_bytes());
}

/// Polls until it holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < until, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Dice that fall the same way for the same seed (SplitMix64, public domain by Sebastiano Vigna).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `end` - 1.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A number from the environment, for longer runs by hand.
pub(crate) fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap())
}
