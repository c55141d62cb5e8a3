//! How it is, seen from outside: the listener, `status`, `healthcheck`, the heartbeat.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::support::{Engine, Running, World, until};

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// One request to a listener whose port the daemon has told.
pub(crate) fn ask(daemon: &Running, method: &str, path: &str) -> Answer {
    let said = daemon.stderr();
    let address = said.split("address=").nth(1).unwrap_or_else(|| panic!("no address in\n{said}"));
    let address = address.split_whitespace().next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

pub(crate) async fn daemon(world: &World, until_it_says: &str) -> Running {
    world.set("http.listen", "127.0.0.1:0");
    let daemon = world.start(&[]);
    until(until_it_says, async || daemon.stderr().contains(until_it_says).then_some(())).await;
    daemon
}

/// A metric's value, as it stands there.
fn metric<'a>(page: &'a str, name: &str) -> &'a str {
    page.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("{name} is not in\n{page}"))
}

/// Whether a metric's value is a time of these years.
fn is_recent(page: &str, name: &str) -> bool {
    metric(page, name).parse::<f64>().unwrap() > 1.0e9
}

on_both! {
    async fn the_listener_tells_before_and_after_the_first_complete_run(world: World) {
        world.list_people(120);
        let names = world.api.people(|people| people.items());
        world.api.play(FaultRule::on(Endpoint::List, Fault::status(503)).always());
        let daemon = daemon(&world, "the run failed").await;
        assert_eq!(ask(&daemon, "GET", "/healthz").status, 200);
        let ready = ask(&daemon, "GET", "/readyz");
        assert_eq!((ready.status, ready.body.as_str()), (503, "no run has been complete yet\n"));
        let page = ask(&daemon, "GET", "/metrics").body;
        assert_eq!(metric(&page, r#"understory_sync_runs_total{outcome="failed"}"#), "1");
        assert_eq!(metric(&page, r#"understory_sync_runs_total{outcome="succeeded"}"#), "0");
        assert_eq!(metric(&page, r#"understory_sync_runs_total{outcome="interrupted"}"#), "0");
        assert_eq!(metric(&page, r#"understory_sync_http_requests_total{endpoint="consents",status="503"}"#), "5");
        assert_eq!(metric(&page, "understory_sync_http_retries_total"), "4");
        assert_eq!(metric(&page, "understory_sync_last_success_timestamp_seconds"), "0.0");
        let html = ask(&daemon, "GET", "/").body;
        assert!(html.contains("503") && html.contains("understory-sync check"), "{html}");

        world.api.clear_faults();
        daemon.signal("HUP");
        until("readiness", async || (ask(&daemon, "GET", "/readyz").status == 200).then_some(())).await;
        let page = ask(&daemon, "GET", "/metrics");
        assert!(page.head.to_lowercase().contains("content-type: text/plain; version=0.0.4"));
        let page = page.body;
        assert_eq!(metric(&page, r#"understory_sync_runs_total{outcome="succeeded"}"#), "1");
        assert_eq!(metric(&page, r#"understory_sync_consents{state="active"}"#), "120");
        assert_eq!(metric(&page, r#"understory_sync_changes_total{change="added"}"#), "120");
        assert_eq!(metric(&page, "understory_sync_token_requests_total"), "1");
        assert_eq!(metric(&page, "understory_sync_removals_withheld"), "0");
        assert!(is_recent(&page, "understory_sync_next_run_timestamp_seconds"));
        assert!(is_recent(&page, "understory_sync_last_absence_judged_timestamp_seconds"));
        let html = ask(&daemon, "GET", "/").body;
        assert!(html.contains("120 active consents are in line"), "{html}");
        assert!(html.contains("<svg") && html.contains("<table") && !html.contains("<script"));
        for person in names {
            for text in ["email", "full_name"].iter().filter_map(|field| person[field].as_str()) {
                assert!(!html.contains(text) && !page.contains(text));
            }
        }
        assert_eq!(ask(&daemon, "GET", "/else").status, 404);
        assert_eq!(ask(&daemon, "POST", "/readyz").status, 405);
        daemon.signal("TERM");
        daemon.wait().expect(0);
    }

    async fn withheld_removals_stand_in_metrics_and_status_until_let_through(world: World) {
        world.list_people(100);
        world.run_once().expect(0);
        world.hide(40..100);
        world.run_once().expect(65);
        let daemon = daemon(&world, "no run at start").await;
        let page = ask(&daemon, "GET", "/metrics").body;
        assert_eq!(metric(&page, "understory_sync_removals_withheld"), "60");
        assert!(ask(&daemon, "GET", "/").body.contains("accept-removals 60"));
        assert!(world.run(&["status"]).expect(0).stdout.contains("accept-removals 60"));
        world.run(&["--run-once", "--accept-removals", "60"]).expect(0);
        daemon.signal("HUP");
        until("the gauge to fall", async || {
            let page = ask(&daemon, "GET", "/metrics").body;
            (metric(&page, "understory_sync_removals_withheld") == "0").then_some(())
        })
        .await;
    }

    async fn healthcheck_goes_by_the_run_table(world: World) {
        world.run(&["healthcheck"]).expect(1);
        world.list_people(3);
        world.run_once().expect(0);
        let ok = world.run(&["healthcheck"]).expect(0);
        assert_eq!(ok.stdout, "ok\n");
        // Without the API, which it never asks.
        world.set("api.base_url", "http://127.0.0.1:1");
        world.run(&["healthcheck"]).expect(0);
        world.set("health.stale_after", "1s");
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let stale = world.run(&["healthcheck"]).expect(1);
        assert!(stale.stdout.contains("health.stale_after"), "{}", stale.stdout);
        world.unset("health.stale_after");

        world.db.execute("update sync_runs set absence = 'blocked'").await;
        let unjudged = world.run(&["healthcheck"]).expect(1);
        assert!(unjudged.stdout.contains("no run has evaluated removals yet"), "{}", unjudged.stdout);
        world.db.execute("delete from consents").await;
        world.run(&["healthcheck"]).expect(0);

        // A container's HEALTHCHECK knows 0 and 1 and reserves the rest, whatever is wrong.
        world.set("health.stale_after", "soon");
        world.run(&["healthcheck"]).expect(1).says("health.stale_after");
        world.run(&["status"]).expect(78);
        world.unset("health.stale_after");
        world.run(&["healthcheck", "--config", "no-such-file.toml"]).expect(1);
    }

    async fn status_tells_the_same_to_people_and_to_scripts(world: World) {
        let before = world.run(&["status"]).expect(0);
        assert!(before.stdout.starts_with("There "), "{}", before.stdout);
        world.list_people(7);
        world.set("schedule.run_timeout", "1m");
        world.run_once().expect(0);
        let text = world.run(&["status"]).expect(0).stdout;
        assert!(text.contains("All is well: 7 active consents are in line"), "{text}");
        assert!(text.contains("Next run"), "{text}");
        assert!(!text.contains("schedule.run_timeout"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&world.run(&["status", "--json"]).expect(0).stdout).unwrap();
        assert_eq!(json["healthy"], true);
        assert_eq!(json["consents"]["active"], 7);
        assert_eq!(json["runs"][0]["added"], 7);
        assert_eq!(json["runs"][0]["outcome"], "succeeded");
        // No daemon is there, so that nobody knows.
        assert!(json["next_run_at"].is_null(), "{json}");

        let half = if world.db.is_postgres() {
            "update sync_runs set started_at = finished_at - interval '30 seconds'"
        } else {
            "update sync_runs set started_at = strftime('%Y-%m-%dT%H:%M:%fZ', finished_at, '-30 seconds')"
        };
        world.db.execute(half).await;
        let text = world.run(&["status"]).expect(0).stdout;
        assert!(text.contains("schedule.run_timeout"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&world.run(&["status", "--json"]).expect(0).stdout).unwrap();
        assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn the_heartbeat_is_for_complete_runs_that_judged_absence_and_never_fails_one() {
    let world = World::on(Engine::Sqlite).await;
    world.set("health.heartbeat_url", &world.api.heartbeat_url());
    let beats = |world: &World| {
        let asked = world.api.take_requests();
        let beats: Vec<_> = asked.into_iter().filter(|seen| seen.endpoint == Endpoint::Heartbeat).collect();
        assert!(beats.iter().all(|seen| seen.header("authorization").is_none()));
        beats.len()
    };
    world.list_people(50);
    world.run_once().expect(0);
    assert_eq!(beats(&world), 1, "a judged run");

    let down = FaultRule::on(Endpoint::Heartbeat, Fault::status(500));
    world.api.play(down);
    world.run_once().expect(0).says("heartbeat");
    assert_eq!(beats(&world), 1, "it is not tried again");

    world.api.people(|people| {
        for id in &people.ids()[5..] {
            people.list(id, false);
        }
    });
    world.run_once().expect(65);
    assert_eq!(beats(&world), 0, "removals withheld");

    world.api.play(FaultRule::on(Endpoint::List, Fault::status(403)));
    world.run_once().expect(77);
    assert_eq!(beats(&world), 0, "a failed run");
}

#[tokio::test]
async fn a_heartbeat_that_hangs_does_not_hold_up_a_stop() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(3);
    world.set("health.heartbeat_url", &world.api.heartbeat_url());
    world.api.play(FaultRule::on(Endpoint::Heartbeat, Fault::Hang));
    let daemon = world.start(&[]);
    until("the heartbeat", async || {
        let asked = world.api.requests();
        asked.iter().any(|seen| seen.endpoint == Endpoint::Heartbeat).then_some(())
    })
    .await;
    daemon.signal("TERM");
    let began = std::time::Instant::now();
    daemon.wait().expect(0);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(world.last_run("outcome").await, "succeeded");
}
