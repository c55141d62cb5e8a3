//! `export`: active consents, or all, streamed as RFC 4180 CSV or JSON Lines.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::value::RawValue;

use super::error::CommandError;
use super::refuse_database_files;
use crate::cli::ExportFormat;
use crate::config::Config;
use crate::exit::Exit;
use crate::file::{AtomicFile, is_special, resolved};
use crate::store::{Bounds, ExportRow, Store, StoreError, Timestamp};

/// Exports to a file, which appears whole or not at all, or to standard output, a device or a pipe.
pub async fn run(
    config: &Config,
    format: ExportFormat,
    all: bool,
    target: Option<&Path>,
) -> Result<Exit, CommandError> {
    if let Some(target) = target {
        refuse_database_files(target, &config.database)?;
    }
    let place = || StoreError::Absent { place: config.database.shown_url() };
    let opened = Store::open_to_read(&config.database, Bounds::COMMAND).await?;
    let mut store = opened.ok_or_else(place)?;
    let result = match target {
        None => {
            let out = BufWriter::new(io::stdout().lock());
            unless_closed(write_rows(&mut store, format, all, out).await)
        }
        Some(target) => to_file(&mut store, format, all, target).await,
    };
    store.close().await;
    result?;
    Ok(Exit::Done)
}

async fn to_file(
    store: &mut Store,
    format: ExportFormat,
    all: bool,
    target: &Path,
) -> Result<(), CommandError> {
    let failed = |cause| StoreError::Target { path: target.to_path_buf(), cause };
    let named = |written| match written {
        Err(CommandError::Io { cause, .. }) => Err(failed(cause).into()),
        other => other,
    };
    if is_special(target) {
        let out = OpenOptions::new().write(true).open(target);
        let out = BufWriter::new(out.map_err(failed)?);
        return named(unless_closed(write_rows(store, format, all, out).await));
    }
    // Behind a link it is the file that is replaced, not the link.
    let file = resolved(target);
    let mut file_on_disk = AtomicFile::create_beside(&file).map_err(failed)?;
    let out = BufWriter::new(file_on_disk.file());
    named(write_rows(store, format, all, out).await)?;
    file_on_disk.persist(&file).map_err(failed)?;
    Ok(())
}

async fn write_rows(
    store: &mut Store,
    format: ExportFormat,
    all: bool,
    out: impl Write,
) -> Result<(), CommandError> {
    match format {
        ExportFormat::Csv => {
            let mut csv = csv::WriterBuilder::new()
                .terminator(csv::Terminator::CRLF)
                .has_headers(false)
                .from_writer(out);
            csv.write_record(COLUMNS).map_err(csv_error)?;
            store
                .export(all, |rows| rows.iter().try_for_each(|row| csv.serialize(row).map_err(csv_error)))
                .await?;
            csv.flush()?;
        }
        ExportFormat::Jsonl => {
            let mut out = out;
            store
                .export(all, |rows| {
                    for row in rows {
                        serde_json::to_writer(&mut out, &Line::of(row)).map_err(io::Error::from)?;
                        out.write_all(b"\n")?;
                    }
                    Ok::<(), CommandError>(())
                })
                .await?;
            out.flush()?;
        }
    }
    Ok(())
}

const COLUMNS: [&str; 16] = [
    "consent_key",
    "consent_id",
    "company_id",
    "email",
    "full_name",
    "source",
    "refs",
    "extra",
    "first_seen_at",
    "changed_at",
    "missing_since",
    "withheld_since",
    "removed_at",
    "erased_at",
    "first_run_id",
    "changed_run_id",
];

/// A row as JSON: what is JSON in the database is JSON here, not text.
#[derive(Serialize)]
struct Line<'a> {
    consent_key: &'a str,
    consent_id: Option<&'a str>,
    company_id: &'a str,
    email: Option<&'a str>,
    full_name: Option<&'a str>,
    source: Option<&'a str>,
    refs: Option<&'a RawValue>,
    extra: Option<&'a RawValue>,
    first_seen_at: Timestamp,
    changed_at: Timestamp,
    missing_since: Option<Timestamp>,
    withheld_since: Option<Timestamp>,
    removed_at: Option<Timestamp>,
    erased_at: Option<Timestamp>,
    first_run_id: i64,
    changed_run_id: i64,
}

impl<'a> Line<'a> {
    fn of(row: &'a ExportRow) -> Self {
        fn raw(text: Option<&String>) -> Option<&RawValue> {
            text.and_then(|text| serde_json::from_str(text).ok())
        }
        Self {
            consent_key: &row.consent_key,
            consent_id: row.consent_id.as_deref(),
            company_id: &row.company_id,
            email: row.email.as_deref(),
            full_name: row.full_name.as_deref(),
            source: row.source.as_deref(),
            refs: raw(row.refs.as_ref()),
            extra: raw(row.extra.as_ref()),
            first_seen_at: row.first_seen_at,
            changed_at: row.changed_at,
            missing_since: row.missing_since,
            withheld_since: row.withheld_since,
            removed_at: row.removed_at,
            erased_at: row.erased_at,
            first_run_id: row.first_run_id,
            changed_run_id: row.changed_run_id,
        }
    }
}

fn csv_error(error: csv::Error) -> CommandError {
    match error.into_kind() {
        csv::ErrorKind::Io(cause) => cause.into(),
        _ => io::Error::from(io::ErrorKind::InvalidData).into(),
    }
}

/// A reader that has seen enough (`| head`) is no failure of ours.
fn unless_closed(result: Result<(), CommandError>) -> Result<(), CommandError> {
    match result {
        Err(CommandError::Io { cause, .. }) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
