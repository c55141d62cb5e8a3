//! A bare TCP server that plays a script: for what happens before HTTP begins, and for hosts that must never be asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// One move of the server on a connection.
#[derive(Debug, Clone)]
pub(crate) enum Move {
    /// Reads a request to the end of its head, and of its body where it has one.
    Request,
    /// Sends bytes.
    Send(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Nothing any more until the other side leaves.
    Hang,
    /// Ends the connection by RST.
    Reset,
}

/// A running server on a port of its own; it ends when this is dropped.
pub(crate) struct Raw {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    _stop: DropGuard,
}

impl Raw {
    /// The nth connection plays the nth script, all later ones the last.
    pub(crate) fn start(scripts: Vec<Vec<Move>>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server =
            Server { scripts: scripts.into(), connections: Arc::default(), requests: Arc::default() };
        let raw = Self {
            address,
            connections: Arc::clone(&server.connections),
            requests: Arc::clone(&server.requests),
            _stop: stop.clone().drop_guard(),
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(stop.run_until_cancelled(server.serve(listener)));
        });
        raw
    }

    /// A host that nobody has a reason to ask.
    pub(crate) fn silent() -> Self {
        Self::start(vec![vec![Move::Hang]])
    }

    /// The same answer to every request, on connections that stay open.
    pub(crate) fn answering(answer: &[u8]) -> Self {
        let turn = [Move::Request, Move::Send(answer.to_vec())];
        Self::start(vec![turn.into_iter().cycle().take(200).collect()])
    }

    /// For a URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The requests that were read, as they came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

#[derive(Clone)]
struct Server {
    scripts: Arc<[Vec<Move>]>,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn serve(self, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let number = self.connections.fetch_add(1, Ordering::SeqCst);
            let script = self.scripts.get(number).or(self.scripts.last()).cloned();
            let server = self.clone();
            tokio::spawn(async move { server.play(stream, script.unwrap_or_default()).await });
        }
    }

    /// Plays to the end of the script or until the other side leaves.
    async fn play(self, mut stream: TcpStream, script: Vec<Move>) {
        for step in script {
            let done = match step {
                Move::Request => match read_request(&mut stream).await {
                    Some(request) => {
                        self.requests.lock().unwrap().push(request);
                        true
                    }
                    None => false,
                },
                Move::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
                Move::Pause(pause) => {
                    tokio::time::sleep(pause).await;
                    true
                }
                Move::Hang => {
                    let mut ignored = [0; 1_024];
                    while matches!(stream.read(&mut ignored).await, Ok(1..)) {}
                    false
                }
                Move::Reset => {
                    let _ = stream.set_zero_linger();
                    return;
                }
            };
            if !done {
                return;
            }
        }
        let _ = stream.shutdown().await;
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let byte = stream.read_u8().await.ok()?;
        bytes.push(byte);
        if bytes.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    let length = text
        .to_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    text.push_str(&String::from_utf8_lossy(&body));
    Some(text)
}
