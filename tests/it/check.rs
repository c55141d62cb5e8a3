//! `check` goes through configuration, database, token and API, and says for each what is right or how to cure it.

use serde_json::json;
use understory_mock_api::{Endpoint, Fault, FaultRule, Route};

use std::os::unix::fs::PermissionsExt as _;

use crate::fixture;
use crate::support::{Engine, World, run, until, variable};

/// The lines, after the exit code was as expected.
fn check(world: &World, code: i32) -> Vec<String> {
    let done = world.run(&["check"]).expect(code);
    done.stdout.lines().map(str::to_owned).collect()
}

/// What is wrong has its next step below, indented, and is short enough to be read.
#[track_caller]
fn assert_signs(lines: &[String], signs: &str) {
    let found: String = lines.iter().filter_map(|line| line.chars().next()).filter(|c| *c != ' ').collect();
    assert_eq!(found, signs, "{lines:#?}");
    for (at, line) in lines.iter().enumerate() {
        assert!(line.chars().count() < 200, "{line}");
        if line.starts_with('✗') {
            assert!(lines.get(at + 1).is_some_and(|next| next.starts_with("  → ")), "no next step: {line}");
        }
    }
}

/// Who may use the database, but not make a table in it.
async fn poor_user(world: &World) -> (String, String) {
    let mut url = url::Url::parse(world.db.url()).unwrap();
    let role = format!("poor_{}", url.path().trim_start_matches('/'));
    world
        .db
        .execute(&format!(
            "create role {role} login password 'poor'; revoke create on schema public from public; \
             revoke create on database {} from public",
            url.path().trim_start_matches('/')
        ))
        .await;
    url.set_username(&role).unwrap();
    url.set_password(Some("poor")).unwrap();
    (url.into(), role)
}

on_both! {
    async fn before_the_first_run_all_is_well_and_nothing_is_made(world: World) {
        world.list_people(30);
        assert_signs(&check(&world, 0), "✓✓✓✓");
        if world.db.is_postgres() {
            assert_eq!(world.db.number("select count(*) from pg_tables where schemaname = 'public'").await, 0);
        } else {
            assert_eq!(std::fs::read_dir(world.db.folder()).unwrap().count(), 0);
        }
    }

    async fn company_and_counts_are_named(world: World) {
        world.list_people(130);
        let lines = check(&world, 0);
        assert!(lines.iter().any(|line| line.contains("100 consents on the first page, and more follow")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("Nøkken & Co (7d0c2f6e-")), "{lines:#?}");
        world.run_once().expect(0);
        let lines = check(&world, 0);
        assert!(lines.iter().any(|line| line.contains("130 active consents")), "{lines:#?}");
    }

    async fn an_older_schema_that_the_next_run_migrates_is_right(world: World) {
        let _ = fixture::load(&world).await;
        let lines = check(&world, 0);
        let at = lines.iter().position(|line| line.starts_with("✓ database: ")).unwrap();
        assert!(lines[at].ends_with(", its schema is older"), "{lines:#?}");
        assert!(lines[at + 1].starts_with("  → the next run brings it up to date, or now: "), "{lines:#?}");
        assert!(lines[at + 1].ends_with("understory-sync migrate"), "{lines:#?}");
        // Nothing was brought up to date by looking.
        assert_eq!(world.db.rows("select max(version), count(*) from _sqlx_migrations").await, ["1|1"]);
        world.run(&["migrate"]).expect(0);
        assert!(check(&world, 0).iter().any(|line| line.ends_with("56 active consents")));
    }

    async fn each_thing_that_is_wrong_has_its_line_and_its_cure(world: World) {
        world.list_people(30);
        world.run_once().expect(0);
        world.set("auth.client_secret", "wrong");
        assert_signs(&check(&world, 77), "✓✓✗");
        world.unset("auth.client_secret");
        world.api.set_routes(Route::Gone(404), Route::Gone(404), Route::Gone(404));
        assert_signs(&check(&world, 69), "✓✓✓✗");
        world.api.set_routes(Route::Works, Route::Works, Route::Works);
        world.api.play(FaultRule::on(Endpoint::List, Fault::html()).always());
        assert_signs(&check(&world, 65), "✓✓✓✗");
        world.api.clear_faults();
        world.api.set_people(&[json!({"id": "x", "company_id": "another", "email": "x@example.com"})]);
        assert_signs(&check(&world, 65), "✓✓✓✗");
        assert_eq!(world.db.count("sync_runs").await, 1);
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_used_does_not_hide_the_rest() {
    let world = World::on(Engine::Sqlite).await;
    world.set("database.url", "sqlite://no/such/folder.db");
    assert_signs(&check(&world, 78), "✓✗✓✓");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_all_that_is_told() {
    let world = World::on(Engine::Sqlite).await;
    world.set("api.page_size", "0");
    let done = world.run(&["check"]).expect(78);
    assert!(done.output().contains("api.page_size"), "{}", done.output());
    assert_eq!(world.api.requests().len(), 0);
}

#[tokio::test]
async fn a_database_user_who_may_not_make_the_tables_is_told_before_the_first_run() {
    let world = World::on(Engine::Postgres).await;
    let (rich, (poor, role)) = (world.db.url().to_owned(), poor_user(&world).await);
    for schema in ["", "nowhere_yet", "a_schema"] {
        if schema == "a_schema" {
            world.db.execute("create schema a_schema").await;
        }
        world.set("database.schema", schema);
        world.set("database.url", &poor);
        assert_signs(&check(&world, 77), "✓✗✓✓");
        let asked = world.api.requests().len();
        world.run(&["--run-once", "--dry-run"]).expect(77).says("lacks a right");
        assert_eq!(world.api.requests().len(), asked);
        // The control: that is how the first run ends, too.
        world.run_once().expect(77).says("lacks a right");
        world.set("database.url", &rich);
        assert_signs(&check(&world, 0), "✓✓✓✓");
    }
    assert_eq!(
        world.db.number("select count(*) from pg_tables where schemaname in ('public', 'a_schema')").await,
        0
    );
    world.db.execute(&format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn a_database_user_who_may_not_bring_an_older_schema_up_to_date_is_told() {
    let world = World::on(Engine::Postgres).await;
    let _ = fixture::load(&world).await;
    let (poor, role) = poor_user(&world).await;
    world.db.execute(&format!("grant all on all tables in schema public to {role}")).await;
    world.set("database.url", &poor);
    assert_signs(&check(&world, 77), "✓✗✓✓");
    // The control: that is how the next run ends, too.
    world.run_once().expect(77).says("lacks a right");
    world.db.execute(&format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn an_address_that_another_program_has_is_told_and_the_daemons_own_is_not() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(3);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    world.set("http.listen", &address);
    let lines = check(&world, 78);
    assert_signs(&lines, "✓✓✗✓✓");
    assert!(lines.iter().any(|line| line.contains(&format!("cannot listen at {address}"))), "{lines:#?}");
    drop(taken);
    assert_signs(&check(&world, 0), "✓✓✓✓✓");
    let daemon = world.start(&[]);
    until("the daemon's next run", async || {
        world.db.find("select next_run_at from sync_state where next_run_at is not null").await
    })
    .await;
    let lines = check(&world, 0);
    assert!(lines.iter().any(|line| line.ends_with("where the daemon listens")), "{lines:#?}");
    daemon.signal("TERM");
    daemon.wait().expect(0);
}

#[tokio::test]
async fn files_that_others_may_read_are_told_with_what_to_type() {
    let world = World::on(Engine::Sqlite).await;
    let secret = world.home().join("client_secret");
    std::fs::write(&secret, world.api.settings().client_secret).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = world.command(&["check"]);
    command.env_remove(variable("auth.client_secret")).env(variable("auth.client_secret_file"), &secret);
    let done = run(command).expect(0);
    let lines: Vec<String> = done.stdout.lines().map(str::to_owned).collect();
    assert_signs(&lines, "✓!✓✓✓");
    assert_eq!(lines[2], format!("  → chmod 600 {}", secret.display()));
}

#[tokio::test]
async fn a_secret_with_something_copied_along_is_named_and_sent_and_the_documents_placeholder_is_not() {
    let world = World::on(Engine::Sqlite).await;
    let right = world.api.settings().client_secret;
    for (secret, named) in [
        (format!("\"{right}\""), "a quotation mark"),
        (format!(" {right}"), "a blank"),
        (format!("\u{feff}{right}"), "a byte order mark"),
        (format!("{right}\n"), "a line break"),
    ] {
        world.set("auth.client_secret", &secret);
        let lines = check(&world, 77);
        assert_signs(&lines, "✓!✓✗");
        assert!(lines[1].contains(named), "{lines:#?}");
        assert!(!lines.concat().contains(&right), "{lines:#?}");
        world.run_once().expect(77).says(named);
        // Whoever's secret it really is may go on.
        world.api.configure(|settings| settings.client_secret = secret);
        world.run_once().expect(0).says(named);
        world.api.configure(|settings| settings.client_secret.clone_from(&right));
    }
    let asked = world.api.requests().len();
    for key in ["auth.client_secret", "auth.client_id"] {
        world.set("auth.client_secret", &right);
        world.set(key, "…");
        world.run(&["check"]).expect(78).says("it is the placeholder of the documents");
        world.run_once().expect(78).says(key);
    }
    assert_eq!(world.api.requests().len(), asked);
}
