//! The change feed: every add, leave and erasure is delivered, in order, at least once, or refused with a reason.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use understory_mock_api::COMPANY_ID;

use crate::support::{Engine, Follower, World};

on_both! {
    async fn a_follower_ends_equal_to_the_active_consents(world: World) {
        world.list_people(2_300);
        world.run_once().expect(0);
        let mut follower = Follower::default();
        assert_eq!(follower.read(&world), 2_300);
        follower.expect_equal(&world).await;
        assert_eq!(follower.read(&world), 0);

        let ids = world.db.rows("select consent_key from consents order by consent_key").await;
        let _ = world.api.remove(&ids[0]);
        world.run_once().expect(0);
        assert_eq!(follower.read(&world), 1);
        follower.expect_equal(&world).await;
    }

    async fn a_reader_that_kept_the_first_cursor_alone_begins_anew(world: World) {
        world.run(&["migrate"]).expect(0);
        let empty = world.run(&["changes", "--as", "early", "--", "cat"]).expect(0).stdout;
        assert_eq!(empty.lines().count(), 1, "{empty}");
        // Nothing has happened: it is not told to begin anew each time.
        assert_eq!(world.run(&["changes", "--as", "early", "--", "cat"]).expect(0).stdout, "");
        world.list_people(3);
        world.run_once().expect(0);
        let all = world.run(&["changes"]).expect(0).stdout;
        let first: Value = serde_json::from_str(all.lines().next().unwrap()).unwrap();
        let since = world.run(&["changes", "--since", first["cursor"].as_str().unwrap()]).expect(0).stdout;
        assert!(since.starts_with("{\"reset\":true,") && since == all, "{since}");
        assert_eq!(world.run(&["changes", "--as", "early", "--", "cat"]).expect(0).stdout, all);
        // Positive control: behind a line there is no such word.
        let second: Value = serde_json::from_str(all.lines().nth(1).unwrap()).unwrap();
        let since = world.run(&["changes", "--since", second["cursor"].as_str().unwrap()]).expect(0).stdout;
        assert!(since.lines().count() == 2 && !since.contains("reset"), "{since}");
    }

    async fn a_named_reader_moves_on_only_after_its_command_took_everything(world: World) {
        world.list_people(30);
        world.run_once().expect(0);
        let folder = tempfile::tempdir().unwrap();
        let (script, taken) = (folder.path().join("reader.sh"), folder.path().join("taken"));
        let command = |text: &str| {
            std::fs::write(&script, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
        };
        let path = script.display().to_string();
        let reading = ["changes", "--as", "crm", "--", path.as_str()];

        command("cat >/dev/null; exit 3");
        assert!(world.run(&reading).expect(75).stderr.contains('3'));
        command("exit 0");
        // Leaving the pipe early may go unnoticed where everything fits into it; the cursor of a failure never moves.
        command("head -c 10 >/dev/null; exit 1");
        world.run(&reading).expect(75);
        world.run(&["changes", "--as", "crm", "--", "/nonexistent/command"]).expect(75);

        command(&format!("cat >>{}", taken.display()));
        world.run(&reading).expect(0);
        let mut follower = Follower::default();
        assert_eq!(follower.take(&std::fs::read_to_string(&taken).unwrap()), 30);
        follower.expect_equal(&world).await;

        // Nothing to take: the command is not started.
        command("exit 9");
        world.run(&reading).expect(0);
        let list: Value = serde_json::from_str(&world.run(&["changes", "--list", "--json"]).expect(0).stdout).unwrap();
        assert_eq!(list[0]["name"], "crm");
        assert_eq!(list[0]["lag_seconds"], 0);
        world.run(&["changes", "--forget-reader", "crm"]).expect(0);
        world.run(&["changes", "--forget-reader", "crm"]).expect(2);
    }

    async fn two_processes_do_not_read_under_one_name(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        let folder = tempfile::tempdir().unwrap();
        let nested = folder.path().join("nested");
        // The reader's own command tries to read under the same name meanwhile.
        let inner = format!(
            "cat >/dev/null; {} changes --as crm -- cat; echo $? >{}",
            env!("CARGO_BIN_EXE_understory-sync"),
            nested.display()
        );
        world.run(&["changes", "--as", "crm", "--", "sh", "-c", &inner]).expect(0);
        assert_eq!(std::fs::read_to_string(&nested).unwrap().trim(), "75");
    }

    async fn a_cursor_that_the_feed_cannot_go_on_from_is_refused(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        let mut follower = Follower::default();
        follower.read(&world);
        let cursor = follower.cursor.clone().unwrap();

        let refused = world.run(&["changes", "--since", "nonsense"]);
        assert!(refused.expect(65).stderr.contains("--since"));
        // Another transaction stands where the reader's was.
        world.db.execute("update feed_log set nonce = 'other'").await;
        assert!(world.run(&["changes", "--since", &cursor]).expect(65).stderr.contains("restored"));
        // Ahead of the database.
        world.db.execute("delete from feed_log where changed_at = (select max(changed_at) from feed_log)").await;
        world.run(&["changes", "--since", &cursor]).expect(65);

        let other = World::on(world.db.engine()).await;
        other.list_people(3);
        other.run_once().expect(0);
        assert!(other.run(&["changes", "--since", &cursor]).expect(65).stderr.contains("another database"));
    }

    async fn a_restore_that_nobody_can_see_is_declared_and_confirmed(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        let mut follower = Follower::default();
        follower.read(&world);
        world.run(&["changes", "--restored"]).expect(0);
        let cursor = follower.cursor.take().unwrap();
        world.run(&["changes", "--since", &cursor]).expect(65);
        assert!(world.run(&["status"]).expect(0).stdout.contains("changes --restored"));
        world.run(&["changes", "--restored"]).expect(0);
        assert!(!world.run(&["status"]).expect(0).stdout.contains("changes --restored"));
        assert_eq!(follower.read(&world), 3);
    }

    async fn each_line_is_the_one_of_the_view(world: World) {
        world.list_people(30);
        let item = |id: &str, email: &str| json!({"id": id, "company_id": COMPANY_ID, "email": email});
        for (id, email) in [("a", "two@example.com"), ("b", "two@example.com"), ("c", "gone@example.com"), ("d", "one@example.com")] {
            world.api.add(&item(id, email));
        }
        world.run_once().expect(0);
        assert!(world.api.remove("c"));
        world.run(&["forget", "one@example.com"]).expect(0);
        world.run_once().expect(0);
        // One of two consents of an address is withheld, among others.
        world.api.people(|people| {
            for id in people.ids().iter().filter(|id| *id != "a") {
                assert!(people.list(id, false));
            }
        });
        world.run_once().expect(65);
        let lines = world.run(&["changes"]).expect(0).stdout;
        let told: Vec<String> = lines
            .lines()
            .skip(1)
            .map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
                let flag = |name: &str| u8::from(line[name] == true);
                format!("{}|{}|{}|{}|{}", text("consent_key"), text("state"), text("email"), flag("withheld"), flag("mailable"))
            })
            .collect();
        let flag = |name: &str| format!("case when {name} then '1' else '0' end");
        let view = format!("select consent_key, state, email, {}, {} from consent_feed order by changed_at, consent_key", flag("withheld"), flag("mailable"));
        assert_eq!(told, world.db.rows(&view).await);
        for line in ["a|active|two@example.com|0|0", "b|active|two@example.com|1|0", "c|inactive|gone@example.com|0|0", "d|erased|-|0|0"] {
            assert!(told.contains(&line.to_owned()), "{line}: {told:?}");
        }
    }

    async fn a_natural_key_that_is_somebodys_again_is_not_dropped(world: World) {
        let item = |email: &str, name: &str| json!({"company_id": COMPANY_ID, "email": email, "full_name": name});
        let with_id = |email: &str, name: &str| {
            let mut item = item(email, name);
            item["id"] = json!("x");
            item
        };
        let mut follower = Follower::default();
        for list in [
            vec![item("a@example.com", "A")],
            // An id takes the row over, gets another address, and leaves the natural key to somebody else.
            vec![with_id("a@example.com", "A")],
            vec![with_id("b@example.com", "A")],
            vec![with_id("b@example.com", "A"), item("a@example.com", "B")],
            vec![with_id("b@example.com", "C"), item("a@example.com", "B")],
        ] {
            world.api.set_people(&list);
            world.run_once().expect(0);
            follower.read(&world);
            follower.expect_equal(&world).await;
        }
        assert_eq!(follower.rows.len(), 2);
        assert_eq!(world.db.number("select count(*) from consent_feed where previous_key is not null").await, 1);
    }

    async fn a_reader_that_slept_until_retention_changed_a_key_begins_anew(world: World) {
        world.set("removal.confirm_after", "0s");
        let item = |name: &str| json!({"company_id": COMPANY_ID, "email": format!("{name}@example.com")});
        world.api.set_people(&["a", "b", "c"].map(item));
        world.run_once().expect(0);
        for reader in ["sleeper", "attentive"] {
            world.run(&["changes", "--as", reader, "--", "cat"]).expect(0);
        }
        let key = world.db.value("select consent_key from consents where email = 'a@example.com'").await;
        world.api.set_people(&["b", "c"].map(item));
        for _ in 0..3 {
            world.run_once().expect(0);
        }
        let seen = world.run(&["changes", "--as", "attentive", "--", "cat"]).expect(0).stdout;
        assert!(seen.contains(&key) && seen.contains("inactive"), "{seen}");
        world.set("retention.removed", "1h");
        world.db.execute("update consents set removed_at = '2020-01-01T00:00:00.000Z' where removed_at is not null").await;
        world.run_once().expect(0);

        // Its line has another key by now, and tells nobody who has the old one.
        let refused = world.run(&["changes", "--as", "sleeper", "--", "cat"]).expect(65);
        assert!(refused.stderr.contains("erasures that the reader has not seen"), "{}", refused.stderr);
        let seen = world.run(&["changes", "--as", "attentive", "--", "cat"]).expect(0).stdout;
        assert!(seen.contains("erased") && !seen.contains(&key), "{seen}");
        // An unsalted hash of an address stays nowhere, in no cursor either.
        for table in ["feed_readers", "sync_state", "consents", "consent_changes"] {
            let rows = world.db.rows(&format!("select * from {table}")).await.concat();
            assert!(!rows.is_empty() && !rows.contains(key.trim_start_matches("nk:")), "{table}: {rows}");
        }
    }

    async fn csv_has_the_columns_of_the_contract(world: World) {
        world.list_people(2);
        world.run_once().expect(0);
        let csv = world.run(&["changes", "--format", "csv"]).expect(0).stdout.clone();
        let mut lines = csv.split("\r\n");
        let header = "cursor,changed_at,consent_key,previous_key,state,email,full_name,source,withheld,mailable";
        assert_eq!(lines.next(), Some(header));
        assert!(lines.next().unwrap().contains(",reset,"));
        assert!(lines.next().unwrap().ends_with(",false,true"));
    }

    async fn csv_is_quoted_as_rfc_4180_says_and_keeps_its_columns(world: World) {
        let item = |id: &str, name: Value| json!({"id": id, "company_id": COMPANY_ID, "email": format!("{id}@example.com"), "full_name": name, "source": "ø"});
        world.api.set_people(&[item("a", json!("\"Ann\", of\r\ntwo lines")), item("b", Value::Null), item("c,d", json!(" =1+1;"))]);
        world.run_once().expect(0);
        world.run(&["forget", "b@example.com"]).expect(0);
        let csv = world.run(&["changes", "--format", "csv"]).expect(0).stdout;
        for cells in [
            r#",a,,active,a@example.com,"""Ann"", of"#,
            "\r\ntwo lines\",ø,false,true\r\n",
            r#","c,d",,active,"c,d@example.com", =1+1;,ø,false,true"#,
            ",b,,erased,,,,false,false\r\n",
        ] {
            assert!(csv.contains(cells), "{cells:?} is not in\n{csv}");
        }
        // The same heading where there is nothing to tell, and as many cells in every row.
        let last = world.run(&["changes"]).expect(0).stdout.lines().last().unwrap().to_owned();
        let last: Value = serde_json::from_str(&last).unwrap();
        let nothing = world.run(&["changes", "--since", last["cursor"].as_str().unwrap(), "--format", "csv"]).expect(0).stdout;
        assert_eq!(nothing, "cursor,changed_at,consent_key,previous_key,state,email,full_name,source,withheld,mailable\r\n");
        let mut rows = csv::ReaderBuilder::new().from_reader(csv.as_bytes());
        assert_eq!(rows.records().map(|row| row.unwrap().len()).collect::<Vec<_>>(), [10; 4]);
    }

    async fn without_a_database_there_is_no_feed(world: World) {
        world.run(&["changes"]).expect(78);
    }
}

#[tokio::test]
async fn a_copied_or_restored_file_has_a_feed_of_its_own() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(3);
    world.run_once().expect(0);
    let mut follower = Follower::default();
    follower.read(&world);
    let cursor = follower.cursor.take().unwrap();
    // Positive control: the same file goes on.
    world.run(&["changes", "--since", &cursor]).expect(0);

    let (path, copy) = (world.db.path(), world.db.path().with_extension("copy"));
    std::fs::copy(&path, &copy).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    world.run(&["changes", "--since", &cursor]).expect(65);
    assert!(world.run(&["status"]).expect(0).stdout.contains("restored copy"));

    follower.read(&world);
    let cursor = follower.cursor.take().unwrap();
    let backup = path.with_extension("backup");
    world.run(&["backup", &backup.display().to_string()]).expect(0);
    world.run(&["changes", "--since", &cursor]).expect(0);
    std::fs::rename(&backup, &path).unwrap();
    world.run(&["changes", "--since", &cursor]).expect(65);
    world.run_once().expect(0);
    world.run_once().expect(0);
    world.run(&["changes", "--since", &cursor]).expect(65);
}
