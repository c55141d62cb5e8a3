//! Eight kinds of bad configuration, and more: 78, every problem at once, nothing touched.

use crate::support::{Done, Engine, World, run};

async fn world() -> World {
    World::on(Engine::Sqlite).await
}

/// Refused before anything was asked or made.
#[track_caller]
fn refused(world: &World, done: Done) -> Done {
    let done = done.expect(78);
    assert!(done.stdout.is_empty(), "{}", done.stdout);
    assert!(done.stderr.contains("hint:"), "{}", done.stderr);
    assert_eq!(world.api.requests().len(), 0);
    assert!(!world.db.path().exists());
    done
}

#[tokio::test]
async fn a_bad_value_is_told_with_its_key_its_origin_and_what_is_allowed() {
    let cases = [
        ("api.page_size", "101", "from 1 to 100"),
        ("api.base_url", "http://api.understory.io", "https"),
        ("retry.base_delay", "5 parsecs", "such as 30s"),
        ("schedule.cron", "every hour", "six fields"),
        ("schedule.timezone", "Europe/Kopenhagen", "Europe/Copenhagen"),
        ("database.url", "mysql://localhost/x", "sqlite://"),
        ("removal.confirm_runs", "1", "from 2 to 100"),
        ("log.level", "loud", "trace"),
        ("api.consents_path", "v1/consents", "\"/v1/"),
        ("http.listen", "9187", "127.0.0.1:9187"),
    ];
    for (key, value, allowed) in cases {
        let world = world().await;
        world.set(key, value);
        let done = refused(&world, world.run_once());
        let variable = format!("UNDERSTORY_SYNC__{}", key.replace('.', "__").to_uppercase());
        for words in [key, allowed, &variable] {
            assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
        }
    }
}

#[tokio::test]
async fn all_problems_are_told_at_once() {
    let world = world().await;
    std::fs::write(
        world.home().join("config.toml"),
        "[api]\npagesize = 100\nread_timeout = 30\n[schedule]\njitter = \"-1s\"\n[colour]\nscheme = 1\n",
    )
    .unwrap();
    world.set("auth.client_id", "");
    world.set("auth.client_secret_file", "/nowhere/secret");
    world.set("api.base_url", "http://example.com");
    world.set("removal.max_percent", "many");
    world.variable("UNDERSTORY_SYNC__API__PAGE_SIZ", "10");
    let done = refused(&world, world.run_once());
    for words in [
        "auth.client_id",
        "auth.client_secret",
        "both set",
        "did you mean api.page_size",
        "api.read_timeout",
        "schedule.jitter",
        "colour",
        "api.base_url",
        "removal.max_percent",
        "UNDERSTORY_SYNC__API__PAGE_SIZ:",
        "UNDERSTORY_SYNC__API__PAGE_SIZE",
    ] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
}

#[tokio::test]
async fn a_file_that_is_no_toml_is_refused_with_its_line() {
    let world = world().await;
    std::fs::write(world.home().join("config.toml"), "[auth]\nclient_secret = \"hush-hush\nclient_id = 1\n")
        .unwrap();
    let done = refused(&world, world.run_once());
    assert!(done.stderr.contains("config.toml"), "{}", done.stderr);
    assert!(done.stderr.contains("line 2"), "{}", done.stderr);
    assert!(!done.stderr.contains("hush-hush"), "{}", done.stderr);
}

#[tokio::test]
async fn a_file_that_is_named_and_missing_is_refused() {
    let world = world().await;
    let done = refused(&world, world.run(&["--config", "absent.toml", "--run-once"]));
    assert!(done.stderr.contains("absent.toml"), "{}", done.stderr);
}

#[tokio::test]
async fn missing_credentials_are_told_with_all_ways_to_give_them() {
    let world = world().await;
    let mut command = world.command(&["--run-once"]);
    command.env_remove("UNDERSTORY_SYNC__AUTH__CLIENT_ID").env_remove("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET");
    let done = refused(&world, run(command));
    for words in ["auth.client_id", "auth.client_secret", "client_secret_file"] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
}

#[tokio::test]
async fn the_flag_wins_over_the_variable_and_the_variable_over_the_file() {
    let world = world().await;
    world.list_people(30);
    std::fs::write(
        world.home().join("config.toml"),
        "[api]\npage_size = 10\nuser_agent = \"from the file\"\n[log]\nlevel = \"error\"\n",
    )
    .unwrap();
    world.set("api.page_size", "15");
    world.set("log.level", "warn");
    let done = world.run(&["--run-once", "--log-level", "info"]).expect(0);
    assert_eq!(world.last_run("pages").await, "2");
    assert_eq!(world.api.requests()[0].header("user-agent"), Some("from the file"));
    assert!(done.stderr.contains("INFO"), "{}", done.stderr);
}

#[tokio::test]
async fn the_secret_may_come_from_a_file_or_from_systemd() {
    let world = world().await;
    let folder = world.home().join("credentials");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("client_secret"), "mock~secret\n").unwrap();
    let secret = "UNDERSTORY_SYNC__AUTH__CLIENT_SECRET";
    let mut by_file = world.command(&["--run-once"]);
    by_file.env_remove(secret).env("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET_FILE", folder.join("client_secret"));
    run(by_file).expect(0);
    let mut by_systemd = world.command(&["--run-once"]);
    by_systemd.env_remove(secret).env("CREDENTIALS_DIRECTORY", &folder);
    run(by_systemd).expect(0);
}

#[tokio::test]
async fn the_url_of_the_database_may_come_from_the_usual_variable() {
    let world = world().await;
    world.unset("database.url");
    world.variable("DATABASE_URL", world.db.url());
    world.list_people(3);
    world.run_once().expect(0);
    assert_eq!(world.db.count("consents").await, 3);
}

#[tokio::test]
async fn the_example_is_accepted_as_it_stands() {
    let world = world().await;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
    world.run(&["--config", example, "--run-once"]).expect(0);
}

#[tokio::test]
async fn config_shows_the_effective_values_and_no_secret() {
    let world = world().await;
    let done = world.run(&["config"]).expect(0);
    assert!(done.stdout.contains("[redacted]"), "{}", done.stdout);
    assert!(!done.output().contains("mock~secret"));
    assert!(done.stdout.contains("UNDERSTORY_SYNC__API__BASE_URL"), "{}", done.stdout);
}
