//! Values that break careless programs arrive as they were sent.

use serde_json::{Value, json};
use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::support::{Engine, World};

fn item(id: &str, email: &str) -> Value {
    json!({"id": id, "company_id": "c", "email": email})
}

on_both! {
    async fn text_is_stored_as_received(world: World) {
        let long = "x".repeat(1_000_000);
        let names = [
            "O'Brien; drop table consents; --", "\"quoted\" \\ back $1 ${x} {} %s", "tab\tline\nreturn\r\u{7f}\u{1b}[31m",
            "🧑‍🌾 Ṩ̈ mañana ﷽ \u{202e}desrever", " leading and trailing ", "", &long,
        ];
        let items: Vec<Value> = names.iter().enumerate().map(|(number, name)| {
            let mut item = item(&format!("id {number}'\"\\"), &format!(" Odd+{number}@Example.COM "));
            item["full_name"] = json!(name);
            item["source"] = json!(name);
            item
        }).collect();
        world.api.set_people(&items);
        world.run_once().expect(0);
        let stored = world.db.query("select consent_key, email, full_name, source from consents order by consent_key").await;
        let sent: Vec<Vec<Option<String>>> = items.iter().map(|item| {
            ["id", "email", "full_name", "source"].iter().map(|field| item[field].as_str().map(str::to_owned)).collect()
        }).collect();
        assert_eq!(stored, sent);
        world.run_once().expect(0);
        assert_eq!(world.last_run("updated, unchanged, rejected").await, "0|7|0");
    }

    async fn numbers_and_nesting_survive(world: World) {
        let raw = r#"{"id":"a","company_id":"c","email":"a@example.com","n":[0.1,1e-7,123456789012345678901234567890,-0.0,true,null,{"a":{"b":[[]]}}]}"#;
        world.api.people(|people| people.add_raw(None, raw));
        world.run_once().expect(0);
        let extra = world.db.value("select extra from consents").await.replace(' ', "");
        assert!(extra.contains("123456789012345678901234567890"), "{extra}");
        assert!(extra.contains("0.1,") && extra.contains("{\"a\":{\"b\":[[]]}}"), "{extra}");
        world.run_once().expect(0);
        assert_eq!(world.last_run("updated, unchanged").await, "0|1");
    }

    async fn an_integer_id_is_its_decimal_digits(world: World) {
        world.api.set_people(&[
            json!({"id": 42, "company_id": "c", "email": "a@example.com"}),
            json!({"id": "42", "company_id": "c", "email": "b@example.com"}),
        ]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("added, rejected").await, "1|1");
        assert_eq!(world.db.rows("select consent_key, email from consents").await, ["42|a@example.com"]);
        assert_eq!(world.db.rows("select reason from rejected_items").await, ["duplicate_id"]);
    }

    async fn people_may_exchange_their_addresses(world: World) {
        world.api.set_people(&[item("a", "one@example.com"), item("b", "two@example.com")]);
        world.run_once().expect(0);
        world.api.set_people(&[item("b", "one@example.com"), item("a", "two@example.com")]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("added, updated, missing, active").await, "0|2|0|2");
        assert_eq!(world.db.rows("select consent_key, email from consents order by 1").await, ["a|two@example.com", "b|one@example.com"]);
    }

    async fn without_ids_the_natural_key_makes_one_row_of_a_person(world: World) {
        let nameless = |email: &str, source: Value| json!({"company_id": "c", "email": email, "source": source});
        world.api.set_people(&[
            nameless("Ann@Example.com", json!("shop")),
            nameless(" ann@example.COM ", json!("shop")),
            nameless("ann@example.com", json!("fair")),
            nameless("ann@example.com", Value::Null),
        ]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("added, duplicates, active").await, "3|1|3");
        assert_eq!(world.db.rows("select email from consents where source = 'shop'").await, ["Ann@Example.com"]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("updated, unchanged, duplicates, missing").await, "0|3|1|0");
    }

    async fn many_changes_on_one_page_arrive_together(world: World) {
        world.list_people(2_000);
        world.api.configure(|api| api.page_length = Some(10_000));
        world.run_once().expect(0);
        for id in world.api.people(|people| people.ids()) {
            assert!(world.api.update(&id, |item| item["batch"] = json!(1)));
        }
        world.run_once().expect(0);
        assert_eq!(world.last_run("pages, updated, unchanged").await, "1|2000|0");
        assert_eq!(world.db.number("select count(distinct changed_at) from consent_changes").await, 1);
        assert_eq!(world.db.count("consent_changes").await, 2_000);
    }

    async fn quiet_says_nothing_on_success_and_something_on_failure(world: World) {
        world.list_people(5);
        let done = world.run(&["--run-once", "--quiet"]).expect(0);
        assert_eq!(done.output(), "");
        world.set("auth.client_secret", "wrong");
        let done = world.run(&["--run-once", "--quiet"]).expect(77);
        assert!(!done.stderr.is_empty());
    }
}

#[tokio::test]
async fn a_database_file_may_have_an_odd_name() {
    for (url, name) in [
        ("sqlite://with blank.db", "with blank.db"),
        ("sqlite://per%20cent.db", "per cent.db"),
        ("sqlite://ünïcode.db", "ünïcode.db"),
        ("sqlite:plain.db", "plain.db"),
    ] {
        let world = World::on(Engine::Sqlite).await;
        world.set("database.url", url);
        world.list_people(2);
        let done = world.run_once();
        let made: Vec<String> = std::fs::read_dir(world.home())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(done.code, 0, "{url}: {}", done.stderr);
        assert!(made.iter().any(|file| file == name), "{url}: {made:?}");
    }
}

on_both! {
    async fn a_page_of_very_many_small_fields_takes_less_than_96_mib(world: World) {
        const PAGE: usize = 8 * 1024 * 1024 - 1024;
        let item = |number: usize, fields: &str| {
            format!(r#"{{"id":"i{number}","company_id":"c","email":"{number}@example.org",{fields}}}"#)
        };
        let page = |items: &str| format!(r#"{{"items":[{items}],"next":null}}"#);
        let distinct: Vec<String> = (0..790_000).map(|number| format!(r#""{number:x}":0"#)).collect();
        let escaped: Vec<String> = (0..640_000).map(|number| format!(r#""\n{number:x}":0"#)).collect();
        let same = |bytes: usize| r#""":0,"#.repeat(bytes / 5) + r#""b":1"#;
        let spread: Vec<String> = (0..10_000).map(|number| item(number, &same(700))).collect();
        for body in [
            page(&item(0, &same(PAGE - 200))),
            page(&item(0, &distinct.join(","))),
            page(&item(0, &escaped.join(","))),
            page(&spread.join(",")),
        ] {
            assert!((PAGE / 10 * 8..=PAGE).contains(&body.len()), "{}", body.len());
            world.api.play(FaultRule::on(Endpoint::List, Fault::json(&body)).always());
            for _ in ["new", "known"] {
                let done = world.run_once().expect(0);
                let mib = done.peak_kib / 1024;
                println!("{mib} MiB");
                assert!((10..96).contains(&mib), "{mib} MiB");
            }
            world.api.clear_faults();
        }
    }
}
