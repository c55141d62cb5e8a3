//! What systemd is told: READY, STATUS in words, WATCHDOG from the work, STOPPING.

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Engine, World, until};

/// What was said, and when.
type Said = Arc<Mutex<Vec<(Instant, String)>>>;

/// Listens in systemd's place.
fn listen(world: &World) -> Said {
    let path = world.home().join("notify.socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    world.variable("NOTIFY_SOCKET", path.to_str().unwrap());
    let said = Said::default();
    let heard = Arc::clone(&said);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            let now = Instant::now();
            let lines = text.lines().map(|line| (now, line.to_owned()));
            heard.lock().unwrap().extend(lines);
        }
    });
    said
}

fn words(said: &Said) -> Vec<String> {
    let said = said.lock().unwrap();
    said.iter().map(|(_, word)| word.clone()).collect()
}

async fn until_said(said: &Said, what: &str) -> String {
    let said = Arc::clone(said);
    until(what, async || words(&said).into_iter().find(|word| word.contains(what))).await
}

/// Digits become 9, so that times compare.
fn shape(text: &str) -> String {
    text.replace(|letter: char| letter.is_ascii_digit(), "9")
}

#[tokio::test]
async fn ready_then_the_last_run_in_words_then_stopping() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(12);
    let said = listen(&world);
    let daemon = world.start(&[]);
    let status = until_said(&said, "STATUS=last run").await;
    assert_eq!(shape(&status), "STATUS=last run 99:99:99 ok: 99 consents, 99 new, 9 changed; next 99:99 UTC");
    let all = words(&said);
    assert_eq!(all[0], "READY=1");
    assert!(all[1].starts_with("STATUS=no run yet; next "), "{all:?}");
    daemon.signal("TERM");
    daemon.wait().expect(0);
    until_said(&said, "STOPPING=1").await;
    assert_eq!(words(&said).iter().filter(|word| *word == "READY=1").count(), 1);

    said.lock().unwrap().clear();
    let again = world.start(&[]);
    let status = until_said(&said, "STATUS=").await;
    assert!(status.starts_with("STATUS=last run "), "{status}");
    assert!(status.contains(" ok: 12 consents, 12 new, 0 changed; next "), "{status}");
    again.signal("TERM");
    again.wait().expect(0);
}

#[tokio::test]
async fn a_database_that_is_down_at_boot_is_said_and_is_no_failure_of_the_start() {
    let world = World::on(Engine::Sqlite).await;
    // Nobody listens where somebody just did.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port.local_addr().unwrap().port();
    world.set("database.url", &format!("postgres://u:p@127.0.0.1:{port}/d"));
    let said = listen(&world);
    let mut daemon = world.start(&[]);
    let status = until_said(&said, "STATUS=database unreachable: ").await;
    assert!(status.contains(&format!("127.0.0.1:{port}")), "{status}");
    assert_eq!(words(&said)[0], "READY=1");
    until_said(&said, "STATUS=last run ").await;
    assert!(daemon.is_alive());
    daemon.signal("TERM");
    daemon.wait().expect(0).says("tries again at the next tick");
}

#[tokio::test]
async fn the_watchdog_hears_of_idle_and_of_work_but_not_of_a_process_that_is_stuck() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(3);
    let said = listen(&world);
    let limit = Duration::from_secs(2);
    world.variable("WATCHDOG_USEC", &limit.as_micros().to_string());
    // One answer takes longer than the watchdog's patience.
    world.api.configure(|api| api.latency = Duration::from_secs(3));
    let daemon = world.start(&[]);
    until_said(&said, "STATUS=last run").await;
    let began = Instant::now();
    until("some idle time", async || (began.elapsed() > 2 * limit).then_some(())).await;
    let beats: Vec<Instant> = {
        let said = said.lock().unwrap();
        let beats = said.iter().filter(|(_, word)| word == "WATCHDOG=1");
        beats.map(|(at, _)| *at).collect()
    };
    let longest = beats.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    assert!(longest < limit, "{longest:?}");
    assert!(beats.len() >= 8, "{}", beats.len());

    daemon.signal("STOP");
    // What was sent before it stopped may still be on its way.
    let heard = |said: &Said| words(said).len();
    let mut before = heard(&said);
    let mut quiet_since = Instant::now();
    until("silence", async || {
        let now = heard(&said);
        if now != before {
            (before, quiet_since) = (now, Instant::now());
        }
        (quiet_since.elapsed() > limit).then_some(())
    })
    .await;
    daemon.signal("CONT");
    daemon.signal("TERM");
    daemon.wait().expect(0);
}
