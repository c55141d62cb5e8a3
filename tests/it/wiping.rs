//! Erased means erased: no byte of a person is left in the database's files.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use understory_mock_api::COMPANY_ID;

use crate::bench::cluster::Cluster;
use crate::bench::sql::Db;
use crate::bench::{Bench, Dice};

const ADDRESS: &str = "Søren.Ørsted@Mail.Example.com";

/// All that names the person: as received, in normal form, in history, in a rejected item, and in a value too large for a row.
const TEXTS: [&str; 7] = [
    ADDRESS,
    "søren.ørsted@mail.example.com",
    "Sørine Kjærgaard",
    "Sørine Former",
    "Ørsted-booking",
    "Ørsted-rejected",
    "Ørsted-large",
];

/// Which of these texts a file of the folder holds.
fn texts_in_files<'a>(folder: &Path, texts: &[&'a str]) -> Vec<&'a str> {
    let holds = |text: &&&str| {
        let grep = ["--recursive", "--quiet", "--text", "--fixed-strings", "-e"];
        let searched = Command::new("grep").env("LC_ALL", "C").args(grep).arg(text).arg(folder).status();
        match searched.unwrap().code() {
            Some(0) => true,
            Some(1) => false,
            code => panic!("grep ended with {code:?}"),
        }
    };
    texts.iter().filter(holds).copied().collect()
}

/// A value that does not compress, so that it is stored beside the row.
fn large_text() -> String {
    let mut dice = Dice::new(1);
    (0..1_000).fold("Ørsted-large ".to_owned(), |text, _| text + &format!("{:016x}", dice.next()))
}

/// Two runs over a list that holds the person in every way.
fn sync_the_person(bench: &Bench) {
    bench.api.add(&json!({
        "id": "soren", "company_id": COMPANY_ID, "email": ADDRESS, "full_name": "Sørine Former",
        "references": [{"type": "booking", "id": "Ørsted-booking"}], "note": large_text(),
    }));
    let rejected = format!(r#"{{"id":"bad","note":"Ørsted-rejected <{ADDRESS}>"}}"#);
    bench.api.people(|people| people.add_raw(Some("bad"), &rejected));
    bench.run_well();
    let _ = bench.api.update("soren", |item| item["full_name"] = "Sørine Kjærgaard".into());
    bench.run_well();
}

fn forget(bench: &Bench) -> String {
    let ran = bench.call(&["forget", ADDRESS]);
    ran.must(0, &[]);
    assert!(ran.out.contains("not reached: backups, exports,"), "{}", ran.out);
    ran.out
}

/// A server of its own, the person in it, and where its files are.
fn with_the_person(schema: Option<&str>) -> (Cluster, Bench, Db) {
    let cluster = Cluster::new();
    // So few that the server does not compress its statistics.
    let mut bench = Bench::new(10, 100);
    bench.at(cluster.url("owner", "sync"));
    if let Some(schema) = schema {
        bench.set("DATABASE__SCHEMA", schema);
    }
    sync_the_person(&bench);
    let mut db = cluster.owner("sync");
    if let Some(schema) = schema {
        db.run(&format!("set search_path = \"{}\"", schema.replace('"', "\"\"")));
    }
    db.run("checkpoint");
    assert_eq!(texts_in_files(&cluster.folder().join("data/base"), &TEXTS), TEXTS);
    (cluster, bench, db)
}

#[test]
fn sqlite_keeps_no_byte_of_a_forgotten_person() {
    let bench = Bench::new(300, 100);
    sync_the_person(&bench);
    assert_eq!(texts_in_files(bench.folder.path(), &TEXTS), TEXTS);
    forget(&bench);
    assert_eq!(texts_in_files(bench.folder.path(), &TEXTS), [""; 0]);
}

#[test]
fn postgres_keeps_no_byte_of_a_forgotten_person_in_any_schema() {
    const IN_STATISTICS: &str = "select count(*) from pg_stats where histogram_bounds::text like '%ørsted@%' \
         or most_common_vals::text like '%ørsted@%'";
    for schema in [None, Some(r#"odd "name" of søren"#)] {
        let (cluster, bench, mut db) = with_the_person(schema);
        let base = cluster.folder().join("data/base");
        // Somebody has let the server make statistics of addresses.
        db.run("alter table consents alter column address set statistics 1000; analyze consents; checkpoint");
        assert_eq!(db.number(IN_STATISTICS), 1);
        let file = db.texts("select pg_relation_filepath('pg_catalog.pg_statistic')").remove(0);
        assert_eq!(texts_in_files(&cluster.folder().join("data").join(file), &TEXTS), [TEXTS[1]]);
        let said = forget(&bench);
        assert!(!said.contains("left:"), "{said}");
        db.run("checkpoint");
        assert_eq!(texts_in_files(&base, &TEXTS), [""; 0]);
        assert_eq!(db.number(IN_STATISTICS), 0);
        bench.run_well();
        assert_eq!(db.number("select count(*) from consents"), 10);
        // The rewrite leaves no trace in the schema.
        assert_eq!(db.number("select count(*) from pg_index where indisclustered"), 0);
    }
}

#[test]
fn postgres_makes_no_statistics_of_personal_texts() {
    const WITH_STATISTICS: &str = "select tablename || '.' || attname from pg_stats where schemaname = 'public' \
         and tablename in ('consents', 'consent_changes', 'rejected_items') order by 1";
    let (_cluster, _bench, mut db) = with_the_person(None);
    db.run("analyze");
    let columns = db.texts(WITH_STATISTICS);
    assert!(columns.contains(&"consents.company_id".to_owned()), "{columns:?}");
    for personal in [
        "consents.email",
        "consents.address",
        "consents.full_name",
        "consents.refs",
        "consents.extra",
        "consent_changes.before",
        "rejected_items.item",
    ] {
        assert!(!columns.contains(&personal.to_owned()), "{personal}");
    }
}

#[test]
fn a_transaction_that_may_see_the_person_is_told_of_and_waited_for() {
    let (cluster, bench, mut db) = with_the_person(None);
    let base = cluster.folder().join("data/base");
    let mut reader = cluster.owner("sync");
    // One sees the old rows without holding the table; then one holds the table.
    for begin in ["begin isolation level repeatable read; select 1", "begin; select count(*) from consents"] {
        reader.run(begin);
        let ran = bench.call(&["forget", ADDRESS]);
        ran.must(75, &["is being read by another program", "then run the command again"]);
        assert_eq!(db.number("select count(*) from consents where consent_key = 'soren'"), 0);
        // Whoever reads is not shut out meanwhile, and sees what it saw.
        let seen = if begin.contains("repeatable") { 11 } else { 10 };
        assert_eq!(reader.number("select count(*) from consents"), seen);
        reader.run("commit");
    }
    forget(&bench);
    db.run("checkpoint");
    assert_eq!(texts_in_files(&base, &TEXTS), [""; 0]);
}

#[test]
fn a_role_that_does_not_own_the_tables_is_told_what_remains_and_what_to_type() {
    let (cluster, mut bench, mut db) = with_the_person(None);
    let base = cluster.folder().join("data/base");
    db.run(
        "create role writer login; grant select, insert, update, delete on all tables in schema public to writer; \
         grant usage, update on all sequences in schema public to writer",
    );
    bench.at(cluster.url("writer", "sync"));
    let said = forget(&bench);
    for table in ["public.consents", "public.consent_changes", "public.rejected_items"] {
        let left = format!("left: deleted rows of {table} can be read in its file: another role owns it\n");
        assert!(said.contains(&left), "{said}");
    }
    db.run("checkpoint");
    assert_ne!(texts_in_files(&base, &TEXTS), [""; 0]);
    let commands: Vec<&str> = said.lines().filter_map(|line| line.split_once(": vacuum")?.1.into()).collect();
    assert_eq!(commands.len(), 7, "{said}");
    for command in commands {
        db.run(&format!("vacuum{command}"));
    }
    db.run("checkpoint");
    assert_eq!(texts_in_files(&base, &TEXTS), [""; 0]);
}

#[test]
fn a_large_table_is_left_to_its_owner() {
    let (_cluster, bench, mut db) = with_the_person(None);
    db.run(
        "alter table consents alter column extra set storage external; \
         update consents set extra = to_jsonb(repeat('x', 30000000)) where consent_key <> 'soren'",
    );
    let file = "select pg_relation_filenode('consents')::bigint";
    let before = db.number(file);
    let said = forget(&bench);
    let left = "left: deleted rows of public.consents can be read in its file: it takes ";
    assert!(said.contains(left) && said.contains("more than 256 MiB are not rewritten"), "{said}");
    assert!(said.contains("vacuum (full, analyze) public.consents;"), "{said}");
    assert!(!said.contains("public.consent_changes"), "{said}");
    assert_eq!(db.number(file), before);
}
