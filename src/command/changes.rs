//! `changes`: what has changed in the table, oldest first, to standard output or into a command (contract, section 7).

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::error::CommandError;
use super::reader::ReaderProcess;
use crate::cli::{ChangesArgs, ExportFormat};
use crate::config::Config;
use crate::exit::Exit;
use crate::store::{Feed, FeedCursor, FeedLine, Hold, Reader, Store, Timestamp};

/// How often a reader's hold is renewed; it expires after ten seconds.
const RENEW_EVERY: Duration = Duration::from_secs(3);

const COLUMNS: &str =
    "cursor changed_at consent_key previous_key state email full_name source withheld mailable";

pub async fn run(config: &Config, args: &ChangesArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let store = Store::open_beside_run(&config.database).await?;
    store.close_after(async |store| dispatch(store, args, out).await).await
}

async fn dispatch(store: &mut Store, args: &ChangesArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    if args.list {
        let readers = store.readers(Timestamp::now()).await?;
        print_readers(&readers, args.json, out)?;
    } else if let Some(name) = &args.forget_reader {
        if !store.forget_reader(name).await? {
            return Err(CommandError::usage("there is no reader of this name; see `changes --list`"));
        }
        writeln!(out, "reader {name} forgotten: its next reading begins anew")?;
    } else if args.restored {
        print_restored(store.confirm_restore(Timestamp::now()).await?, out)?;
    } else if let Some(name) = &args.name {
        return pipe_changes(store, name, args).await;
    } else {
        return print_changes(store, args).await;
    }
    Ok(Exit::Done)
}

fn print_restored(is_new: bool, out: &mut dyn Write) -> io::Result<()> {
    let words = if is_new {
        "the change feed has a new identity: every reader begins anew. Make the erasures of the time since the backup again \
         (`forget`), then confirm with `changes --restored`"
    } else {
        "confirmed: the erasures made since the backup were made again"
    };
    writeln!(out, "{words}")
}

fn print_readers(readers: &[Reader], json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, readers)?;
        return writeln!(out);
    }
    if readers.is_empty() {
        writeln!(out, "no readers; `understory-sync changes --as NAME -- COMMAND` makes one")?;
    }
    for reader in readers {
        let read_at = reader.read_at.map_or("never".to_owned(), |at| at.to_string());
        let state = if reader.refused {
            "must begin anew: changes --forget-reader".to_owned()
        } else {
            format!("{} s behind", reader.lag_seconds)
        };
        writeln!(out, "{:<24} last read {read_at}, {state}", reader.name)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct FeedRecord<'a> {
    cursor: String,
    #[serde(flatten)]
    line: &'a FeedLine,
}

/// What comes before the lines; with what tells a new reader to begin anew.
fn format_head(format: ExportFormat, feed: &Feed, is_new: bool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let cursor = feed.start().to_string();
    match format {
        ExportFormat::Jsonl if is_new => {
            // A cursor holds nothing that JSON escapes.
            writeln!(bytes, r#"{{"reset":true,"cursor":"{cursor}"}}"#)?;
        }
        ExportFormat::Jsonl => {}
        ExportFormat::Csv => {
            let mut csv = csv_writer(&mut bytes);
            csv.write_record(COLUMNS.split(' '))?;
            if is_new {
                csv.write_record([&cursor, "", "", "", "reset", "", "", "", "", ""])?;
            }
            csv.flush()?;
        }
    }
    Ok(bytes)
}

fn format_lines(format: ExportFormat, feed: &Feed, lines: &[FeedLine]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match format {
        ExportFormat::Jsonl => {
            for line in lines {
                let record = FeedRecord { cursor: feed.after(line).to_string(), line };
                serde_json::to_writer(&mut bytes, &record)?;
                bytes.push(b'\n');
            }
        }
        ExportFormat::Csv => {
            let mut csv = csv_writer(&mut bytes);
            for line in lines {
                csv.serialize((feed.after(line).to_string(), line))?;
            }
            csv.flush()?;
        }
    }
    Ok(bytes)
}

fn csv_writer(bytes: &mut Vec<u8>) -> csv::Writer<&mut Vec<u8>> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).has_headers(false).from_writer(bytes)
}

async fn print_changes(store: &mut Store, args: &ChangesArgs) -> Result<Exit, CommandError> {
    let (feed, cursor) = store.open_feed(args.since.as_deref()).await?;
    let mut bytes = format_head(args.format, &feed, cursor.is_none())?;
    let mut cursor = cursor.unwrap_or_else(|| feed.start());
    loop {
        write_out(bytes).await?;
        let page = store.next_lines(&feed, &cursor).await?;
        let Some(last) = page.last() else { return Ok(Exit::Done) };
        cursor = feed.after(last);
        bytes = format_lines(args.format, &feed, &page)?;
    }
}

/// Writes on a blocking thread, so that a slow consumer does not delay the handling of signals.
async fn write_out(bytes: Vec<u8>) -> io::Result<()> {
    let written = tokio::task::spawn_blocking(move || {
        let mut out = super::terminal::stdout();
        out.write_all(&bytes)?;
        out.flush()
    });
    written.await.map_err(io::Error::other)?
}

/// Pipes the lines to the reader's command and advances its cursor once it has read them all.
async fn pipe_changes(store: &mut Store, name: &str, args: &ChangesArgs) -> Result<Exit, CommandError> {
    let hold = store.hold_reader(name, Timestamp::now()).await?;
    let taken = deliver(store, &hold, args).await;
    let cursor = taken.as_ref().ok().and_then(Option::as_ref);
    let released = store.release_reader(&hold, cursor, Timestamp::now()).await;
    taken?;
    released?;
    Ok(Exit::Done)
}

/// The cursor after the last line that the command read; none where there was nothing to read.
async fn deliver(
    store: &mut Store,
    hold: &Hold,
    args: &ChangesArgs,
) -> Result<Option<FeedCursor>, CommandError> {
    let (feed, cursor) = store.open_feed(hold.cursor.as_deref()).await?;
    let is_new = cursor.is_none();
    let mut cursor = cursor.unwrap_or_else(|| feed.start());
    let mut page = store.next_lines(&feed, &cursor).await?;
    if page.is_empty() && hold.cursor.is_some() {
        return Ok(None);
    }
    let could_not = |cause: io::Error| CommandError::reader(format_args!("could not be started: {cause}"));
    let mut reader = ReaderProcess::start(&args.command).map_err(could_not)?;
    let mut bytes = format_head(args.format, &feed, is_new)?;
    loop {
        let written = hold_while(store, hold, reader.write(&bytes)).await?;
        if let Some(ended) = written.map_err(CommandError::reader)? {
            return Err(incomplete(ended));
        }
        let Some(last) = page.last() else { break };
        cursor = feed.after(last);
        bytes = format_lines(args.format, &feed, &page)?;
        page = store.next_lines(&feed, &cursor).await?;
    }
    let ended = hold_while(store, hold, reader.finish()).await?;
    match ended.map_err(CommandError::reader)? {
        (ended, false) if ended.success() => Ok(Some(cursor)),
        (ended, _) => Err(incomplete(ended)),
    }
}

/// A command that did not read to the end has not taken everything, whatever its exit code.
fn incomplete(ended: std::process::ExitStatus) -> CommandError {
    if ended.success() {
        CommandError::reader(format_args!("did not read to the end ({ended})"))
    } else {
        CommandError::reader(format_args!("ended with {ended}"))
    }
}

/// Renews the hold while the command works.
async fn hold_while<T>(
    store: &mut Store,
    hold: &Hold,
    step: impl Future<Output = T>,
) -> Result<T, CommandError> {
    let mut step = std::pin::pin!(step);
    loop {
        if let Ok(done) = tokio::time::timeout(RENEW_EVERY, &mut step).await {
            return Ok(done);
        }
        store.renew_hold(hold, Timestamp::now()).await?;
    }
}
