//! `export`: active consents, or all, streamed as RFC 4180 CSV or JSON Lines.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::RawValue;

use super::error::CommandError;
use super::{refuse_database_files, terminal};
use crate::cli::{ExportArgs, ExportFormat};
use crate::config::Config;
use crate::exit::Exit;
use crate::file::{AtomicFile, is_special, resolved};
use crate::store::{Bounds, ExportRow, ExportRows, Store, StoreError, Timestamp};

/// Exports to a file, which appears whole or not at all, or to standard output, a device or a pipe.
pub async fn run(config: &Config, args: &ExportArgs) -> Result<Exit, CommandError> {
    let shape = Shape::new(args)?;
    let output = args.output.as_deref().filter(|output| *output != Path::new("-"));
    if let Some(target) = output {
        refuse_database_files(target, &config.database)?;
    }
    let place = || StoreError::Absent { place: config.database.shown_url() };
    let opened = Store::open_to_read(&config.database, Bounds::COMMAND).await?;
    let mut store = opened.ok_or_else(place)?;
    let result = match output {
        None => {
            let out = BufWriter::new(terminal::stdout());
            unless_closed(write_rows(&mut store, &shape, out).await)
        }
        Some(target) => to_file(&mut store, &shape, target).await,
    };
    store.close().await;
    result?;
    Ok(Exit::Done)
}

/// What is exported, and in which form.
struct Shape {
    format: ExportFormat,
    rows: ExportRows,
    columns: Vec<&'static str>,
    excel: bool,
}

impl Shape {
    fn new(args: &ExportArgs) -> Result<Self, CommandError> {
        if args.excel && args.format == ExportFormat::Jsonl {
            return Err(CommandError::Usage("--excel goes with --format csv"));
        }
        let known = |name: &String| COLUMNS.into_iter().find(|column| column == name);
        let chosen: Option<Vec<&'static str>> = args.columns.iter().map(known).collect();
        let chosen =
            chosen.ok_or(CommandError::Usage("--columns names a column that consents does not have"))?;
        let columns = if chosen.is_empty() { COLUMNS[..DEFAULT_COLUMNS].to_vec() } else { chosen };
        let rows = match (args.all, args.withheld) {
            (true, _) => ExportRows::All,
            (false, true) => ExportRows::Active,
            (false, false) => ExportRows::Certain,
        };
        Ok(Self { format: args.format, rows, columns, excel: args.excel })
    }
}

async fn to_file(store: &mut Store, shape: &Shape, target: &Path) -> Result<(), CommandError> {
    let failed = |cause| StoreError::Target { path: target.to_path_buf(), cause };
    let named = |written| match written {
        Err(CommandError::Io { cause, .. }) => Err(failed(cause).into()),
        other => other,
    };
    if is_special(target) {
        let out = OpenOptions::new().write(true).open(target);
        let out = BufWriter::new(terminal::guarded(out.map_err(failed)?));
        return named(unless_closed(write_rows(store, shape, out).await));
    }
    // Behind a link it is the file that is replaced, not the link.
    let file = resolved(target);
    let mut file_on_disk = AtomicFile::create_beside(&file).map_err(failed)?;
    let out = BufWriter::new(file_on_disk.file());
    named(write_rows(store, shape, out).await)?;
    file_on_disk.persist(&file).map_err(failed)?;
    Ok(())
}

async fn write_rows(store: &mut Store, shape: &Shape, mut out: impl Write) -> Result<(), CommandError> {
    match shape.format {
        ExportFormat::Csv => {
            if shape.excel {
                out.write_all("\u{feff}".as_bytes())?;
            }
            let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
            csv.write_record(&shape.columns).map_err(csv_error)?;
            store
                .export(shape.rows, |rows| {
                    rows.iter().try_for_each(|row| csv.write_record(record(row, shape)).map_err(csv_error))
                })
                .await?;
            csv.flush()?;
        }
        ExportFormat::Jsonl => {
            store
                .export(shape.rows, |rows| {
                    for row in rows {
                        serde_json::to_writer(&mut out, &Line { row, columns: &shape.columns })
                            .map_err(io::Error::from)?;
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

const COLUMNS: [&str; 18] = [
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
    "address",
    "previous_key",
];

/// Without --columns: those of version 0.1, which scripts count on.
const DEFAULT_COLUMNS: usize = 16;

enum Cell<'a> {
    Text(Option<&'a str>),
    /// JSON in the database is JSON in a line of JSON, not text.
    Json(Option<&'a str>),
    Time(Option<Timestamp>),
    Number(i64),
}

fn cell<'a>(row: &'a ExportRow, column: &str) -> Cell<'a> {
    match column {
        "consent_key" => Cell::Text(Some(&row.consent_key)),
        "consent_id" => Cell::Text(row.consent_id.as_deref()),
        "company_id" => Cell::Text(Some(&row.company_id)),
        "email" => Cell::Text(row.email.as_deref()),
        "full_name" => Cell::Text(row.full_name.as_deref()),
        "source" => Cell::Text(row.source.as_deref()),
        "refs" => Cell::Json(row.refs.as_deref()),
        "extra" => Cell::Json(row.extra.as_deref()),
        "first_seen_at" => Cell::Time(Some(row.first_seen_at)),
        "changed_at" => Cell::Time(Some(row.changed_at)),
        "missing_since" => Cell::Time(row.missing_since),
        "withheld_since" => Cell::Time(row.withheld_since),
        "removed_at" => Cell::Time(row.removed_at),
        "erased_at" => Cell::Time(row.erased_at),
        "first_run_id" => Cell::Number(row.first_run_id),
        "changed_run_id" => Cell::Number(row.changed_run_id),
        "address" => Cell::Text(row.address.as_deref()),
        _ => Cell::Text(row.previous_key.as_deref()),
    }
}

fn record<'a>(row: &'a ExportRow, shape: &'a Shape) -> impl Iterator<Item = String> + 'a {
    shape.columns.iter().map(move |column| {
        let text = match cell(row, column) {
            Cell::Text(text) | Cell::Json(text) => text.unwrap_or_default().to_owned(),
            Cell::Time(at) => at.map(|at| at.to_string()).unwrap_or_default(),
            Cell::Number(number) => number.to_string(),
        };
        if shape.excel { not_a_formula(text) } else { text }
    })
}

/// A spreadsheet runs a cell that begins like a formula; an apostrophe makes it text.
fn not_a_formula(text: String) -> String {
    let runs = |letter: char| "=+-@\t\r\n|＝＋－＠".contains(letter);
    let first = text.trim_start_matches([' ', '\u{a0}', '\u{feff}']).chars().next();
    if first.is_some_and(runs) { format!("'{text}") } else { text }
}

struct Line<'a> {
    row: &'a ExportRow,
    columns: &'a [&'static str],
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for column in self.columns {
            match cell(self.row, column) {
                Cell::Text(text) => map.serialize_entry(column, &text)?,
                Cell::Json(text) => {
                    let raw: Option<&RawValue> = text.and_then(|text| serde_json::from_str(text).ok());
                    map.serialize_entry(column, &raw)?;
                }
                Cell::Time(at) => map.serialize_entry(column, &at)?,
                Cell::Number(number) => map.serialize_entry(column, &number)?,
            }
        }
        map.end()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_column() {
        let mut command = <crate::cli::Cli as clap::CommandFactory>::command();
        let help = command.find_subcommand_mut("export").map(|export| export.render_long_help().to_string());
        let help = help.unwrap_or_default();
        for column in COLUMNS {
            assert!(help.contains(column), "{column}: {help}");
        }
    }

    #[test]
    fn no_cell_for_a_spreadsheet_begins_like_a_formula() {
        for text in ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", " =1", "＝1", "|calc"] {
            assert_eq!(not_a_formula(text.to_owned()), format!("'{text}"));
        }
        for text in ["", "anna@example.com", "2026-01-01T00:00:00.000Z", "{\"a\":1}", "'=1"] {
            assert_eq!(not_a_formula(text.to_owned()), text);
        }
    }
}
