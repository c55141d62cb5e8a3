#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::observe::sample::{INSTALLATION, now, troubled, well};

struct Served {
    address: SocketAddr,
    looks: Arc<AtomicUsize>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

async fn served(snapshot: Result<Snapshot, String>) -> Served {
    served_at("127.0.0.1:0", snapshot).await
}

async fn served_at(address: &str, snapshot: Result<Snapshot, String>) -> Served {
    let looks = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&looks);
    let (_, next_run) = watch::channel(Some(now().plus_millis(60_000)));
    let shown = StatusServer {
        metrics: Arc::new(Metrics::new()),
        next_run,
        allowed_hosts: vec!["sync.example.org".to_owned()],
        installation: INSTALLATION.clone(),
        look: Box::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            let snapshot = snapshot.clone();
            Box::pin(async move { snapshot })
        }),
        clock: now,
    };
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = serve(listener, shown, stop.clone());
    Served { address, looks, stop, ended: tokio::spawn(serving) }
}

impl Served {
    /// Sends these bytes and reads until the other side closes.
    async fn say(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The other side may cut us off in mid sentence: that is an answer too.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn ask(&self, method: &str, path: &str) -> String {
        self.say(&format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await
    }
}

#[tokio::test]
async fn each_path_answers_as_promised() {
    let served = served(Ok(well())).await;
    for (path, status, part) in [
        ("/healthz", 200, "\r\n\r\nok\n"),
        ("/readyz", 200, "\r\n\r\nok\n"),
        ("/metrics", 200, "content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        ("/metrics", 200, "understory_sync_next_run_timestamp_seconds 17952627"),
        ("/", 200, "<h1>understory-sync · north · /var/lib/"),
        ("/favicon.ico", 404, "not found"),
        ("/../etc/passwd", 404, "not found"),
    ] {
        let answer = served.ask("GET", path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(part), "{path}: {answer}");
        assert!(answer.contains("content-security-policy: default-src 'none'; style-src"));
        assert!(answer.contains("x-content-type-options: nosniff"));
    }
}

#[tokio::test]
async fn head_has_no_body_and_other_methods_are_refused() {
    let served = served(Ok(well())).await;
    let head = served.ask("HEAD", "/").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"] {
        let answer = served.ask(method, "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }
    let post = served.say("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405 "), "no body is waited for: {post}");
}

#[tokio::test]
async fn not_ready_is_503_with_every_reason() {
    let ill = served(Ok(troubled())).await;
    let answer = ill.ask("GET", "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 "));
    assert!(answer.contains("the last complete run ended 3 h ago"), "{answer}");

    let down = served(Err("connection refused".to_owned())).await;
    let answer = down.ask("GET", "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("connection refused\n"));
    assert!(down.ask("GET", "/healthz").await.starts_with("HTTP/1.1 200 "));
    assert!(down.ask("GET", "/").await.contains("does not answer"));
}

#[tokio::test]
async fn many_who_look_are_one_look_at_the_database() {
    let served = served(Ok(well())).await;
    for path in ["/", "/readyz", "/metrics", "/readyz", "/"] {
        served.ask("GET", path).await;
    }
    assert_eq!(served.looks.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_hangs_is_asked_once_and_not_waited_for() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&looks);
    let window = Arc::new(Window {
        shown: StatusServer {
            metrics: Arc::new(Metrics::new()),
            next_run: watch::channel(None).1,
            allowed_hosts: Vec::new(),
            installation: INSTALLATION.clone(),
            look: Box::new(move || {
                counter.fetch_add(1, Ordering::Relaxed);
                Box::pin(std::future::pending())
            }),
            clock: now,
        },
        seen: Arc::default(),
    });
    for _ in 0..3 {
        let began = Instant::now();
        assert!(window.snapshot().await.is_err());
        assert_eq!(began.elapsed(), ANSWER_WITHIN);
    }
    assert_eq!(looks.load(Ordering::Relaxed), 1);
}

/// Connects from an address of this machine: each is another peer.
async fn connect(served: &Served, from: u8) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, from], 0))).unwrap();
    socket.connect(served.address).await.unwrap()
}

/// What is sent until the other side closes, and how long that takes.
async fn until_closed(stream: &mut TcpStream) -> (String, Duration) {
    let began = Instant::now();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    (String::from_utf8(answer).unwrap(), began.elapsed())
}

async fn is_healthy(served: &Served, from: u8) {
    let began = Instant::now();
    let mut stream = connect(served, from).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let (answer, _) = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn idle_connections_of_one_peer_or_of_many_keep_nobody_out() {
    let served = served(Ok(well())).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(connect(&served, 1).await);
    }
    // The same peer is served too, for its own oldest one makes room.
    is_healthy(&served, 1).await;
    is_healthy(&served, 2).await;
    let (answer, took) = until_closed(&mut idle[0]).await;
    assert!(answer.is_empty() && took < Duration::from_secs(1), "the oldest one is gone: {took:?}");
    for peer in 3..30 {
        for _ in 0..8 {
            idle.push(connect(&served, peer).await);
        }
    }
    is_healthy(&served, 31).await;
    is_healthy(&served, 3).await;
}

#[tokio::test]
async fn a_request_that_is_not_complete_in_two_seconds_is_not_waited_for() {
    let served = served(Ok(well())).await;
    for begun in ["", "GET / HTTP/1.1\r\nhost: "] {
        let mut stream = connect(&served, 1).await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        let (answer, took) = until_closed(&mut stream).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        assert!((1_500..4_000).contains(&took.as_millis()), "{took:?}");
    }
}

#[tokio::test]
async fn whoever_floods_headers_is_cut_off() {
    let served = served(Ok(well())).await;
    let head =
        |bytes| format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(bytes));
    assert!(served.say(&head(4_000)).await.contains("200 OK"));
    assert!(!served.say(&head(100_000)).await.contains("200 OK"));
}

#[tokio::test]
async fn on_loopback_only_names_of_this_machine_and_allowed_ones_are_answered_to() {
    let served = served(Ok(well())).await;
    let ask =
        async |target: &str, hosts: &str| served.say(&format!("GET {target} HTTP/1.1\r\n{hosts}\r\n")).await;
    for host in ["localhost", "LocalHost:9187", "127.0.0.1:9187", "[::1]:9187", "sync.example.org"] {
        let answer = ask("/metrics", &format!("host: {host}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.7", "x@localhost", ""]
    {
        let answer = ask("/metrics", &format!("host: {host}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 421 "), "{host}: {answer}");
        assert!(answer.contains("x-content-type-options: nosniff") && !answer.contains("understory_sync_"));
    }
    assert!(ask("http://evil.example/metrics", "host: localhost\r\n").await.starts_with("HTTP/1.1 421 "));
    assert!(ask("/metrics", "host: localhost\r\nhost: evil.example\r\n").await.starts_with("HTTP/1.1 421 "));
}

#[tokio::test]
async fn bound_to_more_than_loopback_any_name_is_answered_to() {
    let everywhere = served_at("0.0.0.0:0", Ok(well())).await;
    let answer = everywhere.say("GET /healthz HTTP/1.1\r\nhost: sync.internal\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_stop_ends_it_even_while_somebody_holds_a_connection() {
    let served = served(Ok(well())).await;
    let mut held = TcpStream::connect(served.address).await.unwrap();
    held.write_all(b"GET /").await.unwrap();
    served.ask("GET", "/healthz").await;
    let began = std::time::Instant::now();
    served.stop.cancel();
    served.ended.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
}
