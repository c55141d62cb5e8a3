//! How an answer goes out: whole, or by steps on the bare connection.

use std::fmt::Write as _;

use super::answer::{Reply, played, true_reply};
use super::fault::{Fault, Step};
use super::list::refused_cursor;
use super::settings::{MockSettings, ServerDate};
use super::state::{Endpoint, Seen, Shared};

/// An answer and its way out.
pub(super) enum Delivery {
    Whole(Reply),
    /// By steps; the status, if they begin with one.
    Raw(Option<u16>, Vec<Step>),
}

impl Delivery {
    pub(super) const fn status(&self) -> Option<u16> {
        match self {
            Self::Whole(reply) => Some(reply.status),
            Self::Raw(status, _) => *status,
        }
    }
}

pub(super) fn deliver(shared: &Shared, call: &Seen, faults: &[Fault], in_flight: usize) -> Delivery {
    let clock = clock_headers(&shared.lock().settings, call.endpoint);
    match choose(shared, call, faults, in_flight, &clock) {
        Delivery::Whole(mut reply) => {
            let omitted = clock.is_empty();
            reply.headers.extend(clock);
            // The framework adds a date of its own.
            if omitted { delivered_raw(&reply) } else { Delivery::Whole(reply) }
        }
        raw @ Delivery::Raw(..) => raw,
    }
}

type Headers = Vec<(&'static str, String)>;

/// `Date` and `Age` as the settings have them.
fn clock_headers(settings: &MockSettings, endpoint: Endpoint) -> Headers {
    let date = if endpoint == Endpoint::Token { settings.token_date } else { settings.api_date };
    match date {
        ServerDate::Right => vec![("date", http_date(0))],
        ServerDate::Off(seconds) => vec![("date", http_date(seconds))],
        ServerDate::Cached(age) => vec![("date", http_date(-i64::from(age))), ("age", age.to_string())],
        ServerDate::Unreadable => vec![("date", "once upon a time".to_owned())],
        ServerDate::Omitted => Vec::new(),
    }
}

/// This machine's time plus so many seconds, as HTTP writes it.
fn http_date(shift: i64) -> String {
    #[expect(clippy::disallowed_methods, reason = "a server tells the time")]
    let now = chrono::Utc::now();
    let shifted = now + chrono::TimeDelta::seconds(shift);
    shifted.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn delivered_raw(reply: &Reply) -> Delivery {
    let head = head_of(reply, Framing::Length(reply.body.len() as u64), &Vec::new());
    Delivery::Raw(Some(reply.status), vec![Step::Send(head), Step::Send(reply.body.clone())])
}

fn choose(shared: &Shared, call: &Seen, faults: &[Fault], in_flight: usize, clock: &Headers) -> Delivery {
    for fault in faults {
        if let Fault::Change(hook) = fault {
            hook(&mut shared.lock().roster);
        }
    }
    let last = faults.last().filter(|fault| !fault.is_beside());
    if let Some(delivery) = last.and_then(|fault| instead(call, fault, clock)) {
        return delivery;
    }
    let reply = true_reply(shared, call, faults, in_flight);
    match last {
        Some(fault) => spoiled(reply, fault, clock),
        None => Delivery::Whole(reply),
    }
}

/// Faults that need no true answer.
fn instead(call: &Seen, fault: &Fault, clock: &Headers) -> Option<Delivery> {
    Some(match fault {
        Fault::Status { status, retry_after, body } => {
            Delivery::Whole(played(call.endpoint, *status, retry_after.as_deref(), body))
        }
        Fault::Redirect { status, location } => Delivery::Whole(
            Reply { status: *status, headers: Vec::new(), body: Vec::new() }
                .with_header("location", location),
        ),
        Fault::Body { content_type, bytes } => Delivery::Whole(Reply::new(200, content_type, bytes.clone())),
        Fault::Gzip(bytes) => Delivery::Whole(
            Reply::new(200, "application/json", bytes.clone()).with_header("content-encoding", "gzip"),
        ),
        Fault::RefuseCursor => {
            call.query("cursor").filter(|cursor| !cursor.is_empty())?;
            Delivery::Whole(refused_cursor())
        }
        Fault::Endless { prefix, then } => {
            let head = Reply::new(200, "application/json", Vec::new());
            Delivery::Raw(
                Some(200),
                vec![
                    Step::Send(head_of(&head, Framing::Chunked, clock)),
                    Step::Send(chunk(prefix)),
                    Step::Forever(chunk(then)),
                ],
            )
        }
        Fault::Hang => Delivery::Raw(None, vec![Step::Hang]),
        Fault::Drop => Delivery::Raw(None, Vec::new()),
        Fault::Reset => Delivery::Raw(None, vec![Step::Reset]),
        Fault::Raw(steps) => Delivery::Raw(None, steps.clone()),
        _ => return None,
    })
}

/// The true answer on a bad way.
fn spoiled(reply: Reply, fault: &Fault, clock: &Headers) -> Delivery {
    let length = reply.body.len() as u64;
    let start = |after: usize| reply.body[..after.min(reply.body.len())].to_vec();
    let steps = match fault {
        Fault::CutBody { after, reset } => {
            let mut steps =
                vec![Step::Send(head_of(&reply, Framing::Length(length), clock)), Step::Send(start(*after))];
            if *reset {
                // What was sent must have come before the reset throws it away.
                steps.push(Step::Wait(std::time::Duration::from_millis(20)));
                steps.push(Step::Reset);
            }
            steps
        }
        Fault::CutChunks { after } => {
            vec![Step::Send(head_of(&reply, Framing::Chunked, clock)), Step::Send(chunk(&start(*after)))]
        }
        Fault::BrokenChunk { after } => vec![
            Step::Send(head_of(&reply, Framing::Chunked, clock)),
            Step::Send(chunk(&start(*after))),
            Step::Send(b"no length\r\n{}\r\n0\r\n\r\n".to_vec()),
        ],
        Fault::ContentLength(told) => {
            vec![Step::Send(head_of(&reply, Framing::Length(*told), clock)), Step::Send(reply.body.clone())]
        }
        Fault::Drip { bytes, every } => {
            let mut steps = vec![Step::Send(head_of(&reply, Framing::Length(length), clock))];
            for drop in reply.body.chunks((*bytes).max(1)) {
                steps.push(Step::Wait(*every));
                steps.push(Step::Send(drop.to_vec()));
            }
            steps
        }
        _ => return Delivery::Whole(reply),
    };
    Delivery::Raw(Some(reply.status), steps)
}

/// How the end of a body is marked.
#[derive(Clone, Copy)]
enum Framing {
    Length(u64),
    Chunked,
}

fn head_of(reply: &Reply, framing: Framing, clock: &Headers) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} Played\r\nconnection: close\r\n", reply.status);
    for (name, value) in reply.headers.iter().chain(clock) {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = match framing {
        Framing::Length(length) => write!(head, "content-length: {length}\r\n\r\n"),
        Framing::Chunked => write!(head, "transfer-encoding: chunked\r\n\r\n"),
    };
    head.into_bytes()
}

/// One chunk. Empty bytes make none: a chunk of no length would be the end.
fn chunk(bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}
