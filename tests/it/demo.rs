//! `demo`: the whole job in five runs, without an account, again and again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::support::{Done, Engine, Running, World, run, until};

const DATABASE: &str = "understory-demo.db";

fn demo(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.command(&[&["demo"], arguments].concat());
    // Nothing is needed, and a wrong setting of the surroundings changes nothing.
    command.env_clear().env("UNDERSTORY_SYNC__REMOVAL__CONFIRM_RUNS", "1");
    command
}

/// Plays the demo and gives a world whose database is the demo's.
pub(crate) async fn played() -> (World, Done) {
    let world = World::on(Engine::Sqlite).await;
    let done = run(demo(&world, &[])).expect(0);
    std::fs::copy(world.home().join(DATABASE), world.db.path()).unwrap();
    (world, done)
}

#[tokio::test]
async fn the_demo_tells_the_guard_a_removal_a_return_and_an_erasure() {
    let (world, done) = played().await;
    assert!(done.stderr.is_empty(), "{}", done.stderr);
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert!(lines.len() < 70, "{} lines\n{}", lines.len(), done.stdout);
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{}", done.stdout);
    for words in ["300 of 1,209", "from sync_runs", "from consent_history", "from consent_feed", DATABASE] {
        assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
    }
    let runs = world
        .db
        .rows("select items, added, updated, missing, removed, returned, absence, removals_withheld, active from sync_runs order by id")
        .await;
    assert_eq!(
        runs,
        [
            "1200|1200|0|0|0|0|judged|0|1200",
            "1209|12|7|3|0|0|judged|0|1209",
            "300|0|0|0|0|0|withheld|909|1209",
            "1209|0|0|0|3|0|judged|0|1209",
            "1210|0|0|0|0|1|judged|0|1210",
        ]
    );
    let maria = world.db.rows(
        "select change from consent_history h join consents c on c.consent_key = h.consent_key \
         where c.email = 'Maria@example.com' order by h.changed_at",
    );
    assert_eq!(maria.await, ["added", "missing", "removed", "returned"]);
    let feed = world.db.rows("select state, count(*) from consent_feed group by state order by state").await;
    assert_eq!(feed, ["active|1209", "erased|1", "inactive|2"]);
    assert_eq!(world.api.requests().len(), 0);
}

#[tokio::test]
async fn it_replaces_its_own_file_and_refuses_any_other() {
    let (world, _) = played().await;
    run(demo(&world, &[])).expect(0);
    let file = world.home().join(DATABASE);
    let foreign = world.home().join("foreign");
    for content in [&b""[..], b"notes", &[b"SQLite format 3\0".as_slice(), &[0; 84]].concat()] {
        std::fs::write(&file, content).unwrap();
        run(demo(&world, &[])).expect(78).says("understory-demo.db exists, and the demo did not make it");
        assert_eq!(std::fs::read(&file).unwrap(), content);
    }
    // A database of a real run is another's too, and so is a link, wherever it leads.
    std::fs::remove_file(&file).unwrap();
    world.set("database.url", &format!("sqlite://{}", file.display()));
    world.run_once().expect(0);
    run(demo(&world, &[])).expect(78);
    std::fs::rename(world.db.path(), &foreign).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&foreign, &file).unwrap();
    run(demo(&world, &[])).expect(78);
    assert!(foreign.exists());
}

#[tokio::test]
async fn serve_goes_on_with_the_status_page_until_it_is_told_to_stop() {
    let world = World::on(Engine::Sqlite).await;
    let running = Running::start(demo(&world, &["--serve"]));
    let address = until("the address", async || {
        let out = running.stdout();
        let (_, rest) = out.split_once("Status page: http://")?;
        Some(rest.split_once('/')?.0.to_owned())
    })
    .await;
    let page = until("the page", async || {
        let mut stream = TcpStream::connect(&address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
            .write_all(format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())
            .ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        page.starts_with("HTTP/1.1 200").then_some(page)
    })
    .await;
    assert!(page.contains("1,209"), "{page}");
    running.signal("INT");
    running.wait().expect(0);
}
