//! Every migration works on a database of version 0.1: it loses and changes nothing, and the runs go on from there.
//!
//! `tests/fixtures/README.md` says what the fixtures hold and how they were made.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::value::RawValue;
use understory_mock_api::COMPANY_ID;

use crate::support::{Engine, World};

/// Tables and views with the columns that version 0.1 documented, in a fixed order of rows.
const DOCUMENTED: [(&str, &str, &str); 7] = [
    ("consents", CONSENT, "consent_key"),
    ("active_consents", CONSENT, "consent_key"),
    ("consent_changes", HISTORY, "id"),
    ("consent_history", HISTORY, "id, consent_key"),
    (
        "sync_runs",
        "id, started_at, finished_at, outcome, absence, trigger, endpoint, pages, items, added, updated, unchanged, \
         returned, duplicates, rejected, suppressed, foreign_items, missing, removed, removals_withheld, active, \
         requests, retries, error",
        "id",
    ),
    ("rejected_items", "id, first_run_id, last_run_id, resolved_at, reason, item", "id"),
    ("suppressions", "email_hash, created_at", "email_hash"),
];

const CONSENT: &str = "consent_key, consent_id, company_id, email, full_name, source, refs, extra, first_seen_at, changed_at, \
                       missing_since, withheld_since, removed_at, erased_at, first_run_id, changed_run_id";

const HISTORY: &str = "id, consent_key, run_id, changed_at, change, before";

/// What the API held at the end, byte for byte.
#[derive(Deserialize)]
pub(crate) struct Recorded<'a> {
    #[serde(borrow)]
    listed: Vec<&'a RawValue>,
    #[serde(borrow)]
    unlisted_with_a_page: Vec<&'a RawValue>,
    suppressed: Vec<String>,
}

fn recorded() -> Recorded<'static> {
    serde_json::from_str(include_str!("../fixtures/v0_1.api.json")).unwrap()
}

/// The id in the path of an item's own page.
fn id_of(item: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct WithId {
        id: serde_json::Value,
    }
    let id = serde_json::from_str::<WithId>(item.get()).ok()?.id;
    Some(id.as_str().map_or_else(|| id.to_string(), str::to_owned))
}

/// Fills the world's database with the fixture and lists what the API listed last.
pub(crate) async fn load(world: &World) -> Recorded<'static> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    match world.db.engine() {
        Engine::Sqlite => {
            let bytes = fs::read(format!("{folder}/v0_1.db")).unwrap();
            fs::write(world.db.path(), bytes).unwrap();
        }
        Engine::Postgres => {
            let dump = fs::read_to_string(format!("{folder}/v0_1.postgres.sql")).unwrap();
            // A line that begins with a backslash is a command for psql.
            let sql: Vec<&str> = dump.lines().filter(|line| !line.starts_with('\\')).collect();
            world.db.execute(&sql.join("\n")).await;
        }
    }
    // The guard as it was when the last runs were withheld.
    world.set("removal.min_count", "5");
    let recorded = recorded();
    world.api.people(|people| {
        for item in &recorded.listed {
            people.add_raw(id_of(item).as_deref(), item.get());
        }
        for item in &recorded.unlisted_with_a_page {
            let id = id_of(item).unwrap();
            people.add_raw(Some(&id), item.get());
            assert!(people.list(&id, false));
        }
    });
    recorded
}

/// The rows of a table or view, as far as version 0.1 documented it.
async fn rows(world: &World, name: &str) -> Vec<String> {
    let (_, columns, order) = DOCUMENTED.iter().find(|(table, _, _)| *table == name).unwrap();
    world.db.rows(&format!("select {columns} from {name} order by {order}")).await
}

async fn all_rows(world: &World) -> Vec<(&'static str, Vec<String>)> {
    let mut all = Vec::new();
    for (name, _, _) in DOCUMENTED {
        all.push((name, rows(world, name).await));
    }
    all
}

/// Runs `forget` with these arguments and lines on its standard input.
#[track_caller]
fn forget(world: &World, arguments: &[&str], lines: &[String]) -> String {
    let mut child = world
        .command(&[&["forget"], arguments, &["-"]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// What a run row counts.
const COUNTS: &str = "outcome, absence, items, added, updated, unchanged, returned, duplicates, rejected, suppressed, \
                      missing, removed, removals_withheld, active";

on_both! {
    async fn the_fixture_holds_what_its_readme_says(world: World) {
        let recorded = load(&world).await;
        assert_eq!(recorded.suppressed.len(), 9);
        for (table, count) in [
            ("consents", 71),
            ("active_consents", 56),
            ("consent_changes", 51),
            ("consent_history", 122),
            ("sync_runs", 26),
            ("rejected_items", 7),
            ("suppressions", 9),
        ] {
            assert_eq!(world.db.count(table).await, count, "{table}");
        }
        assert_eq!(
            world.db.rows("select outcome, absence, count(*) from sync_runs group by 1, 2 order by 1, 2").await.len(), 5
        );
        let states = "select sum(case when withheld_since is not null then 1 else 0 end), \
                      sum(case when missing_since is not null and removed_at is null then 1 else 0 end), \
                      sum(case when removed_at is not null then 1 else 0 end), \
                      sum(case when erased_at is not null then 1 else 0 end), \
                      sum(case when consent_key like 'nk:%' then 1 else 0 end) from consents";
        assert_eq!(world.db.rows(states).await, ["15|3|12|3|7"]);
        let history = "select change, count(*), count(before) from consent_changes group by 1 order by 1";
        assert_eq!(
            world.db.rows(history).await,
            ["missing|21|0", "removed|15|0", "returned|6|0", "updated|9|7"]
        );
        assert_eq!(world.db.rows("select max(version), count(*) from _sqlx_migrations").await, ["1|1"]);
    }

    async fn the_migrations_lose_and_change_nothing(world: World) {
        let _ = load(&world).await;
        let before = all_rows(&world).await;
        for _ in 0..2 {
            world.run(&["migrate"]).expect(0);
            for ((name, before), (_, after)) in before.iter().zip(all_rows(&world).await) {
                assert_eq!(*before, after, "{name}");
            }
        }
    }

    async fn the_migrations_fill_what_schema_2_adds(world: World) {
        let _ = load(&world).await;
        world.run(&["migrate"]).expect(0);
        for (key, address) in [
            ("upper", "ingrid.holm@example.com"),
            ("idn-unicode", "søren@xn--blbr-roah.example"),
            ("idn-punycode", "karen@xn--blbr-roah.example"),
            ("nfd", "chlo\u{e9}@example.com"),
            ("leaver-01", "leaver-01@example.com"),
            ("erased", "-"),
        ] {
            assert_eq!(world.db.value(&format!("select address from consents where consent_key = '{key}'")).await, address);
        }
        assert_eq!(
            world.db.value("select address from consents where consent_id is null and extra is not null").await,
            "jürgen.groß@xn--mller-kva.example"
        );
        let unequal = "select count(*) from consents where (address is null) <> (email is null)";
        assert_eq!(world.db.number(unequal).await, 0);

        let states = "select state, count(*) from consent_states group by 1 order by 1";
        assert_eq!(world.db.rows(states).await, ["active|41", "erased|3", "missing|3", "removed|9", "withheld|15"]);
        // Two addresses have two consents each.
        let mailable = "select consents, count(*), min(as_of) from mailable_consents group by 1 order by 1";
        let judged = world.db.value("select started_at from sync_runs where id = 24").await;
        assert_eq!(world.db.rows(mailable).await, [format!("1|37|{judged}"), format!("2|2|{judged}")]);
        let feed = "select state, count(*), sum(case when withheld then 1 else 0 end), \
                    sum(case when mailable then 1 else 0 end) from consent_feed group by 1 order by 1";
        assert_eq!(world.db.rows(feed).await, ["active|56|15|41", "erased|3|0|0", "inactive|12|0|0"]);
        assert_eq!(world.db.rows("select company_id from companies").await, [COMPANY_ID]);
        // What runs counted after the last person was erased on request is what the days say.
        let days = world.db.rows("select day, active from consent_days where day > '2025-04-21' order by 1").await;
        assert_eq!(
            days,
            ["2025-04-22|64", "2025-05-01|63", "2025-05-02|57", "2025-05-04|55", "2025-05-05|56"]
        );
        assert_eq!(world.db.number("select sum(added) from consent_days").await, 71);
    }

    async fn a_run_over_the_same_list_changes_no_consent(world: World) {
        let _ = load(&world).await;
        let before = all_rows(&world).await;
        world.run_once().expect(65).says("15 of 56");
        assert_eq!(world.last_run(COUNTS).await, "succeeded|withheld|54|0|0|41|0|1|4|8|0|0|15|56");
        for (name, before) in before {
            let after = rows(&world, name).await;
            match name {
                // The row of this run is new.
                "sync_runs" => assert_eq!(after[..26], before),
                "rejected_items" => {
                    let seen = "select id from rejected_items where resolved_at is null and last_run_id = 27";
                    assert_eq!(world.db.rows(seen).await.len(), 4);
                    let others = |rows: &[String]| -> Vec<String> {
                        rows.iter().map(|row| row.replace("|26|", "|27|")).collect()
                    };
                    assert_eq!(others(&after), others(&before));
                }
                // Later versions hash more spellings of an address.
                "suppressions" => assert!(before.iter().all(|row| after.contains(row))),
                _ => assert_eq!(after, before, "{name}"),
            }
        }
    }

    async fn the_runs_go_on_where_version_0_1_stopped(world: World) {
        let recorded = load(&world).await;
        let untouched = "select consent_key, changed_at, changed_run_id from consents where changed_run_id <= 26 \
                         and withheld_since is null and not (missing_since is not null and removed_at is null) order by 1";
        let before = world.db.rows(untouched).await;
        // Those that were withheld are listed again, so that absence is judged.
        world.api.people(|people| {
            for item in &recorded.unlisted_with_a_page {
                let id = id_of(item).unwrap();
                assert!(people.list(&id, id.starts_with("withheld-")));
            }
        });
        world.run_once().expect(0);
        assert_eq!(world.last_run(COUNTS).await, "succeeded|judged|69|0|0|56|0|1|4|8|0|2|0|56");
        assert_eq!(world.db.rows(untouched).await[..], before);
        assert_eq!(world.db.number("select count(*) from consents where withheld_since is not null").await, 0);
        assert_eq!(
            world.db.rows("select email from consents where changed_run_id = 27 and removed_at is not null order by 1").await,
            ["missing-gone@example.com", "no-id-missing@example.com"]
        );
        let missing = "select consent_key from consents where missing_since is not null and removed_at is null";
        assert_eq!(world.db.rows(missing).await, ["missing-there"]);
        assert_eq!(
            world.db.rows("select change, count(*) from consent_changes where run_id = 27 group by 1").await,
            ["removed|2"]
        );

        // A removed and an erased one come back, and their pages agree; an id comes later; a name changes.
        world.api.people(|people| {
            for (id, email) in [("removed", "removed@example.com"), ("erased", "erased@example.com")] {
                people.add(&serde_json::json!({
                    "id": id, "company_id": COMPANY_ID, "email": email, "full_name": "Came Back",
                }));
            }
            people.remove_where(|item| item["email"] == "no-id-stays@example.com");
            people.add(&serde_json::json!({
                "id": "stays", "company_id": COMPANY_ID, "email": "no-id-stays@example.com", "full_name": "No Id stays",
            }));
            assert!(people.update("maria", |item| item["full_name"] = "Maria Again".into()));
        });
        world.run_once().expect(0);
        assert_eq!(world.last_run(COUNTS).await, "succeeded|judged|71|0|2|54|2|1|4|8|0|0|0|58");
        assert_eq!(
            world.db.rows("select consent_key, change from consent_changes where run_id = 28 order by 1").await,
            ["erased|returned", "maria|updated", "removed|returned", "stays|updated"]
        );
        assert_eq!(
            world.db.value("select email, erased_at, removed_at from active_consents where consent_key = 'erased'").await,
            "erased@example.com|-|-"
        );
    }

    async fn who_was_forgotten_stays_suppressed_until_it_is_undone(world: World) {
        let recorded = load(&world).await;
        // All of them under another id too, in the spelling that was forgotten.
        for (number, email) in recorded.suppressed.iter().enumerate() {
            world.api.add(&serde_json::json!({
                "id": format!("anew-{number}"), "company_id": COMPANY_ID, "email": email, "source": "anew",
            }));
        }
        for run in 0..2 {
            world.run_once().expect(65);
            assert_eq!(world.last_run("added, updated, returned, rejected, suppressed").await, "0|0|0|4|17", "{run}");
        }
        assert_eq!(world.db.count("consents").await, 71);
        assert_eq!(world.db.count("rejected_items").await, 7);

        // The same list brings them in as soon as nobody is suppressed.
        let said = forget(&world, &["--undo"], &recorded.suppressed);
        assert!(said.contains("9 of 9"), "{said}");
        world.run_once().expect(65);
        assert_eq!(world.last_run("added, updated, returned, rejected, suppressed").await, "16|0|0|5|0");
    }
}
