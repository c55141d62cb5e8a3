//! Notifications: told once, to a real receiver, whatever that receiver does; and the permission that they ask for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::support::World;

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
