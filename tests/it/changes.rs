//! What changed upstream changes here, and leaves a trace.

use serde_json::{Value, json};
use understory_mock_api::person;

use crate::support::{Engine, World};

fn id(number: u64) -> String {
    person(1, number)["id"].as_str().unwrap().to_owned()
}

on_both! {
    async fn a_changed_name_a_new_field_references_and_a_new_person_arrive(world: World) {
        world.list_people(250);
        world.run_once().expect(0);
        let (renamed, extended, referred) = (id(3), id(120), id(249));
        let references = json!([{"type": "booking", "id": "b-1", "nested": {"z": 1, "a": [null, 1.50]}}]);
        assert!(world.api.update(&renamed, |item| item["full_name"] = json!("Åse Ny-Navn")));
        assert!(world.api.update(&extended, |item| item["locale"] = json!({"language": "da", "big": 12_345_678_901_234_567_890_u64})));
        assert!(world.api.update(&referred, |item| item["references"] = references.clone()));
        world.api.add(&person(1, 1_000));
        world.run_once().expect(0);

        assert_eq!(world.last_run("added, updated, unchanged, items, active").await, "1|3|247|251|251");
        let one = async |key: &str, column: &str| {
            world.db.value(&format!("select {column} from consents where consent_key = '{key}'")).await
        };
        assert_eq!(one(&renamed, "full_name").await, "Åse Ny-Navn");
        let extra: Value = serde_json::from_str(&one(&extended, "extra").await).unwrap();
        assert_eq!(extra, json!({"locale": {"language": "da", "big": 12_345_678_901_234_567_890_u64}}));
        let refs: Value = serde_json::from_str(&one(&referred, "refs").await).unwrap();
        assert_eq!(refs, references);
        assert_eq!(world.db.value(&format!("select count(*) from consents where consent_key = '{}'", id(1_000))).await, "1");

        let history = world.db.rows("select change, run_id, count(*) from consent_history group by change, run_id order by 1, 2").await;
        assert_eq!(history, ["added|1|250", "added|2|1", "updated|2|3"]);
    }

    async fn the_history_keeps_what_was_there_before(world: World) {
        world.list_people(3);
        let key = id(1);
        let old = world.api.people(|people| people.items())[1].clone();
        world.run_once().expect(0);
        assert!(world.api.update(&key, |item| item["full_name"] = json!("Anybody Else")));
        world.run_once().expect(0);
        let before = world.db.value("select before from consent_history where change = 'updated'").await;
        let before: Value = serde_json::from_str(&before).unwrap();
        for field in ["company_id", "email", "full_name", "source"] {
            assert_eq!(before[field], old[field], "{field}");
        }
        let at = world.db.rows("select c.changed_at = h.changed_at, c.changed_run_id, h.consent_key = c.consent_key from consents c join consent_changes h on h.consent_key = c.consent_key").await;
        assert!(["t|2|t", "1|2|1"].contains(&at[0].as_str()), "{at:?}");
    }

    async fn the_history_takes_no_key_for_its_own(world: World) {
        // A reader of JSON values would make a number of the one and unpack the other.
        let fields = r#""a":{"$serde_json::private::Number":"7"},"b":{"$serde_json::private::RawValue":"[1]"}"#;
        let item = |name: &str| format!(r#"{{"id":"1","company_id":"c","email":"a@example.com","full_name":"{name}",{fields}}}"#);
        world.api.people(|people| people.add_raw(None, &item("A")));
        world.run_once().expect(0);
        world.api.people(|people| {
            people.clear();
            people.add_raw(None, &item("B"));
        });
        world.run_once().expect(0);
        let kept = match world.db.engine() {
            Engine::Sqlite => "select before ->> 'extra' from consent_history where change = 'updated'",
            Engine::Postgres => "select (before -> 'extra')::text from consent_history where change = 'updated'",
        };
        assert_eq!(world.db.value(kept).await.replace(' ', ""), format!("{{{fields}}}"));
    }

    async fn a_large_row_that_changes_is_kept_whole(world: World) {
        let item = |letter: &str| json!({"id": "1", "company_id": "c", "email": "a@example.com", "full_name": letter, "note": letter.repeat(300_000)});
        world.api.set_people(&[item("a")]);
        world.run_once().expect(0);
        world.api.set_people(&[item("b")]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("added, updated, unchanged").await, "0|1|0");
        let lengths = match world.db.engine() {
            Engine::Sqlite => "select length(extra ->> 'note') || ' ' || full_name || ' ' || length(before -> 'extra' ->> 'note') || ' ' || substr(before -> 'extra' ->> 'note', 1, 1) from consents join consent_changes using (consent_key)",
            Engine::Postgres => "select length(extra ->> 'note') || ' ' || full_name || ' ' || length(before -> 'extra' ->> 'note') || ' ' || left(before -> 'extra' ->> 'note', 1) from consents join consent_changes using (consent_key)",
        };
        assert_eq!(world.db.value(lengths).await, "300000 b 300000 a");
        world.run_once().expect(0);
        assert_eq!(world.last_run("updated, unchanged").await, "0|1");
    }

    async fn a_field_of_a_wrong_type_becomes_null_and_is_kept(world: World) {
        world.api.set_people(&[
            json!({"id": "one", "company_id": "c", "email": "one@example.com", "full_name": 7, "source": ["x"]}),
            json!({"id": 42, "company_id": "c", "email": "two@example.com"}),
            json!({"id": {"no": "id"}, "company_id": "c", "email": "three@example.com"}),
            json!({"id": "  ", "company_id": "c", "email": "four@example.com"}),
        ]);
        world.run_once().expect(0);
        let rows = world.db.rows("select email, consent_id, full_name, source, extra from consents order by email").await;
        let stored: Vec<(String, Value)> = rows.iter().map(|row| {
            let (columns, extra) = row.rsplit_once('|').unwrap();
            (columns.to_owned(), serde_json::from_str(extra).unwrap_or_default())
        }).collect();
        let expected = [
            ("four@example.com|-|-|-", json!({"id": "  "})),
            ("one@example.com|one|-|-", json!({"full_name": 7, "source": ["x"]})),
            ("three@example.com|-|-|-", json!({"id": {"no": "id"}})),
            ("two@example.com|42|-|-", Value::Null),
        ];
        assert_eq!(stored, expected.map(|(columns, extra)| (columns.to_owned(), extra)));
        world.run_once().expect(0);
        assert_eq!(world.last_run("updated, unchanged").await, "0|4");
    }

    async fn the_order_of_keys_is_no_change(world: World) {
        world.api.people(|people| people.add_raw(None, r#"{"id":"a","company_id":"c","email":"a@example.com","x":{"b":1,"a":2}}"#));
        world.run_once().expect(0);
        world.api.people(|people| {
            people.clear();
            people.add_raw(None, r#"{ "x" : {"a":2, "b":1}, "email":"a@example.com","company_id":"c","id":"a"}"#);
        });
        world.run_once().expect(0);
        assert_eq!(world.last_run("updated, unchanged").await, "0|1");
    }
}
