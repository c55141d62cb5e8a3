//! `init`: asks, tries, writes, and says what to type next; at a terminal and for scripts.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::support::{Done, Engine, Terminal, World, not_run, variable};

/// The program as somebody starts it who has set nothing but where the API is.
fn command(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.command(arguments);
    for key in ["auth.client_id", "auth.client_secret", "database.url"] {
        command.env_remove(variable(key));
    }
    command
}

/// With this on standard input.
fn fed(mut command: Command, input: &str) -> Done {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that refuses before it reads leaves a broken pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Done {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        ..Done::default()
    }
}

fn script(world: &World, arguments: &[&str], secret: &str) -> Done {
    let id = world.api.settings().client_id;
    let arguments = [&["init", "--client-id", &id, "--yes"], arguments].concat();
    fed(command(world, &arguments), &format!("{secret}\n"))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

on_both! {
    async fn every_mistake_is_corrected_where_it_was_made_and_the_first_run_works(world: World) {
        world.list_people(130);
        let key = world.api.settings();
        let mut terminal = Terminal::start(command(&world, &["init"]));
        terminal.wait_for("Settings > Integrations");
        terminal.wait_for("Client id: ");
        terminal.type_line("");
        terminal.wait_for("Client id: ");
        terminal.type_line("nobody");
        terminal.wait_for("Client secret (not shown): ");
        assert!(!terminal.echoes());
        terminal.type_line("not-the-secret");
        terminal.wait_for("auth.client_id or auth.client_secret is not accepted");
        terminal.wait_for("Client id [nobody]: ");
        assert!(terminal.echoes());
        terminal.type_line(&key.client_id);
        terminal.wait_for("Client secret (not shown): ");
        terminal.type_line(&key.client_secret);
        terminal.wait_for("the key belongs to Nøkken & Co (");
        terminal.wait_for("100 consents on the first page, and more follow");
        terminal.wait_for("Database [sqlite://understory.db]: ");
        terminal.type_line("mysql://db.example.com/x");
        terminal.wait_for("its scheme is neither sqlite nor postgres");
        terminal.wait_for("Database [");
        terminal.type_line("sqlite://no/such/folder.db");
        terminal.wait_for("the folder of ");
        terminal.wait_for("Database [");
        terminal.type_line(if world.db.is_postgres() { world.db.url() } else { "" });
        terminal.wait_for("to be filled by the first run");
        terminal.wait_for("Next, a first run:");
        terminal.end(0);

        let screen = terminal.screen();
        assert!(!screen.contains(&key.client_secret) && !screen.contains("not-the-secret"), "{screen}");
        assert!(screen.contains("✗ database.url") && !screen.contains("from file"), "{screen}");
        assert_eq!(names(world.home()), ["client_secret", "config.toml"]);
        for name in ["client_secret", "config.toml"] {
            assert_eq!(mode(&world.home().join(name)), 0o600, "{name}");
        }
        // The line that it ends with is the one that works.
        let line = screen.lines().rfind(|line| line.starts_with("    ")).unwrap().trim();
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some(env!("CARGO_BIN_EXE_understory-sync")), "{line}");
        let done = fed(command(&world, &words.collect::<Vec<_>>()), "").expect(0);
        assert!(done.stdout.contains("130"), "{}", done.stdout);
    }
}

#[tokio::test]
async fn an_api_that_is_down_is_tried_again_without_typing_the_key_again() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(1);
    let key = world.api.settings();
    world.api.play(FaultRule::on(Endpoint::List, Fault::status(503)));
    let mut terminal = Terminal::start(command(&world, &["init", "--client-id", &key.client_id]));
    terminal.wait_for("Client secret (not shown): ");
    terminal.type_line(&key.client_secret);
    terminal.wait_for("it answered with status 503");
    terminal.wait_for("Enter tries again");
    terminal.type_line("");
    terminal.wait_for("1 consent on the first page");
    terminal.wait_for("Database [");
    terminal.type_line("");
    terminal.wait_for("Next, a first run:");
    terminal.end(0);
}

#[tokio::test]
async fn a_password_that_is_missing_from_the_url_is_asked_for_and_not_shown() {
    let world = World::on(Engine::Postgres).await;
    let key = world.api.settings();
    let mut url = url::Url::parse(world.db.url()).unwrap();
    let Some(password) = url.password().map(str::to_owned) else {
        return not_run::cannot_run(
            "init's question for a password",
            "the server of TEST_POSTGRES_URL asks for none",
        );
    };
    url.set_password(None).unwrap();
    let mut terminal = Terminal::start(command(&world, &["init", "--client-id", &key.client_id]));
    terminal.wait_for("Client secret (not shown): ");
    terminal.type_line(&key.client_secret);
    terminal.wait_for("Database [");
    terminal.type_line(url.as_str());
    terminal.wait_for("refused the login");
    terminal.wait_for("Password (not shown): ");
    assert!(!terminal.echoes());
    terminal.type_line("wrong");
    terminal.wait_for("refused the login");
    terminal.wait_for("Database [");
    terminal.type_line(url.as_str());
    terminal.wait_for("Password (not shown): ");
    terminal.type_line(&password);
    terminal.wait_for("Next, a first run:");
    terminal.end(0);
    assert!(!terminal.screen().contains(&password), "{}", terminal.screen());
}

#[tokio::test]
async fn ctrl_c_leaves_nothing_behind_and_a_terminal_that_shows_what_is_typed() {
    let world = World::on(Engine::Sqlite).await;
    let mut terminal = Terminal::start(command(&world, &["init", "--client-id", "x"]));
    terminal.wait_for("Client secret (not shown): ");
    assert!(!terminal.echoes());
    terminal.signal("INT");
    terminal.end(75);
    assert!(terminal.echoes());
    assert!(names(world.home()).is_empty());
}

#[tokio::test]
async fn a_script_gives_the_key_and_a_failure_writes_nothing() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(3);
    let key = world.api.settings();
    script(&world, &[], "not-the-secret").expect(77).says("is not accepted");
    script(&world, &[], "").expect(2).says("the secret is empty");
    fed(command(&world, &["init"]), "").expect(2).says("--client-id ID and --yes");
    assert!(names(world.home()).is_empty());
    script(&world, &["--config", "conf/north.toml"], &key.client_secret).expect(74).says("cannot be written");
    fs::create_dir(world.home().join("conf")).unwrap();
    let done = script(&world, &["--config", "conf/north.toml"], &key.client_secret).expect(0);
    assert!(!done.output().contains(&key.client_secret), "{}", done.output());
    assert!(
        done.stdout.contains("3 consents on the first page") && done.stderr.is_empty(),
        "{}",
        done.output()
    );
    assert_eq!(names(&world.home().join("conf")), ["north.secret", "north.toml"]);
    fed(command(&world, &["--config", "conf/north.toml", "--run-once"]), "").expect(0);
    assert!(world.home().join("conf/understory.db").exists());
}

#[tokio::test]
async fn nothing_that_exists_is_written_over() {
    let world = World::on(Engine::Sqlite).await;
    let secret = world.api.settings().client_secret;
    for name in ["config.toml", "client_secret"] {
        let path = world.home().join(name);
        for content in [Some("# mine"), None] {
            match content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => std::os::unix::fs::symlink("nowhere", &path).unwrap(),
            }
            script(&world, &[], &secret).expect(78).says("exists, and init writes over nothing");
            assert_eq!(names(world.home()), [name]);
            fs::remove_file(&path).unwrap();
        }
    }
    assert_eq!(world.api.requests().len(), 0);
    script(&world, &[], &secret).expect(0);
}

#[tokio::test]
async fn a_variable_that_would_win_over_the_file_is_named() {
    let world = World::on(Engine::Sqlite).await;
    let key = world.api.settings();
    let mut command = command(&world, &["init", "--client-id", &key.client_id, "--yes"]);
    command.env(variable("auth.client_id"), "another").env("DATABASE_URL", "postgres://other.example.com/x");
    let done = fed(command, &format!("{}\n", key.client_secret)).expect(0);
    assert!(done.stdout.contains("UNDERSTORY_SYNC__AUTH__CLIENT_ID is set here, and wins over the file"));
    assert!(!done.stdout.contains("other.example.com"), "{}", done.stdout);
}

/// In a mount namespace of its own, whose `/etc` is empty.
#[tokio::test]
async fn for_the_system_it_writes_where_the_service_looks_and_names_the_line_that_starts_it() {
    const WAYS: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
    let world = World::on(Engine::Sqlite).await;
    world.list_people(3);
    let tried = |way: &&&[&str]| {
        let script = "mount -t tmpfs none /etc";
        Command::new("unshare")
            .args(**way)
            .args(["sh", "-c", script])
            .output()
            .is_ok_and(|done| done.status.success())
    };
    let Some(way) = WAYS.iter().find(tried) else {
        return not_run::cannot_run("init --system", "this process may not make a mount namespace");
    };
    let direct = command(&world, &[]);
    let script = "mount -t tmpfs none /etc && mkdir -p /etc/systemd/system && \
        touch /etc/systemd/system/understory-sync.service && \"$0\" init --system --client-id \"$1\" --yes && \
        stat -c '%a %n' /etc/understory-sync /etc/understory-sync/* && cat /etc/understory-sync/config.toml";
    let system = |url: Option<&str>, input: &str| {
        let mut command = Command::new("unshare");
        command
            .args(*way)
            .args(["sh", "-c", script])
            .arg(direct.get_program())
            .arg(world.api.settings().client_id)
            .env_clear()
            .envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(url) = url {
            command.env(variable("database.url"), url);
        }
        fed(command, &format!("{input}\n"))
    };
    let secret = world.api.settings().client_secret;
    let done = system(None, &secret).expect(0);
    for words in [
        "    systemctl enable --now understory-sync\n",
        "755 /etc/understory-sync\n600 /etc/understory-sync/client_secret\n644 /etc/understory-sync/config.toml\n",
        "url = \"sqlite:///var/lib/understory-sync/understory.db\"",
    ] {
        assert!(done.stdout.contains(words), "{words}\n{}", done.stdout);
    }
    // systemd hands the secret over: the configuration says nothing about it.
    assert!(!done.stdout.contains("client_secret_file") && !done.output().contains(&secret));

    assert!(!done.stdout.contains("is not installed here"), "{}", done.stdout);
    // A password in a file that everybody may read would be everybody's.
    let other = crate::support::TestDb::on(Engine::Postgres).await;
    let mut url = url::Url::parse(other.url()).unwrap();
    let password = url.password().unwrap_or("hunter2").to_owned();
    url.set_password(Some(&password)).unwrap();
    let done = system(Some(url.as_str()), &secret).expect(0);
    for words in ["url_file = \"database_url\"", "600 /etc/understory-sync/database_url\n", "database.conf"] {
        assert!(done.stdout.contains(words), "{words}\n{}", done.stdout);
    }
    assert!(!done.output().contains(&password), "{}", done.output());
}
