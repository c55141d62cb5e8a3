//! The right to be forgotten: no byte is left, nobody comes back, and what is kept is a hash.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use understory_mock_api::{COMPANY_ID, Endpoint, Fault, FaultRule};

use crate::support::{Engine, World, until};

const ADDRESS: &str = "Søren.Ørsted@Mail.Example.com";
const NAME: &str = "Sørine Ørsted-Kjærgaard";

/// Every file of a folder that holds one of these texts in any case of letters.
fn files_with(folder: &Path, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        for wanted in texts {
            if text.contains(&wanted.to_lowercase()) {
                found.push(format!("{}: {wanted}", path.file_name().unwrap().display()));
            }
        }
    }
    found
}

/// Lists 300 people, one of them twice: with an address of her own, and in a broken item with escapes.
async fn with_soren(world: &World) {
    world.list_people(300);
    world.api.add(&json!({
        "id": "soren", "company_id": COMPANY_ID, "email": ADDRESS, "full_name": NAME, "note": "Ørsted-note",
        "references": [{"type": "booking", "id": "Ørsted-booking"}],
    }));
    world.api.people(|people| {
        people.add_raw(
            None,
            r#"{"email":"S\u00d8REN.\u00d8rsted\u0040mail.example.com","full_name":"S\u00f8rine"}"#,
        );
        people.add_raw(
            Some("bad"),
            r#"{"id":"bad","note":"write to <søren.ørsted@mail.example.com>, please"}"#,
        );
    });
    world.run_once().expect(0);
    let _ = world.api.update("soren", |item| {
        item["full_name"] = format!("{NAME} II").into();
    });
    world.run_once().expect(0);
    assert_eq!(world.db.count("rejected_items").await, 2);
    assert_eq!(world.db.count("consent_changes").await, 1);
}

fn forget_from_stdin(world: &World, addresses: &str) -> (i32, String) {
    let mut child = world
        .command(&["forget", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(addresses.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    (done.status.code().unwrap(), said)
}

on_both! {
    async fn forgotten_in_other_letters_nobody_comes_back(world: World) {
        with_soren(&world).await;
        let (code, said) = forget_from_stdin(&world, "sØREN.øRSTED@mail.EXAMPLE.com\n");
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("1 in consents, 1 in consent_changes, 2 in rejected_items"), "{said}");
        assert!(!said.to_lowercase().contains("ørsted"), "{said}");
        for run in 0..2 {
            let done = world.run_once().expect(0);
            assert!(!done.output().to_lowercase().contains("ørsted"));
            assert_eq!(world.last_run("items, suppressed, rejected, unchanged, missing").await, "303|3|0|300|0", "{run}");
        }
        assert_eq!(world.db.number("select count(*) from consents where consent_key = 'soren'").await, 0);
        assert_eq!(
            world.db.rows("select change, run_id, before from consent_history where consent_key = 'soren'").await,
            ["erased|-|-"]
        );
        assert_eq!(world.db.count("rejected_items").await, 0);
        assert_eq!(world.db.count("suppressions").await, 1);
        if !world.db.is_postgres() {
            let texts = [ADDRESS, NAME, "Ørsted-note", "Ørsted-booking", "u0040", "Sørine", "S\\u00f8rine"];
            assert_eq!(files_with(world.db.folder(), &texts), [""; 0]);
        }
        // Forgotten again: nothing is left to erase.
        let (code, said) = forget_from_stdin(&world, ADDRESS);
        assert_eq!(code, 0);
        assert!(said.contains("0 in consents, 0 in consent_changes, 0 in rejected_items"), "{said}");
        // Lifted: who is still listed comes back.
        world.run(&["forget", "--undo", &ADDRESS.to_uppercase()]).expect(0);
        world.run_once().expect(0);
        assert_eq!(world.last_run("added, suppressed, rejected").await, "1|0|2");
    }

    async fn somebody_unknown_is_suppressed_ahead(world: World) {
        world.list_people(20);
        world.run_once().expect(0);
        let (code, said) = forget_from_stdin(&world, "new@example.com\r\n\n  other@example.com\n");
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("0 in consents"), "{said}");
        assert_eq!(world.db.count("suppressions").await, 2);
        world.api.add(&json!({"id": "n", "company_id": COMPANY_ID, "email": "NEW@example.com"}));
        world.run_once().expect(0);
        assert_eq!(world.last_run("added, suppressed").await, "0|1");
    }

    async fn several_are_forgotten_or_none(world: World) {
        world.list_people(50);
        world.run_once().expect(0);
        let emails: Vec<String> = world.api.people(|people| {
            people.items()[..3].iter().map(|item| item["email"].as_str().unwrap().to_lowercase()).collect()
        });
        for odd in ["\"quoted@example.com\"", "a@example.com,b@example.com", "Name,a@example.com", "a@example.com\tAnna", "a\0@example.com"] {
            let (code, said) = forget_from_stdin(&world, &format!("{}\n\n{odd}\n", emails.join("\n")));
            assert_eq!(code, 2, "{said}");
            assert!(said.contains("line 5: ") && !said.contains('@'), "{said}");
        }
        assert_eq!(world.db.count("consents").await, 50);
        assert_eq!(world.db.count("suppressions").await, 0);
        let (code, said) = forget_from_stdin(&world, &emails.join("\n"));
        assert_eq!(code, 0);
        assert!(said.contains("3 in consents"), "{said}");
        assert_eq!(world.db.count("active_consents").await, 47);
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, suppressed, missing, active").await, "judged|3|0|47");
    }

    async fn an_older_address_is_forgotten_and_the_row_stays(world: World) {
        world.list_people(10);
        world.api.add(&json!({"id": "x", "company_id": COMPANY_ID, "email": "maiden.name@example.com"}));
        world.run_once().expect(0);
        let _ = world.api.update("x", |item| item["email"] = "married.name@example.com".into());
        world.run_once().expect(0);
        let done = world.run(&["forget", "Maiden.Name@example.com"]).expect(0);
        assert!(done.stdout.contains("found: 1 of 1 address\n"), "{}", done.stdout);
        assert!(done.stdout.contains("also found in 1 other row, which were left: x\n"), "{}", done.stdout);
        assert_eq!(world.db.rows("select change from consent_history where consent_key = 'x'").await, ["added"]);
        assert_eq!(world.db.number("select count(*) from consent_feed where state = 'erased'").await, 0);
        assert_eq!(world.db.value("select email from consents where consent_key = 'x'").await, "married.name@example.com");
        if !world.db.is_postgres() {
            assert_eq!(files_with(world.db.folder(), &["maiden.name"]), [""; 0]);
        }
        world.run_once().expect(0);
        assert_eq!(world.last_run("unchanged, suppressed").await, "11|0");
    }

    async fn whatever_text_a_row_has_as_its_address_is_found_in_every_spelling(world: World) {
        let listed = [
            ("nfc", "jos\u{e9}@example.com"), ("idn", "info@b\u{fc}cher.example"), ("blank", "two words"),
            ("odd", "\"a,b\"@example.com"), ("stays", "stays@example.com"),
        ];
        for (id, email) in listed {
            world.api.add(&json!({"id": id, "company_id": COMPANY_ID, "email": email}));
        }
        world.run_once().expect(0);
        let (code, said) = forget_from_stdin(
            &world,
            "\u{feff}Jose\u{301}@example.com\ninfo@xn--bcher-kva.example\nTwo words\n\"A,b\"@example.com\nmisspelt@example.com\n",
        );
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("found: 4 of 5 addresses\n") && said.contains("4 in consents"), "{said}");
        let place = if world.db.is_postgres() { world.db.url().rsplit('/').next().unwrap().to_owned() } else { "test.db".to_owned() };
        assert!(said.contains("database: ") && said.contains(&place), "{said}");
        assert_eq!(world.db.rows("select consent_key from consents").await, ["stays"]);
        // What was refused once for its comma is known by now.
        assert_eq!(forget_from_stdin(&world, "\"A,b\"@example.com\n").0, 0);
        let _ = world.api.update("nfc", |item| item["email"] = "JOSE\u{301}@example.com".into());
        world.run_once().expect(0);
        assert_eq!(world.last_run("suppressed, unchanged").await, "4|1");
    }

    async fn readers_of_the_feed_hear_of_an_erasure(world: World) {
        world.list_people(3);
        world.api.add(&json!({"id": "e", "company_id": COMPANY_ID, "email": "e@example.com"}));
        world.run_once().expect(0);
        let last = world.db.value("select max(changed_at) from consent_feed").await;
        let done = world.run(&["forget", "e@example.com"]).expect(0);
        assert!(!done.stdout.contains("nk:"), "{}", done.stdout);
        let behind = format!("select consent_key, state, email, mailable from consent_feed where changed_at > '{last}'");
        let line = world.db.value(&behind).await;
        assert!(["e|erased|-|0", "e|erased|-|f"].contains(&line.as_str()), "{line}");
        world.run(&["forget", "--undo", "e"]).expect(0);
        world.run_once().expect(0);
        assert_eq!(
            world.db.rows("select state, email from consent_feed where consent_key = 'e'").await,
            ["active|e@example.com"]
        );
        // Without an id the key is a hash of the address, and it is said.
        world.api.add(&json!({"company_id": COMPANY_ID, "email": "n@example.com"}));
        world.run_once().expect(0);
        let done = world.run(&["forget", "n@example.com"]).expect(0);
        assert!(done.stdout.contains("1 erased key is made from an address (nk:)"), "{}", done.stdout);
    }

    async fn an_erased_id_stays_away_and_a_new_one_is_told(world: World) {
        world.list_people(3);
        for id in ["one", "two"] {
            world.api.add(&json!({"id": id, "company_id": COMPANY_ID, "email": "e@example.com"}));
        }
        world.run_once().expect(0);
        world.run(&["forget", "e@example.com"]).expect(0);
        assert_eq!(world.db.count("suppressed_ids").await, 2);
        // The same consent under another address is the same person's.
        let _ = world.api.update("one", |item| item["email"] = "other@example.com".into());
        world.api.people(|people| people.add_raw(Some("two"), r#"{"id":"two","email":7}"#));
        world.run_once().expect(0);
        assert_eq!(world.last_run("suppressed, rejected, added").await, "3|0|0");
        assert_eq!(world.db.count("rejected_items").await + world.db.count("renewed_consents").await, 0);
        for id in ["three", "four"] {
            world.api.add(&json!({"id": id, "company_id": COMPANY_ID, "email": "E@example.com"}));
        }
        for _ in 0..2 {
            world.run_once().expect(0);
            assert_eq!(world.last_run("suppressed, added").await, "5|0");
            let status = world.run(&["status"]).expect(0).stdout;
            assert!(status.contains("1 erased person has given consent since: Understory lists four, three,"), "{status}");
            assert!(status.contains("understory-sync forget --undo four"), "{status}");
        }
        let _ = world.api.remove("four");
        world.run_once().expect(0);
        assert_eq!(world.db.rows("select consent_id from renewed_consents").await, ["three"]);
        // Erased again, the new one is as old as the others; then all of it is lifted by one id.
        world.run(&["forget", "e@example.com"]).expect(0);
        world.run_once().expect(0);
        assert_eq!(world.db.count("renewed_consents").await, 0);
        let done = world.run(&["forget", "--undo", "three"]).expect(0);
        assert!(done.stdout.contains("no longer suppressed: 1 of 1"), "{}", done.stdout);
        assert_eq!(world.db.count("suppressions").await + world.db.count("suppressed_ids").await, 0);
        world.run_once().expect(0);
        assert_eq!(world.last_run("suppressed, added").await, "0|3");
    }

    async fn others_who_name_the_person_are_named_and_left(world: World) {
        let naming = [
            ("extra", json!({"friend": {"mail": "to <E@example.com>"}})),
            ("refs", json!({"references": [{"type": "guest", "id": "e@example.com"}]})),
            ("name", json!({"full_name": "e@example.com"})),
            ("source", json!({"source": "mailto:e@example.com?x"})),
            ("email", json!({"email": "E <e@example.com>"})),
            ("not", json!({"friend": "ee@example.com", "full_name": "e@example.community"})),
        ];
        for (id, more) in naming {
            let mut item = json!({"id": id, "company_id": COMPANY_ID, "email": format!("{id}@example.org")});
            item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            world.api.add(&item);
        }
        world.api.add(&json!({"id": "was", "company_id": COMPANY_ID, "email": "w@example.org", "note": "e@example.com"}));
        world.api.add(&json!({"id": "e", "company_id": COMPANY_ID, "email": "e@example.com"}));
        world.run_once().expect(0);
        let _ = world.api.update("was", |item| item["note"] = "nothing".into());
        world.run_once().expect(0);
        let done = world.run(&["forget", "e@example.com"]).expect(0);
        let told = "also found in 6 other rows, which were left: email, extra, name, refs, source, was\n";
        assert!(done.stdout.contains(told), "{}", done.stdout);
        assert_eq!(world.db.count("consents").await, 7);
        // Who names an erased person is not stored anew, and has not left either.
        let _ = world.api.update("extra", |item| item["full_name"] = "Another".into());
        world.run_once().expect(0);
        assert_eq!(world.last_run("suppressed, unchanged, missing, active").await, "6|2|0|7");
        assert_eq!(world.db.value("select full_name from consents where consent_key = 'extra'").await, "-");
    }

    async fn the_other_rows_of_an_id_with_several_addresses_are_named(world: World) {
        let item = |id: &str, email: &str| json!({"id": id, "company_id": COMPANY_ID, "email": email});
        world.api.add(&item("twice", "first@example.com"));
        world.api.add(&item("changed", "second@example.com"));
        world.api.people(|people| people.add_raw(None, &item("twice", "second@example.com").to_string()));
        world.run_once().expect(0);
        let _ = world.api.update("changed", |item| item["email"] = "third@example.com".into());
        world.run_once().expect(0);
        assert_eq!(world.db.rows("select reason from rejected_items").await, ["duplicate_id"]);
        let held = world.run(&["person", "second@example.com"]).expect(0).stdout;
        assert!(held.contains("\"also_named_in\": [\n    \"twice\"\n  ]"), "{held}");
        let done = world.run(&["forget", "second@example.com"]).expect(0);
        for told in [
            "also found in 2 other rows, which were left: changed, twice\n",
            "they have another one now: changed\n",
            "under their id too, behind another one: twice\n",
        ] {
            assert!(done.stdout.contains(told), "{}", done.stdout);
        }
        assert_eq!(world.db.rows("select email from consents order by 1").await, ["first@example.com", "third@example.com"]);
        world.run_once().expect(0);
        assert_eq!(world.last_run("unchanged, suppressed, rejected").await, "2|1|0");
    }

    async fn what_waits_for_the_person_is_erased_too(world: World) {
        world.list_people(2);
        world.api.add(&json!({"id": "e", "company_id": COMPANY_ID, "email": "e@example.com"}));
        world.run_once().expect(0);
        let at = world.db.value("select max(changed_at) from consents").await;
        world.db.execute(&format!(
            "insert into consent_checks (consent_key, checked_at) values ('e', '{at}'), ('o', '{at}'); \
             insert into pending_returns (consent_key, listed_since, listed_runs, last_run_id) values ('e', '{at}', 1, 1), ('o', '{at}', 1, 1); \
             insert into rejected_listings (consent_key, runs, skipped, last_run_id) values ('e', 1, 0, 1), ('o', 1, 0, 1)"
        )).await;
        world.run(&["forget", "e@example.com"]).expect(0);
        for table in ["consent_checks", "pending_returns", "rejected_listings"] {
            assert_eq!(world.db.rows(&format!("select consent_key from {table}")).await, ["o"], "{table}");
        }
    }

    async fn a_hash_that_an_older_version_made_still_holds(world: World) {
        world.run(&["migrate"]).expect(0);
        let salt = world.db.value("select salt from sync_state").await;
        let salt = salt.trim_start_matches("\\x");
        let salt: Vec<u8> = (0..salt.len()).step_by(2).map(|at| u8::from_str_radix(&salt[at..at + 2], 16).unwrap()).collect();
        let hash = sha2_hex(&salt, "jose\u{301}@example.com");
        let at = "2026-01-01T00:00:00.000Z";
        world.db.execute(&format!(
            "insert into suppressions (email_hash, created_at) values ('{hash}', '{at}'); \
             insert into suppressed_ids (id_hash, email_hash, created_at) values ('', '{hash}', '{at}')"
        )).await;
        world.api.add(&json!({"id": "j", "company_id": COMPANY_ID, "email": "Jose\u{301}@example.com"}));
        world.run_once().expect(0);
        assert_eq!(world.last_run("suppressed, added").await, "1|0");
        // Which consents were erased then is not known, so this one is not called new.
        assert_eq!(world.db.count("renewed_consents").await, 0);
        world.run(&["forget", "--undo", "JOSE\u{301}@example.com"]).expect(0);
        world.run_once().expect(0);
        assert_eq!(world.last_run("suppressed, added").await, "0|1");
    }

    async fn forget_waits_for_a_run_to_end(world: World) {
        world.list_people(300);
        let email = world.api.people(|people| people.items()[299]["email"].as_str().unwrap().to_owned());
        world.api.play(FaultRule::on(Endpoint::List, Fault::Delay(std::time::Duration::from_secs(2))).page(3));
        let run = world.start(&["--run-once"]);
        until("the run", async || {
            (world.api.requests().len() > 2).then_some(())
        }).await;
        let forget = world.start(&["forget", &email]);
        run.wait().expect(0);
        let done = forget.wait().expect(0);
        assert!(done.stdout.contains("1 in consents"), "{}", done.stdout);
        assert_eq!(world.db.count("active_consents").await, 299);
    }
}

fn sha2_hex(salt: &[u8], text: &str) -> String {
    use sha2::Digest as _;
    understory_sync::consent::hex(&sha2::Sha256::new().chain_update(salt).chain_update(text).finalize())
}

#[tokio::test]
async fn where_there_is_no_database_nobody_is_erased_and_none_is_made() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let world = World::on(engine).await;
        for command in [
            &["forget", "e@example.com"][..],
            &["forget", "--undo", "e@example.com"],
            &["person", "e@example.com"],
        ] {
            let done = world.run(command).expect(78);
            assert!(done.stderr.contains("there is no database at"), "{}", done.stderr);
        }
        if world.db.is_postgres() {
            assert_eq!(
                world.db.number("select count(*) from pg_tables where schemaname = 'public'").await,
                0
            );
        } else {
            assert_eq!(std::fs::read_dir(world.db.folder()).unwrap().count(), 0);
        }
    }
}

#[tokio::test]
async fn a_reader_that_keeps_old_pages_is_told_of() {
    use sqlx::Connection as _;
    let world = World::on(Engine::Sqlite).await;
    with_soren(&world).await;
    let mut reader = sqlx::SqliteConnection::connect(world.db.url()).await.unwrap();
    sqlx::raw_sql("begin; select count(*) from consents").execute(&mut reader).await.unwrap();
    let done = world.run(&["forget", ADDRESS]).expect(75);
    assert!(done.stdout.contains("1 in consents"), "{}", done.stdout);
    assert!(done.stderr.contains("read"), "{}", done.stderr);
    assert_eq!(world.db.number("select count(*) from consents where consent_key = 'soren'").await, 0);
    sqlx::raw_sql("commit").execute(&mut reader).await.unwrap();
    reader.close().await.unwrap();
    world.run(&["forget", ADDRESS]).expect(0);
    assert_eq!(files_with(world.db.folder(), &[ADDRESS, NAME, "Ørsted-note"]), [""; 0]);
}
