//! `export`: RFC 4180 or JSON Lines, the active or all, to standard output or to a file that is whole or not there.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use serde_json::{Value, json};
use understory_mock_api::COMPANY_ID;

use crate::support::{Engine, World};

const HEADER: &str = "consent_key,consent_id,company_id,email,full_name,source,refs,extra,first_seen_at,changed_at,\
                      missing_since,withheld_since,removed_at,erased_at,first_run_id,changed_run_id";

/// Reads CSV as RFC 4180 has it, and nothing more lenient.
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let row = rows.last_mut().unwrap();
        match (letter, quoted) {
            ('"', true) if letters.peek() == Some(&'"') => {
                letters.next();
                row.last_mut().unwrap().push('"');
            }
            ('"', true) => quoted = false,
            ('"', false) => {
                assert!(row.last().unwrap().is_empty(), "a quote within a bare field");
                quoted = true;
            }
            (',', false) => row.push(String::new()),
            ('\r', false) => {
                assert_eq!(letters.next(), Some('\n'), "lines end with CRLF");
                rows.push(vec![String::new()]);
            }
            ('\n', false) => panic!("a bare newline"),
            (letter, _) => row.last_mut().unwrap().push(letter),
        }
    }
    assert_eq!(rows.pop(), Some(vec![String::new()]), "the last line ends too");
    rows
}

fn with_awkward_people(world: &World) {
    world.api.set_people(&[
        json!({"id": "a", "company_id": COMPANY_ID, "email": "a@example.com", "full_name": "Quote \" and, comma"}),
        json!({"id": "b", "company_id": COMPANY_ID, "email": "b@example.com", "full_name": "Two\r\nlines\nand more",
            "references": [{"type": "booking", "id": "x,y"}], "new_field": {"deep": [1, 2.50, null]}}),
        json!({"id": "c", "company_id": COMPANY_ID, "email": "=cmd()@example.com", "full_name": "", "source": "Nøkken"}),
        json!({"id": "d", "company_id": COMPANY_ID, "email": "d@example.com"}),
    ]);
    world.run_once().expect(0);
    let _ = world.api.remove("d");
    world.run_once().expect(0);
}

#[tokio::test]
async fn a_link_is_followed_and_a_pipe_is_written_to_not_replaced() {
    let world = World::on(Engine::Sqlite).await;
    with_awkward_people(&world);
    let link = |name: &str, to: &str| symlink(to, world.home().join(name)).unwrap();
    let is_link = |name: &str| world.home().join(name).is_symlink();
    std::fs::write(world.home().join("consents.csv"), "old").unwrap();
    link("today.csv", "consents.csv");
    let export = |to: &str| world.run(&["export", "--format", "csv", "-o", to]).expect(0).stdout;
    assert_eq!(export("today.csv"), "");
    assert!(is_link("today.csv"));
    let written = std::fs::read_to_string(world.home().join("consents.csv")).unwrap();
    assert!(written.starts_with(HEADER));

    link("pipe", "/dev/stdout");
    assert_eq!(export("pipe"), written);
    assert!(is_link("pipe"));
    assert_eq!(export("-"), written);
    for target in ["pipe", "-"] {
        world.run(&["backup", target]).expect(2).says("a pipe or standard output");
    }
    assert!(is_link("pipe"));
    assert!(!world.home().join("-").exists());
}

/// What a person chose as a name must not command the terminal of whoever looks.
#[tokio::test]
async fn a_terminal_is_shown_no_control_characters() {
    let world = World::on(Engine::Sqlite).await;
    world.api.set_people(&[
        json!({"id": "a", "company_id": COMPANY_ID, "email": "a@example.com", "full_name": "red\u{1b}[31m\u{9b}2J\u{7f}\rred"}),
    ]);
    world.run_once().expect(0);
    for format in ["csv", "jsonl"] {
        let program = env!("CARGO_BIN_EXE_understory-sync");
        let typed = format!("{program} export --format {format}");
        let mut command = world.command(&[]);
        let mut script = std::process::Command::new("script");
        let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        script.args(["-qec", &typed, "/dev/null"]).env_clear().envs(variables).current_dir(world.home());
        std::mem::swap(&mut command, &mut script);
        let shown = crate::support::run(command).expect(0).stdout;
        assert!(shown.contains("a@example.com") && shown.contains('\u{fffd}'), "{shown:?}");
        let is_bad = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\r');
        assert!(!shown.contains(is_bad) && !shown.contains("\rred"), "{shown:?}");
        // Not a terminal: as it was received.
        let piped = world.run(&["export", "--format", format]).expect(0).stdout;
        assert!(piped.contains('\u{9b}'), "{piped:?}");
    }
}

#[tokio::test]
async fn no_command_writes_over_the_database_or_its_side_files() {
    let world = World::on(Engine::Sqlite).await;
    with_awkward_people(&world);
    let database = world.db.path();
    let name = database.file_name().unwrap().to_str().unwrap();
    let beside = |suffix: &str| database.with_file_name(format!("{name}{suffix}"));
    symlink(&database, world.home().join("link.csv")).unwrap();
    std::fs::hard_link(&database, beside("-same")).unwrap();
    symlink(beside("-wal"), world.home().join("dangling.csv")).unwrap();
    let before = std::fs::read(&database).unwrap();
    let mut targets = vec![world.home().join("link.csv"), world.home().join("dangling.csv")];
    targets.extend(["", "-wal", "-shm", "-journal", ".lock", "-same"].map(beside));
    for target in &targets {
        let target = target.to_str().unwrap();
        for command in [&["export", "--format", "csv", "-o", target][..], &["backup", target]] {
            world.run(command).expect(2).says("would replace the database");
        }
    }
    assert!(std::fs::read(&database).unwrap() == before, "the database was changed");
    let free = beside(".csv");
    world.run(&["export", "--format", "csv", "-o", free.to_str().unwrap()]).expect(0);
    assert!(free.exists());
}

on_both! {
    async fn csv_is_rfc_4180(world: World) {
        with_awkward_people(&world);
        let text = world.run(&["export", "--format", "csv"]).expect(0).stdout;
        assert!(text.starts_with(&format!("{HEADER}\r\n")), "{text}");
        let rows = parse_csv(&text);
        assert_eq!(rows.len(), 4, "the header and the active");
        assert!(rows.iter().all(|row| row.len() == 16));
        assert_eq!(rows[1][..5], ["a", "a", COMPANY_ID, "a@example.com", "Quote \" and, comma"]);
        assert_eq!(rows[2][4], "Two\r\nlines\nand more");
        let refs: Value = serde_json::from_str(&rows[2][6]).unwrap();
        assert_eq!(refs, json!([{"type": "booking", "id": "x,y"}]));
        assert_eq!(rows[3][5], "Nøkken");
        assert!(rows[1][8].ends_with('Z') && rows[1][8].len() == 24, "{}", rows[1][8]);
        let all = parse_csv(&world.run(&["export", "--format", "csv", "--all"]).expect(0).stdout);
        assert_eq!(all.len(), 5);
        assert_eq!(all[4][0], "d");
        assert!(!all[4][10].is_empty());
    }

    async fn json_lines_hold_one_consent_each(world: World) {
        with_awkward_people(&world);
        let text = world.run(&["export", "--format", "jsonl", "--all"]).expect(0).stdout;
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert!(text.ends_with('\n'));
        let names: Vec<&str> = lines[0].as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected: Vec<&str> = HEADER.split(',').collect();
        expected.sort_unstable();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        assert_eq!(lines[1]["full_name"], "Two\r\nlines\nand more");
        assert_eq!(lines[1]["refs"], json!([{"type": "booking", "id": "x,y"}]), "JSON, not text");
        assert!(lines[1]["extra"]["new_field"]["deep"].is_array());
        assert_eq!(lines[0]["source"], Value::Null);
        assert_eq!(lines[2]["full_name"], "");
        assert_eq!(world.run(&["export", "--format", "jsonl"]).expect(0).stdout.lines().count(), 3);
    }

    async fn a_file_is_private_and_whole_or_not_there(world: World) {
        with_awkward_people(&world);
        let target = world.home().join("out.csv");
        std::fs::write(&target, "old").unwrap();
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o644)).unwrap();
        world.run(&["export", "--format", "csv", "-o", "out.csv"]).expect(0);
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(parse_csv(&std::fs::read_to_string(&target).unwrap()).len(), 4);
        let files: Vec<_> = std::fs::read_dir(world.home()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, ["out.csv"], "nothing is left beside it");
        // What a killed process left goes, whatever it was to be called.
        std::fs::write(world.home().join(".old.csv.1.0.understory-sync.part"), "a@example.com").unwrap();
        world.run(&["export", "--format", "csv", "-o", "out.csv"]).expect(0);
        assert_eq!(std::fs::read_dir(world.home()).unwrap().count(), 1);
        // Where the database fails, the old file stays.
        world.set("database.url", "sqlite://nowhere.db");
        let done = world.run(&["export", "--format", "csv", "-o", "out.csv"]);
        assert_ne!(done.code, 0);
        assert_eq!(parse_csv(&std::fs::read_to_string(&target).unwrap()).len(), 4);
        assert!(!world.home().join("nowhere.db").exists());
    }

    async fn a_reader_that_has_seen_enough_is_no_failure(world: World) {
        world.list_people(5_000);
        world.run_once().expect(0);
        for format in ["csv", "jsonl"] {
            let mut child = world.command(&["export", "--format", format])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            drop(child.stdout.take());
            let done = child.wait_with_output().unwrap();
            assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
            assert_eq!(String::from_utf8_lossy(&done.stderr), "");
        }
    }
}

on_both! {
    async fn the_withheld_are_exported_only_where_they_are_asked_for(world: World) {
        world.list_people(30);
        world.run_once().expect(0);
        // Their pages still answer, so that the guard holds them.
        world.api.people(|people| {
            for number in 0..20 {
                assert!(people.list(understory_mock_api::person(1, number)["id"].as_str().unwrap(), false));
            }
        });
        world.run_once().expect(65);
        let lines = |arguments: &[&str]| {
            let arguments = [&["export", "--format", "jsonl"], arguments].concat();
            world.run(&arguments).expect(0).stdout.lines().count()
        };
        assert_eq!((lines(&[]), lines(&["--withheld"]), lines(&["--all"])), (10, 30, 30));
    }

    async fn columns_are_chosen_and_a_spreadsheet_runs_no_cell(world: World) {
        with_awkward_people(&world);
        let columns = ["export", "--format", "csv", "--excel", "--columns", "email,address,full_name"];
        let csv = world.run(&columns).expect(0).stdout.clone();
        let rows = parse_csv(csv.strip_prefix('\u{feff}').unwrap());
        assert_eq!(rows[0], ["email", "address", "full_name"]);
        assert!(rows.iter().any(|row| row[0] == "'=cmd()@example.com"), "{csv}");
        let json = world.run(&["export", "--format", "jsonl", "--columns", "consent_key,refs"]).expect(0).stdout.clone();
        let line: Value = serde_json::from_str(json.lines().nth(1).unwrap()).unwrap();
        assert_eq!(line, json!({"consent_key": "b", "refs": [{"type": "booking", "id": "x,y"}]}));
        world.run(&["export", "--format", "csv", "--columns", "nonsense"]).expect(2);
        world.run(&["export", "--format", "jsonl", "--excel"]).expect(2);
    }
}

on_both! {
    async fn every_documented_column_can_be_chosen_in_any_order(world: World) {
        world.api.set_people(&[json!({"company_id": COMPANY_ID, "email": "Ann@example.com"})]);
        world.run_once().expect(0);
        world.api.set_people(&[json!({"id": "x", "company_id": COMPANY_ID, "email": "Ann@example.com"})]);
        world.run_once().expect(0);
        let documented = include_str!("../../docs/tables.md").split("\n## consents\n").nth(1).unwrap();
        let documented = documented.split("\nWhat the state").next().unwrap();
        let mut columns: Vec<&str> = documented
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
            .flat_map(|names| names.trim_end_matches('`').split("`, `"))
            .collect();
        columns.reverse();
        assert_eq!(columns.len(), 18, "{columns:?}");
        let chosen = columns.join(",");
        let csv = world.run(&["export", "--format", "csv", "--columns", &chosen]).expect(0).stdout;
        let rows = parse_csv(&csv);
        assert_eq!(rows[0], columns);
        assert_eq!(rows[1][1], "ann@example.com", "address");
        assert!(rows[1][0].starts_with("nk:"), "previous_key: {}", rows[1][0]);
        let jsonl = world.run(&["export", "--format", "jsonl", "--columns", "email,address,consent_key"]).expect(0).stdout;
        assert_eq!(jsonl, "{\"email\":\"Ann@example.com\",\"address\":\"ann@example.com\",\"consent_key\":\"x\"}\n");
        world.run(&["export", "--format", "csv", "--columns", "email,row_hash"]).expect(2).says("--columns names a column");
    }

    async fn a_spreadsheet_runs_no_cell_of_any_column_and_everybody_else_gets_them_as_they_are(world: World) {
        let starts = ["=1+1", "+1", "-1", "@sum(a1)", "\t=1", "\r=1", " =1", "＝1", "|calc"];
        let people: Vec<Value> = starts
            .iter()
            .enumerate()
            .map(|(number, text)| json!({"id": format!("{text}{number}"), "company_id": COMPANY_ID, "email": format!("{number}@example.com"), "full_name": text, "source": text}))
            .collect();
        world.api.set_people(&people);
        world.run_once().expect(0);
        let plain = world.run(&["export", "--format", "csv"]).expect(0).stdout;
        for text in starts {
            assert_eq!(parse_csv(&plain).iter().filter(|row| row[4] == text && row[5] == text).count(), 1, "{text:?}");
        }
        world.run(&["export", "--format", "csv", "--excel", "--withheld", "-o", "excel.csv"]).expect(0);
        let excel = std::fs::read_to_string(world.home().join("excel.csv")).unwrap();
        let rows = parse_csv(excel.strip_prefix('\u{feff}').unwrap());
        assert_eq!(rows.len(), starts.len() + 1);
        for row in &rows[1..] {
            for cell in row.iter().filter(|cell| !cell.is_empty()) {
                let first = cell.trim_start_matches(' ').chars().next().unwrap();
                assert!(!"=+-@\t\r\n|＝＋－＠".contains(first), "{cell:?}");
            }
            assert_eq!(row[4], row[5]);
            assert!(starts.contains(&row[4].strip_prefix('\'').unwrap()), "{row:?}");
        }
    }
}

#[tokio::test]
async fn a_time_without_end_is_written_and_no_panic() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(3);
    world.run_once().expect(0);
    world.db.execute("update consents set changed_at = 'infinity', first_seen_at = '-infinity'").await;
    let done = world.run(&["export", "--format", "jsonl"]).expect(0);
    assert_eq!(done.stdout.matches("9999-12-31T23:59:59.999Z").count(), 3, "{}", done.stdout);
}
