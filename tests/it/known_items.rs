//! An item that is listed byte for byte as it was stored is not read again.

use serde_json::json;
use understory_mock_api::{COMPANY_ID, person};

use crate::support::World;

/// Consents whose page may be asked for are read, so that one is there to ask for.
const CONTROLS: i64 = 3;

fn id(number: u64) -> String {
    person(1, number)["id"].as_str().unwrap().to_owned()
}

async fn known(world: &World) -> i64 {
    world.db.count("consents where item_hash is not null").await
}

/// From now on whoever reads an item of any row finds that its content has changed.
async fn pretend_other_content(world: &World) {
    let other = "update consents set row_hash = substr(row_hash, 1, 16) || '00000000000001'";
    world.db.execute(other).await;
}

on_both! {
    async fn an_item_is_read_once_and_again_when_it_has_changed(world: World) {
        world.list_people(250);
        world.run_once().expect(0);
        assert_eq!(known(&world).await, 250);
        pretend_other_content(&world).await;
        let changed = id(120);
        assert!(world.api.update(&changed, |item| item["full_name"] = json!("Åse Ny-Navn")));
        world.run_once().expect(0);
        assert_eq!(
            world.last_run("updated, unchanged, items").await,
            format!("{}|{}|250", CONTROLS + 1, 250 - CONTROLS - 1)
        );
        let name = format!("select full_name from consents where consent_key = '{changed}'");
        assert_eq!(world.db.value(&name).await, "Åse Ny-Navn");

        world.run_once().expect(0);
        assert_eq!(world.last_run("updated, unchanged").await, "0|250");
        assert_eq!(known(&world).await, 250);
    }

    async fn what_a_version_before_has_stored_is_noted_and_nothing_else_is_written(world: World) {
        world.list_people(30);
        world.run_once().expect(0);
        world.db.execute("update consents set item_hash = null").await;
        let rows = "select consent_key, changed_at, changed_run_id, row_hash from consents order by consent_key";
        let state = "select last_changed_at from sync_state";
        let before = (world.db.rows(rows).await, world.db.value(state).await);
        world.run(&["--run-once", "--dry-run"]).expect(0);
        assert_eq!(known(&world).await, 0, "a dry run writes nothing");
        world.run_once().expect(0);
        assert_eq!(world.last_run("unchanged, updated").await, "30|0");
        assert_eq!((world.db.rows(rows).await, world.db.value(state).await), before);
        assert_eq!(world.db.count("consent_changes").await, 0);
        assert_eq!(known(&world).await, 30);
        pretend_other_content(&world).await;
        world.run_once().expect(0);
        assert_eq!(world.last_run("unchanged").await, (30 - CONTROLS).to_string());
    }

    async fn an_item_in_another_spelling_changes_nothing_and_is_known_by_it_from_then_on(world: World) {
        world.list_people(9);
        let write = |text: &str| {
            world.api.people(|people| {
                people.remove_where(|item| item["id"] == "x");
                people.add_raw(Some("x"), text);
            });
        };
        write(&format!(r#"{{"id":"x","company_id":"{COMPANY_ID}","email":"x@example.com","new":[1]}}"#));
        world.run_once().expect(0);
        let hash = "select item_hash from consents where consent_key = 'x'";
        let before = world.db.value(hash).await;
        write(&format!(r#"{{"new":[1], "email":"x@example.com","company_id":"{COMPANY_ID}","id":"x"}}"#));
        world.run_once().expect(0);
        assert_eq!(world.last_run("unchanged, updated").await, "10|0");
        assert_ne!(world.db.value(hash).await, before);
        assert_eq!(world.db.count("consent_changes").await, 0);
    }

    async fn whoever_left_and_returned_is_known_again(world: World) {
        world.list_people(30);
        world.run_once().expect(0);
        world.hide(4..6);
        world.run_once().expect(0);
        assert_eq!(world.last_run("missing, unchanged").await, "2|28");
        assert_eq!(known(&world).await, 28);
        world.list_people(30);
        world.run_once().expect(0);
        assert_eq!(world.last_run("returned, unchanged").await, "2|28");
        assert_eq!(known(&world).await, 30);
    }

    async fn an_item_that_names_an_erased_person_is_read_again(world: World) {
        world.list_people(9);
        world.api.add(&json!({
            "id": "friend", "company_id": COMPANY_ID, "email": "anna@example.com", "note": "with maria@example.com",
        }));
        world.run_once().expect(0);
        world.run(&["forget", "maria@example.com"]).expect(0);
        assert_eq!(known(&world).await, 9);
        for _ in 0..2 {
            world.run_once().expect(0);
            assert_eq!(world.last_run("suppressed, unchanged, active").await, "1|9|10");
        }
        world.run(&["forget", "--undo", "maria@example.com"]).expect(0);
        world.run_once().expect(0);
        assert_eq!(world.last_run("suppressed, unchanged").await, "0|10");
        assert_eq!(known(&world).await, 10);
    }
}
