//! Files that another user of the machine put there, or may write: not believed, not written to, not waited for.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use sqlx::Connection as _;

use crate::bench::cluster::is_root;
use crate::support::not_run::cannot_run;
use crate::support::{Engine, World, run};

/// A user that is neither root nor the one who runs the tests.
const STRANGER: u32 = 4711;

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Makes it the stranger's; false where this process may not.
fn give_away(path: &Path) -> bool {
    if is_root() {
        chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
    } else {
        cannot_run("files of other users", "this process may not give files away; run it as root");
    }
    is_root()
}

#[tokio::test]
async fn a_configuration_that_a_stranger_left_here_sends_the_secret_nowhere() {
    let world = World::on(Engine::Sqlite).await;
    let file = world.home().join("config.toml");
    let text = format!("[auth]\ntoken_url = '{}'\n", world.api.token_url());
    world.unset("auth.token_url");
    // A positive control: our own file is believed.
    write(&file, &text, 0o600);
    world.run_once().expect(0);
    assert!(!world.api.take_requests().is_empty());

    write(&file, &text, 0o666);
    world.run_once().expect(78).says("can be written by other users").says("--config");
    write(&file, &text, 0o600);
    if give_away(&file) {
        for command in [&["--run-once"][..], &["check"], &["forget", "a@example.com"], &["status"]] {
            world.run(command).expect(78).says("belongs to another user").says("--config");
        }
    }
    assert_eq!(world.api.requests().len(), 0);
    world.run(&["--config", "config.toml", "--run-once"]).expect(0);
}

#[tokio::test]
async fn an_empty_database_that_a_stranger_left_is_not_filled() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(3);
    let database = world.db.path();
    write(&database, "", 0o666);
    if give_away(&database) {
        for command in [&["--run-once"][..], &["migrate"], &["check"]] {
            let done = world.run(command).expect(78);
            assert!(done.output().contains("belongs to another user"), "{}", done.output());
        }
        assert_eq!(fs::metadata(&database).unwrap().len(), 0);
        fs::remove_file(&database).unwrap();
    }
    write(&database, "", 0o600);
    world.run_once().expect(0);
}

#[tokio::test]
async fn a_secret_is_read_from_a_regular_file_that_nobody_else_may_write() {
    let world = World::on(Engine::Sqlite).await;
    let secret = world.home().join("secret");
    let start = || {
        let mut command = world.command(&["--run-once"]);
        command
            .env_remove("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET")
            .env("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET_FILE", &secret);
        run(command)
    };
    assert!(Command::new("mkfifo").arg(&secret).status().unwrap().success());
    start().expect(78).says("is a pipe or a device");
    fs::remove_file(&secret).unwrap();
    write(&secret, &world.api.settings().client_secret, 0o666);
    start().expect(78).says("can be written by other users");
    write(&secret, &world.api.settings().client_secret, 0o644);
    start().expect(0).says("every user may read");
    // Whose it is does not matter: a service may be given another's file.
    write(&secret, &world.api.settings().client_secret, 0o600);
    give_away(&secret);
    let done = start().expect(0);
    assert!(!done.stderr.contains("every user may read"), "{}", done.stderr);
}

#[tokio::test]
async fn a_database_that_every_user_may_read_is_warned_of() {
    let world = World::on(Engine::Sqlite).await;
    let warned =
        |arguments: &[&str]| world.run(arguments).expect(0).output().contains("may read the database");
    assert!(!warned(&["--run-once"]));
    assert!(!warned(&["check"]));
    fs::set_permissions(world.db.path(), Permissions::from_mode(0o644)).unwrap();
    for command in [&["--run-once"][..], &["check"]] {
        assert!(warned(command), "{command:?}");
    }
}

#[tokio::test]
async fn removals_that_root_lets_through_leave_every_file_to_the_owner_of_the_database() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(100);
    world.run_once().expect(0);
    world.api.people(|people| {
        for id in &people.ids()[..50] {
            people.list(id, false);
        }
    });
    let folder = world.db.folder();
    if !give_away(folder) {
        return;
    }
    for file in fs::read_dir(folder).unwrap() {
        give_away(&file.unwrap().path());
    }
    // Whoever reads meanwhile keeps the files of the write-ahead log in place.
    let mut reader = sqlx::SqliteConnection::connect(world.db.url()).await.unwrap();
    let _ = sqlx::query("select count(*) from consents").fetch_one(&mut reader).await.unwrap();
    world.run(&["accept-removals", "50"]).expect(0);
    let mut names = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().uid(), STRANGER, "{:?}", file.path());
        names.push(file.file_name().into_string().unwrap());
    }
    assert!(names.iter().any(|name| name.ends_with("-wal")), "{names:?}");
    reader.close().await.unwrap();

    let program = world.home().join("program");
    fs::copy(env!("CARGO_BIN_EXE_understory-sync"), &program).unwrap();
    fs::set_permissions(world.home(), Permissions::from_mode(0o755)).unwrap();
    let model = world.command(&["--run-once"]);
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={STRANGER}"), &format!("--regid={STRANGER}"), "--clear-groups"]);
    command.arg(&program).arg("--run-once").env_clear().current_dir("/");
    command.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(command).expect(0);
    assert_eq!(world.last_run("absence, accepted_removals, active").await, "judged|50|50");
}
