//! `HTTPS_PROXY` and `NO_PROXY`: the way to the API through a proxy, which hears a host's name and no more.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::certificates::{Authority, Valid};
use crate::support::raw::{Move, Raw};
use crate::support::tls::{Gateway, Handshake};
use crate::support::{Engine, World, until};

/// Longer than any request takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A proxy that makes tunnels, and what it was asked in plain.
struct Tunnels {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnels {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let shared = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let asked = Arc::clone(&shared);
                std::thread::spawn(move || tunnel(stream?, &asked));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn tunnel(mut near: TcpStream, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    near.set_read_timeout(Some(PATIENCE))?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        near.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(head);
    let mut far = TcpStream::connect(target)?;
    far.set_read_timeout(Some(PATIENCE))?;
    near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut back, mut from) = (near.try_clone()?, far.try_clone()?);
    std::thread::spawn(move || io::copy(&mut from, &mut back));
    io::copy(&mut near, &mut far).map(drop)
}

#[tokio::test]
async fn the_api_is_reached_through_a_proxy_or_past_it_as_the_environment_says() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(150);
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::make(folder.path(), "authority");
    authority.sign("api", "IP:127.0.0.1", Valid::Now);
    let behind = format!("127.0.0.1:{}", world.api.port());
    let gateway = Gateway::start(folder.path(), "api", Handshake::Whole, &behind);
    world.set("api.base_url", &gateway.url());
    world.set("log.level", "trace");
    world.variable("SSL_CERT_FILE", authority.file().to_str().unwrap());
    let proxy = Tunnels::start();
    let url = format!("http://me:pass-word@{}", proxy.address);
    world.variable("HTTPS_PROXY", &url);

    let done = world.run_once().expect(0);
    assert_eq!(world.db.count("active_consents").await, 150);
    assert!(!done.output().contains("pass-word"), "{}", done.output());
    let asked = proxy.asked();
    // The token endpoint is plain HTTP on loopback, which never goes through a proxy.
    assert_eq!(asked.len(), 1, "{asked:?}");
    let origin = gateway.url().replace("https://", "");
    assert!(asked[0].starts_with(&format!("CONNECT {origin} HTTP/1.1\r\n")));
    assert!(asked[0].to_lowercase().contains("proxy-authorization: basic "));
    assert!(!asked[0].contains("consents") && !asked[0].contains("Bearer"));

    world.variable("NO_PROXY", "127.0.0.1");
    world.run_once().expect(0);
    assert_eq!(proxy.asked(), [""; 0]);
}

#[tokio::test]
async fn a_proxy_that_does_not_help_is_told_as_that_and_its_password_is_not() {
    let world = World::on(Engine::Sqlite).await;
    world.set("api.base_url", "https://api.example.org");
    world.set("retry.max_attempts", "2");
    world.set("log.level", "trace");
    let refusal = b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n".to_vec();
    let proxy = Raw::start(vec![vec![Move::Request, Move::Send(refusal)]]);
    let forbids = Raw::start(vec![vec![
        Move::Request,
        Move::Send(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n".to_vec()),
    ]]);
    let with_password = |url: &str| url.replace("://", "://me:pass-word@");
    for (url, code, words) in [
        (proxy.url(), 75, "the proxy of HTTPS_PROXY asks for a login (status 407)"),
        (forbids.url(), 75, "the proxy of HTTPS_PROXY refused the connection"),
        ("http://127.0.0.1:1".to_owned(), 75, "the connection was refused"),
        ("socks5://127.0.0.1:1080".to_owned(), 78, "HTTPS_PROXY is not a URL that can be used"),
    ] {
        world.variable("HTTPS_PROXY", &with_password(&url));
        let done = world.run_once().expect(code).says(words).says("HTTPS_PROXY");
        assert!(!done.output().contains("pass-word"), "{}", done.output());
    }
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn a_renewed_authority_is_used_by_the_next_run_of_a_daemon() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(5);
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::make(folder.path(), "authority");
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Authority::make(elsewhere.path(), "other");
    authority.sign("api", "IP:127.0.0.1", Valid::Now);
    let behind = format!("127.0.0.1:{}", world.api.port());
    let gateway = Gateway::start(folder.path(), "api", Handshake::Whole, &behind);
    world.set("api.base_url", &gateway.url());
    world.set("schedule.cron", "* * * * * *");
    world.set("retry.max_attempts", "1");
    let bundle = folder.path().join("bundle.pem");
    std::fs::copy(other.file(), &bundle).unwrap();
    world.variable("SSL_CERT_FILE", bundle.to_str().unwrap());
    let daemon = world.start(&[]);
    until("a refused certificate", async || {
        daemon.stderr().contains("its issuer is not known").then_some(())
    })
    .await;
    std::fs::copy(authority.file(), &bundle).unwrap();
    let complete = "select count(*) from sync_runs where outcome = 'succeeded'";
    until("a run", async || world.db.find_number(complete).await.filter(|runs| *runs > 0)).await;
    daemon.signal("TERM");
    daemon.wait().expect(0);
}

#[tokio::test]
async fn localhost_is_this_machine() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(5);
    let local = |url: String| url.replace("127.0.0.1", "localhost");
    world.set("api.base_url", &local(world.api.base_url()));
    world.set("auth.token_url", &local(world.api.token_url()));
    world.run_once().expect(0);
}
