//! A database that is not ours, not there, or not for us: told with a cure, and left as it was.

use std::fs;

use crate::support::{Done, Engine, TestDb, World};

/// Refused with a cure, and before the API was asked.
#[track_caller]
fn refused(world: &World, done: Done, code: i32) -> Done {
    let done = done.expect(code);
    assert!(done.stderr.contains("hint:"), "{}", done.stderr);
    assert_eq!(world.api.requests().len(), 0);
    done
}

on_both! {
    async fn a_schema_newer_than_the_program_is_refused(world: World) {
        world.run(&["migrate"]).expect(0);
        world.db.execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
             select 9999, 'from the future', success, checksum, 0 from _sqlx_migrations where version = 1",
        ).await;
        for command in [&["--run-once"][..], &["migrate"], &["status"], &["export", "--format", "csv"], &["check"]] {
            let done = world.run(command).expect(78);
            assert!(done.output().contains("newer than this program"), "{}", done.output());
        }
        assert_eq!(world.db.count("sync_runs").await, 0);
    }

    async fn tables_of_another_program_are_left_alone(world: World) {
        world.db.execute("create table consents (mine text)").await;
        world.db.execute("insert into consents values ('as it was')").await;
        let done = world.run_once();
        refused(&world, done, 78);
        assert_eq!(world.db.rows("select * from consents").await, ["as it was"]);
    }
}

#[tokio::test]
async fn a_sqlite_file_of_another_program_is_not_touched() {
    let world = World::on(Engine::Sqlite).await;
    world.db.execute("pragma application_id = 77; create table t (a text)").await;
    let before = fs::read(world.db.path()).unwrap();
    refused(&world, world.run_once(), 78);
    assert_eq!(fs::read(world.db.path()).unwrap(), before);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_not_touched() {
    let world = World::on(Engine::Sqlite).await;
    let text = "a letter to a friend\n".repeat(400);
    fs::write(world.db.path(), &text).unwrap();
    refused(&world, world.run_once(), 78);
    assert_eq!(fs::read_to_string(world.db.path()).unwrap(), text);
}

#[tokio::test]
async fn a_directory_and_a_missing_folder_are_configuration() {
    let world = World::on(Engine::Sqlite).await;
    world.set("database.url", &format!("sqlite://{}", world.db.folder().display()));
    refused(&world, world.run_once(), 78).says("directory");
    world.set("database.url", "sqlite://nowhere/at/all.db");
    refused(&world, world.run_once(), 78).says("folder");
    assert!(!world.home().join("nowhere").exists());
}

#[tokio::test]
async fn a_damaged_database_is_told_from_a_foreign_one() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(250);
    world.run_once().expect(0);
    let mut bytes = fs::read(world.db.path()).unwrap();
    let length = bytes.len();
    bytes[4096..length.min(40_960)].fill(0x5a);
    fs::write(world.db.path(), bytes).unwrap();
    world.run_once().expect(65).says("corrupt");
}

#[tokio::test]
async fn a_relative_path_counts_from_the_configuration_file() {
    let world = World::on(Engine::Sqlite).await;
    let folder = world.home().join("etc");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("sync.toml"), "[database]\nurl = \"sqlite://here.db\"\n").unwrap();
    world.unset("database.url");
    let done = world.run(&["--config", "etc/sync.toml", "--run-once"]).expect(0);
    assert!(folder.join("here.db").exists());
    let full = folder.canonicalize().unwrap().join("here.db");
    assert!(done.stderr.contains(&full.display().to_string()), "{}", done.stderr);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_worth_another_try() {
    let world = World::on(Engine::Postgres).await;
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    world.set("database.url", &format!("postgres://u:pass-word@127.0.0.1:{port}/x"));
    let done = refused(&world, world.run_once(), 75);
    assert!(!done.output().contains("pass-word"), "{}", done.output());
    world.set("database.url", "postgres://u:pass-word@no-host.invalid/x?sslmode=disable");
    let done = refused(&world, world.run_once(), 75)
        .says("no-host.invalid")
        .says("its host name could not be resolved");
    assert!(!done.output().contains("pass-word"), "{}", done.output());
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_configuration() {
    let world = World::on(Engine::Postgres).await;
    let mut url = url::Url::parse(world.db.url()).unwrap();
    url.set_path("understory_there_is_none");
    world.set("database.url", url.as_str());
    refused(&world, world.run_once(), 78);
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_right_are_refusals() {
    let world = World::on(Engine::Postgres).await;
    let role = format!("understory_role_{}", std::process::id());
    world
        .db
        .execute(&format!(
            "create role {role} login password 'right'; create schema narrow; \
             grant usage on schema narrow to {role}; alter role {role} set search_path = narrow"
        ))
        .await;
    let mut url = url::Url::parse(world.db.url()).unwrap();
    url.set_username(&role).unwrap();
    for password in ["wrong", "right"] {
        url.set_password(Some(password)).unwrap();
        world.set("database.url", url.as_str());
        let done = refused(&world, world.run_once(), 77);
        assert!(!done.output().contains(url.as_str()), "{}", done.output());
    }
    world.db.execute(&format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn a_schema_of_its_own_is_made_and_lived_in() {
    let world = World::on(Engine::Postgres).await;
    world.set("database.schema", "Mailing \"List\"");
    world.list_people(20);
    world.run_once().expect(0);
    world.run_once().expect(0);
    assert_eq!(world.db.rows("select count(*) from \"Mailing \"\"List\"\"\".consents").await, ["20"]);
    assert_eq!(world.db.number("select count(*) from pg_tables where schemaname = 'public'").await, 0);
}

#[tokio::test]
async fn two_engines_get_two_databases() {
    let (file, server) = (TestDb::sqlite(), TestDb::postgres().await);
    assert_ne!(file.url(), server.url());
    assert_ne!(file.engine(), server.engine());
}
