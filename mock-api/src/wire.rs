//! The connection under HTTP.
//!
//! A web framework writes only what HTTP allows. For everything else the mock API takes the bare connection away from it: the
//! framework then finds it closed, and a task of its own plays the steps.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::fault::Step;

/// Hands out connections that can be taken away again.
pub(super) struct Door(pub(super) TcpListener);

impl Listener for Door {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        loop {
            if let Ok((stream, peer)) = self.0.accept().await {
                // Small answers must not wait for one another; without it they are only slower.
                let _ = stream.set_nodelay(true);
                return (Wire(Arc::new(Mutex::new(Some(stream)))), peer);
            }
            // Out of file descriptors, most likely: give others time to close theirs.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection, until it is taken.
#[derive(Clone)]
pub(super) struct Wire(Arc<Mutex<Option<TcpStream>>>);

impl Wire {
    /// The bare connection; from now on the framework sees a closed one.
    pub(super) fn take(&self) -> Option<TcpStream> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<TcpStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected<IncomingStream<'_, Door>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().clone()
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_read(cx, buf),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_write(cx, buf),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Plays the steps to their end or until the other side leaves, then closes.
pub(super) async fn play(mut stream: TcpStream, steps: Vec<Step>) {
    for step in steps {
        let done = match step {
            Step::Send(bytes) => stream.write_all(&bytes).await,
            Step::Wait(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            Step::Forever(bytes) => send_forever(&mut stream, &bytes).await,
            Step::Hang => until_left(&mut stream).await,
            Step::Reset => {
                let _ = stream.set_zero_linger();
                return;
            }
        };
        if done.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

async fn send_forever(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return until_left(stream).await;
    }
    loop {
        stream.write_all(bytes).await?;
        // A client that reads fast must not starve the mock API's other connections.
        tokio::task::yield_now().await;
    }
}

async fn until_left(stream: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 1_024];
    while stream.read(&mut ignored).await? > 0 {}
    Err(io::ErrorKind::UnexpectedEof.into())
}
