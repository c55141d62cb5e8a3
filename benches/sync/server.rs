//! A server with prepared pages, as fast as a loopback allows, and the client that only fetches them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The server in a process of its own.
pub(crate) struct Server {
    pub(crate) address: String,
    pages: usize,
    child: Child,
}

impl Server {
    pub(crate) fn start(rows: usize, page: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["serve", &rows.to_string(), &page.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { address: address.trim().to_owned(), pages: rows.div_ceil(page).max(1), child }
    }

    /// The client that fetches every page and throws it away.
    pub(crate) fn fetcher(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["fetch", &self.address, &self.pages.to_string()]);
        command
    }

    /// From now on every hundredth person has another name.
    pub(crate) fn change_one_percent(&self) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(b"GET /change HTTP/1.1\r\nHost: bench\r\n\r\n").unwrap();
        let mut answer = [0; 16];
        stream.read_exact(&mut answer).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until killed.
pub(crate) fn serve(rows: usize, page: usize) {
    let sets = [answers(rows, page, false), answers(rows, page, true)];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let shared = Arc::new((sets, AtomicBool::new(false)));
    for stream in listener.incoming() {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || answer_all(&stream.unwrap(), &shared.0, &shared.1));
    }
}

fn answer_all(stream: &TcpStream, sets: &[Vec<Vec<u8>>; 2], changed: &AtomicBool) {
    stream.set_nodelay(true).unwrap();
    let token = answer(br#"{"access_token":"bench","expires_in":3599,"token_type":"bearer"}"#);
    let mut lines = BufReader::new(stream);
    let mut out = stream;
    loop {
        let mut request = String::new();
        if lines.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut body = 0;
        loop {
            let mut header = String::new();
            if lines.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
            let header = header.trim().to_ascii_lowercase();
            if let Some(length) = header.strip_prefix("content-length:") {
                body = length.trim().parse().unwrap();
            }
            if header.is_empty() {
                break;
            }
        }
        lines.read_exact(&mut vec![0; body]).unwrap();
        let set = &sets[usize::from(changed.load(Ordering::Relaxed))];
        let answer = if request.starts_with("POST") {
            &token
        } else {
            changed.fetch_or(request.contains("/change"), Ordering::Relaxed);
            let page = request.split("cursor=p").nth(1).and_then(|rest| rest.split([' ', '&']).next());
            &set[page.map_or(0, |page| page.parse().unwrap())]
        };
        if out.write_all(answer).is_err() {
            return;
        }
    }
}

fn answer(body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn answers(rows: usize, page: usize, changed: bool) -> Vec<Vec<u8>> {
    let pages = rows.div_ceil(page).max(1);
    (0..pages)
        .map(|number| {
            let items: Vec<String> =
                (number * page..((number + 1) * page).min(rows)).map(|row| item(row, changed)).collect();
            let next = if number + 1 < pages { format!("p{}", number + 1) } else { String::new() };
            answer(format!(r#"{{"next":"{next}","items":[{}]}}"#, items.join(",")).as_bytes())
        })
        .collect()
}

fn item(row: usize, changed: bool) -> String {
    // Ids in no order, as real ones are.
    let id = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let name = if changed && row.is_multiple_of(100) { "Changed" } else { "Jens" };
    format!(
        r#"{{"id":"{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}","company_id":"0d9b5c2e-7f7b-4a52-9b0a-0f4e6f5b1c11","full_name":"{name} Ærøskøbing {row}","email":"person.{row}@example.com","source":"checkout","references":[{{"type":"booking","id":"bk_{row}"}}]}}"#,
        id >> 32,
        id >> 16 & 0xffff,
        id >> 4 & 0xfff,
        id & 0xfff,
        id & 0xffff_ffff_ffff
    )
}

/// Fetches so many pages over one connection and throws them away.
pub(crate) fn fetch(address: &str, pages: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 1 << 20];
    for page in 0..pages {
        write!(stream, "GET /v1/grow/consents?limit=100&cursor=p{page} HTTP/1.1\r\nHost: bench\r\n\r\n")
            .unwrap();
        let mut have = 0;
        let (start, length) = loop {
            have += stream.read(&mut buffer[have..]).unwrap();
            let head = buffer[..have].windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = head {
                let head = std::str::from_utf8(&buffer[..end]).unwrap();
                let length = head.split("content-length: ").nth(1).unwrap();
                break (end + 4, length.split('\r').next().unwrap().parse::<usize>().unwrap());
            }
        };
        let mut left = length - (have - start);
        while left > 0 {
            let most = left.min(buffer.len());
            left -= stream.read(&mut buffer[..most]).unwrap();
        }
    }
}
