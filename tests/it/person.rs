//! Access (GDPR, Art. 15): all that is held about one person, nothing of anybody else, and nothing is changed by asking.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use understory_mock_api::{COMPANY_ID, Endpoint, Fault, FaultRule};

use crate::support::{Done, World, until};

const ADDRESS: &str = "Zoë.Maier@Bücher.Example";

/// The same address as others write it.
const SPELLINGS: [&str; 3] = [
    "ZOË.MAIER@BÜCHER.EXAMPLE",
    "zoe\u{308}.maier@bu\u{308}cher.example",
    " zoë.maier@xn--bcher-kva.example ",
];

fn document(done: &Done) -> Value {
    assert!(done.stderr.is_empty(), "{}", done.stderr);
    serde_json::from_str(&done.stdout).unwrap()
}

fn person(world: &World, who: &str) -> Value {
    document(&world.run(&["person", who]).expect(0))
}

fn from_stdin(world: &World, input: &str) -> std::process::Output {
    let mut command = world.command(&["person", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Somebody in every place that can hold a person, among others.
async fn with_zoe(world: &World) {
    let item = |id: &str, email: &str, name: &str| json!({"id": id, "company_id": COMPANY_ID, "email": email, "full_name": name});
    world.list_people(5);
    let mut own = item("own", ADDRESS, "Zoë Old");
    own["references"] = json!([{"type": "booking", "id": "b-1"}]);
    own["height"] = json!(1.50);
    world.api.add(&own);
    world.api.add(&item("renamed", ADDRESS, "Zoë Former"));
    let mut naming = item("naming", "friend@example.com", "Another Person");
    naming["friend"] = ADDRESS.into();
    world.api.add(&naming);
    world.api.people(|people| people.add_raw(Some("bad"), &format!(r#"{{"id":"bad","note":"{ADDRESS}"}}"#)));
    world.run_once().expect(0);
    let _ = world.api.update("own", |item| item["full_name"] = "Zoë New".into());
    let _ = world.api.update("renamed", |item| {
        item["email"] = "nobody.else@example.com".into();
        item["full_name"] = "Secret Successor".into();
    });
    world.run_once().expect(0);
    let at = world.db.value("select max(changed_at) from consents").await;
    world
        .db
        .execute(&format!(
            "insert into pending_returns (consent_key, listed_since, listed_runs, last_run_id) values ('own', '{at}', 3, 2); \
             insert into consent_checks (consent_key, checked_at, answer) values ('own', '{at}', 'there'); \
             insert into rejected_listings (consent_key, runs, skipped, last_run_id) values ('own', 1, 0, 2)"
        ))
        .await;
}

on_both! {
    async fn all_that_is_held_is_in_one_document_and_nothing_of_others(world: World) {
        with_zoe(&world).await;
        let held = person(&world, ADDRESS);
        assert_eq!(held["address"], "zoë.maier@xn--bcher-kva.example");
        assert_eq!((&held["found"], &held["suppressed_since"]), (&json!(true), &Value::Null));
        let own = &held["consents"][0];
        assert_eq!(held["consents"].as_array().unwrap().len(), 1);
        let expected = json!({
            "consent_key": "own", "consent_id": "own", "company_id": COMPANY_ID, "state": "active", "email": ADDRESS,
            "full_name": "Zoë New", "refs": [{"type": "booking", "id": "b-1"}], "extra": {"height": 1.50},
            "return_listed_runs": 3, "page_answer": "there", "rejected_runs": 1, "first_run_id": 1, "changed_run_id": 2,
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(own[name], *value, "{name}");
        }
        for time in ["first_seen_at", "changed_at", "return_pending_since", "page_asked_at"] {
            let text = own[time].as_str().unwrap();
            assert!(text.len() == 24 && text.ends_with('Z'), "{time}: {text}");
        }
        let history = held["history"].as_array().unwrap();
        let line = |line: &Value| format!("{} {} {}", line["consent_key"], line["change"], line["before"]["full_name"]).replace('"', "");
        let told: Vec<String> = history.iter().map(line).collect();
        assert_eq!(told[0], "own added null");
        let rest: BTreeSet<&str> = told[1..].iter().map(String::as_str).collect();
        assert_eq!(rest, BTreeSet::from(["own updated Zoë Old", "renamed updated Zoë Former"]));
        let rejected = &held["rejected_items"][0];
        assert!(rejected["item"].as_str().unwrap().contains(ADDRESS) && rejected["first_run_id"] == 1, "{rejected}");
        // Rows of others are named, and what is in them is not told.
        assert_eq!(held["also_named_in"], json!(["naming"]));
        let text = held.to_string();
        for other in ["friend@example.com", "Another Person", "nobody.else", "Secret Successor"] {
            assert!(!text.contains(other), "{other}");
        }
    }

    async fn every_spelling_finds_the_person_and_asking_changes_nothing(world: World) {
        with_zoe(&world).await;
        let lease = "select holder, fence, expires_at from sync_lease";
        let (held, before) = (person(&world, ADDRESS), world.db.rows(lease).await);
        let same = |mut other: Value| {
            other["read_at"] = held["read_at"].clone();
            assert_eq!(other, held);
        };
        for spelling in SPELLINGS {
            same(person(&world, spelling));
        }
        let read = from_stdin(&world, &format!("\u{feff}{}\r\n", SPELLINGS[0]));
        assert_eq!(read.status.code(), Some(0));
        same(serde_json::from_slice(&read.stdout).unwrap());
        assert_eq!(world.db.rows(lease).await, before);
        // It waits for no run.
        world.api.play(FaultRule::on(Endpoint::List, Fault::Delay(Duration::from_secs(3))));
        let asked = world.api.requests().len();
        let run = world.start(&["--run-once"]);
        until("the run", async || (world.api.requests().len() > asked).then_some(())).await;
        same(person(&world, ADDRESS));
        assert_eq!(world.last_run("outcome").await, "running");
        run.wait().expect(0);
    }

    async fn what_is_left_of_a_forgotten_person_is_told(world: World) {
        with_zoe(&world).await;
        world.run(&["forget", ADDRESS]).expect(0);
        world.api.add(&json!({"id": "anew", "company_id": COMPANY_ID, "email": ADDRESS}));
        world.run_once().expect(0);
        let held = person(&world, SPELLINGS[1]);
        let since = held["suppressed_since"].as_str().unwrap();
        let stored = world.db.value("select created_at from suppressions").await;
        assert_eq!(stored[..10], since[..10]);
        assert_eq!(held["renewed_consents"][0]["consent_id"], "anew");
        for empty in ["consents", "history", "rejected_items"] {
            assert_eq!(held[empty], json!([]), "{empty}");
        }
        // The row that names the address is somebody else's, and was left.
        assert_eq!((&held["found"], &held["also_named_in"]), (&json!(true), &json!(["naming"])));
    }

    async fn where_nothing_is_held_the_document_says_so(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        let held = person(&world, "nobody@example.com");
        assert_eq!((&held["found"], &held["address"]), (&json!(false), &json!("nobody@example.com")));
        for (input, words) in [("a@example.com\nb@example.com\n", "person takes one address"), ("\n", "no address was given")] {
            let read = from_stdin(&world, input);
            let said = String::from_utf8(read.stderr).unwrap();
            assert!(read.status.code() == Some(2) && said.contains(words) && !said.contains('@'), "{said}");
            assert!(read.stdout.is_empty());
        }
        let done = world.run(&["person", "\"quoted@example.com\""]).expect(2);
        assert!(done.stderr.contains("this matches no row") && !done.stderr.contains('@'), "{}", done.stderr);
    }

    async fn every_field_of_the_document_is_explained(world: World) {
        with_zoe(&world).await;
        world.run(&["forget", "nobody@example.com"]).expect(0);
        world.api.add(&json!({"id": "anew", "company_id": COMPANY_ID, "email": "nobody@example.com"}));
        world.run_once().expect(0);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/privacy.md");
        let text = std::fs::read_to_string(path).unwrap();
        let section = text.split("## Access").nth(1).unwrap().split("\n## ").next().unwrap();
        let mut fields = BTreeSet::new();
        for held in [person(&world, ADDRESS), person(&world, "nobody@example.com")] {
            for (name, value) in held.as_object().unwrap() {
                fields.insert(name.clone());
                let entries = value.as_array().into_iter().flatten().filter_map(Value::as_object);
                fields.extend(entries.flat_map(|entry| entry.keys().cloned()));
            }
        }
        assert!(fields.len() > 35, "{fields:?}");
        for field in fields {
            assert!(section.contains(&format!("`{field}`")), "{field} is not in docs/privacy.md");
        }
    }
}
