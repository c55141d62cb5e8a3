//! What others do to our tables by accident heals by itself, or is refused with words that say what happened.

use std::time::Duration;

use serde_json::json;

use crate::bench::Bench;
use crate::bench::cluster::Cluster;
use crate::pooler::Pooler;
use crate::support::link::Link;
use crate::support::{Engine, World};

on_both! {
    async fn a_lease_table_that_was_emptied_fills_itself(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        world.db.execute("delete from sync_lease").await;
        world.run_once().expect(0);
        assert_eq!(world.db.rows("select name, holder from sync_lease").await, ["sync|-"]);
        world.db.execute("delete from sync_lease").await;
        world.run(&["forget", "somebody@example.com"]).expect(0);
    }

    async fn an_emptied_list_of_migrations_is_told_as_that(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        world.db.execute("delete from _sqlx_migrations").await;
        for command in ["--run-once", "status", "migrate"] {
            world.run(&[command]).expect(78).says("_sqlx_migrations is empty").says("backup");
        }
        assert_eq!(world.db.count("consents").await, 3);
    }

    async fn an_emptied_state_is_told_as_that(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        world.db.execute("delete from sync_state").await;
        for command in ["--run-once", "status", "migrate"] {
            world.run(&[command]).expect(78).says("sync_state").says("is empty").says("backup");
        }
        assert_eq!(world.db.count("consents").await, 3);
    }

    async fn two_rows_with_one_key_hash_are_refused_before_one_of_them_is_lost(world: World) {
        world.list_people(5);
        world.run_once().expect(0);
        let first = "(select min(row_hash) from consents)";
        world.db.execute(&format!("update consents set row_hash = {first} where row_hash = (select max(row_hash) from consents)")).await;
        world.run_once().expect(65).says("two equal values of consents.row_hash");
        assert_eq!(world.db.count("active_consents").await, 5);
    }

    async fn rows_that_the_database_drops_fail_the_run(world: World) {
        let rejected = json!({ "id": "bad" });
        world.list_people(20);
        world.api.add(&rejected);
        world.run_once().expect(0);
        let dropping = |table: &str, event: &str| {
            let name = format!("drop_{table}");
            if world.db.is_postgres() {
                format!(
                    "create or replace function drop_row() returns trigger language plpgsql as 'begin return null; end'; \
                     create trigger {name} before {event} on {table} for each row execute function drop_row()"
                )
            } else {
                format!("create trigger {name} before {event} on {table} begin select raise(ignore); end")
            }
        };
        let lift = async |table: &str| {
            let on = if world.db.is_postgres() { format!(" on {table}") } else { String::new() };
            world.db.execute(&format!("drop trigger drop_{table}{on}")).await;
        };
        let old = world.api.people(|people| people.ids())[3].clone();
        world.api.people(|people| people.fill(1, 20..25));
        for (table, event) in [
            ("consents", "insert"),
            ("consents", "update"),
            ("consent_changes", "insert"),
            ("rejected_items", "insert"),
            ("sync_runs", "update"),
        ] {
            world.db.execute(&dropping(table, event)).await;
            assert!(world.api.update(&old, |person| person["full_name"] = json!(format!("{table} {event}"))));
            world.api.add(&json!({ "id": format!("bad {table} {event}") }));
            world.run_once().expect(74).says("trigger");
            lift(table).await;
            world.run_once().expect(0);
            assert_eq!(world.last_run("active").await, "25", "{table} {event}");
        }
    }
}

#[tokio::test]
async fn sequences_that_are_behind_their_tables_go_on_behind_the_last_id() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(10);
    world.api.add(&json!({ "id": "bad" }));
    world.run_once().expect(0);
    let id = world.api.people(|people| people.ids())[3].clone();
    assert!(world.api.update(&id, |person| person["full_name"] = json!("Version 1")));
    world.run_once().expect(0);
    for table in ["sync_runs", "consent_changes", "rejected_items"] {
        world.db.execute(&format!("select setval(pg_get_serial_sequence('{table}', 'id'), 1, false)")).await;
    }
    assert!(world.api.update(&id, |person| person["full_name"] = json!("Version 2")));
    world.api.add(&json!({ "id": "worse" }));
    world.run_once().expect(0);
    assert_eq!(world.db.value("select string_agg(id::text, ' ' order by id) from sync_runs").await, "1 2 3");
    assert_eq!(world.db.count("consent_changes").await, 2);
    assert_eq!(world.db.count("rejected_items").await, 2);
}

#[tokio::test]
async fn sqlite_counts_on_behind_the_last_id_by_itself() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(3);
    world.run_once().expect(0);
    world.run_once().expect(0);
    world.db.execute("delete from sqlite_sequence").await;
    world.run_once().expect(0);
    assert_eq!(world.last_run("id").await, "3");
}

#[test]
fn a_database_in_another_encoding_is_refused_at_the_start() {
    let cluster = Cluster::new();
    let mut bench = Bench::new(3, 50);
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let name = encoding.to_lowercase();
        cluster
            .owner("postgres")
            .run(&format!("create database {name} encoding '{encoding}' locale 'C' template template0"));
        bench.at(cluster.url("owner", &name));
        for command in ["--run-once", "check", "migrate"] {
            let ran = bench.call(&[command]);
            assert_eq!(ran.code, Some(78), "{ran:?}");
            assert!(
                format!("{ran:?}").contains(&format!("stores text as {encoding}, not as UTF8")),
                "{ran:?}"
            );
        }
    }
}

#[test]
fn a_pooler_in_statement_mode_is_refused_as_that() {
    let cluster = Cluster::new();
    let pooler = Pooler::in_mode(&cluster, 1, "statement");
    let mut bench = Bench::new(3, 50);
    bench.at(pooler.url());
    for command in ["--run-once", "migrate"] {
        bench.call(&[command]).must(78, &["statement mode", "pool_mode"]);
    }
}

#[test]
fn a_schema_is_made_without_plpgsql() {
    let cluster = Cluster::new();
    cluster.owner("sync").run("drop extension plpgsql");
    let mut bench = Bench::new(3, 50);
    bench.at(cluster.url("owner", "sync"));
    bench.set("DATABASE__SCHEMA", r#"odd "name"; drop schema public"#);
    bench.run_well();
    let mut db = cluster.owner("sync");
    assert_eq!(db.number("select count(*) from pg_namespace where nspname in ('public', 'odd \"name\"; drop schema public')"), 2);
}

#[tokio::test]
async fn a_thousand_rejected_items_cost_no_way_each() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(3);
    world.run_once().expect(0);
    for number in 0..1_000 {
        world.api.add(&json!({ "id": format!("bad {number}"), "email": format!("{number}@example.com") }));
    }
    let link = Link::to(world.db.url());
    link.set_delay(Duration::from_millis(5));
    world.set("database.url", &link.url(world.db.url()));
    let mut first = 0;
    for round in ["new", "resolved before"] {
        let done = world.run_once().expect(0);
        // Each message is answered before the next one: 10 ms of the three seconds that it may take.
        let messages = link.messages();
        println!("1,000 rejected items, {round}, over 5 ms each way: {messages} messages, {:?}", done.took);
        assert!(messages - first < 200, "{messages} messages");
        let unresolved = "select count(*) from rejected_items where resolved_at is null";
        assert_eq!(world.db.number(unresolved).await, 1_000);
        let rejected = world.api.people(|people| people.items());
        world.list_people(3);
        world.run_once().expect(0);
        assert_eq!(world.db.number(unresolved).await, 0);
        world.api.set_people(&rejected);
        first = link.messages();
    }
}
