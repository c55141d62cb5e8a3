//! What goes wrong in somebody's first minutes is answered by what that person needs to know.

use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::support::{Engine, Terminal, World, run, variable};

/// A world in which nothing is configured.
async fn bare() -> World {
    World::on(Engine::Sqlite).await
}

fn first_lines(world: &World, arguments: &[&str], code: i32) -> String {
    let mut command = world.command(arguments);
    command.env_clear().env("HOME", world.home());
    run(command).expect(code).stderr
}

#[tokio::test]
async fn without_any_configuration_the_first_line_says_where_keys_are_made_and_what_needs_none() {
    let world = bare().await;
    for arguments in [&[][..], &["--run-once"], &["check"]] {
        let said = first_lines(&world, arguments, 78);
        let first = said.lines().next().unwrap();
        for words in
            ["Understory's Backoffice (Settings → Integrations)", "`understory-sync demo` needs none"]
        {
            assert!(first.contains(words), "{said}");
        }
        for words in
            ["auth.client_id", "UNDERSTORY_SYNC__AUTH__CLIENT_SECRET", "hint: `understory-sync init`"]
        {
            assert!(said.contains(words), "{said}");
        }
    }
    // Whoever has a file has begun.
    std::fs::write(world.home().join("config.toml"), "[api]\npage_size = 7\n").unwrap();
    let said = first_lines(&world, &["check"], 78);
    assert!(said.starts_with("error: the configuration has 2 problems"), "{said}");
    assert!(said.contains("hint: `understory-sync config --example`"), "{said}");
}

#[tokio::test]
async fn the_example_that_hints_name_is_in_the_program_and_is_a_configuration() {
    let world = bare().await;
    let example = world.run(&["config", "--example"]).expect(0);
    assert!(
        example.stderr.is_empty() && example.stdout.contains("#client_secret_file = "),
        "{}",
        example.output()
    );
    std::fs::write(world.home().join("config.toml"), example.stdout).unwrap();
    world.run_once().expect(0);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_no_such_file() {
    let world = bare().await;
    let said = first_lines(&world, &["--config", "nowhere.toml", "check"], 78);
    assert!(said.contains("it cannot be read (no such file)"), "{said}");
    world.unset("auth.client_secret");
    let mut command = world.command(&["check"]);
    command.env_remove(variable("auth.client_secret")).env(variable("auth.client_secret_file"), "nowhere");
    run(command).expect(78).says("cannot be read (no such file)");
    world.set("database.url", "postgres://user@localhost/x?host=/nowhere");
    let done = world.run(&["status"]).expect(75);
    assert!(done.stderr.contains("no such file") && !done.stderr.contains("entity"), "{}", done.stderr);
}

#[tokio::test]
async fn localhost_is_an_address_to_listen_at() {
    let world = bare().await;
    world.list_people(1);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    world.set("http.listen", &format!("localhost:{port}"));
    let done = world.run(&["check"]).expect(0);
    assert!(done.stdout.contains(&format!("127.0.0.1:{port} is free")), "{}", done.stdout);
    world.set("http.listen", "db.example.com:9187");
    world.run(&["check"]).expect(78).says("\"localhost:9187\"");
}

#[tokio::test]
async fn a_wrong_address_of_the_token_endpoint_is_named_as_that() {
    let world = bare().await;
    world.api.play(FaultRule::on(Endpoint::Token, Fault::status(404)).always());
    let refused =
        world.run_once().expect(69).says("there is no token endpoint at auth.token_url (status 404)");
    refused.says("leave auth.token_url out");
}

#[tokio::test]
async fn what_other_crons_call_a_line_is_translated() {
    let world = bare().await;
    for (name, line) in [("@hourly", "0 0 * * * *"), ("@Daily", "0 0 0 * * *"), ("@weekly", "0 0 0 * * SUN")]
    {
        world.set("schedule.cron", name);
        let said = world.run(&["check"]).expect(78);
        said.says(&format!("\"{line}\" says the same"));
        world.set("schedule.cron", line);
        world.run(&["check"]).expect(0);
    }
}

#[tokio::test]
async fn commands_of_other_programs_are_answered_with_ours() {
    let world = bare().await;
    for (typed, answers) in [
        ("start", &["understory-sync\n", "systemctl enable --now understory-sync"][..]),
        ("run", &["understory-sync --run-once\n", "understory-sync\n"]),
        ("sync", &["understory-sync --run-once\n", "understory-sync\n"]),
        ("once", &["understory-sync --run-once\n"]),
    ] {
        let said = first_lines(&world, &[typed], 2);
        assert!(said.starts_with(&format!("error: there is no command '{typed}'")), "{said}");
        for answer in answers {
            assert!(said.contains(answer), "{said}");
        }
    }
}

#[tokio::test]
async fn at_a_terminal_forget_says_what_to_type_and_a_bad_line_is_named_by_its_number() {
    let world = bare().await;
    world.list_people(3);
    world.run_once().expect(0);
    let address = world.db.value("select email from consents order by email limit 1").await;
    let mut terminal = Terminal::start(world.command(&["forget", "-"]));
    terminal.wait_for("One address a line; end with Ctrl-D:");
    terminal.type_line(&address);
    terminal.type_line("\"Smith, Jane\"");
    terminal.type_end();
    terminal.wait_for("line 2: this matches no row");
    terminal.end(2);
    let mut terminal = Terminal::start(world.command(&["forget", "-"]));
    terminal.wait_for("One address a line; end with Ctrl-D:");
    terminal.type_line(&address);
    terminal.type_end();
    terminal.wait_for("found: 1 of 1 address");
    terminal.end(0);
}

#[tokio::test]
async fn tables_of_others_behind_a_database_url_are_not_joined_unasked() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(3);
    let url = world.db.url().to_owned();
    world.unset("database.url");
    world.variable("DATABASE_URL", &url);
    world.db.execute("create table orders (id int); create view recent as select * from orders").await;
    for arguments in [&["--run-once", "--dry-run"][..], &["--run-once"], &["migrate"], &[]] {
        let refused = world.run(arguments).expect(78);
        let refused =
            refused.says("holds tables of other applications (1), and its URL is that of DATABASE_URL");
        refused.says("database.schema");
    }
    let checked = world.run(&["check"]).expect(78);
    assert!(checked.stdout.contains("holds tables of other applications (1)"), "{}", checked.stdout);
    assert_eq!(world.db.number("select count(*) from pg_tables where schemaname = 'public'").await, 1);

    // A schema of its own, or a URL that was given to this program.
    world.set("database.schema", "understory");
    world.run(&["check"]).expect(0);
    world.run_once().expect(0);
    world.unset("database.schema");
    world.set("database.url", &url);
    world.run_once().expect(0);
    // Once our tables are there, it is ours whatever the variable.
    world.unset("database.url");
    world.run_once().expect(0);
    // An empty schema is nobody's.
    world.db.execute("drop schema public cascade; create schema public").await;
    world.run_once().expect(0);
}
