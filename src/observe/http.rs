//! The listener of `http.listen`: `/healthz`, `/readyz`, `/metrics`, and a page for people at `/`.
//!
//! Reads only, answers only GET and HEAD, reads no request body, and never holds up a run: what it asks of the database it asks at most
//! once in two seconds, however many look.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::store::{Snapshot, Timestamp};

use super::bounded;
use super::health;
use super::metrics::{CONTENT_TYPE, Metrics};
use super::page::render;
use super::view::Installation;

/// How long one look at the database serves everybody.
const FRESH_FOR: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// On every answer: nothing is run, framed, cached or guessed, and a connection is for one request.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CONNECTION, "close"),
];

/// A look at the database; the error in words, without secrets.
pub type Look = Box<dyn Fn() -> BoxFuture<'static, Result<Snapshot, String>> + Send + Sync>;

pub struct StatusServer {
    pub metrics: Arc<Metrics>,
    pub next_run: watch::Receiver<Option<Timestamp>>,
    pub allowed_hosts: Vec<String>,
    pub installation: Installation,
    /// Asks the database. Never dropped half way: a look that takes too long goes on, unheard, and the next begins after it.
    pub look: Look,
    pub clock: fn() -> Timestamp,
}

/// Whether it is a daemon of this program that answers at an address.
pub async fn is_daemon(address: SocketAddr) -> bool {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let ask = async {
        let mut stream = TcpStream::connect((host, address.port())).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(1 << 20).read_to_end(&mut answer).await?;
        io::Result::Ok(String::from_utf8_lossy(&answer).contains("understory_sync_build_info"))
    };
    matches!(timeout(Duration::from_secs(5), ask).await, Ok(Ok(true)))
}

/// Serves until a shutdown is requested, and then at most 0.7 s longer.
pub async fn serve(listener: TcpListener, shown: StatusServer, stop: CancellationToken) {
    let bound_to = listener.local_addr().ok().map(|address| address.ip());
    let hosts =
        bound_to.filter(IpAddr::is_loopback).map(|address| local_hosts(address, &shown.allowed_hosts));
    bounded::serve(listener, router(shown, hosts), stop).await;
}

/// What the `Host` header may name where only this machine is served: a page elsewhere can point a name of its own at 127.0.0.1, and
/// would read the answers as its own (DNS rebinding).
fn local_hosts(bound_to: IpAddr, allowed: &[String]) -> Vec<String> {
    let own = ["localhost", "127.0.0.1", "[::1]", &bound_to.to_string()].map(str::to_owned);
    own.into_iter().chain(allowed.iter().cloned()).collect()
}

type SharedSnapshot = Result<Arc<Snapshot>, String>;

struct Window {
    shown: StatusServer,
    seen: Arc<Mutex<Option<(Instant, SharedSnapshot)>>>,
}

/// `hosts`: the only ones that are answered to; none: any.
fn router(shown: StatusServer, hosts: Option<Vec<String>>) -> Router {
    let window = Arc::new(Window { shown, seen: Arc::default() });
    Router::new()
        .route("/", get(page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found\n") })
        .layer(axum::middleware::from_fn_with_state(Arc::new(hosts), check_host))
        .layer(axum::middleware::map_response(with_headers))
        .with_state(window)
}

async fn check_host(State(hosts): State<Arc<Option<Vec<String>>>>, request: Request, next: Next) -> Response {
    match hosts.as_ref() {
        Some(hosts) if !names_only(hosts, &request) => {
            let reason = "this host name is not served here; http.allowed_hosts can add it\n";
            (StatusCode::MISDIRECTED_REQUEST, reason).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Whether a request names no other host than these. One that names none comes from no browser.
fn names_only(hosts: &[String], request: &Request) -> bool {
    let is_known = |authority: &Authority| {
        let host = authority.host().to_ascii_lowercase();
        !authority.as_str().contains('@') && hosts.contains(&host)
    };
    let mut named = request.headers().get_all(header::HOST).iter();
    request.uri().authority().is_none_or(is_known)
        && named.all(|host| Authority::try_from(host.as_bytes()).is_ok_and(|authority| is_known(&authority)))
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl Window {
    async fn snapshot(self: &Arc<Self>) -> SharedSnapshot {
        let deadline = Instant::now() + ANSWER_WITHIN;
        let late = || {
            let seconds = ANSWER_WITHIN.as_secs();
            format!("the database has not answered within {seconds} s")
        };
        let Ok(mut seen) = timeout_at(deadline, Arc::clone(&self.seen).lock_owned()).await else {
            return Err(late());
        };
        if let Some((at, snapshot)) = seen.as_ref()
            && at.elapsed() < FRESH_FOR
        {
            return snapshot.clone();
        }
        let window = Arc::clone(self);
        let look = tokio::spawn(async move {
            let snapshot = (window.shown.look)().await.map(Arc::new);
            *seen = Some((Instant::now(), snapshot.clone()));
            snapshot
        });
        match timeout_at(deadline, look).await {
            Ok(Ok(snapshot)) => snapshot,
            Ok(Err(_)) | Err(_) => Err(late()),
        }
    }

    fn next_run(&self) -> Option<Timestamp> {
        *self.shown.next_run.borrow()
    }
}

async fn readyz(State(window): State<Arc<Window>>) -> Response {
    let StatusServer { installation, clock, .. } = &window.shown;
    let seen = window.snapshot().await;
    match health::verdict(seen.as_deref(), &installation.health, clock()) {
        Ok(()) => "ok\n".into_response(),
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons).into_response(),
    }
}

async fn metrics(State(window): State<Arc<Window>>) -> Response {
    let metrics = &window.shown.metrics;
    metrics.set_next_run(window.next_run());
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.render()).into_response()
}

async fn page(State(window): State<Arc<Window>>) -> Html<String> {
    let seen = window.snapshot().await;
    let (next_run, now) = (window.next_run(), (window.shown.clock)());
    let seen = seen.as_deref().map_err(String::as_str);
    Html(render(seen, &window.shown.installation, next_run, now))
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
