//! Nothing waits for ever: wherever PostgreSQL falls silent, the run ends as failed and the next one succeeds.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use understory_mock_api::person;
use understory_sync::config::{Config, Database, Environment, Needs, Sources, load};

use understory_sync::exit::Exit;
use understory_sync::store::{Bounds, ExportRows, Store, StoreError, Timestamp, Trigger};
use understory_sync::sync::{Failure, RunOptions, RunReport, Syncer};

use crate::bench::cluster::Cluster;
use crate::bench::number_from;
use crate::support::link::{Link, Silence};
use crate::support::{Engine, Running, World, until};

/// Long enough for a good server on a busy machine, short enough for a hundred silences.
const SHORT: Bounds = Bounds {
    each_use: Duration::from_millis(700),
    after_deadline: Duration::from_millis(400),
    last: Duration::from_millis(400),
    ..Bounds::RUN
};

/// The bounds above, and what the rest of a run takes on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Every nth message is one at which the server falls silent.
fn step() -> usize {
    usize::try_from(number_from("UNDERSTORY_SYNC_SILENCE_STEP", 4)).unwrap()
}

/// What a run is, in this process.
fn configuration(world: &World, url: &str, schema: Option<&str>) -> Config {
    let key = world.api.settings();
    let schema = schema.unwrap_or_default();
    let mut settings = vec![
        ("UNDERSTORY_SYNC__AUTH__CLIENT_ID", key.client_id.as_str()),
        ("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET", &key.client_secret),
        ("UNDERSTORY_SYNC__DATABASE__URL", url),
        ("UNDERSTORY_SYNC__API__REQUESTS_PER_SECOND", "0"),
        ("UNDERSTORY_SYNC__RETENTION__HISTORY", "730d"),
        ("UNDERSTORY_SYNC__RETENTION__REMOVED", "30d"),
    ];
    let (token_url, base_url) = (world.api.token_url(), world.api.base_url());
    settings.push(("UNDERSTORY_SYNC__AUTH__TOKEN_URL", &token_url));
    settings.push(("UNDERSTORY_SYNC__API__BASE_URL", &base_url));
    if !schema.is_empty() {
        settings.push(("UNDERSTORY_SYNC__DATABASE__SCHEMA", schema));
    }
    let environment: Environment = settings.into_iter().collect();
    let sources = Sources {
        file: None,
        environment: &environment,
        log_level: None,
        log_format: None,
        working_dir: world.home(),
        caller: 0,
        now: Timestamp::now().to_utc(),
    };
    load(&sources, Needs::Credentials).unwrap().config
}

fn syncer(config: Config, bounds: Bounds) -> Syncer {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Syncer::new(config).unwrap().with_bounds(bounds)
}

async fn run(syncer: &mut Syncer) -> Result<RunReport, Failure> {
    let cancel = CancellationToken::new();
    let options = RunOptions::default();
    let run = syncer.run_once(Trigger::Once, &options, &cancel, &|_| {});
    tokio::time::timeout(Duration::from_secs(50), Box::pin(run)).await.expect("the run does not end")
}

/// A run that must end soon: well, or with 75.
async fn must_end(syncer: &mut Syncer, what: &str) -> bool {
    let began = Instant::now();
    let done = run(syncer).await;
    assert!(began.elapsed() < SOON, "{what}: {:?}", began.elapsed());
    match done {
        Ok(_) => true,
        Err(failure) => {
            assert_eq!(failure.exit(), Exit::Retry, "{what}: {failure}");
            false
        }
    }
}

fn rename_everybody(world: &World, count: u64, name: &str) {
    let people: Vec<_> = (0..count)
        .map(|number| {
            let mut person = person(1, number);
            person["full_name"] = name.into();
            person
        })
        .collect();
    world.api.set_people(&people);
}

/// Runs again and again, each time silent from a later message on, until one run sends no more messages than that.
async fn silence_at_every_message(
    run: &str,
    link: &Link,
    mut next: impl AsyncFnMut(usize, &str) -> bool,
) -> usize {
    let mut longest = Duration::ZERO;
    let mut silences = [Silence::Before, Silence::Within, Silence::After].into_iter().cycle();
    let (mut failed, mut message) = (0, 1);
    loop {
        let silence = silences.next().unwrap();
        link.fall_silent_at(message, silence);
        let began = Instant::now();
        let well = next(message, &format!("{silence:?} message {message}")).await;
        let was_silent = link.repair();
        if was_silent {
            longest = longest.max(began.elapsed());
        }
        if !was_silent && well {
            println!("silence in {run}: {failed} runs ended with 75, the longest after {longest:.1?}");
            return failed;
        }
        failed += usize::from(was_silent && !well);
        // Without silence the machine was too busy for these bounds.
        message += if was_silent { step() } else { 0 };
    }
}

#[tokio::test]
async fn a_first_run_ends_wherever_the_server_falls_silent() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(20);
    let link = Link::to(world.db.url());
    let url = link.url(world.db.url());
    let failed = silence_at_every_message("a first run", &link, async |message, what| {
        let config = configuration(&world, &url, Some(&format!("first {message}")));
        let bounds = Bounds { each_use: Duration::from_secs(2), ..SHORT };
        must_end(&mut syncer(config, bounds), what).await
    })
    .await;
    assert!(failed > 10, "{failed} runs failed");
}

#[tokio::test]
async fn a_changed_run_ends_wherever_the_server_falls_silent() {
    let world = World::on(Engine::Postgres).await;
    rename_everybody(&world, 30, "First");
    let link = Link::to(world.db.url());
    let url = link.url(world.db.url());
    let mut syncer = syncer(configuration(&world, &url, None), SHORT);
    until("a first run", async || must_end(&mut syncer, "first").await.then_some(())).await;
    let failed = silence_at_every_message("a changed run", &link, async |message, what| {
        rename_everybody(&world, 30, &format!("Version {message}"));
        world.api.add(&serde_json::json!({ "id": format!("bad {message}") }));
        let well = must_end(&mut syncer, what).await;
        let rows = world.db.rows("select full_name, count(*) from consents group by full_name").await;
        assert_eq!(rows.len(), 1, "a page was half written: {rows:?}");
        well
    })
    .await;
    assert!(failed > 10, "{failed} runs failed");
    assert_eq!(world.db.number("select count(*) from sync_runs where outcome = 'running'").await, 0);
}

#[tokio::test]
async fn an_unchanged_run_ends_wherever_the_server_falls_silent() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(20);
    let link = Link::to(world.db.url());
    let url = link.url(world.db.url());
    let mut syncer = syncer(configuration(&world, &url, None), SHORT);
    until("a first run", async || must_end(&mut syncer, "first").await.then_some(())).await;
    let failed = silence_at_every_message("an unchanged run", &link, async |_, what| {
        must_end(&mut syncer, what).await
    })
    .await;
    assert!(failed > 3, "{failed} runs failed");
    assert_eq!(world.db.count("active_consents").await, 20);
}

#[tokio::test]
async fn a_deadline_ends_a_run_whose_server_is_silent() {
    let world = World::on(Engine::Postgres).await;
    let link = Link::to(world.db.url());
    let mut config = configuration(&world, &link.url(world.db.url()), None);
    config.schedule.run_timeout = Some(Duration::from_millis(500));
    link.fall_silent();
    assert!(!must_end(&mut syncer(config, Bounds { each_use: Duration::from_hours(1), ..SHORT }), "").await);
}

fn send(signal: &str, processes: &[String]) {
    assert!(Command::new("kill").args(["-s", signal]).args(processes).status().unwrap().success());
}

fn own_server() -> Cluster {
    std::thread::spawn(Cluster::new).join().unwrap()
}

/// Asks the server; its client blocks, so that it gets a thread of its own.
fn ask(cluster: &Cluster, sql: &str) -> Vec<String> {
    std::thread::scope(|scope| scope.spawn(|| cluster.owner("sync").texts(sql)).join().unwrap())
}

fn command(cluster: &Cluster, sql: &str) {
    std::thread::scope(|scope| scope.spawn(|| cluster.owner("sync").run(sql)).join().unwrap());
}

#[tokio::test]
async fn a_run_ends_where_its_backend_or_the_whole_server_is_frozen() {
    let cluster = own_server();
    let world = World::on(Engine::Sqlite).await;
    let url = cluster.url("owner", "sync");
    let mut syncer = syncer(configuration(&world, &url, None), SHORT);
    world.list_people(300);
    run(&mut syncer).await.unwrap();
    world.api.configure(|api| api.latency = Duration::from_millis(150));
    for whole in [false, true] {
        rename_everybody(&world, 300, &format!("Version {whole}"));
        let _ = world.api.take_requests();
        let freeze = async {
            until("the run is on", async || (world.api.requests().len() > 2).then_some(())).await;
            let which = if whole { "true" } else { "application_name = 'understory-sync'" };
            let others =
                format!("select pid::text from pg_stat_activity where pid <> pg_backend_pid() and {which}");
            let mut processes = ask(&cluster, &others);
            assert!(!processes.is_empty());
            if whole {
                processes.push(cluster.postmaster());
            }
            send("STOP", &processes);
            processes
        };
        let (done, processes) = tokio::join!(run(&mut syncer), freeze);
        send("CONT", &processes);
        assert_eq!(done.unwrap_err().exit(), Exit::Retry);
        until("a good run", async || run(&mut syncer).await.ok()).await;
    }
    let stored = ask(&cluster, "select count(*)::text from consents where full_name = 'Version true'");
    assert_eq!(stored, ["300"]);
}

#[tokio::test]
async fn a_run_ends_where_a_commit_waits_for_a_standby_that_is_gone() {
    let cluster = own_server();
    let world = World::on(Engine::Sqlite).await;
    let mut syncer = syncer(configuration(&world, &cluster.url("owner", "sync"), None), SHORT);
    world.list_people(30);
    run(&mut syncer).await.unwrap();
    command(&cluster, "alter system set synchronous_standby_names = 'nobody'");
    command(&cluster, "select pg_reload_conf()");
    until("the server knows", async || {
        (ask(&cluster, "show synchronous_standby_names") == ["nobody"]).then_some(())
    })
    .await;
    assert!(!must_end(&mut syncer, "waiting for a standby").await);
    command(&cluster, "alter system reset synchronous_standby_names");
    command(&cluster, "select pg_reload_conf()");
    until("a good run", async || run(&mut syncer).await.ok()).await;
}

#[tokio::test]
async fn commands_end_where_the_server_is_silent() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(30);
    world.run_once().expect(0);
    let link = Link::to(world.db.url());
    let database = Database { url: link.url(world.db.url()).into(), schema: None, is_borrowed: false };
    let bounds = Bounds { extended_by_progress: true, ..SHORT };
    let silent = |error: StoreError| assert_eq!(error.exit(), Exit::Retry, "{error}");

    let (mut store, lease) =
        Store::open_between_runs(&database, Duration::ZERO, bounds).await.map_err(silent).unwrap();
    let began = Instant::now();
    link.fall_silent();
    silent(store.release(&lease, Timestamp::now()).await.unwrap_err());
    silent(store.snapshot(1).await.unwrap_err());
    store.close().await;
    silent(Store::open_to_read(&database, bounds).await.map(|_| panic!("opened")).unwrap_err());
    assert!(began.elapsed() < SOON);

    assert!(link.repair());
    // Whose lease could not be given back is waited for; the table is emptied instead.
    world.db.execute("delete from sync_lease").await;
    let (mut store, lease) = Store::open_between_runs(&database, Duration::ZERO, bounds).await.unwrap();
    let began = Instant::now();
    link.fall_silent();
    silent(store.forget(&lease, &["a@example.com".to_owned()], Timestamp::now()).await.unwrap_err());
    silent(store.wipe(&lease).await.map(drop).unwrap_err());
    store.close().await;
    assert!(link.repair());
    let mut store = Store::open_to_read(&database, bounds).await.unwrap().unwrap();
    let (feed, _) = store.open_feed(None).await.unwrap();
    link.fall_silent();
    silent(store.next_lines(&feed, &feed.start()).await.map(drop).unwrap_err());
    silent(store.hold_reader("reader", Timestamp::now()).await.map(drop).unwrap_err());
    silent(store.readers(Timestamp::now()).await.map(drop).unwrap_err());
    store.close().await;
    assert!(began.elapsed() < 2 * SOON);

    assert!(link.repair());
    let mut store = Store::open_to_read(&database, bounds).await.unwrap().unwrap();
    assert_eq!(store.next_lines(&feed, &feed.start()).await.unwrap().len(), 30);
    let mut rows = 0;
    let exported = store.export(ExportRows::All, |found| {
        rows += found.len();
        link.fall_silent();
        Ok::<(), StoreError>(())
    });
    silent(exported.await.unwrap_err());
    assert_eq!(rows, 30);
}

/// The shipped bounds, in their real length.
#[tokio::test]
async fn status_healthcheck_and_the_listener_answer_within_ten_seconds_and_the_daemon_goes_on() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(30);
    let link = Link::to(world.db.url());
    world.set("database.url", &link.url(world.db.url()));
    world.set("http.listen", "127.0.0.1:0");
    world.set("schedule.run_timeout", "5s");
    let daemon = world.start(&[]);
    until("a complete run", async || daemon.stderr().contains(" ok in ").then_some(())).await;
    link.fall_silent();
    let looks = [("status", 75), ("healthcheck", 1)].map(|(look, code)| (world.start(&[look]), code));
    let address =
        daemon.stderr().split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    for (path, answer) in [("readyz", "503"), ("metrics", "200")] {
        let began = Instant::now();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET /{path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut answered = String::new();
        stream.read_to_string(&mut answered).unwrap();
        assert!(answered.starts_with(&format!("HTTP/1.1 {answer}")), "{path}: {answered}");
        assert!(began.elapsed() < Duration::from_secs(10), "{path}: {:?}", began.elapsed());
    }
    for (look, code) in looks {
        let done = look.wait().expect(code);
        assert!(done.took < Duration::from_secs(10), "{:?}", done.took);
    }
    let began = Instant::now();
    daemon.signal("HUP");
    until("the run has failed", async || daemon.stderr().contains("no answer in").then_some(())).await;
    println!("a run with run_timeout = 5s ended {:?} after it began", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(35));
    link.repair();
    daemon.signal("HUP");
    let good = "select count(*) from sync_runs where trigger = 'signal' and outcome = 'succeeded'";
    until("the next run succeeds", async || (world.db.number(good).await == 1).then_some(())).await;
    daemon.signal("TERM");
    daemon.wait().expect(0);
}

/// The lease is renewed every 30 s while an answer is waited for.
#[tokio::test]
async fn a_run_ends_where_the_server_is_silent_while_it_waits_for_the_api() {
    const LATENCY: Duration = Duration::from_secs(35);
    let world = World::on(Engine::Postgres).await;
    world.list_people(30);
    world.run_once().expect(0);
    let link = Link::to(world.db.url());
    let mut config = configuration(&world, &link.url(world.db.url()), None);
    config.api.read_timeout = 2 * LATENCY;
    world.api.configure(|api| api.latency = LATENCY);
    let _ = world.api.take_requests();
    let began = Instant::now();
    let silence = async {
        until("the run waits", async || (!world.api.requests().is_empty()).then_some(())).await;
        link.fall_silent();
    };
    let mut syncer = syncer(config, SHORT);
    let (done, ()) = tokio::join!(run(&mut syncer), silence);
    assert_eq!(done.unwrap_err().exit(), Exit::Retry);
    assert!(began.elapsed() < LATENCY + SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_signal_ends_a_run_within_five_seconds_though_the_server_is_silent() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(30);
    let link = Link::to(world.db.url());
    world.set("database.url", &link.url(world.db.url()));
    for message in [8, 60] {
        link.fall_silent_at(message, Silence::After);
        let run: Running = world.start(&["--run-once"]);
        until("the silence", async || link.is_silent().then_some(())).await;
        let began = Instant::now();
        run.signal("TERM");
        run.wait().expect(75);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        link.repair();
    }
}
