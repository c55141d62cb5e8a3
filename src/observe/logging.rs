//! Log lines on standard error: text for people, JSON for machines.
//!
//! Only this program's own events are written, at the level chosen. Those of its dependencies are written at no level: an HTTP client or
//! a database driver that logs what it sends would log names, addresses and tokens, and every failure of theirs reaches us as an error
//! with words of our own anyway.
//!
//! The names of a JSON line's fields do not change: `timestamp`, `level`, `target`, `message`, then the event's own, flat, with those of
//! the spans around it: every line of a run carries its `run_id`.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{Log, LogFormat};
use crate::store::Timestamp;

use super::progress::{ProgressLine, is_capable_terminal};

const OURS: &str = "understory_sync";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Style {
    format: LogFormat,
    colour: bool,
    /// The journal adds the time itself and reads the level from a prefix.
    journal: bool,
}

impl Style {
    fn of_stderr(format: LogFormat) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Self { format, colour: is_capable_terminal() && !set("NO_COLOR"), journal: stderr_is_journal() }
    }
}

/// systemd names the journal's end of the stream it made in `JOURNAL_STREAM`; anything else may have taken its place since.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Begins to write lines, for the life of the process. Called twice, the first one stays.
pub fn begin(log: &Log, progress: ProgressLine) {
    let lines = LogLayer {
        style: Style::of_stderr(log.format),
        out: move |line: &[u8]| progress.write(line),
        now: Timestamp::now,
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter(log.level)));
    // Not `init`, which would also take in what dependencies send to the `log` crate.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn filter(level: Level) -> Targets {
    Targets::new().with_target(OURS, level)
}

/// From now on a panic is one line that names the place and nothing of what was being worked on: its message may quote data.
pub fn hush_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.as_deref().unwrap_or("an unknown place");
        if tracing::dispatcher::has_been_set() {
            tracing::error!("a mistake in the program at {place}: please report it");
        } else {
            let _ = writeln!(io::stderr(), "a mistake in the program at {place}: please report it");
        }
    }));
}

struct LogLayer<W> {
    style: Style,
    out: W,
    now: fn() -> Timestamp,
}

#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn set_field(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => drop(self.others.insert(name.to_owned(), value)),
        }
    }
}

macro_rules! record {
    ($($name:ident: $Type:ty),+) => {
        $(fn $name(&mut self, field: &Field, value: $Type) {
            self.set_field(field, value.into());
        })+
    };
}

impl Visit for Fields {
    record! { record_str: &str, record_i64: i64, record_u64: u64, record_f64: f64, record_bool: bool }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set_field(field, format!("{value:?}").into());
    }
}

impl<S, W> Layer<S> for LogLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&[u8]) + Send + Sync + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().replace(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                for (name, value) in &of_span.others {
                    // The inner span's word stands: the scope goes from the inside out.
                    fields.others.entry(name).or_insert_with(|| value.clone());
                }
            }
        }
        event.record(&mut fields);
        let level = *event.metadata().level();
        let mut line = String::with_capacity(160);
        if self.style.journal {
            let _ = write!(line, "<{}>", priority_and_colour(level).0);
        }
        match self.style.format {
            LogFormat::Json => self.push_json(&mut line, level, event.metadata().target(), fields),
            LogFormat::Text => self.push_text(&mut line, level, &fields),
        }
        line.push('\n');
        (self.out)(line.as_bytes());
    }
}

impl<W> LogLayer<W> {
    fn push_json(&self, line: &mut String, level: Level, target: &str, fields: Fields) {
        let (now, target, message) = ((self.now)(), Value::from(target), Value::from(fields.message));
        let _ =
            write!(line, r#"{{"timestamp":"{now}","level":"{level}","target":{target},"message":{message}"#);
        for (name, value) in fields.others {
            if !["timestamp", "level", "target", "message"].contains(&name.as_str()) {
                let _ = write!(line, ",{}:{value}", Value::from(name));
            }
        }
        line.push('}');
    }

    fn push_text(&self, line: &mut String, level: Level, fields: &Fields) {
        if !self.style.journal {
            let _ = write!(line, "{} ", (self.now)());
        }
        let (begin, end) =
            if self.style.colour { (priority_and_colour(level).1, "\u{1b}[0m") } else { ("", "") };
        let _ = write!(line, "{begin}{level:>5}{end} {}", plain(&fields.message));
        for (name, value) in &fields.others {
            let value = match value {
                Value::String(text) if !text.contains([' ', '"', '=']) => plain(text),
                other => plain(&other.to_string()),
            };
            let _ = write!(line, " {name}={value}");
        }
    }
}

/// One event is one line, and no text moves a terminal's cursor.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// As the journal numbers it, and a terminal's colour for it.
fn priority_and_colour(level: Level) -> (u8, &'static str) {
    match level {
        Level::ERROR => (3, "\u{1b}[31m"),
        Level::WARN => (4, "\u{1b}[33m"),
        Level::INFO => (6, "\u{1b}[32m"),
        _ => (7, "\u{1b}[2m"),
    }
}

#[cfg(test)]
#[path = "logging_tests.rs"]
mod tests;
