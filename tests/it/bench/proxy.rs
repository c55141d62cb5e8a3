//! Stands between the program and PostgreSQL and loses what it is told to lose.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What it is to do.
#[derive(Default)]
pub(crate) struct Orders {
    /// Answers to COMMIT that are still to be lost, each with its connection.
    pub(crate) lose_commits: AtomicU32,
    /// Let so many more COMMITs through before the first loss.
    pub(crate) spare_commits: AtomicU32,
    /// COMMITs whose answer was lost.
    pub(crate) lost: AtomicU32,
    /// Nothing goes through any more once a transaction has written: its COMMIT does not.
    pub(crate) freeze_in_transaction: AtomicBool,
    /// Rows were written since.
    has_written: AtomicBool,
    /// It stands still.
    pub(crate) frozen: AtomicBool,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    pub(crate) orders: Arc<Orders>,
}

impl Proxy {
    pub(crate) fn new(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let orders = Arc::new(Orders::default());
        let shared = Arc::clone(&orders);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let orders = Arc::clone(&shared);
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let mute = Arc::new(AtomicBool::new(false));
                let (c, u) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                let (o, m) = (Arc::clone(&orders), Arc::clone(&mute));
                std::thread::spawn(move || forward(c, u, |bytes| o.ask(bytes, &m)));
                std::thread::spawn(move || forward(upstream, client, |_| orders.answer(&mute)));
            }
        });
        Self { port, orders }
    }
}

/// A simple query: 'Q', length, text, NUL.
const COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";

/// What becomes of bytes.
enum Way {
    Through,
    /// The connection ends here.
    Cut,
    /// Nothing more, but the connection stays.
    Still,
}

impl Orders {
    fn ask(&self, bytes: &[u8], mute: &AtomicBool) -> Way {
        if self.frozen.load(Ordering::SeqCst) {
            return Way::Still;
        }
        let holds = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        if holds(COMMIT) && !take(&self.spare_commits) && take(&self.lose_commits) {
            self.lost.fetch_add(1, Ordering::SeqCst);
            mute.store(true, Ordering::SeqCst);
        }
        if self.freeze_in_transaction.load(Ordering::SeqCst) {
            let has_written = self.has_written.fetch_or(holds(b"insert into consents"), Ordering::SeqCst);
            if has_written && holds(COMMIT) {
                self.frozen.store(true, Ordering::SeqCst);
                return Way::Still;
            }
        }
        Way::Through
    }

    fn answer(&self, mute: &AtomicBool) -> Way {
        if mute.load(Ordering::SeqCst) {
            Way::Cut
        } else if self.frozen.load(Ordering::SeqCst) {
            Way::Still
        } else {
            Way::Through
        }
    }
}

fn take(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn forward(mut from: TcpStream, mut to: TcpStream, mut way: impl FnMut(&[u8]) -> Way) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            break;
        }
        match way(&buffer[..read]) {
            Way::Through => {
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            Way::Cut => break,
            Way::Still => loop {
                std::thread::park();
            },
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
