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
