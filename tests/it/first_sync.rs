//! The main job: every page of the list into the table, and nothing written where nothing changed.

use understory_mock_api::{End, Endpoint};

use crate::support::{World, watch_writes, writes};

/// Every character that some encoder gets wrong.
const AWKWARD_SECRET: &str = "a~b-c_d.e+f%g&h=i j~~%7E";

on_both! {
    async fn every_page_goes_in_with_an_awkward_secret(world: World) {
        world.api.configure(|api| api.client_secret = AWKWARD_SECRET.into());
        world.list_people(250);
        let done = world.run_once().expect(0);
        assert_eq!(done.stdout.lines().count(), 1, "{}", done.stdout);
        assert_eq!(world.db.count("consents").await, 250);
        assert_eq!(world.db.count("active_consents").await, 250);
        assert_eq!(
            world.last_run(
                "outcome, absence, trigger, endpoint, pages, items, added, updated, unchanged, active, requests, retries, error"
            ).await,
            "succeeded|judged|once|/v1/grow/consents|3|250|250|0|0|250|4|0|-"
        );
    }

    async fn what_is_stored_is_what_was_listed(world: World) {
        world.list_people(250);
        world.run_once().expect(0);
        let stored = world
            .db
            .rows("select consent_key, consent_id, company_id, email, full_name, source from consents order by consent_key")
            .await;
        let mut listed: Vec<String> = world.api.people(|people| people.items()).iter().map(|item| {
            let text = |field: &str| item[field].as_str().unwrap_or("-");
            let id = text("id");
            format!("{id}|{id}|{}|{}|{}|{}", text("company_id"), text("email"), text("full_name"), text("source"))
        }).collect();
        listed.sort();
        assert_eq!(stored, listed);
    }

    async fn a_first_load_writes_each_person_once(world: World) {
        world.run(&["migrate"]).expect(0);
        watch_writes(&world.db, &["consents", "consent_changes"]).await;
        world.list_people(250);
        world.run_once().expect(0);
        assert_eq!(writes(&world.db).await, ["consents|250"]);
        assert_eq!(
            world.db.rows("select change, id, count(*) from consent_history group by change, id").await,
            ["added|0|250"]
        );
    }

    async fn a_run_over_unchanged_data_rewrites_no_row(world: World) {
        world.list_people(250);
        world.run_once().expect(0);
        watch_writes(&world.db, &["consents", "consent_changes", "rejected_items"]).await;
        let version = if world.db.is_postgres() { "xmin" } else { "rowid" };
        let look = format!("select consent_key, changed_at, changed_run_id, {version} from consents order by consent_key");
        let before = world.db.rows(&look).await;
        world.run_once().expect(0);
        assert_eq!(writes(&world.db).await, Vec::<String>::new());
        assert_eq!(world.db.rows(&look).await, before);
        assert_eq!(world.db.count("consent_changes").await, 0);
        assert_eq!(world.last_run("outcome, added, updated, unchanged, items, active").await, "succeeded|0|0|250|250|250");
    }

    async fn unchanged_pages_open_no_write_transaction(world: World) {
        world.run_once().expect(0);
        // Every transaction that writes proves the lease, which touches its row.
        watch_writes(&world.db, &["sync_lease"]).await;
        world.run_once().expect(0);
        let nobody_listed = writes(&world.db).await;
        world.list_people(250);
        world.run_once().expect(0);
        assert_ne!(writes(&world.db).await, nobody_listed);
        for page_length in [100, 5] {
            world.api.configure(|api| api.page_length = Some(page_length));
            world.run_once().expect(0);
            assert_eq!(world.last_run("unchanged").await, "250");
            assert_eq!(writes(&world.db).await, nobody_listed);
        }
    }

    async fn the_order_of_the_list_does_not_matter(world: World) {
        world.list_people(250);
        world.run_once().expect(0);
        world.api.people(|people| people.reorder(|index| (index as u64 * 7919) % 250));
        world.run_once().expect(0);
        assert_eq!(world.last_run("added, updated, unchanged").await, "0|0|250");
    }

    async fn the_end_is_known_however_it_is_told(world: World) {
        world.list_people(200);
        for end in [End::Empty, End::Absent, End::Null] {
            for empty_last_page in [false, true] {
                world.api.configure(|api| {
                    api.end = end;
                    api.empty_last_page = empty_last_page;
                    api.awkward_cursors = true;
                });
                world.run_once().expect(0);
                assert_eq!(world.last_run("absence, items, active").await, "judged|200|200", "{end:?}");
            }
        }
    }

    async fn a_page_may_hold_more_than_was_asked_for(world: World) {
        world.list_people(12_000);
        world.api.configure(|api| api.page_length = Some(10_000));
        world.run_once().expect(0);
        assert_eq!(world.last_run("pages, items, added").await, "2|12000|12000");
    }

    async fn an_empty_list_before_the_first_consent_is_no_trouble(world: World) {
        world.run_once().expect(0);
        assert_eq!(world.last_run("outcome, absence, items, active").await, "succeeded|judged|0|0");
    }
}

#[tokio::test]
async fn the_secret_goes_over_the_wire_as_the_api_wants_it() {
    let world = World::on(crate::support::Engine::Sqlite).await;
    world.api.configure(|api| api.client_secret = AWKWARD_SECRET.into());
    world.run_once().expect(0);
    let requests = world.api.requests();
    let token = &requests[0];
    assert_eq!(token.endpoint, Endpoint::Token);
    assert!(
        token.raw_body.contains("client_secret=a~b-c_d.e%2Bf%25g%26h%3Di%20j~~%257E"),
        "{}",
        token.raw_body
    );
    assert_eq!(token.form("client_secret"), Some(AWKWARD_SECRET));
    assert_eq!(token.form("audience"), Some("https://api.understory.io"));
    assert_eq!(token.form("scope"), Some("openid marketing.read"));
}

#[tokio::test]
async fn every_request_says_who_asks_and_one_is_in_flight() {
    let world = World::on(crate::support::Engine::Sqlite).await;
    world.list_people(950);
    world.api.configure(|api| {
        api.latency = std::time::Duration::from_millis(5);
        api.max_concurrent = Some(1);
    });
    world.run_once().expect(0);
    let agent = concat!("understory-sync/", env!("CARGO_PKG_VERSION"));
    let requests = world.api.requests();
    assert_eq!(requests.len(), 11);
    for request in &requests {
        assert_eq!(request.header("user-agent"), Some(agent));
    }
    for list in requests.iter().filter(|r| r.endpoint == Endpoint::List) {
        assert_eq!(list.query("limit"), Some("100"));
        assert!(list.header("authorization").unwrap().starts_with("Bearer "));
    }
    assert_eq!(world.api.max_in_flight(), 1);
}
