#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::observe::sample::{HEALTH, now, troubled, well};

struct Served {
    address: SocketAddr,
    looks: Arc<AtomicUsize>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<io::Result<()>>,
}

async fn served(snapshot: Result<Snapshot, String>, limits: Limits) -> Served {
    let looks = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&looks);
    let (_, next_run) = watch::channel(Some(now().plus_millis(60_000)));
    let shown = Shown {
        metrics: Arc::new(Metrics::new()),
        next_run,
        health: HEALTH,
        run_timeout: None,
        look: Box::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            let snapshot = snapshot.clone();
            Box::pin(async move { snapshot })
        }),
        clock: now,
    };
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let daemon_loop = serve_bounded(Bounded::new(listener, limits), shown, stop.clone());
    Served { address, looks, stop, ended: tokio::spawn(daemon_loop) }
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
        self.say(&format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
    }
}

#[tokio::test]
async fn each_path_answers_as_promised() {
    let served = served(Ok(well()), Limits::default()).await;
    for (path, status, part) in [
        ("/healthz", 200, "\r\n\r\nok\n"),
        ("/readyz", 200, "\r\n\r\nok\n"),
        ("/metrics", 200, "content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        ("/metrics", 200, "understory_sync_next_run_timestamp_seconds 17952627"),
        ("/", 200, "<h1>understory-sync</h1>"),
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
    let served = served(Ok(well()), Limits::default()).await;
    let head = served.ask("HEAD", "/").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"] {
        let answer = served.ask(method, "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }
    let post = served.say("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405 "), "no body is waited for: {post}");
}

#[tokio::test]
async fn not_ready_is_503_with_every_reason() {
    let ill = served(Ok(troubled()), Limits::default()).await;
    let answer = ill.ask("GET", "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 "));
    assert!(answer.contains("the last complete run ended 3 h ago"), "{answer}");

    let down = served(Err("connection refused".to_owned()), Limits::default()).await;
    let answer = down.ask("GET", "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("connection refused\n"));
    assert!(down.ask("GET", "/healthz").await.starts_with("HTTP/1.1 200 "));
    assert!(down.ask("GET", "/").await.contains("does not answer"));
}

#[tokio::test]
async fn many_who_look_are_one_look_at_the_database() {
    let served = served(Ok(well()), Limits::default()).await;
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
        shown: Shown {
            metrics: Arc::new(Metrics::new()),
            next_run: watch::channel(None).1,
            health: HEALTH,
            run_timeout: None,
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

#[tokio::test]
async fn whoever_drips_or_floods_headers_is_cut_off_and_others_are_served() {
    let limits = Limits { connections: 2, lifetime: Duration::from_millis(200), bytes_in: 2_000 };
    let served = served(Ok(well()), limits).await;
    let mut drips = Vec::new();
    for _ in 0..5 {
        let mut drip = TcpStream::connect(served.address).await.unwrap();
        drip.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
        drips.push(drip);
    }
    assert!(served.ask("GET", "/healthz").await.starts_with("HTTP/1.1 200 "));
    for mut drip in drips {
        let mut answer = String::new();
        let _ = drip.read_to_string(&mut answer).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    let flood = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    assert!(!served.say(&flood).await.contains("200 OK"));
}

#[tokio::test]
async fn a_stop_ends_it_even_while_somebody_holds_a_connection() {
    let served = served(Ok(well()), Limits::default()).await;
    let mut held = TcpStream::connect(served.address).await.unwrap();
    held.write_all(b"GET /").await.unwrap();
    served.ask("GET", "/healthz").await;
    let began = std::time::Instant::now();
    served.stop.cancel();
    served.ended.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
}
