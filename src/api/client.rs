//! One HTTP request and its answer: the only place that talks to reqwest.
//!
//! Owns how the client is built, the cap on an answer's size, and what reqwest's errors mean. Repeats nothing, follows
//! nothing, and lets no word of the libraries out: their messages can hold URLs, and those hold cursors.

use std::error::Error as StdError;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use flate2::write::MultiGzDecoder;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, RETRY_AFTER,
};
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, Request, Response};
use rustls::crypto::{CryptoProvider, ring};

use super::clock::{Reading, date};
use super::error::{ApiError, Endpoint};
use super::retry::{self, Fault, Transient};
use crate::exit::{Exit, Problem};

#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) read: Duration,
    pub(super) request: Duration,
}

/// How much of an answer's body is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Want {
    /// The most bytes, after decompression.
    pub(super) limit: usize,
    /// Read it only with these statuses; else it is left where it is.
    pub(super) with: fn(u16) -> bool,
}

/// What came back. The body is empty where it was not wanted.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) time: Option<Reading>,
    pub(super) body: Vec<u8>,
}

/// Builds the client. Where no URL is https, the system's certificates are neither needed nor read, so that a test or a
/// demo on loopback works in an image without any.
pub(super) fn build(user_agent: &str, timeouts: Timeouts, https: bool) -> Result<Client, ApiError> {
    let agent = HeaderValue::from_str(user_agent).map_err(|_| {
        Problem::new(Exit::Config, "api.user_agent holds what no HTTP header can")
            .next_step("use visible ASCII, such as Company/Application")
    })?;
    let builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
        .pool_max_idle_per_host(1)
        .connect_timeout(timeouts.connect)
        .read_timeout(timeouts.read)
        .timeout(timeouts.request)
        .user_agent(agent)
        .no_proxy()
        // Plain http is for this machine alone, so no resolver is asked where that is. 0: the URL's own port.
        .resolve_to_addrs(
            "localhost",
            &[SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), (Ipv6Addr::LOCALHOST, 0).into()],
        );
    let builder = if https { with_proxy(with_system_roots(builder))? } else { without_roots(builder)? };
    builder.build().map_err(|_| no_tls())
}

fn no_tls() -> ApiError {
    Problem::new(Exit::Config, "no TLS client could be set up: no CA certificates were found")
        .next_step("install the system's CA bundle (Debian: ca-certificates), or let SSL_CERT_FILE name one")
        .into()
}

/// The platform's verifier (which honours SSL_CERT_FILE). reqwest asks for the process's crypto provider, and would
/// panic where none is set.
fn with_system_roots(builder: ClientBuilder) -> ClientBuilder {
    if CryptoProvider::get_default().is_none() {
        // Loses only against somebody who just set one.
        let _ = ring::default_provider().install_default();
    }
    builder.tls_backend_rustls()
}

/// TLS that trusts nobody: it is never used, as no URL is https and no redirect is followed.
fn without_roots(builder: ClientBuilder) -> Result<ClientBuilder, ApiError> {
    let tls = rustls::ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|_| no_tls())?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(builder.tls_backend_preconfigured(tls))
}

/// `HTTPS_PROXY` for https, but for what `NO_PROXY` names. Plain http is loopback only and never goes through a proxy.
fn with_proxy(builder: ClientBuilder) -> Result<ClientBuilder, ApiError> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let Some(url) = set("HTTPS_PROXY").or_else(|| set("https_proxy")) else {
        return Ok(builder);
    };
    let url = url.trim();
    // reqwest takes the URL of a kind of proxy that is not built in, and then fails at every connection.
    let is_known = matches!(url.split_once("://"), None | Some(("http" | "https", _)));
    let proxy = Proxy::https(url).ok().filter(|_| is_known).ok_or_else(|| {
        Problem::new(Exit::Config, "HTTPS_PROXY is not a URL that can be used")
            .next_step("set HTTPS_PROXY to http://HOST:PORT, or unset it; NO_PROXY names exceptions")
    })?;
    Ok(builder.proxy(proxy.no_proxy(NoProxy::from_env())))
}

pub(super) async fn send(
    client: &Client,
    endpoint: Endpoint,
    mut request: Request,
    want: Want,
) -> Result<Answer, Fault> {
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let response = client.execute(request).await.map_err(|error| fault(endpoint, &error))?;
    let status = response.status().as_u16();
    let time = Reading::of(response.headers());
    let retry_after = retry_after(response.headers(), answered_at(response.headers()));
    let body = if (want.with)(status) {
        match read(endpoint, response, want.limit).await {
            Err(_) if status != 200 => Vec::new(), // errors are judged by their status, whatever their body does
            body => body?,
        }
    } else {
        Vec::new()
    };
    Ok(Answer { status, retry_after, time, body })
}

/// When the answer was made, by the clock that a date in its `Retry-After` goes by; else by this machine's.
fn answered_at(headers: &HeaderMap) -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "only where the answer names no time of its own")]
    date(headers).map_or_else(SystemTime::now, SystemTime::from)
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    retry::retry_after(value, now)
}

struct Limited {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body as it comes, plain or in gzip of any number of members (RFC 1952).
enum BodyDecoder {
    Plain(Limited),
    Gzip(Box<MultiGzDecoder<Limited>>),
}

impl BodyDecoder {
    fn new(headers: &HeaderMap, limit: usize) -> Self {
        let body = Limited { bytes: Vec::new(), limit };
        let encoding = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).map(str::trim);
        match encoding {
            Some(name) if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Self::Gzip(Box::new(MultiGzDecoder::new(body)))
            }
            _ => Self::Plain(body),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(body) => body.write_all(bytes),
            Self::Gzip(body) => body.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(body) => Ok(body.bytes),
            Self::Gzip(body) => Ok(body.finish()?.bytes),
        }
    }
}

/// Reads a body up to the limit. Memory follows what arrives, never what was announced.
async fn read(endpoint: Endpoint, mut response: Response, limit: usize) -> Result<Vec<u8>, Fault> {
    let failed = |error: &io::Error| match error.kind() {
        io::ErrorKind::FileTooLarge => Fault::Final(ApiError::too_large(endpoint, limit)),
        _ => Transient::new("the compressed answer is damaged").into(),
    };
    let mut body = BodyDecoder::new(response.headers(), limit);
    if announced(&response).is_some_and(|length| length > limit as u64) {
        return Err(failed(&io::ErrorKind::FileTooLarge.into()));
    }
    let mut received = 0_usize;
    while let Some(chunk) = response.chunk().await.map_err(|error| fault(endpoint, &error))? {
        received = received.saturating_add(chunk.len());
        // Members without content would go on for ever.
        if received > limit {
            return Err(failed(&io::ErrorKind::FileTooLarge.into()));
        }
        body.write(&chunk).map_err(|error| failed(&error))?;
    }
    body.finish().map_err(|error| failed(&error))
}

fn announced(response: &Response) -> Option<u64> {
    let header = || response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    response.content_length().or_else(header)
}

/// What reqwest's error means to us.
fn fault(endpoint: Endpoint, error: &reqwest::Error) -> Fault {
    let key = endpoint.key();
    let mut tls = false;
    let mut io_kind = None;
    let mut unresolved = false;
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(link) = next {
        if let Some(rustls::Error::InvalidCertificate(why)) = link.downcast_ref() {
            return Fault::Final(certificate_refused(endpoint, why));
        }
        tls |= link.is::<rustls::Error>();
        if let Some(error) = link.downcast_ref::<io::Error>() {
            io_kind = Some(error.kind());
        }
        // What follows has no public type, but fixed words of hyper-util's connectors.
        match link.to_string().as_str() {
            "dns error" => unresolved = true,
            "tunnel error: proxy authorization required" => {
                return Transient::new("the proxy of HTTPS_PROXY asks for a login (status 407)")
                    .next_step("write HTTPS_PROXY as http://USER:PASSWORD@HOST:PORT")
                    .into();
            }
            "tunnel error: unsuccessful" => {
                let words =
                    "the proxy of HTTPS_PROXY refused the connection (its status was neither 200 nor 407)";
                let next_step = format!("let the proxy reach the host of {key}, or except it with NO_PROXY");
                return Transient::new(words).next_step(next_step).into();
            }
            _ => {}
        }
        next = inner(link);
    }
    let passing = if !error.is_connect() && error.is_timeout() {
        timed_out(endpoint)
    } else if tls && !error.is_timeout() {
        handshake_broke(endpoint)
    } else if error.is_connect() {
        not_connected(endpoint, error.is_timeout(), unresolved, io_kind)
    } else {
        Transient::new("the connection broke before the answer was complete")
    };
    passing.into()
}

const TEN_SECONDS: &str = "no complete answer within 10 seconds";

/// `heartbeat.rs` sets it, not the configuration.
fn has_own_timeout(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::Heartbeat | Endpoint::Notification)
}

fn timed_out(endpoint: Endpoint) -> Transient {
    if has_own_timeout(endpoint) {
        return Transient::new(TEN_SECONDS);
    }
    Transient::new("no complete answer within api.read_timeout and api.request_timeout")
        .next_step("if this goes on, raise api.request_timeout or lower api.page_size")
}

fn handshake_broke(endpoint: Endpoint) -> Transient {
    let key = endpoint.key();
    Transient::new("the TLS handshake broke")
        .next_step(format!("look at {key}: is it https on that port, and is something in between?"))
}

fn not_connected(
    endpoint: Endpoint,
    is_timeout: bool,
    unresolved: bool,
    io_kind: Option<io::ErrorKind>,
) -> Transient {
    use io::ErrorKind as Is;
    let no_connection = |words: &'static str| {
        let key = endpoint.key();
        Transient::new(words).next_step(format!(
            "look at {key}, at this machine's network, and at HTTPS_PROXY if it needs a proxy"
        ))
    };
    match io_kind {
        _ if is_timeout && has_own_timeout(endpoint) => no_connection(TEN_SECONDS),
        _ if is_timeout => no_connection("no connection within api.connect_timeout"),
        _ if unresolved => no_connection("the host name could not be resolved"),
        Some(Is::ConnectionRefused) => no_connection("the connection was refused"),
        // Somebody took the connection, and left in the handshake.
        Some(Is::UnexpectedEof | Is::ConnectionReset | Is::ConnectionAborted | Is::BrokenPipe) => {
            handshake_broke(endpoint)
        }
        _ => no_connection("no connection could be made"),
    }
}

/// The next error within. An io::Error that wraps another passes it over in `source`.
fn inner<'a>(link: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let wrapped = link.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match wrapped {
        Some(error) => Some(error),
        None => link.source(),
    }
}

fn certificate_refused(endpoint: Endpoint, why: &rustls::CertificateError) -> ApiError {
    use rustls::CertificateError as Is;
    const CLOCK: &str = "look at this machine's clock; else the other side has to renew it";
    const BETWEEN: &str =
        "is something between this machine and the API? It is never talked to without a valid one";
    let (words, next_step) = match why {
        Is::Expired | Is::ExpiredContext { .. } => ("it has expired", CLOCK),
        Is::NotValidYet | Is::NotValidYetContext { .. } => {
            ("it is not valid yet; is this machine's clock right?", CLOCK)
        }
        // The second: an authority of a known name, with another key.
        Is::UnknownIssuer | Is::BadSignature => (
            "its issuer is not known here",
            "behind a proxy that opens TLS, let SSL_CERT_FILE name a bundle with its CA",
        ),
        Is::NotValidForName | Is::NotValidForNameContext { .. } => {
            ("it is made for another host name", BETWEEN)
        }
        Is::Revoked => ("it has been revoked", BETWEEN),
        // rustls has no case of its own for what `openssl req -x509` makes by itself, but the verifier a fixed word.
        Is::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => (
            "it is an authority's own certificate, not one for a server",
            "let the server show one with CA:FALSE, and SSL_CERT_FILE name the authority that signed it",
        ),
        _ => ("it is not acceptable", BETWEEN),
    };
    let message = format!("the certificate of {endpoint} was refused: {words}");
    Problem::new(Exit::Unavailable, message).next_step(next_step).into()
}
