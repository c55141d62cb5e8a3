//! TLS towards the API and towards the token endpoint: who is not to be trusted hears nothing, and what breaks is asked again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::super::support::certificates::{Authority, Valid};
use super::super::support::raw::{Move, Raw};
use super::super::support::tls::{Gateway, Handshake};
use super::scenario::{ATTEMPTS, After, CLEAN, Scenario, Stage};

/// Every certificate that is shown here, and what trusts it and does not.
struct Certificates {
    folder: TempDir,
    known: PathBuf,
    stranger: PathBuf,
    namesake: PathBuf,
}

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::make(folder.path(), "authority");
        let another = |name: &str, called: &str| {
            let own = folder.path().join(name);
            std::fs::create_dir(&own).unwrap();
            Authority::make(&own, called).file()
        };
        let here = "IP:127.0.0.1,DNS:localhost";
        authority.sign("good", here, Valid::Now);
        authority.sign("elsewhere", "DNS:api.understory.io", Valid::Now);
        authority.sign("expired", here, Valid::Before);
        authority.sign("early", here, Valid::Later);
        let here = format!("subjectAltName={here}");
        authority.self_signed("own", "server", &[&here]);
        authority.self_signed("leaf", "server", &[&here, "basicConstraints=CA:FALSE"]);
        Self {
            known: authority.file(),
            stranger: another("stranger", "stranger"),
            namesake: another("namesake", "authority"),
            folder,
        }
    }
}

/// Which of the two endpoints speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Api,
    Token,
}

impl Side {
    /// The name in scenarios.
    const fn name(self) -> &'static str {
        match self {
            Self::Api => "the API's TLS",
            Self::Token => "the token endpoint's TLS",
        }
    }

    /// What is asked before this side is.
    const fn before(self) -> usize {
        match self {
            Self::Api => 1,
            Self::Token => 0,
        }
    }

    fn ask(self, stage: &Stage, origin: &str) {
        match self {
            Self::Api => stage.set("api.base_url", origin),
            Self::Token => stage.set("auth.token_url", &format!("{origin}/oauth2/token")),
        }
    }

    /// This side shows a certificate; the program trusts whom this file names.
    fn shows(
        self,
        all: &Arc<Certificates>,
        name: &'static str,
        handshake: Handshake,
        trusted: &Path,
    ) -> impl Fn(&Stage) + Send + Sync + 'static {
        let (all, trusted) = (Arc::clone(all), trusted.to_path_buf());
        move |stage| {
            let behind = format!("127.0.0.1:{}", stage.world.api.port());
            let gateway = Gateway::start(all.folder.path(), name, handshake, &behind);
            self.ask(stage, &gateway.url());
            stage.variable("SSL_CERT_FILE", trusted.to_str().unwrap());
            stage.keep(gateway);
        }
    }
}

pub(super) fn all() -> Vec<Scenario> {
    let shown = Arc::new(Certificates::make());
    let mut all = Vec::new();
    for side in [Side::Api, Side::Token] {
        all.push(trusted(side, &shown));
        all.extend(refused(side, &shown));
        all.extend(broken(side, &shown));
    }
    all
}

fn trusted(side: Side, shown: &Arc<Certificates>) -> Scenario {
    let name = format!("{}: an authority that SSL_CERT_FILE names", side.name());
    let play = side.shows(shown, "good", Handshake::Whole, &shown.known);
    Scenario::new(name, 0, CLEAN, play)
        .check(|after| {
            let heard = (after.heard > 0).then_some(());
            heard.ok_or_else(|| "nothing was said above TLS".to_owned())
        })
        .on_both()
}

fn refused(side: Side, shown: &Arc<Certificates>) -> Vec<Scenario> {
    const ISSUER: [&str; 2] = ["its issuer is not known here", "SSL_CERT_FILE"];
    const AUTHORITY: [&str; 2] = ["it is an authority's own certificate", "SSL_CERT_FILE"];
    const EXPIRED: [&str; 2] = ["it has expired", "clock"];
    const EARLY: [&str; 2] = ["it is not valid yet", "clock"];
    const NAME: [&str; 2] = ["it is made for another host name", "is something between"];
    let (known, stranger, namesake) = (&shown.known, &shown.stranger, &shown.namesake);
    [
        ("an authority that nobody knows", "good", ISSUER, stranger),
        ("a known authority's name, another key", "good", ISSUER, namesake),
        ("self-signed", "leaf", ISSUER, known),
        ("self-signed as an authority", "own", AUTHORITY, known),
        ("expired", "expired", EXPIRED, known),
        ("not valid yet", "early", EARLY, known),
        ("another host's name", "elsewhere", NAME, known),
    ]
    .into_iter()
    .map(|(what, certificate, words, trusted)| {
        let name = format!("{}: a certificate that is refused, {what}", side.name());
        let play = side.shows(shown, certificate, Handshake::Whole, trusted);
        Scenario::new(name, 69, side.before() + 1, play).check(move |after| untold(after, &words))
    })
    .collect()
}

fn broken(side: Side, shown: &Arc<Certificates>) -> Vec<Scenario> {
    let lasting = |what: &str, play: Box<dyn Fn(&Stage) + Send + Sync>| {
        let name = format!("{}: {what}, always", side.name());
        Scenario::new(name, 75, side.before() + ATTEMPTS, play)
    };
    let cut = |what: &str, after| {
        let play = side.shows(shown, "good", Handshake::Cut(after), &shown.known);
        lasting(what, Box::new(play)).check(|after| untold(after, &["the TLS handshake broke"]))
    };
    let says = |what: &str, script: Vec<Move>| {
        let play = move |stage: &Stage| {
            let raw = Raw::start(vec![script.clone()]);
            side.ask(stage, &raw.url().replace("http:", "https:"));
            stage.keep_bare(raw);
        };
        lasting(what, Box::new(play))
    };
    let plain = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 6\r\n\r\nWfk3nq".to_vec();
    // Record 21 (alert), TLS 1.2, two bytes: fatal, 40 (handshake_failure).
    let alert = vec![21, 3, 3, 0, 2, 2, 40];
    vec![
        cut("closed before its first byte", 0),
        cut("closed in the first record", 40),
        cut("closed in its certificate", 300),
        says("reset in the handshake", vec![Move::Reset])
            .check(|after| untold(after, &["the TLS handshake broke"])),
        says("an alert for an answer", vec![Move::Send(alert), Move::Hang])
            .check(|after| untold(after, &["the TLS handshake broke"])),
        says("plain HTTP for an answer", vec![Move::Send(plain), Move::Hang])
            .check(|after| untold(after, &["the TLS handshake broke", "is it https on that port"])),
        says("silence in the handshake", vec![Move::Hang])
            .with("api.connect_timeout", "400ms")
            .check(|after| untold(after, &["no connection within api.connect_timeout"])),
    ]
}

/// These words are said, and nothing above TLS.
fn untold(after: &After<'_>, words: &[&str]) -> Result<(), String> {
    if after.heard > 0 {
        return Err(format!("{} bytes were said above TLS", after.heard));
    }
    match words.iter().find(|word| !after.stderr.contains(**word)) {
        Some(word) => Err(format!("it does not say {word:?}")),
        None => Ok(()),
    }
}
