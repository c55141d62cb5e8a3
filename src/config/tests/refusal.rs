//! What is refused, and how it is told.

use super::*;

#[test]
fn a_named_file_must_be_there() {
    let mut place = TestFolder::empty().toml("");
    for name in ["none.toml", "."] {
        place.file = Some(PathBuf::from(name));
        let problems = place.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].origin, Some(Origin::Flag("--config")));
    }
    let place = TestFolder::empty().set("UNDERSTORY_SYNC_CONFIG", "none.toml");
    assert_eq!(place.problems().len(), 1);
}

#[test]
fn a_file_that_nobody_named_is_of_the_caller_or_root_and_of_nobody_else() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    let chmod = |place: &TestFolder, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.path("config.toml"), permissions).unwrap();
    };
    let mut place = TestFolder::new().toml("api.page_size = 7");
    let refused = |place: &TestFolder, word: &str| {
        let problems = place.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].what.contains(word), "{problems:?}");
        assert!(problems[0].allowed.contains("--config "), "{problems:?}");
    };
    let own_group = place.path("config.toml").metadata().unwrap();
    let own_group = own_group.uid() == own_group.gid();
    for (mode, fine) in [(0o600, true), (0o644, true), (0o664, own_group), (0o646, false), (0o666, false)] {
        chmod(&place, mode);
        if fine {
            assert_eq!(place.load().config.api.page_size, 7, "{mode:o}");
        } else {
            refused(&place, "can be written by other users");
        }
    }
    // Named, it is the caller's own decision, and warned of.
    place.file = Some(place.path("config.toml"));
    let loaded = place.load();
    assert_eq!(loaded.config.api.page_size, 7);
    assert!(loaded.warnings[0].contains("chmod go-w"), "{:?}", loaded.warnings);

    place.file = None;
    chmod(&place, 0o600);
    let metadata = place.path("config.toml").metadata().unwrap();
    if metadata.uid() == 0 {
        std::os::unix::fs::chown(place.path("config.toml"), Some(4711), None).unwrap();
        refused(&place, "another user");
        place.caller = Some(4711);
        assert_eq!(place.load().config.api.page_size, 7);
        // A stranger's link to a file of our own.
        std::fs::rename(place.path("config.toml"), place.path("other.toml")).unwrap();
        symlink("other.toml", place.path("config.toml")).unwrap();
        std::os::unix::fs::lchown(place.path("config.toml"), Some(4712), None).unwrap();
        refused(&place, "another user");
    } else {
        place.caller = Some(metadata.uid() + 1);
        refused(&place, "another user");
        place.caller = Some(metadata.uid());
        assert_eq!(place.load().config.api.page_size, 7);
    }
}

#[test]
fn a_pipe_is_neither_a_configuration_nor_a_secret_and_is_not_waited_for() {
    let pipe = |place: &TestFolder, name: &str| {
        let made = std::process::Command::new("mkfifo").arg(place.path(name)).status();
        assert!(made.unwrap().success());
    };
    let place = TestFolder::new();
    pipe(&place, "config.toml");
    assert!(place.problems()[0].what.contains("a pipe"), "{:?}", place.problems());
    for key in ["auth.client_secret_file", "database.url_file", "notify.url_file"] {
        let place = TestFolder::empty()
            .set("UNDERSTORY_SYNC__AUTH__CLIENT_ID", "id")
            .set(&key::variable(key), "pipe");
        pipe(&place, "pipe");
        let problems = place.problems();
        assert!(problems.iter().any(|problem| problem.what.contains("is a pipe")), "{key}: {problems:?}");
    }
}

#[test]
fn every_problem_is_told_at_once_with_key_origin_and_cure() {
    let place = TestFolder::empty()
        .toml("[api]\npage_size = 500\npagesize = 3\nread_timeout = 30\n[schedule]\ncron = '* * *'\n[oops]\nx = 1\n")
        .set("UNDERSTORY_SYNC__AUTH__TOKEN_URL", "http://example.org")
        .set("UNDERSTORY_SYNC_API_PAGE_SIZE", "5")
        .set("UNDERSTORY_SYNC__REMOVAL__MAX_PERCENT", "NaN");
    let error = place.load_for(Needs::Credentials).unwrap_err();
    let told = error.to_string().replace(&place.folder.path().display().to_string(), "/work");
    insta::assert_snapshot!("every_problem", told);
}

#[test]
fn a_schedule_as_other_crons_write_it_is_told_what_it_lacks() {
    let cure = |line: &str| {
        let place = TestFolder::new().set("UNDERSTORY_SYNC__SCHEDULE__CRON", line);
        place.problems()[0].allowed.clone()
    };
    assert!(cure("15 * * * *").ends_with("; \"0 15 * * * *\" adds the second"));
    assert!(cure("a b c d e").ends_with("day month weekday"));
}

#[test]
fn wrong_values_are_refused_wherever_they_stand() {
    for (key, values) in [
        ("api.page_size", &["0", "101", "-1", "1.5", "ten", "+5"][..]),
        ("api.requests_per_second", &["-1", "NaN", "inf", "0.0000001", "x"]),
        ("api.max_page_bytes", &["1023", "99999999999999999999"]),
        ("api.connect_timeout", &["0s", "10", "10 s", "-1s", "off", "never", "99999999999999999999d"]),
        ("api.company_id", &[" ", "a\nb"]),
        ("api.user_agent", &["a\nb", "ü", " a"]),
        ("retry.max_attempts", &["0", "101"]),
        ("schedule.cron", &["* * * * *", "0 0 0 30 2 *", "x", "0 0 * * * * *"]),
        ("schedule.timezone", &["Mars/Olympus", "+01:00"]),
        ("schedule.run_at_start", &["yes", "1", "TRUE"]),
        ("schedule.run_timeout", &["0s", "never"]),
        ("database.url", &["mysql://h/d", "x.db", "sqlite::memory:"]),
        ("database.schema", &["s"]),
        ("removal.confirm_runs", &["1", "101"]),
        ("removal.max_percent", &["-1", "100.1", "NaN"]),
        ("removal.min_count", &["-1"]),
        ("removal.confirm_after", &["never", "7"]),
        ("retention.history", &["off", "0s"]),
        ("retention.erasures", &["never", "0s"]),
        ("notify.url", &["http://example.org/x", "never"]),
        ("notify.after_failures", &["0", "-1", "three"]),
        ("notify.format", &["xml", "JSON"]),
        ("http.listen", &["9187", "host:9187"]),
        ("http.allowed_hosts", &["host:9187", "*"]),
        ("health.heartbeat_url", &["http://example.org/x", "never"]),
        ("log.level", &["loud", "INFO", "off"]),
        ("log.format", &["xml"]),
    ] {
        for value in values {
            let place = TestFolder::new().set(&key::variable(key), value);
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
        assert_eq!(TestFolder::empty().toml(line).problems_for(Needs::Nothing).len(), 1, "{line}");
    }
}

#[test]
fn a_syntax_error_names_the_place_but_quotes_nothing() {
    for (text, key) in [
        ("[auth]\nclient_secret = hunter2\n", "auth.client_secret"),
        ("[auth]\nclient_secret = \"hunter2\n", "auth.client_secret"),
        ("auth.client_secret = 'hunter2' hunter2", "auth.client_secret"),
        ("[auth]\nclient_secret = 'hunter2'\nclient_secret = 'hunter2'\n", "auth.client_secret"),
        ("[database]\nurl = postgres://u:hunter2@h/d\n", "database.url"),
        ("[api]\npage_size = 99999999999999999999\n", "api.page_size"),
        (
            "[auth]\nclient_id = '99999999999999999999'\n[api]\npage_size = 99999999999999999999\n",
            "api.page_size",
        ),
        ("api.requests_per_second = 1e999\n", "api.requests_per_second"),
    ] {
        let problems = TestFolder::empty().toml(text).problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].key, key, "{problems:?}");
    }
    let problems = TestFolder::empty().toml("hunter2").problems();
    assert!(problems[0].what.contains("line 1, column"), "{problems:?}");
}

#[test]
fn unknown_keys_name_the_nearest() {
    for (line, unknown, nearest) in [
        ("[auth]\nclientid = 'hunter2'", "auth.clientid", "auth.client_id"),
        ("client_id = 'x'", "client_id", "auth.client_id"),
        ("[auht]\nclient_id = 'x'", "auht.client_id", "auth.client_id"),
        ("'auth.client_id' = 'x'", "\"auth.client_id\"", "auth.client_id"),
        ("[auth.client_id]\nx = 1", "auth.client_id.x", "auth.client_id"),
    ] {
        let problems = TestFolder::new().toml(line).problems();
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, unknown));
        assert!(problems[0].allowed.contains(nearest), "{problems:?}");
    }
}

#[test]
fn delays_stand_in_order() {
    let problems = TestFolder::new().set("UNDERSTORY_SYNC__RETRY__BASE_DELAY", "2m").problems();
    assert_eq!((problems.len(), problems[0].key.as_str()), (1, "retry.base_delay"));
}
