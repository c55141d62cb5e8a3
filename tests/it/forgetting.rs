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
        assert_eq!(world.db.number("select count(*) from consent_history where consent_key = 'soren'").await, 0);
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
        let (code, _) = forget_from_stdin(&world, &format!("{}\nno address\n", emails.join("\n")));
        assert_eq!(code, 2);
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
        world.run(&["forget", "Maiden.Name@example.com"]).expect(0);
        assert_eq!(world.db.rows("select change from consent_history where consent_key = 'x'").await, ["added"]);
        assert_eq!(world.db.value("select email from consents where consent_key = 'x'").await, "married.name@example.com");
        if !world.db.is_postgres() {
            assert_eq!(files_with(world.db.folder(), &["maiden.name"]), [""; 0]);
        }
        world.run_once().expect(0);
        assert_eq!(world.last_run("unchanged, suppressed").await, "11|0");
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
