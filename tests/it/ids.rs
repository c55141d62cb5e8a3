//! Ids may come later, or not at all on the other path.

use serde_json::json;
use understory_mock_api::{Ids, Route, person};

use crate::support::World;

/// How many keys of each kind stand in a table.
const KINDS: &str = "select case when consent_key like 'nk:%' then 'natural' else 'id' end, count(*) from";

on_both! {
    async fn when_ids_come_every_row_is_taken_over_once(world: World) {
        world.api.configure(|api| api.ids = Ids::Nowhere);
        world.list_people(250);
        world.run_once().expect(0);
        assert_eq!(world.db.rows(&format!("{KINDS} consents group by 1")).await, ["natural|250"]);
        assert_eq!(world.db.number("select count(*) from consents where consent_id is not null").await, 0);
        assert!(world.api.update(person(1, 5)["id"].as_str().unwrap(), |item| item["full_name"] = json!("Renamed")));
        world.run_once().expect(0);
        assert_eq!(world.last_run("updated, unchanged").await, "1|249");
        let known_since = world.db.rows("select email, first_seen_at, first_run_id from consents order by email").await;

        world.api.configure(|api| api.ids = Ids::Everywhere);
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, added, updated, unchanged, missing, active").await, "judged|0|250|0|0|250");
        assert_eq!(world.db.rows(&format!("{KINDS} consents group by 1")).await, ["id|250"]);
        assert_eq!(world.db.rows(&format!("{KINDS} consent_history group by 1")).await, ["id|501"]);
        assert_eq!(world.db.rows("select email, first_seen_at, first_run_id from consents order by email").await, known_since);
        assert_eq!(world.db.number("select count(*) from consents where consent_key <> consent_id").await, 0);
        let renamed = person(1, 5)["id"].as_str().unwrap().to_owned();
        assert_eq!(
            world.db.rows(&format!("select change, run_id from consent_history where consent_key = '{renamed}' order by changed_at")).await,
            ["added|1", "updated|2", "updated|3"]
        );

        world.run_once().expect(0);
        assert_eq!(world.last_run("updated, unchanged").await, "0|250");
    }

    async fn ids_that_stay_away_on_the_other_path_clear_nothing(world: World) {
        world.api.configure(|api| {
            api.ids = Ids::NewerPath;
            api.grow = Route::Gone(410);
        });
        world.list_people(150);
        world.run_once().expect(0);
        assert_eq!(world.db.rows(&format!("{KINDS} consents group by 1")).await, ["id|150"]);
        world.api.set_routes(Route::Works, Route::Gone(404), Route::Gone(404));
        world.run_once().expect(0);
        assert_eq!(world.last_run("endpoint, absence, updated, unchanged, missing").await, "/v1/grow/consents|judged|0|150|0");
        assert_eq!(world.db.rows(&format!("{KINDS} consents group by 1")).await, ["id|150"]);
    }

    async fn two_ids_of_one_natural_key_take_over_one_row_and_add_the_other(world: World) {
        let item = |name: &str| json!({"company_id": "c", "email": "twice@example.com", "full_name": name, "source": "s"});
        let with_id = |id: &str| json!({"id": id, "company_id": "c", "email": "Twice@Example.com ", "full_name": "N", "source": "s"});
        world.api.set_people(&[item("N")]);
        world.run_once().expect(0);
        world.api.set_people(&[with_id("first"), with_id("second")]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("added, updated, missing, active").await, "1|1|0|2");
        assert_eq!(world.db.rows("select consent_key, first_run_id from consents order by consent_key").await, ["first|1", "second|2"]);
        // An item without id lists every row of its natural key.
        world.api.set_people(&[item("N")]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("missing, active").await, "0|2");
        assert_eq!(world.db.number("select count(*) from consents where consent_id is null").await, 0);
    }

    async fn several_items_without_id_of_one_person_are_one_though_the_first_brings_an_older_row_back(world: World) {
        let item = |name: &str| json!({"company_id": "c", "email": "u@example.com", "full_name": name, "source": "s"});
        let numbered = |email: &str| json!({"id": "u", "company_id": "c", "email": email, "full_name": "N", "source": "s"});
        let other = json!({"id": "x", "company_id": "c", "email": "x@example.com"});
        // A row with a natural key, missing by now, and a younger one with an id and the same natural key.
        world.api.set_people(&[item("N"), other.clone()]);
        world.run_once().expect(0);
        world.api.set_people(&[numbered("elsewhere@example.com"), other.clone()]);
        world.run_once().expect(0);
        world.api.set_people(&[numbered("u@example.com"), other.clone()]);
        world.run_once().expect(0);
        world.api.set_people(&[item("first"), item("second"), item("third"), other]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("items, returned, updated, unchanged, duplicates").await, "4|1|0|1|2");
        let names = "select consent_key = 'u', full_name from active_consents where email = 'u@example.com' order by 1";
        let rows = world.db.rows(names).await;
        assert!(rows[0].ends_with("|N") && rows[1].ends_with("|first"), "{rows:?}");
    }
}
