//! Retention: personal data goes, the evidence stays, and nobody is lost by it.

use serde_json::{Value, json};
use understory_mock_api::{COMPANY_ID, Ids};

use crate::support::{World, until};

/// Makes all that happened so far older by so many days.
async fn age(world: &World, days: u32) {
    let columns = [
        ("consents", &["first_seen_at", "changed_at", "missing_since", "removed_at"][..]),
        ("consent_changes", &["changed_at"]),
        ("sync_runs", &["started_at", "finished_at"]),
        ("rejected_items", &["resolved_at"]),
        ("sync_state", &["last_changed_at"]),
    ];
    for (table, columns) in columns {
        for column in columns {
            let older = if world.db.is_postgres() {
                format!("{column} - interval '{days} days'")
            } else {
                format!("strftime('%Y-%m-%dT%H:%M:%fZ', {column}, '-{days} days')")
            };
            world
                .db
                .execute(&format!("update {table} set {column} = {older} where {column} is not null"))
                .await;
        }
    }
}

/// The lines of the change feed behind a cursor: their cursors and keys.
fn feed(world: &World, since: &[&str]) -> Vec<(String, String)> {
    let done = world.run(&[&["changes"], since].concat()).expect(0);
    let lines = done.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    lines.map(|line| (text(&line, "cursor"), text(&line, "consent_key"))).collect()
}

on_both! {
    async fn erased_lines_are_dropped_in_time_and_readers_who_missed_them_are_refused(world: World) {
        world.list_people(3);
        for (id, email) in [("a", "two@example.com"), ("b", "two@example.com"), ("c", "one@example.com")] {
            world.api.add(&json!({"id": id, "company_id": COMPANY_ID, "email": email}));
        }
        // Without an id the key that stays in the line is a hash of the address.
        world.api.add(&json!({"company_id": COMPANY_ID, "email": "hashed@example.com"}));
        world.run_once().expect(0);
        let (before, _) = feed(&world, &[]).pop().unwrap();
        for reader in ["early", "late"] {
            world.run(&["changes", "--as", reader, "--", "cat"]).expect(0);
        }
        for email in ["hashed@example.com", "one@example.com", "two@example.com"] {
            world.run(&["forget", email]).expect(0);
        }
        world.run(&["changes", "--as", "late", "--", "cat"]).expect(0);
        let lines = feed(&world, &["--since", &before]);
        let hashed = lines[0].1.clone();
        assert!(hashed.starts_with("nk:"));
        let keys: Vec<&str> = lines.iter().map(|(_, key)| key.as_str()).collect();
        assert_eq!(keys, [&hashed, "c", "a", "b"]);
        let (middle, last) = (&lines[2].0, &lines[3].0);

        world.run_once().expect(0);
        assert_eq!(feed(&world, &["--since", &before]), lines, "90 days have not passed");
        world.set("retention.erasures", "1s");
        until("the lines are old enough", async || {
            world.run_once().expect(0);
            (world.db.number("select count(*) from consent_history where change = 'erased'").await == 0).then_some(())
        }).await;

        let refused = |arguments: &[&str]| {
            let done = world.run(&[&["changes"], arguments].concat()).expect(65);
            let cause = "erasures that the reader has not seen were dropped since (retention.erasures)";
            assert!(done.stderr.contains(cause) && done.stderr.contains("begin anew"), "{}", done.stderr);
            assert!(done.stdout.is_empty(), "{}", done.stdout);
        };
        for cursor in [&before, middle] {
            refused(&["--since", cursor]);
        }
        refused(&["--as", "early", "--", "cat"]);
        // Who has seen them goes on.
        assert_eq!(feed(&world, &["--since", last]), []);
        world.run(&["changes", "--as", "late", "--", "cat"]).expect(0);
        world.run(&["changes", "--forget-reader", "early"]).expect(0);
        let anew = world.run(&["changes", "--as", "early", "--", "cat"]).expect(0).stdout;
        assert!(anew.starts_with("{\"reset\":true") && anew.lines().count() == 4, "{anew}");
        if !world.db.is_postgres() {
            let holds = |text: &str| {
                let file = std::fs::read(world.db.path()).unwrap();
                file.windows(text.len()).any(|bytes| bytes == text.as_bytes())
            };
            assert!(holds(&world.db.value("select max(consent_key) from consents").await) && !holds(&hashed));
        }
    }

    async fn a_removed_row_keeps_its_evidence_and_is_filled_anew(world: World) {
        for ids in [Ids::Everywhere, Ids::Nowhere] {
            world.api.configure(|api| api.ids = ids);
            world.unset("retention.removed");
            // Rows without an id have no page: only the time confirms.
            world.set("removal.confirm_after", "0s");
            world.list_people(if ids == Ids::Everywhere { 40 } else { 41 });
            if ids == Ids::Nowhere {
                // A database of its own within the same test: natural keys only.
                world.db.execute("delete from consents; delete from consent_changes; delete from rejected_items").await;
            }
            world.run_once().expect(0);
            let (id, item) = world.api.people(|people| (people.ids()[7].clone(), people.items()[7].clone()));
            let email = item["email"].as_str().unwrap().to_owned();
            let _ = world.api.update(&id, |item| item["full_name"] = "Old Text".into());
            world.run_once().expect(0);
            let _ = world.api.remove(&id);
            world.run_once().expect(0);
            world.run_once().expect(0);
            assert_eq!(world.last_run("removed").await, "1");
            let key = world.db.value("select consent_key from consents where removed_at is not null").await;
            world.set("retention.removed", "30d");
            world.run_once().expect(0);
            assert_eq!(world.db.number("select count(*) from consents where erased_at is not null").await, 0, "too young");
            age(&world, 31).await;
            world.run_once().expect(0);
            let erased = "select consent_key, email, full_name, refs, extra, company_id, \
                          (removed_at is not null and erased_at is not null and missing_since is not null) from consents \
                          where erased_at is not null";
            let row = world.db.query(erased).await.remove(0);
            assert_eq!(row[1..5], [None, None, None, None]);
            assert!(row[5].is_some());
            assert!(["1", "t"].contains(&row[6].as_deref().unwrap()));
            let new_key = row[0].clone().unwrap();
            if ids == Ids::Nowhere {
                assert!(new_key.starts_with("nk:") && new_key != key);
                for table in ["consents", "consent_history", "consent_changes"] {
                    assert_eq!(world.db.number(&format!("select count(*) from {table} where consent_key = '{key}'")).await, 0);
                }
            } else {
                assert_eq!(new_key, key);
            }
            assert_eq!(
                world.db.rows(&format!("select change, before from consent_history where consent_key = '{new_key}' order by changed_at, id")).await,
                ["added|-", "updated|-", "missing|-", "removed|-"]
            );
            // Erased once: the next run writes nothing.
            let before = world.db.rows("select * from consents order by 1").await;
            world.run_once().expect(0);
            assert_eq!(world.db.rows("select * from consents order by 1").await, before);

            world.api.add(&item);
            if ids == Ids::Nowhere {
                world.run_once().expect(0);
                assert_eq!(world.last_run("returned, returns_pending, added").await, "0|1|0");
            }
            world.run_once().expect(0);
            assert_eq!(world.last_run("returned, added, updated").await, "1|0|0");
            assert_eq!(
                world.db.value(&format!("select email, erased_at, removed_at from active_consents where consent_key = '{key}'")).await,
                format!("{email}|-|-")
            );
            assert_eq!(
                world.db.rows(&format!("select change from consent_history where consent_key = '{key}' order by changed_at, id")).await,
                ["added", "updated", "missing", "removed", "returned"]
            );
        }
    }

    async fn a_row_that_is_missing_and_never_removed_is_erased_too(world: World) {
        world.list_people(40);
        let item = json!({"company_id": COMPANY_ID, "email": "there@example.com", "full_name": "Old Text"});
        world.api.add(&item);
        world.run_once().expect(0);
        let natural_key = world.db.value("select consent_key from consents where consent_key like 'nk:%'").await;
        // An id takes the row over, which keeps its former key.
        world.list_people(40);
        let mut item = item;
        item["id"] = "there".into();
        item["full_name"] = "New Text".into();
        world.api.add(&item);
        world.run_once().expect(0);
        let with_natural_key = format!("select (select count(*) from consents where previous_key = '{natural_key}') \
             + (select count(*) from consent_changes where previous_key = '{natural_key}')");
        assert_eq!(world.db.number(&with_natural_key).await, 2);
        // It is no longer listed, but its page is there: nothing confirms a removal.
        assert!(world.api.people(|people| people.list("there", false)));
        for _ in 0..3 {
            world.run_once().expect(0);
        }
        let row = "select missing_since is null, removed_at is null, erased_at is null, email is null, full_name is null \
                   from consents where consent_key = 'there'";
        let yes_or_no = async || world.db.value(row).await.replace('t', "1").replace('f', "0");
        world.set("retention.removed", "30d");
        age(&world, 36).await;
        world.run_once().expect(0);
        assert_eq!(yes_or_no().await, "0|1|1|0|0", "30 days and removal.confirm_after have not passed");
        age(&world, 2).await;
        world.run_once().expect(0);
        assert_eq!(yes_or_no().await, "0|1|0|1|1");
        assert_eq!(world.db.number(&with_natural_key).await, 0);
        assert_eq!(world.db.number("select count(*) from consent_changes where before is not null").await, 0);
        let feed = "select state, email from consent_feed where consent_key = 'there'";
        assert_eq!(world.db.rows(feed).await, ["erased|-"]);
        // Nothing is erased twice, and a missing row returns at once.
        let before = world.db.rows("select * from consents order by 1").await;
        world.run_once().expect(0);
        assert_eq!(world.db.rows("select * from consents order by 1").await, before);
        assert!(world.api.people(|people| people.list("there", true)));
        world.run_once().expect(0);
        assert_eq!(world.last_run("returned, returns_pending, added").await, "1|0|0");
        assert_eq!(world.db.rows(feed).await, ["active|there@example.com"]);
    }

    async fn more_than_a_batch_is_erased(world: World) {
        world.api.configure(|api| api.ids = Ids::Nowhere);
        world.set("removal.confirm_after", "0s");
        world.list_people(1_300);
        world.run_once().expect(0);
        world.list_people(10);
        for _ in 0..2 {
            world.run(&["--run-once", "--accept-removals", "2000"]).expect(0);
        }
        age(&world, 31).await;
        world.set("retention.removed", "30d");
        world.run_once().expect(0);
        assert_eq!(world.db.number("select count(*) from consents where erased_at is not null and email is null").await, 1_290);
        // All of them come back to their own rows.
        world.list_people(1_300);
        world.run_once().expect(0);
        assert_eq!(world.last_run("returned, returns_pending, added").await, "0|1290|0");
        world.run_once().expect(0);
        assert_eq!(world.last_run("returned, added, unchanged, active").await, "1290|0|10|1300");
        assert_eq!(world.db.count("consents").await, 1_300);
    }

    async fn history_and_runs_are_pruned_and_named_runs_stay(world: World) {
        world.list_people(20);
        world.run_once().expect(0);
        let id = world.api.people(|people| people.ids()[0].clone());
        let _ = world.api.update(&id, |item| item["full_name"] = "One".into());
        world.run_once().expect(0);
        world.run_once().expect(0);
        world.run_once().expect(0);
        let _ = world.api.update(&id, |item| item["full_name"] = "Two".into());
        world.run_once().expect(0);
        world.run_once().expect(0);
        age(&world, 800).await;
        world.set("retention.history", "730d");
        world.run_once().expect(0);
        assert_eq!(world.db.count("consent_changes").await, 0);
        assert_eq!(world.db.count("consents").await, 20);
        // 1: first_run_id of all; 5: changed_run_id of one; 7: this one.
        assert_eq!(world.db.rows("select id from sync_runs order by id").await, ["1", "5", "7"]);
        world.run(&["healthcheck"]).expect(0);
    }

    async fn resolved_rejected_items_follow_retention_of_the_removed(world: World) {
        world.list_people(20);
        world.api.add(&serde_json::json!({"id": "bad"}));
        world.run_once().expect(0);
        world.set("retention.removed", "30d");
        age(&world, 31).await;
        world.run_once().expect(0);
        assert_eq!(world.db.count("rejected_items").await, 1, "it is still there upstream");
        let _ = world.api.remove("bad");
        world.run_once().expect(0);
        assert_eq!(world.db.count("rejected_items").await, 1, "resolved just now");
        age(&world, 31).await;
        world.run_once().expect(0);
        assert_eq!(world.db.count("rejected_items").await, 0);
    }
}
