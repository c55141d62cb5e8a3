//! Connections that cannot be held open: how many there are, how long each lives, how much each may send.
//!
//! axum's own accept loop has none of these limits, and hyper's need a timer that it does not set. A page for people and scrapers needs
//! one request a connection and well under these bounds; whoever drips a byte a minute, or sends headers without end, is cut off.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// After a failed accept (no descriptors left), the next one is tried after this.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What one connection, and all of them, may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connections: usize,
    pub(super) lifetime: Duration,
    pub(super) bytes_in: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 64, lifetime: Duration::from_secs(10), bytes_in: 16 * 1024 }
    }
}

/// A TCP listener whose connections are bounded.
pub(super) struct Bounded {
    listener: TcpListener,
    limits: Limits,
    places: Arc<Semaphore>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, limits: Limits) -> Self {
        Self { listener, limits, places: Arc::new(Semaphore::new(limits.connections)) }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed; were it, no connection would be counted, none refused.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        stream,
                        end: Box::pin(tokio::time::sleep(self.limits.lifetime)),
                        bytes_left: self.limits.bytes_in,
                        _place: place,
                    };
                    return (connection, peer);
                }
                Err(error) => {
                    tracing::debug!("http.listen: no connection taken: {}", error.kind());
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection; fails once its time or its bytes are spent.
pub(super) struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    bytes_left: usize,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.alive(cx)?;
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let came = buf.filled().len() - before;
        match self.bytes_left.checked_sub(came) {
            Some(left) => self.bytes_left = left,
            None => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.alive(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
