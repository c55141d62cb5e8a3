//! The guard: more missing at once than is likely is withheld, said, and let through by number only.

use serde_json::json;
use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::support::{World, run, until, variable};

on_both! {
    async fn half_of_200_leave_at_once(world: World) {
        world.list_people(200);
        world.run_once().expect(0);
        let hidden = world.hide(0..100);

        // The line to type ends its line, so that it can be copied.
        world.run_once().expect(65).says("100 of 200").says(" accept-removals 100\n");
        assert_eq!(world.last_run("outcome, absence, missing, removals_withheld, active").await, "succeeded|withheld|0|100|200");
        assert!(world.last_run("error").await.contains("100 of 200"));
        assert_eq!(world.db.count("active_consents").await, 200);
        assert_eq!(world.db.number("select count(*) from consents where withheld_since is not null").await, 100);
        let marked = world.db.rows("select consent_key, withheld_since, changed_at, changed_run_id from consents order by 1").await;
        let history = world.db.count("consent_changes").await;

        world.run_once().expect(65);
        let again = world.db.rows("select consent_key, withheld_since, changed_at, changed_run_id from consents order by 1").await;
        assert_eq!(marked, again, "a second withheld run writes nothing new");
        assert_eq!(world.db.count("consent_changes").await, history);

        // One of them is listed again.
        world.api.people(|people| people.list(&hidden[0], true));
        world.run_once().expect(65).says("99 of 200");
        assert_eq!(
            world.db.value(&format!("select withheld_since from consents where consent_key = '{}'", hidden[0])).await, "-"
        );
        assert_eq!(world.db.number("select count(*) from consents where withheld_since is not null").await, 99);
        assert_eq!(world.db.count("consent_changes").await, history, "withheld is no step of the history");
        world.api.people(|people| people.list(&hidden[0], false));
        world.run_once().expect(65);

        world.run(&["--run-once", "--accept-removals", "99"]).expect(65).says("100 of 200");
        assert_eq!(world.db.count("active_consents").await, 200);
        world.run(&["--run-once", "--accept-removals", "100"]).expect(0);
        assert_eq!(world.last_run("absence, missing, removals_withheld, active, error").await, "judged|100|0|100|-");
        assert_eq!(world.last_run("accepted_removals").await, "100");
        assert!(world.last_run("accepted_by").await.contains('@'));
        assert_eq!(world.db.count("active_consents").await, 100);
        assert_eq!(world.db.number("select count(*) from consents where withheld_since is not null").await, 0);
    }

    async fn upserts_of_a_withheld_run_stay(world: World) {
        world.list_people(100);
        world.run_once().expect(0);
        world.hide(0..50);
        let last = world.api.people(|people| people.ids()[49].clone());
        let _ = world.api.update(&last, |item| item["full_name"] = "New Name".into());
        world.api.add(&serde_json::json!({"id": "new", "company_id": understory_mock_api::COMPANY_ID, "email": "new@example.com"}));
        world.run_once().expect(65);
        assert_eq!(world.last_run("absence, added, updated, active").await, "withheld|1|1|101");
        assert_eq!(
            world.db.value(&format!("select full_name from active_consents where consent_key = '{last}'")).await, "New Name"
        );
    }

    async fn a_list_that_empties_is_withheld_whatever_the_numbers(world: World) {
        // Nobody is listed whose page could serve as a control, so that no page is asked for.
        for count in [100, 3] {
            world.list_people(count);
            world.run(&["--run-once", "--accept-removals", "1000"]).expect(0);
            assert_eq!(world.db.count("active_consents").await, i64::try_from(count).unwrap());
            world.list_people(0);
            world.run_once().expect(65).says(&format!("{count} of {count}"));
            assert_eq!(world.last_run("outcome, absence, missing, pages, items").await, "succeeded|withheld|0|1|0");
            assert_eq!(world.db.count("active_consents").await, i64::try_from(count).unwrap());
        }
        world.run(&["--run-once", "--accept-removals", "2"]).expect(65);
        world.run(&["--run-once", "--accept-removals", "3"]).expect(0);
        assert_eq!(world.db.count("active_consents").await, 0);
        // Nobody was active, so that an empty list is true.
        world.set("removal.confirm_after", "0s");
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence").await, "judged");
    }

    async fn a_list_of_nobody_usable_is_no_list(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        world.api.play(FaultRule::on(Endpoint::List, Fault::rewrite(|_, items| {
            for item in items {
                item.as_object_mut().unwrap().remove("email");
            }
        })).always());
        // Rejected items with an id keep their rows for two runs.
        for expected in ["judged|3|3", "judged|3|3"] {
            world.run_once().expect(0);
            assert_eq!(world.last_run("absence, rejected, active").await, expected);
        }
        world.run_once().expect(65).says("3 of 3");
        assert_eq!(world.last_run("absence, rejected, active").await, "withheld|3|3");
        world.set("api.company_id", "another-company");
        world.run_once().expect(65).says("another company");
        assert_eq!(world.db.count("active_consents").await, 3);
    }

    async fn the_guard_looks_back_a_day_and_asks_the_pages_before_it_waits(world: World) {
        world.list_people(100);
        world.run_once().expect(0);
        world.hide(0..20);
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, missing, active").await, "judged|20|80");
        // Another 20 % within the day are held; whose page is gone has left nevertheless.
        let hidden = world.hide(0..16);
        for id in &hidden[..4] {
            let _ = world.api.remove(id);
        }
        world.run_once().expect(65).says("32 of 100").says("accept-removals 12");
        assert_eq!(world.last_run("absence, missing, removals_withheld, active").await, "withheld|4|12|76");
        let mailable = "select count(*) from mailable_consents";
        assert_eq!(world.db.number(mailable).await, 64);
        // They count no more once the day is over.
        let earlier = if world.db.is_postgres() { "now() - interval '25 hours'" } else { "'2020-01-01T00:00:00.000Z'" };
        world.db.execute(&format!("update consents set missing_run_at = {earlier} where missing_run_at is not null")).await;
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, missing, active").await, "judged|12|64");
    }

    async fn percent_and_count_must_both_be_passed(world: World) {
        world.set("removal.max_percent", "10");
        world.set("removal.min_count", "5");
        world.list_people(50);
        world.run_once().expect(0);
        world.hide(0..5);
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, missing").await, "judged|5");
        world.hide(0..6);
        // With the five of this day, one more is enough.
        world.run_once().expect(65).says("11 of 50");
    }

    async fn an_acceptance_needs_the_database_alone_and_is_replaced_and_withdrawn(world: World) {
        const KEPT: &str = "select accepted_removals from sync_state where accepted_by is not null and accepted_at is not null";
        world.run(&["accept-removals", "5"]).expect(78);
        world.list_people(3);
        world.run_once().expect(0);
        let accept = |removals: &str| {
            let mut command = world.command(&["accept-removals", removals]);
            command.env_remove(variable("auth.client_id")).env_remove(variable("auth.client_secret"));
            run(command).expect(0)
        };
        for removals in ["5", "7"] {
            accept(removals);
            assert_eq!(world.db.number(KEPT).await.to_string(), removals);
        }
        accept("0");
        assert_eq!(world.db.rows(KEPT).await, Vec::<String>::new());
    }

    async fn a_kept_acceptance_is_used_up_by_the_first_run_that_it_helps(world: World) {
        const KEPT: &str = "select coalesce(accepted_removals, 0) from sync_state";
        world.list_people(100);
        world.run_once().expect(0);
        // A run that needs no help leaves it alone.
        world.run(&["accept-removals", "50"]).expect(0);
        world.run_once().expect(0);
        assert_eq!(world.db.number(KEPT).await, 50);
        world.hide(0..51);
        // Too few: nobody is let through, and it is not used up.
        world.run_once().expect(65).says("accept-removals 51");
        assert_eq!(world.db.number(KEPT).await, 50);
        let told = world.run(&["accept-removals", "60"]).expect(0).stdout;
        assert!(told.contains("51 removals are withheld"), "{told}");
        // A dry run counts with it and leaves it.
        world.run(&["--run-once", "--dry-run"]).expect(0);
        assert_eq!(world.db.number(KEPT).await, 60);
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, missing, accepted_removals, active").await, "judged|51|51|49");
        assert!(world.last_run("accepted_by").await.contains('@'));
        assert_eq!(world.db.number(KEPT).await, 0);
        world.hide(0..40);
        world.run_once().expect(65);
    }

    async fn an_acceptance_that_the_pages_made_needless_is_kept(world: World) {
        world.list_people(40);
        world.run_once().expect(0);
        world.run(&["accept-removals", "30"]).expect(0);
        let ids = world.api.people(|people| people.ids());
        assert!(ids[..20].iter().all(|id| world.api.remove(id)));
        // A new item without id would block the run, so that the pages are asked, and all of them are gone.
        world.api.add(&json!({ "company_id": "c" }));
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, missing, accepted_removals, accepted_by").await, "judged|20|-|-");
        assert_eq!(world.db.number("select accepted_removals from sync_state").await, 30);
    }

    async fn a_kept_acceptance_ends_after_a_day(world: World) {
        world.list_people(100);
        world.run_once().expect(0);
        world.hide(0..50);
        let ago = |hours: i64| if world.db.is_postgres() {
            format!("now() - interval '{hours} hours'")
        } else {
            format!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{hours} hours')")
        };
        for (hours, exit) in [(25, 65), (23, 0)] {
            world.run(&["accept-removals", "50"]).expect(0);
            world.db.execute(&format!("update sync_state set accepted_at = {}", ago(hours))).await;
            world.run_once().expect(exit);
        }
    }

    async fn an_acceptance_waits_for_no_run_and_helps_the_one_under_way(world: World) {
        world.list_people(100);
        world.run_once().expect(0);
        world.hide(0..50);
        // The list hangs until the acceptance was given.
        world.api.play(FaultRule::on(Endpoint::List, Fault::Delay(std::time::Duration::from_secs(3))));
        let running = world.start(&["--run-once"]);
        until("the run to begin", async || {
            (world.last_run("outcome").await == "running").then_some(())
        }).await;
        world.run(&["accept-removals", "50"]).expect(0);
        assert_eq!(world.last_run("outcome").await, "running");
        running.wait().expect(0);
        assert_eq!(world.last_run("absence, accepted_removals").await, "judged|50");
    }
}
