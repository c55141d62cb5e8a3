//! PostgreSQL's answer to a commit gets lost: what was committed counts once, and the run goes on.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::support::{Engine, World};

/// `commit` as PostgreSQL's simple protocol sends it, in lower case.
const COMMIT: &[u8] = b"q\0\0\0\x0bcommit\0";

/// Stands between the program and the server, and tears the connection when the server has carried out the nth commit.
struct Proxy {
    port: u16,
    commits: Arc<AtomicU32>,
}

impl Proxy {
    fn start(server: String, tear_at: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let commits = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&commits);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                relay(client, server, &counted, tear_at);
            }
        });
        Self { port, commits }
    }
}

fn relay(client: TcpStream, server: TcpStream, commits: &Arc<AtomicU32>, tear_at: u32) {
    let torn = Arc::new(AtomicBool::new(false));
    let (mut from_client, mut to_server) =
        (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (commits, tear) = (Arc::clone(commits), Arc::clone(&torn));
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from_client.read(&mut buffer) {
            let sent = &buffer[..count];
            let lower = sent.to_ascii_lowercase();
            if lower.windows(COMMIT.len()).any(|window| window == COMMIT)
                && commits.fetch_add(1, Ordering::SeqCst) + 1 == tear_at
            {
                tear.store(true, Ordering::SeqCst);
            }
            if to_server.write_all(sent).is_err() {
                break;
            }
        }
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let (mut from_server, mut to_client) = (server, client);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from_server.read(&mut buffer) {
            // The answer is there, so the server has carried it out.
            if torn.load(Ordering::SeqCst) || to_client.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_counts_once() {
    let mut tear_at = 1;
    loop {
        let world = World::on(Engine::Postgres).await;
        world.run(&["migrate"]).expect(0);
        world.list_people(250);
        let mut url = url::Url::parse(world.db.url()).unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let proxy = Proxy::start(server, tear_at);
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(proxy.port)).unwrap();
        url.set_query(Some("sslmode=disable"));
        world.set("database.url", url.as_str());
        let done = world.run_once();
        assert_eq!(done.code, 0, "torn at commit {tear_at}: {}", done.stderr);
        assert_eq!(world.db.count("consents").await, 250, "commit {tear_at}");
        assert_eq!(
            world
                .last_run("outcome, absence, pages, items, added, active")
                .await,
            "succeeded|judged|3|250|250|250",
            "commit {tear_at}"
        );
        assert_eq!(
            world
                .db
                .number("select count(*) from sync_runs where outcome = 'running'")
                .await,
            0
        );
        assert_eq!(world.db.count("consent_changes").await, 0);
        if proxy.commits.load(Ordering::SeqCst) < tear_at {
            break;
        }
        tear_at += 1;
    }
    assert!(tear_at > 4, "a run has more commits than {tear_at}");
}
