//! The readers of the change feed in the documents do what they say, against a local server.

use std::process::Command;

use serde_json::json;
use understory_mock_api::COMPANY_ID;

use crate::support::{Engine, World};

#[test]
fn every_documented_reader_adds_leaves_and_comes_again_after_a_failure() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers.py");
    let done =
        Command::new("python3").arg(script).output().expect("python3 is needed: apt-get install python3");
    let report = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && report.contains("\nOK"), "{report}");
}

on_both! {
    async fn the_question_for_metabase_has_an_answer(world: World) {
        world.list_people(5);
        world.run_once().expect(0);
        let sql = include_str!("../../docs/examples/readers/metabase.sql");
        let rows = world.db.query(sql.trim_end().trim_end_matches(';')).await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0][1].as_deref(), Some("5"));
    }
}

/// The model's query and its hook, as dbt renders them.
fn rendered(is_incremental: bool) -> (String, String) {
    let sql = include_str!("../../docs/examples/readers/dbt.sql");
    let sql = sql
        .replace("{{ source('understory', 'consent_feed') }}", "consent_feed")
        .replace("{{ this }}", "model");
    let (head, rest) = sql.split_once("{{ config(").unwrap();
    let (config, query) = rest.split_once(") }}").unwrap();
    let hook = config.split("post_hook=").nth(1).unwrap().trim_matches(['"', '\n', ' ']);
    let (before, rest) = query.split_once("{% if is_incremental() %}").unwrap();
    let (condition, after) = rest.split_once("{% endif %}").unwrap();
    let condition = if is_incremental { condition } else { "" };
    (format!("{head}{before}{condition}{after}"), hook.to_owned())
}

#[tokio::test]
async fn the_model_for_dbt_stays_equal_to_the_active_consents() {
    let world = World::on(Engine::Postgres).await;
    let item = |email: &str, name: &str| json!({"company_id": COMPANY_ID, "email": email, "full_name": name});
    let with_id = |id: &str, email: &str, name: &str| {
        let mut item = item(email, name);
        item["id"] = json!(id);
        item
    };
    for (number, list) in [
        vec![item("a@example.com", "A"), item("d@example.com", "D")],
        vec![with_id("x", "a@example.com", "A"), item("d@example.com", "D")],
        vec![with_id("x", "b@example.com", "A"), item("d@example.com", "D")],
        vec![with_id("x", "b@example.com", "A"), item("a@example.com", "B")],
        vec![with_id("x", "b@example.com", "C"), item("a@example.com", "B")],
        vec![with_id("x", "b@example.com", "C"), with_id("y", "a@example.com", "B")],
    ]
    .iter()
    .enumerate()
    {
        world.api.set_people(list);
        world.run_once().expect(0);
        if number == 4 {
            world.run(&["forget", "d@example.com"]).expect(0);
        }
        let (query, hook) = rendered(number > 0);
        // What dbt does for an incremental model with a unique key.
        let sql = if number == 0 {
            format!("create table model as {query}; {hook}")
        } else {
            format!(
                "create table fresh as {query}; delete from model where consent_key in (select consent_key from fresh); \
                 insert into model select * from fresh; drop table fresh; {hook}"
            )
        };
        world.db.execute(&sql).await;
        let order = "order by consent_key";
        let model = format!("select consent_key, email, full_name from model where state = 'active' {order}");
        let active = format!("select consent_key, email, full_name from active_consents {order}");
        assert_eq!(world.db.rows(&model).await, world.db.rows(&active).await, "after list {number}");
    }
    assert_eq!(
        world.db.value("select count(*) from model where state = 'erased' and email is null").await,
        "1"
    );
}

/// Runs the words of a document by a shell, with the program, a folder and a reader of this test in place of the document's.
fn run_documented(world: &World, words: &str) -> String {
    let reader = world.home().join("reader");
    std::fs::write(&reader, "#!/bin/sh\ntest \"$MAILCHIMP_API_KEY\" = key && wc -l >received\n").unwrap();
    std::fs::set_permissions(&reader, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(world.home().join("mailchimp.env"), "export MAILCHIMP_API_KEY=key\n").unwrap();
    let mut words = words.to_owned();
    for (documented, here) in [
        ("--config /etc/understory-sync/config.toml", String::new()),
        ("/etc/understory-sync/", format!("{}/", world.home().display())),
        ("/var/lib/understory-sync", world.home().display().to_string()),
        ("/usr/bin/understory-sync", "understory-sync".to_owned()),
        ("/usr/local/lib/understory-readers/mailchimp.py", reader.display().to_string()),
        ("/readers/mailchimp.py", reader.display().to_string()),
        ("sleep 300", "exit".to_owned()),
        ("understory-sync changes", format!("{} changes", env!("CARGO_BIN_EXE_understory-sync"))),
        ("understory-sync  changes", format!("{} changes", env!("CARGO_BIN_EXE_understory-sync"))),
    ] {
        words = words.replace(documented, &here);
    }
    let model = world.command(&[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", &words]).env_clear().current_dir(world.home());
    shell.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = shell.output().unwrap();
    assert!(done.status.success(), "{words}\n{}", String::from_utf8_lossy(&done.stderr));
    let received = world.home().join("received");
    let count = std::fs::read_to_string(&received).unwrap().trim().to_owned();
    std::fs::remove_file(received).unwrap();
    count
}

on_both! {
    async fn the_documented_line_of_cron_and_the_service_of_compose_hand_the_changes_on(world: World) {
        world.list_people(5);
        world.run_once().expect(0);
        let tables = include_str!("../../docs/tables.md");
        let cron = tables.lines().find_map(|line| line.strip_prefix("*/5 * * * * understory-sync ")).unwrap();
        assert_eq!(run_documented(&world, cron), "6");
        world.run(&["changes", "--forget-reader", "mailchimp"]).expect(0);
        let compose = include_str!("../../docs/examples/compose.readers.yaml");
        let words = compose.lines().find_map(|line| line.trim().strip_prefix("- while")).unwrap();
        world.variable("MAILCHIMP_API_KEY", "key");
        assert_eq!(run_documented(&world, &format!("while{words}")), "6");
    }
}
