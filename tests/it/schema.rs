//! One schema in two dialects: same tables, same columns, same meaning.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Engine, World};

/// What the contract names, in its order.
const CONTRACT: [(&str, &str); 11] = [
    (
        "consents",
        "consent_key consent_id company_id email full_name source refs extra first_seen_at changed_at missing_since \
         withheld_since removed_at erased_at first_run_id changed_run_id",
    ),
    (
        "active_consents",
        "consent_key consent_id company_id email full_name source refs extra first_seen_at changed_at missing_since \
         withheld_since removed_at erased_at first_run_id changed_run_id",
    ),
    ("consent_history", "id consent_key previous_key run_id changed_at change before"),
    (
        "consent_states",
        "consent_key consent_id company_id email full_name source refs extra first_seen_at changed_at missing_since \
         withheld_since removed_at erased_at first_run_id changed_run_id address state",
    ),
    ("mailable_consents", "address email full_name source consents as_of"),
    ("consent_days", "day added returned left active"),
    ("consent_feed", "changed_at consent_key previous_key state email full_name source withheld mailable"),
    (
        "sync_runs",
        "id started_at finished_at outcome absence trigger endpoint pages items added updated unchanged returned \
         duplicates rejected suppressed foreign_items missing removed removals_withheld active requests retries error",
    ),
    ("rejected_items", "id first_run_id last_run_id resolved_at reason item"),
    ("suppressions", "email_hash created_at"),
    ("sync_lease", "name holder fence expires_at"),
];

const SQLITE: &str = "select m.name, m.type, c.name, c.type, c.\"notnull\" from sqlite_master m, pragma_table_info(m.name) c \
     where m.type in ('table', 'view') and m.name not like 'sqlite_%' and m.name <> '_sqlx_migrations' order by m.name, c.cid";

const POSTGRES: &str = "select table_name, case table_type when 'VIEW' then 'view' else 'table' end, column_name, data_type, \
     case is_nullable when 'NO' then 1 else 0 end from information_schema.columns natural join information_schema.tables \
     where table_schema = 'public' and table_name <> '_sqlx_migrations' order by table_name, ordinal_position";

#[tokio::test]
async fn both_databases_have_the_same_tables_views_and_columns() {
    let (file, server) = (World::on(Engine::Sqlite).await, World::on(Engine::Postgres).await);
    file.run(&["migrate"]).expect(0);
    server.run(&["migrate"]).expect(0);
    let here = file.db.query(SQLITE).await;
    let there = server.db.query(POSTGRES).await;
    let columns = |rows: &[Vec<Option<String>>], with_null: bool| -> Vec<String> {
        let mut lines: Vec<String> = rows
            .iter()
            .map(|row| {
                let cell = |at: usize| row[at].clone().unwrap_or_default();
                // A view's columns tell nothing of null.
                let null = if with_null && cell(1) == "table" { cell(4) } else { String::new() };
                format!("{} {} {} {null}", cell(0), cell(1), cell(2))
            })
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(columns(&here, true), columns(&there, true));

    let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in &here {
        let same = there.iter().find(|other| other[0] == row[0] && other[2] == row[2]);
        let kind = |row: &[Option<String>]| row[3].clone().unwrap_or_default().to_lowercase();
        // What a view computes has no type in SQLite.
        if row[1].as_deref() == Some("table") {
            types.entry(kind(row)).or_default().insert(kind(same.unwrap()));
        }
    }
    for (kind, counterparts) in types {
        let allowed: &[&str] = match kind.as_str() {
            "text" => &["text", "jsonb", "timestamp with time zone"],
            "integer" => &["bigint"],
            "blob" => &["bytea"],
            other => panic!("no column should be {other}"),
        };
        for counterpart in &counterparts {
            assert!(allowed.contains(&counterpart.as_str()), "{kind} and {counterpart}");
        }
    }
}

on_both! {
    async fn the_names_of_the_contract_are_there_to_the_letter(world: World) {
        world.list_people(3);
        world.api.add(&serde_json::json!("an item that is none"));
        world.run_once().expect(0);
        world.db.execute("insert into suppressions values ('x', '2026-01-01T00:00:00.000Z')").await;
        for (table, columns) in CONTRACT {
            let names = world.db.columns(&format!("select * from {table} limit 1")).await;
            let promised: Vec<&str> = columns.split_whitespace().collect();
            assert_eq!(names[..promised.len()], promised, "{table}");
            // A view is what users see: nothing internal in it.
            if ["active_consents", "consent_history"].contains(&table) {
                assert_eq!(names.len(), promised.len(), "{table}");
            }
        }
    }
}

#[tokio::test]
async fn migrations_have_the_same_numbers_and_names() {
    let list = |engine: &str| -> Vec<String> {
        let folder = format!("{}/migrations/{engine}", env!("CARGO_MANIFEST_DIR"));
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert!(!list("sqlite").is_empty());
    assert_eq!(list("sqlite"), list("postgres"));
}

#[tokio::test]
async fn sqlite_tables_are_strict_and_times_have_one_width() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(30);
    world.run_once().expect(0);
    let lax = world
        .db
        .rows("select name from pragma_table_list where schema = 'main' and type = 'table' and strict = 0 and name not like 'sqlite_%'")
        .await;
    assert_eq!(lax, ["_sqlx_migrations"]);
    let times = "select started_at from sync_runs union select finished_at from sync_runs union select changed_at from consents";
    for time in world.db.rows(times).await {
        assert_eq!(time.len(), "2026-01-01T00:00:00.000Z".len(), "{time}");
        assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    }
    assert_eq!(world.db.value("pragma application_id").await, "1431525710");
    assert_eq!(world.db.value("pragma journal_mode").await, "wal");
}
