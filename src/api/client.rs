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

use super::cause::{Cause, Certificate, Endpoint, Setup};
use super::clock::{Reading, date};
use super::error::ApiError;
use super::retry::{Fault, retry_after};

/// The time-outs of one request.
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
    pub(super) asked_wait: Option<Duration>,
    pub(super) time: Option<Reading>,
    pub(super) body: Vec<u8>,
}

/// Builds the client. Where no URL is https, the system's certificates are neither needed nor read, so that a test or a
/// demo on loopback works in an image without any.
pub(super) fn build(user_agent: &str, timeouts: Timeouts, https: bool) -> Result<Client, ApiError> {
    let agent = HeaderValue::from_str(user_agent).map_err(|_| ApiError::Setup(Setup::UserAgent))?;
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
    builder.build().map_err(|_| ApiError::Setup(Setup::Tls))
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
        .map_err(|_| ApiError::Setup(Setup::Tls))?
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
    if !matches!(url.split_once("://"), None | Some(("http" | "https", _))) {
        return Err(ApiError::Setup(Setup::Proxy));
    }
    let proxy = Proxy::https(url).map_err(|_| ApiError::Setup(Setup::Proxy))?.no_proxy(NoProxy::from_env());
    Ok(builder.proxy(proxy))
}

/// Sends a request and reads what is wanted of the answer.
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
    let asked_wait = wait_of(response.headers(), answered_at(response.headers()));
    let body = if (want.with)(status) {
        match read(endpoint, response, want.limit).await {
            Err(_) if status != 200 => Vec::new(), // errors are judged by their status, whatever their body does
            body => body?,
        }
    } else {
        Vec::new()
    };
    Ok(Answer { status, asked_wait, time, body })
}

/// When the answer was made, by the clock that a date in its `Retry-After` goes by; else by this machine's.
fn answered_at(headers: &HeaderMap) -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "only where the answer names no time of its own")]
    date(headers).map_or_else(SystemTime::now, SystemTime::from)
}

/// `Retry-After`, if it says anything.
pub(super) fn wait_of(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    retry_after(value, now)
}

/// Takes bytes up to a limit.
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
enum Body {
    Plain(Limited),
    Gzip(Box<MultiGzDecoder<Limited>>),
}

impl Body {
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
        io::ErrorKind::FileTooLarge => Fault::Final(ApiError::TooLarge { endpoint, limit }),
        _ => Cause::Encoding.into(),
    };
    let mut body = Body::new(response.headers(), limit);
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
    let mut tls = false;
    let mut io_kind = None;
    let mut unresolved = false;
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(link) = next {
        if let Some(rustls::Error::InvalidCertificate(why)) = link.downcast_ref() {
            return Fault::Final(ApiError::Certificate { endpoint, why: certificate(why) });
        }
        tls |= link.is::<rustls::Error>();
        if let Some(error) = link.downcast_ref::<io::Error>() {
            io_kind = Some(error.kind());
        }
        // What follows has no public type, but fixed words of hyper-util's connectors.
        match link.to_string().as_str() {
            "dns error" => unresolved = true,
            "tunnel error: proxy authorization required" => return Cause::ProxyLogin.into(),
            "tunnel error: unsuccessful" => return Cause::ProxyRefused.into(),
            _ => {}
        }
        next = inner(link);
    }
    let cause = if error.is_timeout() {
        if error.is_connect() { Cause::ConnectTimeout } else { Cause::Timeout }
    } else if tls {
        Cause::Tls
    } else if error.is_connect() {
        match io_kind {
            _ if unresolved => Cause::Resolve,
            Some(io::ErrorKind::ConnectionRefused) => Cause::ConnectionRefused,
            // Somebody took the connection, and left in the handshake.
            Some(
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe,
            ) => Cause::Tls,
            _ => Cause::Connect,
        }
    } else {
        Cause::Broken
    };
    cause.into()
}

/// The next error within. An io::Error that wraps another passes it over in `source`.
fn inner<'a>(link: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let wrapped = link.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match wrapped {
        Some(error) => Some(error),
        None => link.source(),
    }
}

fn certificate(error: &rustls::CertificateError) -> Certificate {
    use rustls::CertificateError as Is;
    match error {
        Is::Expired | Is::ExpiredContext { .. } => Certificate::Expired,
        Is::NotValidYet | Is::NotValidYetContext { .. } => Certificate::NotYet,
        // The second: an authority of a known name, with another key.
        Is::UnknownIssuer | Is::BadSignature => Certificate::UnknownIssuer,
        Is::NotValidForName | Is::NotValidForNameContext { .. } => Certificate::WrongName,
        Is::Revoked => Certificate::Revoked,
        // rustls has no case of its own for it, but the verifier a fixed word.
        Is::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => Certificate::Authority,
        _ => Certificate::Other,
    }
}
