//! Times in the database: `changed_at` grows whatever the clock does, and a wrong clock stores nothing.

use serde_json::json;
use understory_mock_api::{ServerDate, person};

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

    async fn a_clock_that_is_days_off_stores_nothing_and_records_the_servers_time(world: World) {
        world.list_people(30);
        world.api.configure(|api| {
            api.token_date = ServerDate::Off(-3 * DAY);
            api.api_date = ServerDate::Off(-3 * DAY);
        });
        let dry = world.run(&["--run-once", "--dry-run"]).expect(75);
        assert!(dry.output().contains("clock is wrong"), "{}", dry.output());
        world.run_once().expect(75).says("this machine's clock is wrong: it says ");
        assert_eq!(world.last_run("outcome, pages, items, added").await, "failed|0|0|0");
        assert_eq!(world.db.number("select count(*) from consents").await, 0);
        let (low, high) = (days_ago(&world, 4), days_ago(&world, 2));
        let between = format!("started_at > {low} and finished_at < {high} and finished_at >= started_at");
        assert_eq!(world.db.number(&format!("select count(*) from sync_runs where {between}")).await, 1);
        // The control: the right time, and all of it is stored.
        world.api.configure(|api| (api.token_date, api.api_date) = (ServerDate::Right, ServerDate::Right));
        let right = world.run_once().expect(0);
        assert!(!right.stderr.contains("clock"), "{}", right.stderr);
        assert_eq!(world.db.number("select count(*) from consents").await, 30);
        world.run(&["healthcheck"]).expect(0);
    }

    async fn one_server_with_a_wrong_clock_stops_nothing_and_a_cached_answer_is_no_old_one(world: World) {
        world.list_people(3);
        for (token, api) in [
            (ServerDate::Off(3 * DAY), ServerDate::Right),
            (ServerDate::Right, ServerDate::Off(3 * DAY)),
            (ServerDate::Off(3 * DAY), ServerDate::Off(-3 * DAY)),
            (ServerDate::Right, ServerDate::Cached(2 * 86_400)),
        ] {
            world.api.configure(|settings| (settings.token_date, settings.api_date) = (token, api));
            let done = world.run_once().expect(0);
            let disputed = matches!((token, api), (ServerDate::Off(_), ServerDate::Off(_)));
            assert_eq!(done.stderr.contains("could not be checked"), disputed, "{token:?} {api:?} {}", done.stderr);
        }
        world.api.configure(|api| {
            api.token_date = ServerDate::Off(10 * 60);
            api.api_date = ServerDate::Off(10 * 60);
        });
        world.run_once().expect(0).says("this machine's clock says ");
    }

    async fn retention_works_only_where_the_clock_was_checked(world: World) {
        world.list_people(40);
        world.run_once().expect(0);
        let id = world.api.people(|people| people.ids()[7].clone());
        assert!(world.api.remove(&id));
        world.run_once().expect(0);
        world.run_once().expect(0);
        let longer_ago = days_ago(&world, 40);
        world.db.execute(&format!("update consents set removed_at = {longer_ago} where removed_at is not null")).await;
        world.set("retention.removed", "30d");
        let erased = "select count(*) from consents where erased_at is not null";
        world.api.configure(|api| {
            api.token_date = ServerDate::Off(3 * DAY);
            api.api_date = ServerDate::Off(-3 * DAY);
        });
        world.run_once().expect(0);
        assert_eq!(world.db.number(erased).await, 0);
        // No Date at all: PostgreSQL's own clock stands in.
        world.api.configure(|api| {
            api.token_date = ServerDate::Unreadable;
            api.api_date = ServerDate::Unreadable;
        });
        let done = world.run_once().expect(0);
        assert_eq!(done.stderr.contains("could not be checked"), !world.db.is_postgres(), "{}", done.stderr);
        assert_eq!(world.db.number(erased).await, i64::from(world.db.is_postgres()));
        world.api.configure(|api| (api.token_date, api.api_date) = (ServerDate::Right, ServerDate::Right));
        world.run_once().expect(0);
        assert_eq!(world.db.number(erased).await, 1);
    }

    async fn a_last_run_in_the_future_is_unhealthy(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        let later = days_ago(&world, -3653);
        world.db.execute(&format!("update sync_runs set finished_at = {later}")).await;
        let done = world.run(&["healthcheck"]).expect(1);
        assert!(done.output().contains("lies in the future"), "{}", done.output());
        world.run_once().expect(0);
        world.run(&["healthcheck"]).expect(0);
    }
}

const DAY: i64 = 86_400;

/// A time as SQL of the world's database.
fn days_ago(world: &World, days: i64) -> String {
    if world.db.is_postgres() {
        format!("(now() - interval '{days} days')")
    } else {
        format!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '{} days')", -days)
    }
}
