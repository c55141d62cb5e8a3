//! TLS before a server that speaks plain HTTP: what the other side makes of a certificate, and what it says above TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Longer than any request takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How far a handshake goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handshake {
    /// To its end, if the other side wants that.
    Whole,
    /// The connection is closed after so many bytes of the server's first answer.
    Cut(usize),
}

/// A running gateway on a port of its own; it ends when this is dropped.
pub(crate) struct Gateway {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What came of the connections.
#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    through: AtomicUsize,
    heard: AtomicUsize,
    over: AtomicBool,
}

impl Gateway {
    /// Shows `NAME.pem` of this folder, and hands requests on to `behind` (a host and a port).
    pub(crate) fn start(folder: &Path, name: &str, handshake: Handshake, behind: &str) -> Self {
        let chain = CertificateDer::pem_file_iter(folder.join(format!("{name}.pem")))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (shared, behind) = (Arc::clone(&seen), behind.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let (config, seen, behind) = (Arc::clone(&config), Arc::clone(&shared), behind.clone());
                std::thread::spawn(move || {
                    let _ = serve(stream?, config, handshake, &behind, &seen);
                    io::Result::Ok(())
                });
            }
        });
        Self { address, seen }
    }

    /// For a URL.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Connections whose handshake did not come to its end.
    pub(crate) fn refused(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst) - self.seen.through.load(Ordering::SeqCst)
    }

    /// Bytes that came above TLS.
    pub(crate) fn heard(&self) -> usize {
        self.seen.heard.load(Ordering::SeqCst)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::SeqCst);
        // The listener waits for one more connection before it looks.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    handshake: Handshake,
    behind: &str,
    seen: &Seen,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
    match handshake {
        Handshake::Whole => shake_hands(&mut tls, &mut stream)?,
        Handshake::Cut(after) => return cut_short(&mut tls, &mut stream, after),
    }
    seen.through.fetch_add(1, Ordering::SeqCst);
    let mut tls = StreamOwned::new(tls, stream);
    loop {
        let request = message(&mut tls, |bytes| {
            seen.heard.fetch_add(bytes, Ordering::SeqCst);
        })?;
        let mut server = TcpStream::connect(behind)?;
        server.set_read_timeout(Some(PATIENCE))?;
        server.write_all(&request)?;
        let answer = message(&mut server, |_| ())?;
        tls.write_all(&answer)?;
        tls.flush()?;
    }
}

fn shake_hands(tls: &mut ServerConnection, stream: &mut TcpStream) -> io::Result<()> {
    while tls.is_handshaking() {
        let (read, written) = tls.complete_io(stream)?;
        if read + written == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// The true first answer of a server, and then no more than so many bytes of it.
fn cut_short(tls: &mut ServerConnection, stream: &mut TcpStream, after: usize) -> io::Result<()> {
    while !tls.wants_write() {
        if tls.read_tls(stream)? == 0 {
            break;
        }
        tls.process_new_packets().map_err(io::Error::other)?;
    }
    let mut answer = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut answer)?;
    }
    stream.write_all(&answer[..after.min(answer.len())])
}

/// A request or an answer: a head, and as many bytes as it announces.
fn message(from: &mut impl Read, count: impl Fn(usize)) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte)?;
        count(1);
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body)?;
    count(body.len());
    bytes.append(&mut body);
    Ok(bytes)
}
