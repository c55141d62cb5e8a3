//! `--dry-run`: the whole pass, and not a byte written anywhere.

use std::collections::BTreeMap;

use serde_json::json;
use understory_mock_api::{COMPANY_ID, Endpoint, Fault, FaultRule};

use crate::support::World;

const TABLES: [&str; 8] = [
    "consents",
    "consent_changes",
    "sync_runs",
    "rejected_items",
    "suppressions",
    "sync_lease",
    "sync_state",
    "consent_checks",
];

/// Everything that a write could change: files and their bytes, or the rows of every table.
async fn everything(world: &World) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for folder in [world.db.folder(), world.home()] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            all.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    if world.db.is_postgres() {
        let relations =
            "select relname::text, relkind::text from pg_class where relnamespace = 'public'::regnamespace";
        let relations = world.db.rows(&format!("{relations} order by 1")).await;
        for table in TABLES.iter().filter(|table| relations.contains(&format!("{table}|r"))) {
            let rows = world.db.rows(&format!("select xmin::text, t::text from {table} t order by 2")).await;
            all.insert((*table).to_owned(), rows.join("\n").into_bytes());
        }
        all.insert("relations".to_owned(), relations.join("\n").into_bytes());
    }
    all
}

on_both! {
    async fn without_a_database_all_would_be_added_and_none_is_made(world: World) {
        world.list_people(150);
        let before = everything(&world).await;
        let done = world.run(&["--run-once", "--dry-run"]).expect(0);
        assert_eq!(everything(&world).await, before);
        assert_eq!(done.stdout.lines().filter(|line| line.starts_with("added ")).count(), 150);
        assert!(done.stdout.contains("150 new"), "{}", done.stdout);
    }

    async fn what_would_change_is_told_by_key_and_nothing_is_written(world: World) {
        world.list_people(150);
        world.api.add(&json!({"company_id": COMPANY_ID, "email": "n@example.com"}));
        world.run_once().expect(0);
        let ids = world.api.people(|people| people.ids());
        let _ = world.api.remove(&ids[0]);
        let _ = world.api.remove(&ids[1]);
        world.run_once().expect(0);
        let _ = world.api.remove(&ids[2]);
        let _ = world.api.update(&ids[3], |item| item["full_name"] = "Xaver Unheard-Of".into());
        world.api.add(&json!({"id": "new", "company_id": COMPANY_ID, "email": "zelda@example.com"}));
        world.api.add(&json!({"id": ids[1], "company_id": COMPANY_ID, "email": "back@example.com"}));
        world.api.add(&json!({"id": "bad", "email": "bad@example.com"}));
        let before = everything(&world).await;
        let dry = world.run(&["--run-once", "--dry-run"]).expect(0);
        assert_eq!(everything(&world).await, before);
        let mut told: Vec<&str> = dry.stdout.lines().filter(|line| !line.starts_with("dry run")).collect();
        told.sort_unstable();
        let mut expected = [
            "added    new".to_owned(),
            format!("missing  {}", ids[2]),
            format!("removed  {}", ids[0]),
            format!("returned {}", ids[1]),
            format!("updated  {}", ids[3]),
        ];
        expected.sort();
        assert_eq!(told, expected);
        for name in ["Xaver", "zelda", "example.com"] {
            assert!(!dry.output().contains(name), "{name}");
        }
        let line = dry.stdout.lines().last().unwrap();
        assert_eq!(line, "dry run, nothing was written: 1 new, 1 changed, 1 returned, 1 missing, 1 removed, 1 rejected");
        // The run that follows does what was told.
        world.run_once().expect(0);
        assert_eq!(world.last_run("added, updated, returned, missing, removed, rejected").await, "1|1|1|1|1|1");
    }

    async fn an_unchanged_list_changes_nothing_and_what_is_left_out_is_counted(world: World) {
        let dry = || world.run(&["--run-once", "--dry-run"]);
        world.list_people(100);
        world.run_once().expect(0);
        assert_eq!(dry().expect(0).stdout, "dry run, nothing was written: nothing would change\n");
        let ids = world.api.people(|people| people.ids());
        let email = world.api.people(|people| people.items()[99]["email"].as_str().unwrap().to_owned());
        world.run(&["forget", &email]).expect(0);
        world.api.add(&json!({"id": "bad", "company_id": COMPANY_ID}));
        world.api.add(&json!({"id": "foreign", "company_id": "other", "email": "o@example.com"}));
        world.set("api.company_id", COMPANY_ID);
        world.api.people(|people| ids[..50].iter().filter(|id| people.list(id, false)).count());
        let told = dry().expect(65);
        let line = told.stdout.lines().last().unwrap();
        let expected = "nothing would change, 1 rejected, 1 suppressed, 1 of another company, 50 removals withheld";
        assert_eq!(line, format!("dry run, nothing was written: {expected}"));
    }

    async fn a_restarted_walk_tells_each_key_once_and_no_row_of_its_own_is_unchanged(world: World) {
        world.list_people(350);
        let refuse_once = || FaultRule::on(Endpoint::List, Fault::RefuseCursor).page(3).times(1);
        world.api.play(refuse_once());
        let dry = world.run(&["--run-once", "--dry-run"]).expect(0);
        assert_eq!(dry.stdout.lines().filter(|line| line.starts_with("added ")).count(), 350);
        world.api.play(refuse_once());
        world.run_once().expect(0);
        assert_eq!(world.last_run("pages, items, added, unchanged, active").await, "4|350|350|0|350");
    }

    async fn people_whom_only_a_refused_scan_listed_count_as_in_the_run(world: World) {
        world.list_people(350);
        let ids = world.api.people(|people| people.ids());
        let refuse_and_hide = || {
            let gone = ids[..3].to_vec();
            let hide = Fault::change(move |people| gone.iter().for_each(|id| assert!(people.list(id, false))));
            world.api.play(FaultRule::on(Endpoint::List, hide).page(3).times(1));
            world.api.play(FaultRule::on(Endpoint::List, Fault::RefuseCursor).page(3).times(1));
        };
        refuse_and_hide();
        let dry = world.run(&["--run-once", "--dry-run"]).expect(0);
        let line = dry.stdout.lines().last().unwrap();
        assert_eq!(line, "dry run, nothing was written: 350 new, 3 missing");
        world.api.people(|people| ids[..3].iter().for_each(|id| assert!(people.list(id, true))));
        refuse_and_hide();
        world.run_once().expect(0);
        assert_eq!(world.last_run("added, missing, active").await, "350|3|347");
    }

    async fn what_is_looked_up_by_a_dry_run_is_what_the_run_looks_up(world: World) {
        world.set("removal.max_checks", "3");
        world.list_people(60);
        world.run_once().expect(0);
        world.hide(0..8);
        world.run_once().expect(0);
        let asked = |world: &World| -> Vec<String> {
            let requests = world.api.take_requests();
            let single = requests.iter().map(|request| request.path.clone());
            single.filter(|path| path.starts_with("/v1/marketing-consents/")).collect()
        };
        for _ in 0..3 {
            let _ = asked(&world);
            world.run(&["--run-once", "--dry-run"]).expect(0);
            let told = asked(&world);
            world.run_once().expect(0);
            assert_eq!(told, asked(&world));
            assert_eq!(told.len(), 4, "the control and three: {told:?}");
        }
    }

    async fn items_with_and_without_id_on_many_pages_count_as_in_the_run(world: World) {
        let nameless = |email: &str| json!({"company_id": "c", "email": email, "source": "s"});
        let with = |id: &str, email: &str| json!({"id": id, "company_id": "c", "email": email, "source": "s"});
        let (a, b, c, d) = ("a@example.com", "b@example.com", "c@example.com", "d@example.com");
        world.set("api.page_size", "1");
        for people in [
            // A new row that an item without id lists; one that an id takes over; twice the same without id.
            vec![with("1", a), nameless(a), nameless(b), with("2", b), nameless(b), nameless(c), nameless(c)],
            // Rows of the database whose address changes on an earlier page, or that an id takes over there.
            vec![with("1", d), nameless(a), nameless(d), with("3", c), nameless(c), nameless(b)],
            // Several rows of one natural key, some of them new.
            vec![with("1", d), with("4", d), nameless(d), with("2", a), with("3", c), nameless(a), with("5", a), nameless(a)],
        ] {
            world.api.set_people(&people);
            let dry = world.run(&["--run-once", "--dry-run", "--accept-removals", "9"]).expect(0);
            world.run(&["--run-once", "--accept-removals", "9"]).expect(0);
            let told = |kind: &str| dry.stdout.lines().filter(|line| line.starts_with(kind)).count();
            let told = format!("{}|{}|{}|{}", told("added "), told("updated "), told("returned "), told("missing "));
            assert_eq!(told, world.last_run("added, updated, returned, missing").await, "{}", dry.stdout);
        }
    }

    async fn who_comes_back_in_it_is_not_counted_as_gone_by_its_guard(world: World) {
        world.set("removal.min_count", "2");
        world.set("removal.max_percent", "50");
        let item = |name: &str| json!({ "company_id": "c", "email": format!("{name}@example.com") });
        world.api.set_people(&[item("a"), item("b"), item("c")]);
        world.run_once().expect(0);
        world.api.set_people(&[item("c")]);
        world.run_once().expect(0);
        world.api.set_people(&[item("a"), item("b")]);
        world.run(&["--run-once", "--dry-run"]).expect(0);
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, returned, missing").await, "judged|2|1");
    }

    async fn who_comes_back_in_it_takes_no_look_up_from_the_others(world: World) {
        world.set("removal.max_checks", "1");
        world.list_people(10);
        world.run_once().expect(0);
        let ids = world.api.people(|people| people.ids());
        let list = |of: &[String], listed: bool| {
            world.api.people(|people| assert!(of.iter().all(|id| people.list(id, listed))));
        };
        list(&ids[..3], false);
        world.run_once().expect(0);
        world.db.execute("update consents set missing_since = '2026-01-01T00:00:00.000Z' where missing_since is not null").await;
        // One of them stays unlisted, and its page answers; the others are listed again.
        let mut missing = ids[..3].to_vec();
        missing.sort();
        list(&missing[..2], true);
        let dry = world.run(&["--run-once", "--dry-run"]).expect(0);
        assert!(!dry.stdout.contains("removed  "), "{}", dry.stdout);
        world.run_once().expect(0);
        assert_eq!(world.last_run("returned, removed").await, "2|0");
    }

    async fn it_ends_as_the_run_would(world: World) {
        world.list_people(200);
        world.run_once().expect(0);
        world.api.people(|people| {
            for id in &people.ids()[100..] {
                people.list(id, false);
            }
        });
        let before = everything(&world).await;
        world.run(&["--run-once", "--dry-run"]).expect(65).says("100 of 200");
        world.run(&["--run-once", "--dry-run", "--accept-removals", "99"]).expect(65);
        world.run(&["--run-once", "--dry-run", "--accept-removals", "100"]).expect(0);
        world.api.play(FaultRule::on(Endpoint::List, Fault::status(500)).always());
        world.run(&["--run-once", "--dry-run"]).expect(75);
        world.api.clear_faults();
        world.api.play(FaultRule::on(Endpoint::List, Fault::json("{}")).always());
        world.run(&["--run-once", "--dry-run"]).expect(65);
        world.api.clear_faults();
        world.api.set_people(&[json!({"id": "a", "company_id": "other", "email": "a@example.com"})]);
        world.run(&["--run-once", "--dry-run"]).expect(65).says("another company");
        world.set("auth.client_secret", "wrong");
        world.run(&["--run-once", "--dry-run"]).expect(77);
        assert_eq!(everything(&world).await, before);
    }

    async fn a_run_in_progress_is_not_in_its_way(world: World) {
        world.list_people(250);
        world.api.play(FaultRule::on(Endpoint::List, Fault::Hang).page(3).times(1));
        let run = world.start(&["--run-once"]);
        crate::support::until("page 3", async || (world.api.requests().len() > 3).then_some(())).await;
        world.run(&["--run-once", "--dry-run"]).expect(0);
        run.signal("KILL");
        run.wait();
        // What the dead run left behind is left so. (Every reader of a log marks the index beside it, `-shm`.)
        let mut before = everything(&world).await;
        before.retain(|name, _| !name.ends_with("-shm"));
        assert!(world.db.is_postgres() || before.keys().any(|name| name.ends_with("-wal")));
        world.run(&["--run-once", "--dry-run"]).expect(0);
        let mut after = everything(&world).await;
        after.retain(|name, _| !name.ends_with("-shm"));
        assert!(before == after, "{:?} {:?}", before.keys(), after.keys());
        if world.db.is_postgres() {
            world.db.execute("update sync_lease set expires_at = now()").await;
        }
        world.run_once().expect(0);
        assert_eq!(world.db.count("active_consents").await, 250);
    }
}
