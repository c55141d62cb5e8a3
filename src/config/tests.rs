//! The configuration as a whole: layers, complaints, secrets, the sample file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;

mod refusal;
mod shown;

/// A folder to stand in, with or without a file, and variables.
struct TestFolder {
    folder: TempDir,
    variables: Vec<(String, String)>,
    flags: [Option<&'static str>; 2],
    file: Option<PathBuf>,
    /// Who runs the program; not set: who runs the test.
    caller: Option<u32>,
}

impl TestFolder {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, variables: Vec::new(), flags: [None, None], file: None, caller: None }
    }

    /// With credentials, so that nothing is missing.
    fn new() -> Self {
        Self::empty()
            .set("UNDERSTORY_SYNC__AUTH__CLIENT_ID", "id")
            .set("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET", "hunter2")
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn write(self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, permissions).unwrap();
        self
    }

    fn toml(self, text: &str) -> Self {
        self.write("config.toml", text)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load_for(&self, needs: Needs) -> Result<LoadedConfig, ConfigError> {
        let pairs = self.variables.iter();
        let environment = pairs.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let sources = Sources {
            file: self.file.as_deref(),
            environment: &environment,
            log_level: self.flags[0],
            log_format: self.flags[1],
            working_dir: self.folder.path(),
            caller: self.caller.unwrap_or_else(crate::file::caller),
            now: "2026-01-15T10:20:30Z".parse().unwrap(),
        };
        load(&sources, needs)
    }

    fn load(&self) -> LoadedConfig {
        self.load_for(Needs::Credentials).unwrap()
    }

    /// The problems, which never show the secret that every test uses.
    fn problems(&self) -> Vec<ConfigProblem> {
        self.problems_for(Needs::Credentials)
    }

    fn problems_for(&self, needs: Needs) -> Vec<ConfigProblem> {
        let error = self.load_for(needs).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        error.problems
    }

    fn shown(&self) -> String {
        let loaded = self.load_for(Needs::Nothing).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        crate::command::config::run(&loaded, false, &mut out, &mut err).unwrap();
        out.extend(err);
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        text.replace(&self.folder.path().display().to_string(), "/work")
    }
}

#[test]
fn nothing_but_credentials_is_needed() {
    let loaded = TestFolder::new().load();
    assert_eq!(loaded.config.auth.client_id, "id");
    assert_eq!(loaded.config.auth.client_secret.expose_secret(), "hunter2");
    assert_eq!(loaded.config.auth.scopes, ["openid", "marketing.read"]);
    assert_eq!(loaded.config.health.stale_after, Duration::from_mins(130));
    assert_eq!(loaded.config.schedule.jitter, Duration::from_mins(5));
    assert_eq!(loaded.config.schedule.run_timeout, Some(Duration::from_mins(50)));
    assert_eq!((loaded.file, loaded.warnings.len()), (None, 0));
}

#[test]
fn later_layers_win() {
    let mut place = TestFolder::new().toml("[log]\nlevel = 'warn'\n[api]\npage_size = 10\n");
    assert_eq!(place.load().config.log.level, tracing::Level::WARN);
    place = place.set("UNDERSTORY_SYNC__LOG__LEVEL", "debug");
    assert_eq!(place.load().config.log.level, tracing::Level::DEBUG);
    place.flags = [Some("trace"), Some("json")];
    let loaded = place.load();
    assert_eq!(loaded.config.log.level, tracing::Level::TRACE);
    assert_eq!(loaded.config.log.format, LogFormat::Json);
    assert_eq!(loaded.config.api.page_size, 10);
    let origin = |key| loaded.entries.iter().find(|entry| entry.key == key).map(|entry| entry.origin.clone());
    assert_eq!(origin("log.level"), Some(Origin::Flag("--log-level")));
    assert_eq!(origin("api.page_size"), Some(Origin::File(place.path("config.toml"))));
    assert_eq!(origin("api.base_url"), Some(Origin::Default));
}

#[test]
fn the_file_is_the_flag_s_then_the_variable_s_then_the_working_folder_s() {
    let page = |size: u16| format!("api.page_size = {size}");
    let mut place = TestFolder::new().toml(&page(1)).write("a/2.toml", &page(2)).write("a/3.toml", &page(3));
    assert_eq!(place.load().config.api.page_size, 1);
    place = place.set("UNDERSTORY_SYNC_CONFIG", "a/2.toml");
    assert_eq!(place.load().config.api.page_size, 2);
    assert_eq!(place.load().file, Some(place.path("a/2.toml")));
    place.file = Some(place.path("a/3.toml"));
    assert_eq!(place.load().config.api.page_size, 3);
}

#[test]
fn commands_without_need_run_without_credentials() {
    let place = TestFolder::empty();
    let keys: Vec<String> = place.problems().into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["auth.client_id", "auth.client_secret"]);
    assert_eq!(place.load_for(Needs::Database).unwrap().config.auth.client_id, "");
    assert_eq!(place.load_for(Needs::Nothing).unwrap().missing.len(), 2);
    let place = place.set("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET_FILE", "none");
    assert!(place.load_for(Needs::Database).is_ok());
    assert_eq!(place.problems().len(), 2);
}

#[test]
fn the_secret_may_stand_in_a_file() {
    let id = |place: TestFolder| place.set("UNDERSTORY_SYNC__AUTH__CLIENT_ID", "id");
    let secret = |place: &TestFolder| place.load().config.auth.client_secret.expose_secret().to_owned();
    let place = id(TestFolder::empty()).write("s", "a~b \n").toml("auth.client_secret_file = 's'");
    assert_eq!(secret(&place), "a~b ");
    let place = id(TestFolder::empty()).write("c/client_secret", "x\n").set("CREDENTIALS_DIRECTORY", "c");
    assert_eq!(secret(&place), "x");
    // systemd sets the variable for other credentials too.
    let place = TestFolder::new().set("CREDENTIALS_DIRECTORY", "nowhere");
    assert_eq!(secret(&place), "hunter2");
    assert_eq!(id(TestFolder::empty()).set("CREDENTIALS_DIRECTORY", "nowhere").problems().len(), 1);
}

#[test]
fn a_value_and_its_file_are_not_both_set() {
    let place = TestFolder::new().write("s", "x").toml("auth.client_secret_file = 's'");
    let problems = place.problems_for(Needs::Database);
    assert_eq!((problems.len(), problems[0].key.as_str()), (1, "auth.client_secret"));
    assert!(problems[0].what.contains("both set") && problems[0].what.contains("config.toml"));
    let place = TestFolder::new()
        .toml("database.url = 'postgres://u:hunter2@h/d'")
        .set("UNDERSTORY_SYNC__DATABASE__URL_FILE", "none");
    assert_eq!(place.problems()[0].key, "database.url");
}

#[test]
fn the_database_comes_from_its_keys_before_the_common_variable() {
    let url = |place: &TestFolder| {
        place.load().config.database.shown_url().replace(&place.folder.path().display().to_string(), "")
    };
    let place = TestFolder::new();
    assert_eq!(url(&place), "sqlite:///understory.db");
    let place = place.set("DATABASE_URL", "postgres://u:hunter2@h/d");
    assert_eq!(url(&place), "postgres://u:[redacted]@h/d");
    let place = place.write("u", "sqlite://from-file.db\n").write("sub/c.toml", "database.url_file = '../u'");
    let place = place.set("UNDERSTORY_SYNC_CONFIG", "sub/c.toml");
    assert_eq!(url(&place), "sqlite:///sub/from-file.db");
    let place = TestFolder::new().set("DATABASE_URL", "x").toml("database.url = 'sqlite://mine.db'");
    assert_eq!(url(&place), "sqlite:///mine.db");
}

#[test]
fn a_schema_is_postgresql_s() {
    let place = |schema: &str| {
        TestFolder::new()
            .set("DATABASE_URL", "postgres://h/d")
            .set("UNDERSTORY_SYNC__DATABASE__SCHEMA", schema)
    };
    for right in ["s", "a \"b\" ü;", &"x".repeat(63)] {
        assert_eq!(place(right).load().config.database.schema.as_deref(), Some(right));
    }
    assert_eq!(place(&"ü".repeat(32)).problems()[0].key, "database.schema");
    assert_eq!(place("").load().config.database.schema, None);
}

#[test]
fn jitter_is_at_most_a_tenth_of_the_interval() {
    let every_minute = || TestFolder::new().set("UNDERSTORY_SYNC__SCHEDULE__CRON", "0 * * * * *");
    let loaded = every_minute().load();
    assert_eq!((loaded.config.schedule.jitter, loaded.warnings.len()), (Duration::from_secs(6), 0));
    assert_eq!(loaded.config.health.stale_after, Duration::from_mins(12));
    assert_eq!(loaded.config.health.absence_after, Duration::from_hours(24));
    let loaded = every_minute().set("UNDERSTORY_SYNC__SCHEDULE__JITTER", "10s").load();
    assert_eq!((loaded.config.schedule.jitter, loaded.warnings.len()), (Duration::from_secs(6), 1));
}

#[test]
fn absence_is_judged_at_least_as_often_as_a_run_is_expected() {
    let weekly = || TestFolder::new().set("UNDERSTORY_SYNC__SCHEDULE__CRON", "0 0 0 * * Mon");
    let health = weekly().load().config.health;
    assert_eq!(health.absence_after, health.stale_after);
    let set = weekly().set("UNDERSTORY_SYNC__HEALTH__ABSENCE_AFTER", "2h").load().config.health;
    assert_eq!(set.absence_after, Duration::from_hours(2));
}

#[test]
fn the_notification_url_may_stand_in_a_file() {
    let place =
        TestFolder::new().write("u", "https://chat.example.org/hunter2\n").toml("notify.url_file = 'u'");
    let url = place.load().config.notify.url.unwrap();
    assert_eq!(url.expose_secret(), "https://chat.example.org/hunter2");
    assert!(place.shown().contains("https://chat.example.org/[redacted]"), "{}", place.shown());
    let both = TestFolder::new()
        .set("UNDERSTORY_SYNC__NOTIFY__URL", "https://h/hunter2")
        .toml("notify.url_file = 'u'");
    assert_eq!(both.problems()[0].key, "notify.url");
    let absent = TestFolder::new().toml("notify.url_file = 'none'");
    assert_eq!(absent.problems()[0].key, "notify.url_file");
    assert!(absent.load_for(Needs::Database).is_ok());
}

#[test]
fn a_listener_that_other_networks_may_reach_is_warned_of() {
    for (address, public) in [
        ("127.0.0.1:1", false),
        ("[::1]:1", false),
        ("10.0.0.7:1", false),
        ("172.17.0.1:1", false),
        ("100.64.0.1:1", false),
        ("[fd00::1]:1", false),
        ("0.0.0.0:1", true),
        ("[::]:1", true),
        ("192.0.2.7:1", true),
        ("[2001:db8::1]:1", true),
        ("[::ffff:192.0.2.7]:1", true),
        ("[::ffff:10.0.0.7]:1", false),
    ] {
        let loaded = TestFolder::new().set("UNDERSTORY_SYNC__HTTP__LISTEN", address).load();
        assert_eq!(loaded.warnings.join("").contains("other networks"), public, "{address}");
    }
}

#[test]
fn scopes_in_a_variable_stand_with_commas_or_spaces_between() {
    for text in ["a,b.c", "a b.c", "a, b.c", " a  b.c,"] {
        let scopes = TestFolder::new().set("UNDERSTORY_SYNC__AUTH__SCOPES", text).load().config.auth.scopes;
        assert_eq!(scopes, ["a", "b.c"], "{text}");
    }
}
