//! A stretch of network between the program and PostgreSQL: slow, or silent from a certain message on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where it falls silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The message does not arrive.
    Before,
    /// Half of it arrives.
    Within,
    /// It arrives, its answer does not.
    After,
}

#[derive(Default)]
struct State {
    server: String,
    delay: Duration,
    messages: usize,
    round_trips: usize,
    /// The program has spoken last.
    asked: bool,
    planned: Option<(usize, Silence)>,
    silent: bool,
}

/// Ends when this is dropped.
pub(crate) struct Link {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: DropGuard,
}

impl Link {
    /// To the server of this URL.
    pub(crate) fn to(url: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (state, stop) = (Arc::<Mutex<State>>::default(), CancellationToken::new());
        let link = Self { address, state: Arc::clone(&state), _stop: stop.clone().drop_guard() };
        link.lead_to(url);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(stop.run_until_cancelled(serve(listener, state)));
        });
        link
    }

    /// New connections go to the server of this URL.
    pub(crate) fn lead_to(&self, url: &str) {
        let server = url::Url::parse(url).unwrap();
        self.state.lock().unwrap().server =
            format!("{}:{}", server.host_str().unwrap(), server.port().unwrap());
    }

    /// The same database, reached over this.
    pub(crate) fn url(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).unwrap();
        url.set_ip_host(self.address.ip()).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.into()
    }

    /// How long everything is on its way, each way.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Whole, until the nth message from now on; then no connection brings anything any more.
    pub(crate) fn fall_silent_at(&self, message: usize, silence: Silence) {
        let mut state = self.state.lock().unwrap();
        (state.messages, state.silent) = (0, false);
        state.planned = Some((message, silence));
    }

    pub(crate) fn fall_silent(&self) {
        self.state.lock().unwrap().silent = true;
    }

    /// New connections are whole again. Tells whether it was silent.
    pub(crate) fn repair(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.planned = None;
        std::mem::take(&mut state.silent)
    }

    /// How many messages the program has sent to the server.
    pub(crate) fn messages(&self) -> usize {
        self.state.lock().unwrap().messages
    }

    /// How often the program has spoken to the server after the server had spoken, or for the first time: each costs the way there
    /// and back.
    pub(crate) fn round_trips(&self) -> usize {
        self.state.lock().unwrap().round_trips
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.state.lock().unwrap().silent
    }
}

async fn serve(listener: std::net::TcpListener, state: Arc<Mutex<State>>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((client, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let server = state.lock().unwrap().server.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else { return };
            let _ = server.set_nodelay(true);
            let _ = client.set_nodelay(true);
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            // A connection that was silent once stays so.
            let dead = Arc::new(Mutex::new(false));
            let asking = forward(from_client, to_server, Arc::clone(&state), Arc::clone(&dead), true);
            let answering = forward(from_server, to_client, state, dead, false);
            tokio::select! {
                () = asking => {}
                () = answering => {}
            }
        });
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    state: Arc<Mutex<State>>,
    dead: Arc<Mutex<bool>>,
    asking: bool,
) {
    let (send, receive) = mpsc::unbounded_channel();
    let reading = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let mut dead = dead.lock().unwrap();
            let (passes, due) = state.lock().unwrap().pass(count, asking, &mut dead);
            let _ = send.send((due, buffer[..passes].to_vec()));
        }
    };
    tokio::select! {
        () = reading => {}
        () = write(to, receive) => {}
    }
}

async fn write(mut to: OwnedWriteHalf, mut receive: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>) {
    while let Some((due, bytes)) = receive.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

impl State {
    /// How many of these bytes pass, and when.
    fn pass(&mut self, count: usize, asking: bool, dead: &mut bool) -> (usize, Instant) {
        let mut passes = if self.silent || *dead { 0 } else { count };
        self.round_trips += usize::from(asking && !self.asked);
        self.asked = asking;
        if asking && passes > 0 {
            self.messages += 1;
            if let Some((message, silence)) = self.planned
                && self.messages == message
            {
                self.silent = true;
                passes = match silence {
                    Silence::Before => 0,
                    Silence::Within => count / 2,
                    Silence::After => count,
                };
            }
        }
        *dead |= self.silent;
        (passes, Instant::now() + self.delay)
    }
}
