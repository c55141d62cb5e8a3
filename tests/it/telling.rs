//! What `status` tells, and the JSON of each command that has one.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Done, Engine, World, run, until};

fn status(world: &World) -> String {
    world.run(&["status"]).expect(0).stdout
}

on_both! {
    async fn status_names_database_file_and_company_and_waits_for_the_first_run(world: World) {
        let before = status(&world);
        let what = if world.db.is_postgres() { "There are no tables in PostgreSQL at " } else { "There is no database at /" };
        assert!(before.starts_with(what) && before.contains(" yet: waiting for the first run.\n"), "{before}");
        assert!(!before.contains("Next run"), "{before}");
        world.run(&["migrate"]).expect(0);
        assert!(status(&world).starts_with("Waiting for the first run.\n"));
        world.list_people(3);
        world.run_once().expect(0);
        let after = status(&world);
        assert!(after.contains(&format!("Company   {}\n", understory_mock_api::COMPANY_ID)), "{after}");
        assert!(after.contains("Settings  no file\n") && after.contains("Database  "), "{after}");
        assert!(after.contains("Next run  not known: no daemon is up\n"), "{after}");
    }

    async fn the_next_run_is_told_while_a_daemon_is_there(world: World) {
        world.list_people(3);
        world.set("schedule.timezone", "Europe/Copenhagen");
        let daemon = world.start(&[]);
        until("the first run", async || status(&world).contains("ok, ").then_some(())).await;
        let next = until("the next run", async || {
            let told = status(&world);
            told.lines().find_map(|line| line.strip_prefix("Next run  20")).map(str::to_owned)
        }).await;
        assert!(next.contains(" +01:00 (in ") || next.contains(" +02:00 (in "), "{next}");
        daemon.signal("TERM");
        daemon.wait().expect(0);
        assert!(status(&world).contains("Next run  not known: no daemon is up\n"));

        let daemon = world.start(&[]);
        until("the next run", async || status(&world).contains("Next run  20").then_some(())).await;
        daemon.signal("KILL");
        daemon.wait();
        let earlier = if world.db.is_postgres() { "now() - interval '6 minutes'" } else { "'2020-01-01T00:00:00.000Z'" };
        world.db.execute(&format!("update sync_state set next_run_at = {earlier}")).await;
        assert!(status(&world).contains("Next run  not known: no daemon seen since "));
    }

    async fn status_tells_which_removals_are_let_through_and_what_was_not_sent(world: World) {
        world.list_people(100);
        world.run_once().expect(0);
        world.hide(0..50);
        // Nobody listens there.
        world.set("notify.url", "http://127.0.0.1:1/hook");
        world.run_once().expect(65);
        let told = status(&world);
        let headline = told.lines().next().unwrap();
        assert!(headline.starts_with("Last full sync "), "{told}");
        assert!(headline.ends_with("50 removals are waiting for your decision."), "{told}");
        assert!(told.contains("! The last notification (removals_withheld) did not arrive"), "{told}");
        assert!(told.contains(" accept-removals 50\n"), "{told}");
        world.run(&["accept-removals", "50"]).expect(0);
        let told = status(&world);
        assert!(told.contains("Accepted  up to 50 removals, by ") && told.contains("(in 24 h)") || told.contains("(in 23 h)"), "{told}");
    }
}

/// Every field, as docs/tables.md writes it. Rows of `sync_runs` are documented as that table.
fn fields(value: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) if !["last_complete", "environment"].contains(&path) => {
            for (name, value) in members {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields(value, &inner, found);
            }
        }
        serde_json::Value::Array(_) if path == "runs" => drop(found.insert("runs[]".to_owned())),
        serde_json::Value::Array(items) => {
            let inner = format!("{path}[]");
            match items.first() {
                Some(_) => items.iter().for_each(|item| fields(item, &inner, found)),
                None => drop(found.insert(inner)),
            }
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

fn documented(section: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tables.md")).unwrap();
    let section = text.split(&format!("\n### {section}\n")).nth(1).unwrap();
    let rows = section.split("\n##").next().unwrap().lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.map(|row| row.split(" | ").next().unwrap());
    cells.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`').to_owned()).collect()
}

on_both! {
    async fn every_field_of_json_is_documented_and_every_documented_field_is_there(world: World) {
        world.list_people(100);
        world.run_once().expect(0);
        world.hide(0..50);
        world.set("notify.url", "http://127.0.0.1:1/hook");
        world.run_once().expect(65);
        world.run(&["accept-removals", "50"]).expect(0);
        world.run(&["changes", "--as", "mail", "--", "cat"]).expect(0);
        world.db.execute(
            "insert into renewed_consents (consent_id, email_hash, first_seen_at, last_run_id) \
             select '4711', 'hash', started_at, id from sync_runs where id = 2",
        ).await;
        for (section, arguments) in [
            ("status", &["status", "--json"][..]),
            ("config", &["config", "--json"]),
            ("check", &["check", "--json"]),
            ("changes --list", &["changes", "--list", "--json"]),
        ] {
            let printed = world.run(arguments).stdout;
            let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
            let mut found = BTreeSet::new();
            fields(&json, "", &mut found);
            assert_eq!(found, documented(section), "{section}");
        }
        let runs = &serde_json::from_str::<serde_json::Value>(&world.run(&["status", "--json"]).stdout).unwrap()["runs"];
        let columns = world.db.columns("select * from sync_runs").await;
        for field in runs[0].as_object().unwrap().keys() {
            assert!(columns.contains(field), "{field}");
        }
    }
}

#[tokio::test]
async fn on_a_terminal_nothing_stands_between_the_progress_and_the_summary() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(400);
    let shown = |arguments: &str| {
        let program = env!("CARGO_BIN_EXE_understory-sync");
        let mut command = world.command(&[]);
        let typed = format!("{program} {arguments}");
        let mut terminal = std::process::Command::new("script");
        terminal
            .args(["-qec", &typed, "/dev/null"])
            .env_clear()
            .env("TERM", "xterm")
            .current_dir(world.home());
        terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let _ = &mut command;
        run(terminal)
    };
    let whole_lines = |done: &Done| {
        // The progress is written over itself, line after line without an end.
        let last = |line: &str| line.rsplit(['\r', '\u{1b}']).next().unwrap_or_default().to_owned();
        let lines =
            done.stdout.lines().map(last).map(|line| line.trim_start_matches("[2K").trim().to_owned());
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let first = shown("--run-once").expect(0);
    assert!(first.stdout.contains("first run: 100,000 take about"), "{:?}", first.stdout);
    assert_eq!(whole_lines(&first).len(), 1, "{:?}", first.stdout);
    assert!(whole_lines(&first)[0].starts_with("run 1 ok in "), "{:?}", first.stdout);
    world.set("api.requests_per_second", "20");
    let second = shown("--run-once").expect(0);
    assert!(second.stdout.contains(" of about 400 consents"), "{:?}", second.stdout);
    assert!(second.stdout.contains(" left"), "{:?}", second.stdout);
}
