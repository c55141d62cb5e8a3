//! Connections that cannot be held open: how many there are, of one peer and of all, how long each may take to ask and to be answered.
//!
//! axum's own accept loop has none of these limits. A page for people and scrapers needs one request a connection and well under these
//! bounds; whoever says nothing makes room for whoever comes, so that nobody keeps others out.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// After a failed accept (no descriptors left), the next one is tried after this.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// What is left of the second in which an idle process must end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(700);

const MAX_CONNECTIONS: usize = 64;
const MAX_PER_PEER: usize = 8;
/// From the connection to the end of the request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
const LIFETIME: Duration = Duration::from_secs(10);
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Serves until a shutdown is requested, and then at most 0.7 s longer.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut connections = Connections { open: Vec::new(), tasks: JoinSet::new() };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => connections.admit_connection(stream, peer.ip(), &router),
                Err(error) => {
                    tracing::debug!("http.listen: no connection taken: {}", error.kind());
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            },
        }
    }
    drop(listener);
    connections.finish().await;
}

struct Connections {
    /// Oldest first.
    open: Vec<Open>,
    tasks: JoinSet<()>,
}

struct Open {
    peer: IpAddr,
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Connections {
    fn admit_connection(&mut self, stream: TcpStream, peer: IpAddr, router: &Router) {
        let peer = network(peer);
        self.open.retain(|open| !open.task.is_finished());
        let of_peer = self.open.iter().filter(|open| open.peer == peer).count();
        let has_room = (of_peer < MAX_PER_PEER || self.drop_oldest_idle(|open| open.peer == peer))
            && (self.open.len() < MAX_CONNECTIONS || self.drop_oldest_idle(|_| true));
        if has_room {
            let asked = Arc::new(AtomicBool::new(false));
            let task = self.tasks.spawn(answer(stream, router.clone(), Arc::clone(&asked)));
            self.open.push(Open { peer, asked, task });
        }
    }

    /// Makes room; false where all of these are being answered.
    fn drop_oldest_idle(&mut self, among: impl Fn(&Open) -> bool) -> bool {
        let idle = |open: &Open| among(open) && !open.asked.load(Ordering::Relaxed);
        let Some(oldest) = self.open.iter().position(idle) else { return false };
        self.open.remove(oldest).task.abort();
        true
    }

    /// Answers who has asked; what is still open after that is closed.
    async fn finish(mut self) {
        while self.drop_oldest_idle(|_| true) {}
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, all).await;
    }
}

/// One request, one answer.
async fn answer(stream: TcpStream, router: Router, asked: Arc<AtomicBool>) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        asked.store(true, Ordering::Relaxed);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(LIFETIME, connection).await {
        tracing::trace!("http.listen: a connection ended early (timed out: {})", error.is_timeout());
    }
}

/// Whom a connection is counted for. IPv6 gives everybody a whole network of addresses.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}
