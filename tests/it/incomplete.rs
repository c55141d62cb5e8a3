//! Incomplete is never absence: what breaks a pass, and what stands in the way of judging one.

use serde_json::json;
use understory_mock_api::{COMPANY_ID, Endpoint, Fault, FaultRule};

use crate::support::World;

on_both! {
    async fn page_3_of_5_fails_for_good(world: World) {
        world.list_people(500);
        world.run_once().expect(0);
        let (early, late) = world.api.people(|people| {
            let ids = people.ids();
            people.remove(&ids[450]);
            people.remove(&ids[10]);
            for id in [&ids[20], &ids[420]] {
                people.update(id, |item| item["full_name"] = "Changed".into());
            }
            (ids[20].clone(), ids[420].clone())
        });
        world.api.play(FaultRule::on(Endpoint::List, Fault::status(500)).page(3).always());
        world.run_once().expect(75);
        assert_eq!(world.last_run("outcome, absence, pages, updated, missing").await, "failed|-|2|1|0");
        assert_eq!(world.db.count("active_consents").await, 500);
        let name = async |id: &str| world.db.value(&format!("select full_name from consents where consent_key = '{id}'")).await;
        assert_eq!(name(&early).await, "Changed", "upserts of pages 1 and 2 stay");
        assert_ne!(name(&late).await, "Changed");
        world.api.clear_faults();
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, missing, updated, active").await, "judged|2|1|498");
    }

    async fn an_answer_that_is_no_list_marks_nobody(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        let answers = [
            (Fault::html(), 65),
            (Fault::json("{}"), 65),
            (Fault::json(r#"{"next":""}"#), 65),
            (Fault::json(r#"{"items":null}"#), 65),
            (Fault::json(r#"{"items":{}}"#), 65),
            (Fault::json(r#"{"data":[]}"#), 65),
            (Fault::json("[]"), 65),
            (Fault::json("null"), 65),
            (Fault::json(r#""items""#), 65),
            (Fault::json(r#"{"items":[],"next":7}"#), 65),
            (Fault::json(""), 65),
            (Fault::json(r#"{"items":["#), 65),
            (Fault::status(204), 65),
            (Fault::status(404), 69),
            (Fault::status(410), 69),
            (Fault::status(500), 75),
        ];
        for (index, (fault, code)) in answers.into_iter().enumerate() {
            world.api.play(FaultRule::on(Endpoint::List, fault).always());
            let done = world.run_once();
            world.api.clear_faults();
            assert_eq!(done.code, code, "{index}: {}", done.stderr);
            assert_eq!(world.last_run("outcome, absence, missing").await, "failed|-|0", "{index}");
            assert_eq!(world.db.count("active_consents").await, 3, "{index}");
        }
        world.api.play(FaultRule::on(Endpoint::List, Fault::json(r#"{"items":[]}"#)));
        world.run_once().expect(65);
        assert_eq!(world.db.count("active_consents").await, 3);
        assert_eq!(world.last_run("outcome, absence, removals_withheld").await, "succeeded|withheld|3");
    }

    async fn one_bad_item_with_an_id_counts_as_listed(world: World) {
        world.list_people(120);
        world.run_once().expect(0);
        let id = world.api.people(|people| people.ids()[5].clone());
        let _ = world.api.update(&id, |item| { item.as_object_mut().unwrap().remove("email"); });
        let gone = world.api.people(|people| people.ids()[6].clone());
        let _ = world.api.remove(&gone);
        for run in 0..2 {
            world.run_once().expect(0);
            assert_eq!(world.last_run("absence, rejected, active").await, "judged|1|119");
            assert_eq!(world.db.number(&format!("select count(*) from active_consents where consent_key = '{id}'")).await, 1, "{run}");
        }
        // Not for ever: an upstream may blank the address of who withdrew.
        for _ in 0..2 {
            world.run_once().expect(0);
            assert_eq!(world.last_run("absence, rejected, active").await, "judged|1|118");
        }
        assert_eq!(world.db.count("rejected_items").await, 1);
        assert_eq!(world.db.value("select reason, first_run_id, last_run_id, resolved_at from rejected_items").await,
            "email is missing or not a non-empty text|2|5|-");
        let _ = world.api.update(&id, |item| item["email"] = "fixed@example.com".into());
        world.run_once().expect(0);
        assert_eq!(world.db.number("select count(*) from rejected_items where resolved_at is not null").await, 1);
    }

    async fn a_bad_item_without_id_blocks_two_runs_at_the_most(world: World) {
        world.list_people(50);
        world.run_once().expect(0);
        let hide = |index: usize| {
            world.api.people(|people| {
                let id = people.ids()[index].clone();
                people.list(&id, false)
            })
        };
        assert!(hide(6));
        // One that never changes blocks once.
        world.api.add(&json!({"company_id": COMPANY_ID, "email": "  "}));
        world.run_once().expect(0).says("rejected");
        assert_eq!(world.last_run("outcome, absence, rejected, active, missing, error").await, "succeeded|blocked|1|50|0|-");
        assert_eq!(world.db.count("active_consents").await, 50);
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, rejected, active").await, "judged|1|49");
        // A new one in every run blocks twice.
        assert!(hide(7));
        let absences = async |number: i32| {
            world.api.add(&json!({"company_id": COMPANY_ID, "email": number}));
            world.run_once().expect(0);
            world.last_run("absence, active").await
        };
        assert_eq!(absences(1).await, "blocked|49");
        assert_eq!(absences(2).await, "blocked|49");
        assert_eq!(absences(3).await, "judged|48");
        // Nobody is unlisted any more.
        assert_eq!(absences(4).await, "judged|48");
    }

    async fn another_companys_key_is_refused_before_anything_is_written(world: World) {
        world.list_people(20);
        world.run_once().expect(0);
        let tables = ["consents", "consent_changes", "rejected_items"];
        let mut before = Vec::new();
        for table in tables {
            before.extend(world.db.rows(&format!("select * from {table} order by 1")).await);
        }
        world.api.set_people(&[
            json!("nobody"),
            json!({"id": "a", "company_id": "other", "email": "a@example.com"}),
            json!({"id": "b", "company_id": "other", "email": "b@example.com"}),
        ]);
        // The first page holds nothing but a bad item, so that the second decides.
        world.api.configure(|api| api.page_length = Some(1));
        world.run_once().expect(65).says("another company");
        let mut after = Vec::new();
        for table in tables {
            after.extend(world.db.rows(&format!("select * from {table} order by 1")).await);
        }
        assert_eq!(before, after);
        assert_eq!(world.last_run("outcome, absence, added, rejected").await, "failed|-|0|0");
        // Named, the own items are picked from a mixed list.
        world.api.configure(|api| api.page_length = None);
        world.set("api.company_id", COMPANY_ID);
        world.api.people(|people| people.fill(1, 0..20));
        world.run_once().expect(0);
        assert_eq!(world.last_run("foreign_items, unchanged, added, rejected, items").await, "2|20|0|1|23");
        assert_eq!(world.db.number("select count(*) from consents where company_id = 'other'").await, 0);
    }

    async fn a_database_takes_no_other_company_however_it_is_named(world: World) {
        world.set("api.company_id", COMPANY_ID);
        world.list_people(20);
        world.run_once().expect(0);
        let before = world.db.rows("select * from consents order by 1").await;
        world.set("api.company_id", "other");
        world.api.set_people(&[json!({"id": "a", "company_id": "other", "email": "a@example.com"})]);
        for dry in [&["--run-once", "--dry-run"][..], &["--run-once"]] {
            world.run(dry).expect(65).says("of another company than api.company_id");
        }
        assert_eq!(before, world.db.rows("select * from consents order by 1").await);
        assert_eq!(world.last_run("outcome, pages, missing").await, "failed|0|0");
        // An emptied database remembers whose it was.
        world.db.execute("delete from consents").await;
        world.run_once().expect(65);
        world.unset("api.company_id");
        world.run_once().expect(65).says("another company");
        assert_eq!(world.db.count("consents").await, 0);
        world.list_people(20);
        world.run_once().expect(0);
        assert_eq!(world.db.count("active_consents").await, 20);
    }

    async fn a_restarted_walk_counts_if_its_last_one_is_whole(world: World) {
        world.list_people(350);
        world.run_once().expect(0);
        let gone = world.api.people(|people| people.ids()[300].clone());
        let _ = world.api.remove(&gone);
        world.api.play(FaultRule::on(Endpoint::List, Fault::RefuseCursor).page(3).times(2));
        world.run_once().expect(0);
        assert_eq!(world.last_run("outcome, absence, pages, items, unchanged, missing, active").await, "succeeded|judged|4|349|349|1|349");
        world.api.play(FaultRule::on(Endpoint::List, Fault::RefuseCursor).page(3).times(3));
        world.run_once().expect(75);
        assert_eq!(world.last_run("outcome, absence, removed").await, "failed|-|0");
    }

    async fn the_first_of_duplicates_counts(world: World) {
        world.list_people(150);
        let first = world.api.people(|people| people.items()[0].clone());
        let mut second = first.clone();
        second["full_name"] = "Somebody Else".into();
        world.api.add(&second);
        world.api.add(&second);
        world.run_once().expect(0);
        assert_eq!(world.last_run("items, added, duplicates").await, "152|150|2");
        world.run_once().expect(0);
        assert_eq!(world.last_run("items, unchanged, updated, duplicates").await, "152|150|0|2");
        assert_eq!(world.db.number("select count(*) from consents where full_name = 'Somebody Else'").await, 0);
    }

    async fn a_page_that_mixes_items_with_and_without_ids_is_stored(world: World) {
        let item = |id: Option<&str>, email: &str| {
            let mut item = json!({"company_id": COMPANY_ID, "email": email});
            if let Some(id) = id {
                item["id"] = id.into();
            }
            item
        };
        world.api.set_people(&[item(Some("c"), "c@example.com"), item(None, "a@example.com")]);
        world.run_once().expect(0);
        world.api.set_people(&[
            item(Some("c"), "c@example.com"), item(Some("a"), "a@example.com"), item(None, "A@example.com"),
        ]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, items, unchanged, updated, duplicates, active").await, "judged|3|1|1|1|2");
        assert_eq!(world.db.rows("select consent_key from active_consents order by 1").await, ["a", "c"]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("items, unchanged, duplicates").await, "3|2|1");
    }

    async fn the_items_of_every_run_add_up(world: World) {
        world.set("api.company_id", COMPANY_ID);
        world.list_people(120);
        world.run_once().expect(0);
        let (ids, items) = world.api.people(|people| (people.ids(), people.items()));
        world.run(&["forget", items[1]["email"].as_str().unwrap()]).expect(0);
        let _ = world.api.remove(&ids[2]);
        world.run_once().expect(0);
        world.api.add(&items[2]);
        world.api.add(&items[3]);
        world.api.add(&json!({"company_id": COMPANY_ID, "email": items[4]["email"], "source": items[4]["source"]}));
        world.api.add(&json!({"company_id": "other", "email": "other@example.com"}));
        world.api.add(&json!({"company_id": COMPANY_ID, "email": items[1]["email"], "full_name": "Once More"}));
        world.api.add(&json!("nothing"));
        let _ = world.api.update(&ids[5], |item| item["full_name"] = "Renamed".into());
        world.run_once().expect(0);
        assert_eq!(
            world.last_run("items, added, updated, unchanged, returned, duplicates, rejected, suppressed, foreign_items").await,
            "125|0|1|117|1|2|1|2|1"
        );
        world.run_once().expect(0);
        assert_eq!(
            world.db.number(
                "select count(*) from sync_runs where outcome <> 'succeeded' or items <> added + updated + unchanged + returned \
                 + duplicates + rejected + suppressed + foreign_items"
            ).await,
            0
        );
    }
}
