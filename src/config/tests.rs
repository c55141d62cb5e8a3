//! The configuration as a whole: layers, complaints, secrets, the sample file.

use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;

/// A folder to stand in, with or without a file, and variables.
struct Place {
    folder: TempDir,
    variables: Vec<(String, String)>,
    flags: [Option<&'static str>; 2],
    file: Option<PathBuf>,
}

impl Place {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            variables: Vec::new(),
            flags: [None, None],
            file: None,
        }
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
        std::fs::write(path, text).unwrap();
        self
    }

    fn toml(self, text: &str) -> Self {
        self.write("config.toml", text)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load_for(&self, needs: Needs) -> Result<Loaded, ConfigError> {
        let pairs = self.variables.iter();
        let environment = pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let sources = Sources {
            file: self.file.as_deref(),
            environment: &environment,
            log_level: self.flags[0],
            log_format: self.flags[1],
            working_dir: self.folder.path(),
            now: "2026-01-15T10:20:30Z".parse().unwrap(),
        };
        load(&sources, needs)
    }

    fn load(&self) -> Loaded {
        self.load_for(Needs::Credentials).unwrap()
    }

    /// The problems, which never show the secret that every test uses.
    fn problems(&self) -> Vec<Problem> {
        self.problems_for(Needs::Credentials)
    }

    fn problems_for(&self, needs: Needs) -> Vec<Problem> {
        let error = self.load_for(needs).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        assert_eq!(error.exit(), crate::exit::Exit::Config);
        error.problems
    }

    fn shown(&self) -> String {
        let loaded = self.load_for(Needs::Nothing).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        crate::command::config::run(&loaded, &mut out, &mut err).unwrap();
        out.extend(err);
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        text.replace(&self.folder.path().display().to_string(), "/work")
    }
}

#[test]
fn nothing_but_credentials_is_needed() {
    let loaded = Place::new().load();
    assert_eq!(loaded.config.auth.client_id, "id");
    assert_eq!(loaded.config.auth.client_secret.expose_secret(), "hunter2");
    assert_eq!(loaded.config.auth.scopes, ["openid", "marketing.read"]);
    assert_eq!(loaded.config.health.stale_after, Duration::from_mins(130));
    assert_eq!(loaded.config.schedule.jitter, Duration::from_mins(5));
    assert_eq!(
        loaded.config.schedule.run_timeout,
        Some(Duration::from_mins(50))
    );
    assert_eq!((loaded.file, loaded.warnings.len()), (None, 0));
}

#[test]
fn later_layers_win() {
    let mut place = Place::new().toml("[log]\nlevel = 'warn'\n[api]\npage_size = 10\n");
    assert_eq!(place.load().config.log.level, tracing::Level::WARN);
    place = place.set("UNDERSTORY_SYNC__LOG__LEVEL", "debug");
    assert_eq!(place.load().config.log.level, tracing::Level::DEBUG);
    place.flags = [Some("trace"), Some("json")];
    let loaded = place.load();
    assert_eq!(loaded.config.log.level, tracing::Level::TRACE);
    assert_eq!(loaded.config.log.format, LogFormat::Json);
    assert_eq!(loaded.config.api.page_size, 10);
    let origin = |key| {
        loaded
            .entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.origin.clone())
    };
    assert_eq!(origin("log.level"), Some(Origin::Flag("--log-level")));
    assert_eq!(
        origin("api.page_size"),
        Some(Origin::File(place.path("config.toml")))
    );
    assert_eq!(origin("api.base_url"), Some(Origin::Default));
}

#[test]
fn the_file_is_the_flag_s_then_the_variable_s_then_the_working_folder_s() {
    let page = |size: u16| format!("api.page_size = {size}");
    let mut place = Place::new()
        .toml(&page(1))
        .write("a/2.toml", &page(2))
        .write("a/3.toml", &page(3));
    assert_eq!(place.load().config.api.page_size, 1);
    place = place.set("UNDERSTORY_SYNC_CONFIG", "a/2.toml");
    assert_eq!(place.load().config.api.page_size, 2);
    assert_eq!(place.load().file, Some(place.path("a/2.toml")));
    place.file = Some(place.path("a/3.toml"));
    assert_eq!(place.load().config.api.page_size, 3);
}

#[test]
fn a_named_file_must_be_there() {
    let mut place = Place::empty().toml("");
    for name in ["none.toml", "."] {
        place.file = Some(PathBuf::from(name));
        let problems = place.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].origin, Some(Origin::Flag("--config")));
    }
    let place = Place::empty().set("UNDERSTORY_SYNC_CONFIG", "none.toml");
    assert_eq!(place.problems().len(), 1);
}

#[test]
fn every_problem_is_told_at_once_with_key_origin_and_cure() {
    let place = Place::empty()
        .toml("[api]\npage_size = 500\npagesize = 3\nread_timeout = 30\n[schedule]\ncron = '* * *'\n[oops]\nx = 1\n")
        .set("UNDERSTORY_SYNC__AUTH__TOKEN_URL", "http://example.org")
        .set("UNDERSTORY_SYNC_API_PAGE_SIZE", "5")
        .set("UNDERSTORY_SYNC__REMOVAL__MAX_PERCENT", "NaN");
    let error = place.load_for(Needs::Credentials).unwrap_err();
    let told = error
        .to_string()
        .replace(&place.folder.path().display().to_string(), "/work");
    insta::assert_snapshot!("every_problem", told);
}

#[test]
fn wrong_values_are_refused_wherever_they_stand() {
    for (key, values) in [
        ("api.page_size", &["0", "101", "-1", "1.5", "ten", "+5"][..]),
        (
            "api.requests_per_second",
            &["-1", "NaN", "inf", "0.0000001", "x"],
        ),
        ("api.max_page_bytes", &["1023", "99999999999999999999"]),
        (
            "api.connect_timeout",
            &[
                "0s",
                "10",
                "10 s",
                "-1s",
                "off",
                "never",
                "99999999999999999999d",
            ],
        ),
        ("api.company_id", &[" ", "a\nb"]),
        ("api.user_agent", &["a\nb", "ü", " a"]),
        ("retry.max_attempts", &["0", "101"]),
        (
            "schedule.cron",
            &["* * * * *", "0 0 0 30 2 *", "x", "0 0 * * * * *"],
        ),
        ("schedule.timezone", &["Mars/Olympus", "+01:00"]),
        ("schedule.run_at_start", &["yes", "1", "TRUE"]),
        ("schedule.run_timeout", &["0s", "never"]),
        ("database.url", &["mysql://h/d", "x.db", "sqlite::memory:"]),
        ("database.schema", &["s"]),
        ("removal.confirm_runs", &["1", "101"]),
        ("removal.max_percent", &["-1", "100.1", "NaN"]),
        ("removal.min_count", &["-1"]),
        ("retention.history", &["off", "0s"]),
        ("http.listen", &["9187", "localhost:9187"]),
        ("health.heartbeat_url", &["http://example.org/x", "never"]),
        ("log.level", &["loud", "INFO", "off"]),
        ("log.format", &["xml"]),
    ] {
        for value in values {
            let place = Place::new().set(&key::variable(key), value);
            let problems = place.problems_for(Needs::Database);
            assert_eq!(problems.len(), 1, "{key} {value}: {problems:?}");
            assert_eq!(problems[0].key, key);
            assert!(!problems[0].allowed.is_empty(), "{key}");
        }
    }
}

#[test]
fn a_file_s_kinds_are_told_apart() {
    for line in [
        "api.page_size = '50'",
        "api.page_size = 5.0",
        "api.page_size = [5]",
        "api.page_size = {}",
        "api.requests_per_second = '5'",
        "schedule.run_at_start = 'true'",
        "schedule.run_timeout = false",
        "auth.audience = 5",
        "auth.audience = ''",
        "auth.scopes = [1]",
        "auth.scopes = []",
        "api = 3",
        "auth.client_secret = 12345",
        "auth.client_id = ''",
    ] {
        assert_eq!(
            Place::empty().toml(line).problems_for(Needs::Nothing).len(),
            1,
            "{line}"
        );
    }
}

#[test]
fn a_syntax_error_names_the_place_but_quotes_nothing() {
    for (text, key) in [
        ("[auth]\nclient_secret = hunter2\n", "auth.client_secret"),
        ("[auth]\nclient_secret = \"hunter2\n", "auth.client_secret"),
        (
            "auth.client_secret = 'hunter2' hunter2",
            "auth.client_secret",
        ),
        (
            "[auth]\nclient_secret = 'hunter2'\nclient_secret = 'hunter2'\n",
            "auth.client_secret",
        ),
        (
            "[database]\nurl = postgres://u:hunter2@h/d\n",
            "database.url",
        ),
        ("[api]\npage_size = 99999999999999999999\n", "api.page_size"),
    ] {
        let problems = Place::empty().toml(text).problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].key, key, "{problems:?}");
    }
    let problems = Place::empty().toml("hunter2").problems();
    assert!(problems[0].what.contains("line 1, column"), "{problems:?}");
}

#[test]
fn unknown_keys_name_the_nearest() {
    for (line, unknown, nearest) in [
        (
            "[auth]\nclientid = 'hunter2'",
            "auth.clientid",
            "auth.client_id",
        ),
        ("client_id = 'x'", "client_id", "auth.client_id"),
        (
            "[auht]\nclient_id = 'x'",
            "auht.client_id",
            "auth.client_id",
        ),
        (
            "'auth.client_id' = 'x'",
            "\"auth.client_id\"",
            "auth.client_id",
        ),
        (
            "[auth.client_id]\nx = 1",
            "auth.client_id.x",
            "auth.client_id",
        ),
    ] {
        let problems = Place::new().toml(line).problems();
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, unknown));
        assert!(problems[0].allowed.contains(nearest), "{problems:?}");
    }
}

#[test]
fn commands_without_need_run_without_credentials() {
    let place = Place::empty();
    let keys: Vec<String> = place
        .problems()
        .into_iter()
        .map(|problem| problem.key)
        .collect();
    assert_eq!(keys, ["auth.client_id", "auth.client_secret"]);
    assert_eq!(
        place
            .load_for(Needs::Database)
            .unwrap()
            .config
            .auth
            .client_id,
        ""
    );
    assert_eq!(place.load_for(Needs::Nothing).unwrap().missing.len(), 2);
    let place = place.set("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET_FILE", "none");
    assert!(place.load_for(Needs::Database).is_ok());
    assert_eq!(place.problems().len(), 2);
}

#[test]
fn the_secret_may_stand_in_a_file() {
    let id = |place: Place| place.set("UNDERSTORY_SYNC__AUTH__CLIENT_ID", "id");
    let secret = |place: &Place| {
        place
            .load()
            .config
            .auth
            .client_secret
            .expose_secret()
            .to_owned()
    };
    let place = id(Place::empty())
        .write("s", "a~b \n")
        .toml("auth.client_secret_file = 's'");
    assert_eq!(secret(&place), "a~b ");
    let place = id(Place::empty())
        .write("c/client_secret", "x\n")
        .set("CREDENTIALS_DIRECTORY", "c");
    assert_eq!(secret(&place), "x");
    // systemd sets the variable for other credentials too.
    let place = Place::new().set("CREDENTIALS_DIRECTORY", "nowhere");
    assert_eq!(secret(&place), "hunter2");
    assert_eq!(
        id(Place::empty())
            .set("CREDENTIALS_DIRECTORY", "nowhere")
            .problems()
            .len(),
        1
    );
}

#[test]
fn a_value_and_its_file_are_not_both_set() {
    let place = Place::new()
        .write("s", "x")
        .toml("auth.client_secret_file = 's'");
    let problems = place.problems_for(Needs::Database);
    assert_eq!(
        (problems.len(), problems[0].key.as_str()),
        (1, "auth.client_secret")
    );
    assert!(problems[0].what.contains("both set") && problems[0].what.contains("config.toml"));
    let place = Place::new()
        .toml("database.url = 'postgres://u:hunter2@h/d'")
        .set("UNDERSTORY_SYNC__DATABASE__URL_FILE", "none");
    assert_eq!(place.problems()[0].key, "database.url");
}

#[test]
fn the_database_comes_from_its_keys_before_the_common_variable() {
    let url = |place: &Place| {
        place
            .load()
            .config
            .database
            .shown_url()
            .replace(&place.folder.path().display().to_string(), "")
    };
    let place = Place::new();
    assert_eq!(url(&place), "sqlite:///understory.db");
    let place = place.set("DATABASE_URL", "postgres://u:hunter2@h/d");
    assert_eq!(url(&place), "postgres://u:[redacted]@h/d");
    let place = place
        .write("u", "sqlite://from-file.db\n")
        .write("sub/c.toml", "database.url_file = '../u'");
    let place = place.set("UNDERSTORY_SYNC_CONFIG", "sub/c.toml");
    assert_eq!(url(&place), "sqlite:///sub/from-file.db");
    let place = Place::new()
        .set("DATABASE_URL", "x")
        .toml("database.url = 'sqlite://mine.db'");
    assert_eq!(url(&place), "sqlite:///mine.db");
}

#[test]
fn a_schema_is_postgresql_s() {
    let place = |schema: &str| {
        Place::new()
            .set("DATABASE_URL", "postgres://h/d")
            .set("UNDERSTORY_SYNC__DATABASE__SCHEMA", schema)
    };
    for right in ["s", "a \"b\" ü;", &"x".repeat(63)] {
        assert_eq!(
            place(right).load().config.database.schema.as_deref(),
            Some(right)
        );
    }
    assert_eq!(place(&"ü".repeat(32)).problems()[0].key, "database.schema");
    assert_eq!(place("").load().config.database.schema, None);
}

#[test]
fn jitter_is_at_most_a_tenth_of_the_interval() {
    let every_minute = || Place::new().set("UNDERSTORY_SYNC__SCHEDULE__CRON", "0 * * * * *");
    let loaded = every_minute().load();
    assert_eq!(
        (loaded.config.schedule.jitter, loaded.warnings.len()),
        (Duration::from_secs(6), 0)
    );
    assert_eq!(loaded.config.health.stale_after, Duration::from_mins(12));
    let loaded = every_minute()
        .set("UNDERSTORY_SYNC__SCHEDULE__JITTER", "10s")
        .load();
    assert_eq!(
        (loaded.config.schedule.jitter, loaded.warnings.len()),
        (Duration::from_secs(6), 1)
    );
}

#[test]
fn delays_stand_in_order() {
    let problems = Place::new()
        .set("UNDERSTORY_SYNC__RETRY__BASE_DELAY", "2m")
        .problems();
    assert_eq!(
        (problems.len(), problems[0].key.as_str()),
        (1, "retry.base_delay")
    );
}

#[test]
fn scopes_in_a_variable_stand_with_commas_or_spaces_between() {
    for text in ["a,b.c", "a b.c", "a, b.c", " a  b.c,"] {
        let scopes = Place::new()
            .set("UNDERSTORY_SYNC__AUTH__SCOPES", text)
            .load()
            .config
            .auth
            .scopes;
        assert_eq!(scopes, ["a", "b.c"], "{text}");
    }
}

#[test]
fn config_shows_everything_but_secrets() {
    let place = Place::empty()
        .toml("[auth]\nclient_id = 'id'\n[health]\nheartbeat_url = 'https://hc.example.org/hunter2'\n")
        .write("secret", "hunter2")
        .set("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET_FILE", "secret")
        .set("DATABASE_URL", "postgres://u:hunter2@h/d?sslmode=require")
        .set("HTTPS_PROXY", "http://u:hunter2@proxy:3128")
        .set("https_proxy", "u:hunter2@proxy:3128")
        .set("NO_PROXY", "localhost,.example.org");
    insta::assert_snapshot!(
        "config",
        place.shown().replace(env!("CARGO_PKG_VERSION"), "VERSION")
    );
}

#[test]
fn config_tells_what_is_missing_and_can_be_read_back() {
    let place = Place::empty();
    let loaded = place.load_for(Needs::Nothing).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = crate::command::config::run(&loaded, &mut out, &mut err).unwrap();
    assert_eq!(exit, crate::exit::Exit::Config);
    assert!(
        String::from_utf8(err)
            .unwrap()
            .contains("UNDERSTORY_SYNC__AUTH__CLIENT_ID")
    );
    let again = Place::new().toml(&String::from_utf8(out).unwrap()).load();
    assert_eq!(
        format!("{:?}", again.config.schedule),
        format!("{:?}", loaded.config.schedule)
    );
}

/// The sample's keys, with the comment signs taken away where a key follows.
fn sample() -> String {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml"))
            .unwrap();
    let key = |line: &str| line.starts_with('#') && !line.starts_with("# ");
    let lines = text
        .lines()
        .map(|line| if key(line) { &line[1..] } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_file_can_be_used_as_it_is() {
    let sample =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml"))
            .unwrap();
    let loaded = Place::new().toml(&sample).load();
    assert!(
        loaded
            .entries
            .iter()
            .all(|entry| !matches!(entry.origin, Origin::File(_)))
    );
}

#[test]
fn the_sample_file_has_every_key_with_its_default() {
    let (settings, problems) = file::parse(Path::new("sample"), &sample());
    assert_eq!(problems, []);
    let names: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), key::KEYS.len());
    let without_default = |line: &&str| !line.contains('…') && !line.contains("/run/secrets");
    let sample = sample().replace("VERSION", env!("CARGO_PKG_VERSION"));
    let sample: Vec<&str> = sample.lines().filter(without_default).collect();
    let shown = |loaded: Loaded| -> Vec<_> {
        loaded
            .entries
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect()
    };
    // Both in one folder: the database's full path is part of what is shown.
    let place = Place::new();
    let defaults = shown(place.load());
    assert_eq!(shown(place.toml(&sample.join("\n")).load()), defaults);
}
