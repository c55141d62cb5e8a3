//! What is down comes back, and the daemon was there all the time: the API, the database, a connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::support::{Engine, Running, World, until};

const COMPLETE: &str = "select count(*) from sync_runs where outcome = 'succeeded'";
const FAILED: &str = "select count(*) from sync_runs where outcome = 'failed'";

fn stop(mut daemon: Running) -> String {
    assert!(daemon.is_alive(), "{}", daemon.stderr());
    daemon.signal("TERM");
    daemon.wait().expect(0).stderr
}

on_both! {
    async fn an_api_that_is_down_fails_runs_and_the_next_success_heals(world: World) {
        world.list_people(120);
        world.set("schedule.cron", "* * * * * *");
        let daemon = world.start(&[]);
        until("a run", async || world.db.find_number(COMPLETE).await.filter(|runs| *runs > 0)).await;
        world.api.play(FaultRule::on(Endpoint::List, Fault::status(503)).always());
        world.api.people(|people| people.fill(1, 120..150));
        until("failed runs", async || (world.db.number(FAILED).await >= 3).then_some(())).await;
        assert_eq!(world.db.count("active_consents").await, 120, "an outage is nobody's absence");
        world.api.clear_faults();
        until("a run that heals", async || (world.db.count("active_consents").await == 150).then_some(())).await;
        let log = stop(daemon);
        assert!(log.contains("the run failed"), "{log}");
        assert_eq!(world.api.tokens_given(), 1, "one token serves all runs while it lives");
        let missing = "select count(*) from consents where missing_since is not null";
        assert_eq!(world.db.number(missing).await, 0);
    }

    async fn a_healthy_run_asks_for_one_token_at_most_and_no_more_while_it_lives(world: World) {
        world.list_people(5);
        world.set("schedule.cron", "* * * * * *");
        let daemon = world.start(&[]);
        until("five runs", async || world.db.find_number(COMPLETE).await.filter(|runs| *runs >= 5)).await;
        stop(daemon);
        let asked = world.api.requests();
        let tokens = asked.iter().filter(|seen| seen.endpoint == Endpoint::Token);
        assert_eq!(tokens.count(), 1);
        let sums = "select count(*) from sync_runs where requests > 2 or (id > 1 and requests > 1)";
        assert_eq!(world.db.number(sums).await, 0);
    }

    async fn nothing_is_asked_before_the_time_that_the_api_named(world: World) {
        world.list_people(5);
        world.set("schedule.cron", "* * * * * *");
        world.set("schedule.run_timeout", "3s");
        world.api.play(FaultRule::on(Endpoint::List, Fault::retry_after(503, "6")));
        let daemon = world.start(&[]);
        until("the tick to be skipped", async || {
            daemon.stderr().contains("run skipped: the API asked").then_some(())
        })
        .await;
        // A run that was asked for by hand would be one request too many as well.
        daemon.signal("HUP");
        until("the run after", async || world.db.find_number(COMPLETE).await.filter(|runs| *runs > 0)).await;
        stop(daemon);
        let asked = world.api.requests();
        let refused = asked.iter().position(|seen| seen.status == Some(503)).unwrap();
        let pause = asked[refused + 1].at - asked[refused].at;
        assert!(pause >= Duration::from_secs(6), "{pause:?}");
        assert_eq!(world.db.number("select count(*) from sync_runs where outcome = 'failed'").await, 1);
    }
}

/// A server of one test's own, that can be stopped and started.
struct Cluster {
    url: String,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
    _script: Child,
}

impl Cluster {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/throwaway-postgres.sh");
        let mut script = Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut cluster = Self {
            url: String::new(),
            say: script.stdin.take().unwrap(),
            hear: BufReader::new(script.stdout.take().unwrap()),
            _script: script,
        };
        cluster.url = cluster.answer();
        cluster
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.hear.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the tests need PostgreSQL");
        line.trim().to_owned()
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.say, "{word}").unwrap();
        let answer = self.answer();
        assert!(answer.starts_with(word), "{answer}");
    }

    async fn number(&self, sql: &'static str) -> Option<i64> {
        let mut conn = PgConnection::connect(&self.url).await.ok()?;
        let (number,) = sqlx::query_as::<_, (i64,)>(sql).fetch_one(&mut conn).await.ok()?;
        Some(number)
    }
}

#[tokio::test]
async fn a_server_that_is_stopped_and_started_is_found_again() {
    let mut cluster = Cluster::start();
    let world = World::on(Engine::Sqlite).await;
    world.list_people(120);
    world.set("database.url", &cluster.url);
    world.set("schedule.cron", "* * * * * *");
    // Not there when the daemon starts.
    cluster.tell("stop");
    let mut daemon = world.start(&[]);
    until("it to be said", async || daemon.stderr().contains("stays up and tries again").then_some(())).await;
    cluster.tell("start");
    let first = async || cluster.number(COMPLETE).await.filter(|runs| *runs > 0);
    until("the first run", first).await;
    // Gone in mid page, for longer than a run tries to get it back.
    world.api.configure(|api| api.latency = Duration::from_millis(300));
    let _ = world.api.take_requests();
    until("a page", async || (!world.api.requests().is_empty()).then_some(())).await;
    cluster.tell("stop");
    let failures = daemon.stderr().matches("the run failed").count();
    until("a run that fails", async || {
        (daemon.stderr().matches("the run failed").count() > failures).then_some(())
    })
    .await;
    assert!(daemon.is_alive());
    world.api.configure(|api| api.latency = Duration::ZERO);
    world.api.people(|people| people.fill(1, 120..130));
    cluster.tell("start");
    until("the run after", async || {
        let active = "select count(*) from active_consents";
        (cluster.number(active).await == Some(130)).then_some(())
    })
    .await;
    stop(daemon);
    let running = "select count(*) from sync_runs where outcome = 'running'";
    assert_eq!(cluster.number(running).await, Some(0));
    assert_eq!(cluster.number("select count(*) from consents").await, Some(130));
}

#[tokio::test]
async fn a_connection_that_is_killed_in_mid_page_costs_nothing() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(400);
    world.api.configure(|api| api.latency = Duration::from_millis(400));
    let run = world.start(&["--run-once"]);
    for page in [2, 3, 4] {
        until("a page", async || {
            let asked = world.api.requests();
            asked.iter().any(|seen| seen.page == Some(page)).then_some(())
        })
        .await;
        world
            .db
            .rows("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'understory-sync'")
            .await;
    }
    run.wait().expect(0);
    assert_eq!(world.last_run("outcome, items, added, active").await, "succeeded|400|400|400");
    assert_eq!(world.db.count("consents").await, 400);
}

#[tokio::test]
async fn a_server_that_is_read_only_for_a_while_ends_a_start_but_not_a_daemon() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(20);
    world.set("schedule.cron", "* * * * * *");
    let read_only = async |on: &str| {
        let name = world.db.value("select current_database()").await;
        let sql = format!(
            "begin read write; alter database {name} set default_transaction_read_only = {on}; commit"
        );
        world.db.execute(&sql).await;
    };
    let daemon = world.start(&[]);
    until("a run", async || world.db.find_number(COMPLETE).await.filter(|runs| *runs > 0)).await;
    read_only("on").await;
    until("a run that fails", async || daemon.stderr().contains("the server is read-only").then_some(()))
        .await;
    // One that starts now would never have written anything.
    world.run(&[]).expect(74).says("read-only");
    world.api.people(|people| people.fill(1, 20..25));
    read_only("off").await;
    until("the run after", async || (world.db.count("active_consents").await == 25).then_some(())).await;
    stop(daemon);
}
