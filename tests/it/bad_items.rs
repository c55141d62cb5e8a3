//! Bad items do not stop the good ones, and every item is accounted for.

use serde_json::json;
use understory_mock_api::person;

use crate::support::World;

/// items = added + updated + unchanged + returned + returns_pending + duplicates + rejected + suppressed + foreign_items
const DIFFERENCE: &str = "items - added - updated - unchanged - returned - returns_pending - duplicates - rejected - suppressed - foreign_items";

on_both! {
    async fn the_sum_holds_over_every_kind_of_item(world: World) {
        let company = person(1, 0)["company_id"].clone();
        world.set("api.company_id", company.as_str().unwrap());
        world.list_people(120);
        let forgotten = person(1, 7)["email"].as_str().unwrap().to_owned();
        world.run_once().expect(0);
        assert_eq!(world.last_run(DIFFERENCE).await, "0");
        world.run(&["forget", &forgotten]).expect(0);
        let gone = person(1, 9);
        assert!(world.api.remove(gone["id"].as_str().unwrap()));
        world.run_once().expect(0);
        assert_eq!(world.last_run("missing, suppressed").await, "1|1");

        let id = |number: u64| person(1, number)["id"].as_str().unwrap().to_owned();
        assert!(world.api.update(&id(20), |item| item["full_name"] = json!("Changed")));
        world.api.add(&gone);
        world.api.add(&person(1, 500));
        world.api.add(&person(1, 30));
        world.api.add(&json!({"id": "no-mail", "company_id": company}));
        world.api.add(&json!("text"));
        world.api.add(&json!({"id": "other", "company_id": "other", "email": "other@example.com"}));
        world.run_once().expect(0);
        assert_eq!(
            world.last_run("items, added, updated, unchanged, returned, duplicates, rejected, suppressed, foreign_items").await,
            "125|1|1|117|1|1|2|1|1"
        );
        assert_eq!(world.last_run(DIFFERENCE).await, "0");
        // Nobody is unlisted.
        assert_eq!(world.last_run("absence").await, "judged");
    }

    async fn a_rejected_item_is_kept_once_and_resolved_when_it_is_gone(world: World) {
        world.list_people(5);
        world.api.add(&json!({"id": "bad", "company_id": "", "email": "bad@example.com"}));
        world.api.add(&json!(["not", "an", "object"]));
        world.run_once().expect(0);
        world.run_once().expect(0);
        assert_eq!(world.db.count("consents").await, 5);
        assert_eq!(
            world.db.rows("select first_run_id, last_run_id, resolved_at from rejected_items order by id").await,
            ["1|2|-", "1|2|-"]
        );
        world.list_people(5);
        world.run_once().expect(0);
        assert_eq!(world.db.number("select count(*) from rejected_items where resolved_at is not null").await, 2);
    }

    async fn no_more_than_ten_thousand_new_rejected_items_are_stored_in_a_run(world: World) {
        world.list_people(5);
        world.run_once().expect(0);
        world.api.people(|people| {
            // Whose page answers; else the page would say that they are gone.
            let unlisted = people.ids()[0].clone();
            assert!(people.list(&unlisted, false));
            for number in 0..10_040 {
                people.add(&json!({ "number": number }));
            }
        });
        world.run_once().expect(0);
        // Any of them may be the one who is unlisted.
        assert_eq!(world.last_run("rejected, absence, active").await, "10040|blocked|5");
        assert_eq!(world.db.count("rejected_items").await, 10_000);
        world.run_once().expect(0);
        assert_eq!(world.last_run("rejected, absence, active").await, "10040|blocked|5");
        assert_eq!(world.db.count("rejected_items").await, 10_040);
        world.run_once().expect(0);
        assert_eq!(world.last_run("rejected, absence, active").await, "10040|judged|4");
    }

    async fn of_duplicates_the_first_counts(world: World) {
        world.api.set_people(&[
            json!({"id": "a", "company_id": "c", "email": "first@example.com"}),
            json!({"id": "b", "company_id": "c", "email": "b@example.com"}),
            json!({"id": "a", "company_id": "c", "email": "second@example.com"}),
        ]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("items, added, duplicates, rejected").await, "3|2|0|1");
        assert_eq!(world.db.value("select reason from rejected_items").await, "duplicate_id");
        assert!(world.db.value("select item from rejected_items").await.contains("second@example.com"));
        assert_eq!(world.db.value("select email from consents where consent_key = 'a'").await, "first@example.com");
        world.run_once().expect(0);
        assert_eq!(world.last_run("updated, unchanged, duplicates, rejected").await, "0|2|0|1");
        // In any spelling of the same address it is a duplicate.
        world.api.set_people(&[
            json!({"id": "a", "company_id": "c", "email": "first@example.com"}),
            json!({"id": "a", "company_id": "c", "email": " First@EXAMPLE.com"}),
        ]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("duplicates, rejected").await, "1|0");
    }

    async fn what_the_database_cannot_hold_is_made_to_fit(world: World) {
        world.api.people(|people| people.add_raw(None,
            r#"{"id":"a","company_id":"c","email":"a@example.com","full_name":"nul \u0000 and \ud800 lone","huge":1e400}"#));
        world.run_once().expect(0);
        assert_eq!(world.db.value("select full_name from consents").await, "nul \u{fffd} and \u{fffd} lone");
        world.run_once().expect(0);
        assert_eq!(world.last_run("updated, unchanged").await, "0|1");
    }
}
