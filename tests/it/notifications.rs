//! Notifications: told once, to a real receiver, whatever that receiver does; and the permission that they ask for.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use understory_mock_api::{COMPANY_ID, Endpoint, Fault, FaultRule};

use crate::support::{Engine, World, until};

/// What the receiver does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Accepts,
    Refuses,
    /// Sends a redirect and a body without end.
    Redirects,
    Drops,
    /// Sends a byte now and then, and never an end.
    Drips,
    /// Says nothing at all.
    Hangs,
}

struct Receiver {
    url: String,
    manner: Arc<Mutex<Manner>>,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/hook/s3cret");
        let receiver =
            Self { url, manner: Arc::new(Mutex::new(manner)), bodies: Arc::new(Mutex::new(Vec::new())) };
        let (manner, bodies) = (Arc::clone(&receiver.manner), Arc::clone(&receiver.bodies));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let listener = listener.into_std().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((mut stream, _)) = listener.accept().await {
                    let manner = *manner.lock().unwrap();
                    let request = read(&mut stream).await;
                    bodies.lock().unwrap().push(request);
                    tokio::spawn(answer(stream, manner, address));
                }
            });
        });
        receiver
    }

    fn becomes(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// The bodies since the last look.
    fn received(&self) -> Vec<String> {
        std::mem::take(&mut *self.bodies.lock().unwrap())
    }
}

async fn answer(mut stream: TcpStream, manner: Manner, address: SocketAddr) {
    let bytes = match manner {
        Manner::Accepts => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        Manner::Refuses => "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_owned(),
        // Whoever followed would be seen here once more.
        Manner::Redirects => format!(
            "HTTP/1.1 307 Elsewhere\r\nLocation: http://{address}/\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"
        ),
        Manner::Drips => "HTTP/1.1 200 OK\r\n".to_owned(),
        Manner::Drops | Manner::Hangs => String::new(),
    };
    let _ = stream.write_all(bytes.as_bytes()).await;
    while manner == Manner::Drips && stream.write_all(b"X: x\r\n").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    if manner == Manner::Hangs {
        let _ = stream.read(&mut [0]).await;
    }
}

/// A whole request; gives its body.
async fn read(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(count > 0, "{text}");
            continue;
        };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if count == 0 || body.len() >= length.unwrap_or(0) {
            return body.to_owned();
        }
    }
}

fn events(bodies: &[String]) -> Vec<String> {
    let event = |body: &String| {
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        json["event"].as_str().unwrap().to_owned()
    };
    bodies.iter().map(event).collect()
}

on_both! {
    async fn withheld_removals_are_told_once_and_again_when_they_have_doubled(world: World) {
        let receiver = Receiver::start(Manner::Accepts).await;
        world.set("notify.url", &receiver.url);
        world.list_people(200);
        let people = world.api.people(|people| people.items());
        let ids = world.api.people(|people| people.ids());
        let hide = |count: usize| world.api.people(|people| {
            for (place, id) in ids.iter().enumerate() {
                people.list(id, place >= count);
            }
        });
        world.run_once().expect(0);
        assert_eq!(receiver.received(), Vec::<String>::new());
        hide(60);
        world.run_once().expect(65);
        let told = receiver.received();
        assert_eq!(events(&told), ["removals_withheld"]);
        assert!(told[0].contains("accept-removals 60") && told[0].contains("60 of 200"), "{}", told[0]);
        for person in &people {
            for text in ["email", "full_name"].into_iter().filter_map(|field| person[field].as_str()) {
                assert!(!told[0].contains(text));
            }
        }
        // Each run is a process of its own: the database remembers.
        world.run_once().expect(65);
        assert_eq!(events(&receiver.received()), Vec::<String>::new());
        hide(120);
        world.run_once().expect(65);
        assert_eq!(events(&receiver.received()), ["removals_withheld"]);
        // A day later it is told again.
        let earlier = if world.db.is_postgres() { "now() - interval '25 hours'" } else { "'2020-01-01T00:00:00.000Z'" };
        world.db.execute(&format!("update notifications set sent_at = {earlier}")).await;
        world.run_once().expect(65);
        assert_eq!(events(&receiver.received()), ["removals_withheld"]);
        hide(0);
        world.run_once().expect(0);
        assert_eq!(events(&receiver.received()), ["recovered"]);
        world.run_once().expect(0);
        assert_eq!(events(&receiver.received()), Vec::<String>::new());
    }

    async fn the_third_failed_run_is_told_whatever_the_receiver_does(world: World) {
        let receiver = Receiver::start(Manner::Refuses).await;
        world.set("notify.url", &receiver.url);
        world.set("retry.max_attempts", "1");
        world.list_people(3);
        world.run_once().expect(0);
        world.api.play(FaultRule::on(Endpoint::List, Fault::status(503)).always());
        world.run_once().expect(75);
        world.run_once().expect(75);
        assert_eq!(events(&receiver.received()), Vec::<String>::new());
        for manner in [Manner::Refuses, Manner::Redirects, Manner::Drops, Manner::Drips, Manner::Hangs] {
            receiver.becomes(manner);
            let done = world.run_once().expect(75).says("the notification was not accepted");
            assert!(!done.output().contains("s3cret"), "{}", done.output());
            assert!(done.took < Duration::from_secs(30), "{:?}", done.took);
            assert_eq!(events(&receiver.received()), ["runs_failing"], "{manner:?}");
        }
        receiver.becomes(Manner::Accepts);
        world.run_once().expect(75);
        assert_eq!(events(&receiver.received()), ["runs_failing"]);
        world.run_once().expect(75);
        assert_eq!(events(&receiver.received()), Vec::<String>::new());
        world.api.clear_faults();
        world.run_once().expect(0);
        assert_eq!(events(&receiver.received()), ["recovered"]);
    }

    async fn removals_that_a_rejected_record_defers_are_not_told_as_withheld(world: World) {
        let receiver = Receiver::start(Manner::Accepts).await;
        world.set("notify.url", &receiver.url);
        world.list_people(50);
        world.run_once().expect(0);
        let ids = world.api.people(|people| people.ids());
        assert!(world.api.people(|people| people.list(&ids[6], false)));
        world.api.add(&json!({"company_id": COMPANY_ID, "email": "  "}));
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, active").await, "blocked|50");
        assert_eq!(receiver.received(), Vec::<String>::new());
        let status = world.run(&["status"]).expect(0).stdout;
        assert!(!status.contains("accept-removals") && !status.contains("waiting for your decision"), "{status}");
        let told = world.run(&["accept-removals", "0"]).expect(0).stdout;
        assert!(told.contains("No removal is withheld"), "{told}");
        // What the guard holds is told, and a run that defers removals neither ends it nor tells it anew.
        let list = |listed: bool| world.api.people(|people| {
            for id in &ids[7..46] {
                people.list(id, listed);
            }
        });
        list(false);
        world.run_once().expect(65);
        assert_eq!(events(&receiver.received()), ["removals_withheld"]);
        list(true);
        world.api.add(&json!({"company_id": COMPANY_ID, "email": 1}));
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, active").await, "blocked|50");
        assert_eq!(receiver.received(), Vec::<String>::new());
        world.run_once().expect(0);
        assert_eq!(world.last_run("absence, active").await, "judged|49");
        assert_eq!(events(&receiver.received()), ["recovered"]);
    }

    async fn check_sends_a_test_message(world: World) {
        let receiver = Receiver::start(Manner::Accepts).await;
        world.list_people(3);
        world.run(&["check", "--notify"]).expect(78);
        world.set("notify.url", &receiver.url);
        let done = world.run(&["check", "--notify", "--json"]).expect(0);
        let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(json["exit_code"], 0);
        assert_eq!(events(&receiver.received()), ["test"]);
        receiver.becomes(Manner::Refuses);
        world.run(&["check", "--notify"]).expect(75);
    }
}

/// The database itself cannot remember what was told while it was away.
#[tokio::test]
async fn a_database_that_was_away_is_told_once_and_told_to_be_well_again() {
    let world = World::on(Engine::Sqlite).await;
    let receiver = Receiver::start(Manner::Accepts).await;
    world.set("notify.url", &receiver.url);
    world.set("schedule.cron", "* * * * * *");
    world.list_people(3);
    let mut daemon = world.start(&[]);
    let complete = "select count(*) from sync_runs where outcome = 'succeeded'";
    until("a run", async || world.db.find_number(complete).await.filter(|runs| *runs > 0)).await;
    let (here, away) = (world.db.folder().to_owned(), world.home().join("away"));
    fs::rename(&here, &away).unwrap();
    let told = async || Some(receiver.received()).filter(|bodies| !bodies.is_empty());
    let failing = until("a message", told).await;
    assert_eq!(events(&failing), ["runs_failing"]);
    assert!(failing[0].contains("3 runs in a row have failed"), "{}", failing[0]);
    let failures = || daemon.stderr().matches("the run failed").count();
    let before = failures();
    until("more failed runs", async || (failures() >= before + 2).then_some(())).await;
    assert_eq!(receiver.received(), Vec::<String>::new());
    fs::rename(&away, &here).unwrap();
    assert_eq!(events(&until("a message", told).await), ["recovered"]);
    let runs = world.db.number(complete).await;
    until("two more runs", async || (world.db.number(complete).await >= runs + 2).then_some(())).await;
    assert_eq!(receiver.received(), Vec::<String>::new());
    assert!(daemon.is_alive());
    daemon.signal("TERM");
    daemon.wait().expect(0);
}
