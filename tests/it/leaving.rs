//! Who is not listed any more: missing at once, removed when that is confirmed, returned at any time.

use serde_json::json;
use understory_mock_api::{Endpoint, Fault, FaultRule, When};

use crate::support::World;

/// State of one row: `missing_since`, `removed_at`, whether it is active.
async fn state(world: &World, id: &str) -> String {
    world
        .db
        .value(&format!(
            "select (case when missing_since is null then '' else 'missing ' end) || \
             (case when removed_at is null then '' else 'removed ' end) || \
             (case when exists (select 1 from active_consents a where a.consent_key = c.consent_key) then 'active' else '' end) \
             from consents c where consent_key = '{id}'"
        ))
        .await
}

/// The steps of one row with their runs.
async fn history(world: &World, id: &str) -> Vec<String> {
    let sql = format!(
        "select run_id, change from consent_history where consent_key = '{id}' order by changed_at, id"
    );
    world.db.rows(&sql).await
}

fn asked_for(world: &World) -> Vec<String> {
    let single = |seen: &understory_mock_api::Seen| seen.endpoint == Endpoint::Single;
    let seen = world.api.take_requests();
    // The controls, who are listed, come before all others.
    let listed = world.api.people(|people| people.ids());
    seen.iter()
        .filter(|seen| single(seen))
        .map(|seen| seen.path.rsplit('/').next().unwrap().to_owned())
        .filter(|id| !listed.contains(id))
        .collect()
}

on_both! {
    async fn one_of_120_leaves_and_comes_back_and_every_step_names_its_run(world: World) {
        world.list_people(120);
        world.run_once().expect(0);
        let id = world.api.people(|people| people.ids()[77].clone());
        let item = world.api.people(|people| people.items()[77].clone());
        assert!(world.api.remove(&id));

        world.run_once().expect(0);
        assert_eq!(state(&world, &id).await, "missing ");
        assert_eq!(world.db.count("active_consents").await, 119);
        assert_eq!(world.last_run("absence, missing, removed, active, unchanged").await, "judged|1|0|119|119");
        assert_eq!(asked_for(&world), [""; 0], "the first run without it asks nothing");

        world.run_once().expect(0);
        assert_eq!(state(&world, &id).await, "missing removed ");
        assert_eq!(world.last_run("absence, missing, removed, active").await, "judged|0|1|119");
        assert_eq!(asked_for(&world), [id.as_str()]);

        world.run_once().expect(0);
        assert_eq!(world.last_run("missing, removed, added, updated, returned").await, "0|0|0|0|0");
        assert_eq!(asked_for(&world), [""; 0], "a removed row is asked for no more");

        world.api.add(&item);
        world.run_once().expect(0);
        assert_eq!(state(&world, &id).await, "active");
        assert_eq!(world.last_run("returned, added, updated, unchanged, active").await, "1|0|0|119|120");
        assert_eq!(history(&world, &id).await, ["1|added", "2|missing", "3|removed", "5|returned"]);
        assert_eq!(world.db.count("consent_history").await, 120 + 3);
        assert_eq!(
            world.db.value(&format!("select changed_run_id from consents where consent_key = '{id}'")).await, "5"
        );
    }

    async fn who_comes_back_while_missing_was_never_removed(world: World) {
        world.list_people(30);
        world.run_once().expect(0);
        let id = world.api.people(|people| people.ids()[3].clone());
        let _ = world.api.people(|people| people.list(&id, false));
        world.run_once().expect(0);
        let _ = world.api.people(|people| people.list(&id, true));
        let _ = world.api.update(&id, |item| item["full_name"] = "Another Name".into());
        world.run_once().expect(0);
        assert_eq!(world.last_run("returned, updated, unchanged").await, "1|0|29");
        assert_eq!(
            world.db.value(&format!("select full_name from active_consents where consent_key = '{id}'")).await,
            "Another Name"
        );
        // The count of judged runs begins anew.
        let _ = world.api.remove(&id);
        world.run_once().expect(0);
        assert_eq!(state(&world, &id).await, "missing ");
        assert_eq!(history(&world, &id).await, ["1|added", "2|missing", "3|returned", "4|missing"]);
    }

    async fn who_was_removed_returns_by_their_page_or_by_being_listed_for_long_enough(world: World) {
        world.list_people(120);
        world.run_once().expect(0);
        let ids = world.api.people(|people| people.ids()[..30].to_vec());
        let items = world.api.people(|people| people.items()[..30].to_vec());
        for id in &ids[..20] {
            let _ = world.api.remove(id);
        }
        world.run_once().expect(0);
        world.run_once().expect(0);
        assert_eq!(world.last_run("removed").await, "20");
        // One stale list, while their pages still say that they are gone.
        for item in &items[..20] {
            world.api.add(item);
        }
        for id in &ids[..20] {
            let path = format!("/v1/marketing-consents/{id}");
            world.api.play(FaultRule::on(Endpoint::Single, Fault::status(404)).path(&path).always());
        }
        world.run_once().expect(0);
        assert_eq!(world.last_run("returned, returns_pending, unchanged, items, active").await, "0|20|100|120|100");
        assert_eq!(world.db.count("pending_returns").await, 20);
        assert_eq!(asked_for(&world), [""; 0]);
        // Listed for confirm_after, by every complete run.
        world.set("removal.confirm_after", "1h");
        world.run_once().expect(0);
        assert_eq!(world.last_run("returned, returns_pending").await, "0|20");
        let earlier = if world.db.is_postgres() { "now() - interval '2 hours'" } else { "'2020-01-01T00:00:00.000Z'" };
        world.db.execute(&format!("update pending_returns set listed_since = {earlier}")).await;
        world.run_once().expect(0);
        assert_eq!(world.last_run("returned, returns_pending, active").await, "20|0|120");
        assert_eq!(world.db.count("pending_returns").await, 0);
        // And by its own page at once.
        world.api.clear_faults();
        let _ = world.api.remove(&ids[25]);
        world.run_once().expect(0);
        world.run_once().expect(0);
        assert_eq!(world.last_run("removed").await, "1");
        world.api.add(&items[25]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("returned, returns_pending, active").await, "1|0|120");
    }

    async fn without_pages_a_removal_is_recorded_after_confirm_after(world: World) {
        world.list_people(40);
        world.run_once().expect(0);
        let id = world.api.people(|people| people.ids()[7].clone());
        let _ = world.api.remove(&id);
        // Every page answers so, those of the listed too.
        world.api.play(FaultRule::on(Endpoint::Single, Fault::status(400)).always());
        for _ in 0..4 {
            world.run_once().expect(0);
            assert_eq!(state(&world, &id).await, "missing ");
        }
        world.set("removal.confirm_after", "1h");
        world.run_once().expect(0);
        assert_eq!(state(&world, &id).await, "missing ");
        let earlier = if world.db.is_postgres() { "now() - interval '2 hours'" } else { "'2020-01-01T00:00:00.000Z'" };
        world.db.execute(&format!("update consents set missing_since = {earlier} where missing_since is not null")).await;
        world.run_once().expect(0);
        assert_eq!(state(&world, &id).await, "missing removed ");
    }

    async fn who_still_answers_by_id_stays_missing_for_ever(world: World) {
        world.list_people(40);
        world.run_once().expect(0);
        let id = world.api.people(|people| people.ids()[0].clone());
        let _ = world.api.people(|people| people.list(&id, false));
        for _ in 0..5 {
            world.run_once().expect(0);
            assert_eq!(state(&world, &id).await, "missing ");
        }
        assert_eq!(asked_for(&world).len(), 4);
        assert_eq!(world.db.number("select sum(removed) from sync_runs").await, 0);
        assert_eq!(history(&world, &id).await, ["1|added", "2|missing"]);
    }

    async fn confirm_runs_counts_judged_runs_only(world: World) {
        world.set("removal.confirm_runs", "3");
        world.list_people(40);
        world.run_once().expect(0);
        let id = world.api.people(|people| people.ids()[9].clone());
        let _ = world.api.remove(&id);
        world.run_once().expect(0);
        // An incomplete run, a withheld one and a blocked one neither count nor start the count anew.
        world.api.play(FaultRule::on(Endpoint::List, Fault::status(501)).always());
        world.run_once().expect(69);
        world.api.clear_faults();
        world.api.play(FaultRule::on(Endpoint::List, Fault::json(r#"{"items":[]}"#)));
        world.run_once().expect(65);
        world.api.play(FaultRule::on(Endpoint::List, Fault::rewrite(|_, items| {
            items.push(7.into());
            items.remove(0);
        })));
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence").await, "blocked");
        world.run_once().expect(0);
        assert_eq!(state(&world, &id).await, "missing ");
        world.run_once().expect(0);
        assert_eq!(state(&world, &id).await, "missing removed ");
        assert_eq!(history(&world, &id).await, ["1|added", "2|missing", "7|removed"]);
    }

    async fn three_unclear_answers_end_the_look_ups_and_not_the_run(world: World) {
        world.list_people(60);
        world.run_once().expect(0);
        let gone: Vec<String> = world.api.people(|people| people.ids()[..6].to_vec());
        for id in &gone {
            let _ = world.api.remove(id);
        }
        world.run_once().expect(0);
        world.set("retry.max_attempts", "1");
        for (status, asked) in [(500, 3), (429, 1), (403, 3), (401, 6)] {
            let rule = FaultRule::on(Endpoint::Single, Fault::status(status)).when(When::FromNth(2));
            world.api.play(rule.always());
            let _ = world.api.take_requests();
            world.run_once().expect(0);
            assert_eq!(asked_for(&world).len(), asked, "{status}: a 401 is worth one new token");
            assert_eq!(world.last_run("outcome, absence, removed").await, "succeeded|judged|0", "{status}");
            world.api.clear_faults();
        }
        // Those that had no turn yet come first.
        world.set("removal.max_checks", "2");
        let _ = world.api.take_requests();
        world.run_once().expect(0);
        let first = asked_for(&world);
        assert_eq!(first.len(), 2);
        world.run_once().expect(0);
        world.run_once().expect(0);
        assert_eq!(world.db.number("select count(*) from consents where removed_at is not null").await, 6);
    }

    async fn those_unasked_longest_are_looked_up_first(world: World) {
        world.set("removal.max_checks", "3");
        world.list_people(60);
        world.run_once().expect(0);
        let hidden: Vec<String> = world.api.people(|people| people.ids()[..8].to_vec());
        for id in &hidden {
            let _ = world.api.people(|people| people.list(id, false));
        }
        world.run_once().expect(0);
        let mut last: std::collections::HashMap<String, i32> = hidden.into_iter().map(|id| (id, 0)).collect();
        for run in 1..9 {
            let _ = world.api.take_requests();
            world.run_once().expect(0);
            let asked = asked_for(&world);
            assert_eq!(asked.len(), 3);
            let latest = asked.iter().map(|id| last[id]).max();
            let waiting = last.iter().filter(|(id, _)| !asked.contains(id)).map(|(_, at)| *at).min();
            assert!(latest <= waiting, "somebody else has waited longer");
            last.extend(asked.into_iter().map(|id| (id, run)));
        }
    }

    async fn an_id_that_no_url_can_name_takes_no_look_up_and_is_removed_by_the_time(world: World) {
        world.set("removal.max_checks", "1");
        let item = |id: &str| json!({ "id": id, "company_id": "c", "email": "someone@example.com" });
        let people: Vec<_> = ["a", "b", ".", "c", "d", "e", "f", "g", "h", "i"].map(item).into();
        world.api.set_people(&people);
        world.run_once().expect(0);
        world.api.set_people(&people[3..]);
        for _ in 0..4 {
            world.run_once().expect(0);
        }
        assert_eq!(world.db.rows("select consent_key from consents where removed_at is not null order by 1").await, ["a", "b"]);
        let long_ago = "update consents set missing_since = '2026-01-01T00:00:00.000Z' where consent_key = '.'";
        world.db.execute(long_ago).await;
        world.run_once().expect(0);
        assert_eq!(world.db.number("select count(*) from consents where removed_at is not null").await, 3);
    }

    async fn a_consent_without_id_has_no_page_and_is_removed_by_the_time(world: World) {
        world.api.configure(|api| api.ids = understory_mock_api::Ids::Nowhere);
        world.list_people(30);
        world.run_once().expect(0);
        let id = world.api.people(|people| people.ids()[4].clone());
        let _ = world.api.remove(&id);
        world.run_once().expect(0);
        assert_eq!(world.last_run("missing, removed").await, "1|0");
        world.run_once().expect(0);
        assert_eq!(world.last_run("missing, removed").await, "0|0");
        world.set("removal.confirm_after", "0s");
        world.run_once().expect(0);
        assert_eq!(world.last_run("missing, removed").await, "0|1");
        assert_eq!(asked_for(&world), [""; 0]);
    }

    async fn ids_that_come_later_keep_rows_and_history(world: World) {
        world.api.configure(|api| api.ids = understory_mock_api::Ids::Nowhere);
        world.list_people(150);
        world.run_once().expect(0);
        world.api.configure(|api| api.ids = understory_mock_api::Ids::Everywhere);
        world.run_once().expect(0);
        assert_eq!(world.last_run("added, updated, unchanged, missing, active").await, "0|150|0|0|150");
        assert_eq!(world.db.number("select count(*) from consents where consent_key like 'nk:%'").await, 0);
        assert_eq!(world.db.number("select count(*) from consent_history where consent_key like 'nk:%'").await, 0);
        let follows = "select count(*) from consents c join consent_changes h on h.consent_key = c.consent_key \
             where c.previous_key like 'nk:%' and h.previous_key = c.previous_key and h.change = 'updated'";
        assert_eq!(world.db.number(follows).await, 150);
        // And on the other path they are not there again.
        world.api.configure(|api| api.ids = understory_mock_api::Ids::Nowhere);
        world.run_once().expect(0);
        assert_eq!(world.last_run("added, updated, unchanged, missing, active").await, "0|0|150|0|150");
        assert_eq!(world.db.number("select count(*) from consents where consent_id is null").await, 0);
    }
}
