//! Retention: personal data goes, the evidence stays, and nobody is lost by it.

use understory_mock_api::Ids;

use crate::support::World;

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

on_both! {
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
