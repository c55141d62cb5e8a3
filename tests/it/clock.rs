//! `changed_at`: one value for each transaction, greater than any committed before, whatever the clock does.

use serde_json::json;
use understory_sync::demo::person;

use crate::support::World;

/// Says that the last transaction was committed then.
fn last_changed(at: &str) -> String {
    format!("update sync_state set last_changed_at = '{at}'")
}

on_both! {
    async fn a_clock_that_went_back_does_not_go_back_here(world: World) {
        world.list_people(10);
        world.run_once().expect(0);
        world.db.execute(&last_changed("2099-01-01T00:00:00.000Z")).await;
        for name in ["one", "two", "three"] {
            let key = person(1, 4)["id"].as_str().unwrap().to_owned();
            assert!(world.api.update(&key, |item| item["full_name"] = json!(name)));
            world.run_once().expect(0);
        }
        let future = "'2099-01-01T00:00:00.000Z'";
        let after = world.db.number(&format!("select count(*) from consent_changes where changed_at > {future}")).await;
        assert_eq!(after, 3);
        let distinct = world.db.number("select count(distinct changed_at) from consent_changes").await;
        assert_eq!(distinct, 3);
        let in_order = world.db.rows("select id from consent_changes order by changed_at").await;
        assert_eq!(in_order, world.db.rows("select id from consent_changes order by id").await);
        let newest = world.db.number(&format!("select count(*) from consents where changed_at > {future}")).await;
        assert_eq!(newest, 1);
    }

    async fn a_reader_who_keeps_the_greatest_misses_nothing(world: World) {
        world.list_people(40);
        world.run_once().expect(0);
        let mut greatest = "1970-01-01T00:00:00.000Z".to_owned();
        let key = |number: u64| person(1, number)["id"].as_str().unwrap().to_owned();
        for (round, expected) in [(0, 40), (1, 3), (2, 1), (3, 0)] {
            match round {
                1 => {
                    for number in [1, 2, 3] {
                        assert!(world.api.update(&key(number), |item| item["source"] = json!("elsewhere")));
                    }
                    world.run_once().expect(0);
                }
                2 => {
                    assert!(world.api.remove(&key(9)));
                    world.run_once().expect(0);
                }
                _ => {}
            }
            let news = world.db.number(&format!("select count(*) from consents where changed_at > '{greatest}'")).await;
            assert_eq!(news, expected, "round {round}");
            greatest = world.db.value("select max(changed_at) from consents").await;
        }
    }
}
