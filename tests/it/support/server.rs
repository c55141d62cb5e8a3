//! The PostgreSQL server of this process: the one of `TEST_POSTGRES_URL`, else a throwaway one.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

/// The throwaway server ends when its standard input is closed, as happens however this process ends.
struct Server {
    url: String,
    _alive: Option<(Child, ChildStdin)>,
}

/// The URL of a server whose user may create databases.
pub(super) fn url() -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| match std::env::var("TEST_POSTGRES_URL") {
        Ok(url) if !url.is_empty() => Server { url, _alive: None },
        _ => start(),
    });
    &server.url
}

fn start() -> Server {
    let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/throwaway-postgres.sh"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash is needed for tests/throwaway-postgres.sh");
    let mut first_line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut first_line).unwrap();
    if first_line.trim().is_empty() {
        let mut said = String::new();
        let mut err = child.stderr.take().unwrap();
        err.read_to_string(&mut said).unwrap();
        panic!("the tests need PostgreSQL, none is skipped: {said}");
    }
    let stdin = child.stdin.take().unwrap();
    Server { url: first_line.trim().to_owned(), _alive: Some((child, stdin)) }
}
