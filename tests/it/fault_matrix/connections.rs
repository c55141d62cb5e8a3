//! What happens below HTTP: refused, reset, cut, broken, silent, slow.

use std::time::Duration;

use understory_mock_api::{Endpoint, Fault, FaultRule, Step};

use super::super::support::raw::Move;
use super::scenario::{ATTEMPTS, After, CLEAN, PAGES, Scenario, Stage};

pub(super) fn all() -> Vec<Scenario> {
    let mut all = refused();
    all.extend(broken());
    all.extend(silent());
    all.extend(no_http());
    all.extend(odd_http());
    all.extend(dies_on_every_page());
    all
}

fn refused() -> Vec<Scenario> {
    vec![
        Scenario::new("connection refused by the API", 75, 1, |stage| {
            stage.set("api.base_url", &nobody());
        })
        .on_both(),
        Scenario::new("connection refused by the token endpoint", 75, 0, |stage| {
            stage.set("auth.token_url", &nobody());
        }),
        Scenario::new("https asked of a port that speaks http", 75, ATTEMPTS, |stage| {
            let url = stage.world.api.base_url().replace("http:", "https:");
            stage.set("api.base_url", &url);
        }),
    ]
}

/// A URL at a port that was just closed.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn broken() -> Vec<Scenario> {
    let cut = |after, reset| Fault::CutBody { after, reset };
    let mut all = Vec::new();
    for (name, fault) in [
        ("reset before the headers", Fault::Reset),
        ("closed before the headers", Fault::Drop),
        ("closed in the headers", raw(b"HTTP/1.1 200 OK\r\ncontent-le")),
        ("closed after the headers", cut(0, false)),
        ("reset after the headers", cut(0, true)),
        ("body cut short", cut(700, false)),
        ("reset in mid body", cut(700, true)),
        ("chunks cut short", Fault::CutChunks { after: 700 }),
        ("broken chunk", Fault::BrokenChunk { after: 700 }),
        ("Content-Length one too long", Fault::ContentLength(1_000_000)),
    ] {
        all.push(Scenario::passes(name, fault.clone()).on_both_if(name == "reset in mid body"));
        let lasting = Scenario::wears_out(name, 75, fault).check(broke);
        all.push(lasting.on_both_if(name == "body cut short"));
    }
    all.push(Scenario::ends("Content-Length of 2^40", 69, Fault::ContentLength(1 << 40)));
    all.push(Scenario::wears_out("Content-Length that ends the JSON early", 65, Fault::ContentLength(300)));
    for (name, head) in [
        ("Content-Length that is no number", "content-length: many"),
        ("two different Content-Lengths", "content-length: 2\r\ncontent-length: 3"),
        ("negative Content-Length", "content-length: -1"),
        ("Content-Length beyond 2^64", "content-length: 99999999999999999999999"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{{}}");
        all.push(Scenario::wears_out(name, 75, raw(answer.as_bytes())));
    }
    all
}

/// Nothing was compressed, so nothing compressed is damaged.
fn broke(after: &After<'_>) -> Result<(), String> {
    let told = after.stderr.contains("the connection broke before the answer was complete");
    told.then_some(()).ok_or_else(|| "it does not say that the connection broke".to_owned())
}

impl Scenario {
    fn on_both_if(self, both: bool) -> Self {
        if both { self.on_both() } else { self }
    }
}

/// These bytes, then the end.
fn raw(bytes: &[u8]) -> Fault {
    Fault::Raw(vec![Step::Send(bytes.to_vec())])
}

fn silent() -> Vec<Scenario> {
    let half = Fault::Raw(vec![
        Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"items\":[".to_vec()),
        Step::Hang,
    ]);
    let drip = |bytes, every| Fault::Drip { bytes, every: Duration::from_millis(every) };
    vec![
        Scenario::passes("silence", Fault::Hang).impatient(),
        Scenario::wears_out("silence", 75, Fault::Hang).impatient().on_both(),
        Scenario::passes("silence in mid body", half.clone()).impatient(),
        Scenario::wears_out("silence in mid body", 75, half).impatient(),
        Scenario::passes("a byte every 100 ms", drip(1, 100)).impatient(),
        Scenario::wears_out("a byte every 100 ms", 75, drip(1, 100)).impatient(),
        Scenario::once("a slow body that comes in time", 0, CLEAN, drip(100, 10)),
        Scenario::wears_out(
            "headers without an end",
            75,
            Fault::Raw(vec![
                Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec()),
                Step::Forever(b"x-more: and more\r\n".to_vec()),
            ]),
        )
        .impatient(),
        Scenario::ends("silence until run_timeout", 75, Fault::Hang).with("schedule.run_timeout", "3s"),
        Scenario::new("a connection that nobody accepts the bytes of", 75, 1 + ATTEMPTS, |stage| {
            stage.bare(vec![vec![Move::Hang]]);
        })
        .impatient(),
    ]
}

fn no_http() -> Vec<Scenario> {
    let bare = |name: &str, exit, script: Vec<Move>| {
        Scenario::new(format!("{name}, always"), exit, 1 + ATTEMPTS, move |stage| {
            stage.bare(vec![script.clone()]);
        })
    };
    let says = |text: &[u8]| vec![Move::Request, Move::Send(text.to_vec())];
    vec![
        bare("closed as soon as it is open", 75, Vec::new()),
        bare("reset as soon as it is open", 75, vec![Move::Reset]),
        bare("another protocol", 75, vec![Move::Send(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), Move::Hang]),
        bare("a body without headers (HTTP/0.9)", 75, says(b"{\"items\":[]}")),
        bare("a status that is no number", 75, says(b"HTTP/1.1 abc OK\r\n\r\n")),
        bare("status 000", 75, says(b"HTTP/1.1 000 Null\r\ncontent-length: 0\r\n\r\n")),
        bare("HTTP/9.9", 75, says(b"HTTP/9.9 200 OK\r\ncontent-length: 0\r\n\r\n")),
        bare(
            "a megabyte of header",
            75,
            says(&[b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'a'; 1 << 20]].concat()),
        ),
        bare("a thousand headers", 75, {
            let mut text = b"HTTP/1.1 200 OK\r\n".to_vec();
            for number in 0..1_000 {
                text.extend(format!("x-{number}: y\r\n").bytes());
            }
            text.extend(b"content-length: 0\r\n\r\n");
            says(&text)
        }),
        bare("NUL in a header", 75, says(b"HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 0\r\n\r\n")),
    ]
}

/// The whole list as one page.
fn whole_list(stage: &Stage) -> String {
    let items = stage.world.api.people(|people| people.items());
    serde_json::json!({"items": items, "next": ""}).to_string()
}

/// Rare, but HTTP.
fn odd_http() -> Vec<Scenario> {
    fn one(name: &str, answer: fn(&str) -> String) -> Scenario {
        Scenario::new(name, 0, 1 + ATTEMPTS, move |stage| {
            let text = answer(&whole_list(stage));
            stage.bare(vec![vec![Move::Request, Move::Send(text.into_bytes())]]);
        })
    }
    vec![
        one("HTTP/1.0, the body ends with the connection", |body| format!("HTTP/1.0 200 OK\r\n\r\n{body}")),
        one("early hints (103) before the answer", |body| {
            format!(
                "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        }),
        one("chunks with extensions and a trailer", |body| {
            format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x};a=b\r\n{body}\r\n0\r\nx-sum: 1\r\n\r\n",
                body.len()
            )
        }),
        one("no content type, no reason, odd cases", |body| {
            format!("HTTP/1.1 200 \r\nCONTENT-length: {}\r\ncontent-TYPE: \r\n\r\n{body}", body.len())
        }),
        Scenario::new("a connection that is closed after each answer", 0, CLEAN, |stage| {
            stage.play(FaultRule::on(Endpoint::List, closing()).always());
        }),
    ]
}

/// The true page, on a connection that ends with it.
fn closing() -> Fault {
    Fault::Drip { bytes: usize::MAX, every: Duration::ZERO }
}

fn dies_on_every_page() -> Vec<Scenario> {
    let mut all = Vec::new();
    for page in 1..=PAGES {
        let most = 1 + (page - 1) + ATTEMPTS;
        let name = format!("the API dies on page {page} and stays dead");
        let dead = Scenario::from_page(name, page as u64, 75, most, Fault::Reset).check(kept_what_came);
        all.push(dead.on_both_if(page == 4 || page == PAGES));
    }
    all
}

/// A run that ends early still stores what it got.
fn kept_what_came(after: &After<'_>) -> Result<(), String> {
    let served = after.seen.iter().filter(|call| call.status == Some(200) && call.page.is_some());
    let pages = served.count();
    let expected = if pages == PAGES { 65 } else { 60 };
    if after.rows.len() < expected {
        return Err(format!("{} rows after {pages} pages", after.rows.len()));
    }
    if !after.stderr.contains("the list of consents") {
        return Err("it does not say what could not be read".to_owned());
    }
    Ok(())
}
