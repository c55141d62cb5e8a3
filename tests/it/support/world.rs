//! The world around the binary: a mock API, a database, a home, and variables.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use understory_mock_api::{MockApi, MockSettings};

use super::{Done, Engine, Running, TestDb};

/// Everything that one test of the binary needs; none shares anything with another.
pub(crate) struct World {
    /// The API.
    pub(crate) api: MockApi,
    /// The database.
    pub(crate) db: TestDb,
    home: TempDir,
    variables: RefCell<BTreeMap<String, String>>,
}

impl World {
    /// A mock API that lists nobody, and an empty database.
    pub(crate) async fn on(engine: Engine) -> Self {
        let api = MockApi::start(MockSettings::default()).await.unwrap();
        let db = TestDb::on(engine).await;
        let world = Self { home: tempfile::tempdir().unwrap(), variables: RefCell::default(), api, db };
        world.set("auth.token_url", &world.api.token_url());
        world.set("api.base_url", &world.api.base_url());
        world.set("api.requests_per_second", "0");
        world.set("retry.base_delay", "1ms");
        world.set("retry.max_delay", "5ms");
        world.set("retry.rate_limit_delay", "5ms");
        world.set("database.url", world.db.url());
        world
    }

    /// Sets a key for all runs from now on, through its variable.
    pub(crate) fn set(&self, key: &str, value: &str) {
        self.variable(&variable(key), value);
    }

    /// Sets any variable for all runs from now on.
    pub(crate) fn variable(&self, name: &str, value: &str) {
        self.variables.borrow_mut().insert(name.to_owned(), value.to_owned());
    }

    /// No longer sets a key.
    pub(crate) fn unset(&self, key: &str) {
        self.unset_variable(&variable(key));
    }

    /// No longer sets any variable.
    pub(crate) fn unset_variable(&self, name: &str) {
        self.variables.borrow_mut().remove(name);
    }

    /// Lists so many made-up people, whoever was listed before.
    pub(crate) fn list_people(&self, count: u64) {
        self.api.people(|people| {
            people.clear();
            people.fill(1, 0..count);
        });
    }

    /// Takes these people, by their places in it, off the list; their own pages still answer. Gives their ids.
    pub(crate) fn hide(&self, places: std::ops::Range<usize>) -> Vec<String> {
        self.api.people(|people| {
            let ids = people.ids()[places].to_vec();
            assert!(ids.iter().all(|id| people.list(id, false)));
            ids
        })
    }

    /// The working directory, which is the home too.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The binary with these arguments, in this world and nothing of the surrounding one. The key is the mock API's own, unless a
    /// test has set another.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let key = self.api.settings();
        let mut command = Command::new(env!("CARGO_BIN_EXE_understory-sync"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", "/usr/bin:/bin")
            .env(variable("auth.client_id"), key.client_id)
            .env(variable("auth.client_secret"), key.client_secret)
            .envs(&*self.variables.borrow())
            .current_dir(self.home());
        command
    }

    /// Like [`World::command`], but a shell runs these words first.
    pub(crate) fn command_after(&self, words: &str, arguments: &[&str]) -> Command {
        let direct = self.command(arguments);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{words}; exec \"$0\" \"$@\"")])
            .arg(direct.get_program())
            .args(arguments)
            .env_clear()
            .envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(self.home());
        command
    }

    /// Starts the binary.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// Runs the binary to its end.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        self.start(arguments).wait()
    }

    /// `--run-once`
    #[track_caller]
    pub(crate) fn run_once(&self) -> Done {
        self.run(&["--run-once"])
    }

    /// A column of the last run's row.
    pub(crate) async fn last_run(&self, columns: &str) -> String {
        self.db.value(&format!("select {columns} from sync_runs order by id desc limit 1")).await
    }
}

/// The variable that sets a key.
pub(crate) fn variable(key: &str) -> String {
    format!("UNDERSTORY_SYNC__{}", key.replace('.', "__").to_uppercase())
}
