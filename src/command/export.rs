//! `export`: active consents, or all, streamed as RFC 4180 CSV or JSON Lines.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serializer as _;

use super::error::CommandError;
use super::{refuse_database_files, terminal};
use crate::cli::{ExportArgs, ExportFormat};
use crate::config::Config;
use crate::exit::Exit;
use crate::file::{AtomicFile, is_special, resolved};
use crate::store::{Bounds, COLUMNS, Cell, ExportRows, Record, Store, StoreError};

/// Exports to a file, which appears whole or not at all, or to standard output, a device or a pipe.
pub async fn run(config: &Config, args: &ExportArgs) -> Result<Exit, CommandError> {
    let shape = ExportShape::new(args)?;
    let output = args.output.as_deref().filter(|output| *output != Path::new("-"));
    if let Some(target) = output {
        refuse_database_files(target, &config.database)?;
    }
    let store = Store::open_existing(&config.database, Bounds::COMMAND).await?;
    let export = async |store: &mut Store| match output {
        None => write_rows(store, &shape, BufWriter::new(terminal::stdout())).await,
        Some(target) => write_file(store, &shape, target).await,
    };
    store.close_after(export).await.map(|()| Exit::Done)
}

struct ExportShape {
    format: ExportFormat,
    rows: ExportRows,
    /// Places in [`COLUMNS`].
    columns: Vec<usize>,
    excel: bool,
}

impl ExportShape {
    fn new(args: &ExportArgs) -> Result<Self, CommandError> {
        if args.excel && args.format == ExportFormat::Jsonl {
            return Err(CommandError::usage("--excel goes with --format csv"));
        }
        let known = |name: &String| COLUMNS.iter().position(|column| column == name);
        let Some(chosen) = args.columns.iter().map(known).collect::<Option<Vec<usize>>>() else {
            return Err(CommandError::usage("--columns names a column that consents does not have"));
        };
        let columns = if chosen.is_empty() { (0..DEFAULT_COLUMNS).collect() } else { chosen };
        let rows = match (args.all, args.withheld) {
            (true, _) => ExportRows::All,
            (false, true) => ExportRows::Active,
            (false, false) => ExportRows::Certain,
        };
        Ok(Self { format: args.format, rows, columns, excel: args.excel })
    }
}

async fn write_file(store: &mut Store, shape: &ExportShape, target: &Path) -> Result<(), CommandError> {
    let failed = |cause: io::Error| StoreError::target(target, &cause);
    let named = |written: Result<(), CommandError>| match written {
        Err(error) if error.is_closed_pipe() => Err(error),
        Err(CommandError::Io { cause, .. }) => Err(failed(cause).into()),
        other => other,
    };
    if is_special(target) {
        let out = OpenOptions::new().write(true).open(target);
        let out = BufWriter::new(terminal::guarded(out.map_err(failed)?));
        return named(write_rows(store, shape, out).await);
    }
    // Behind a link it is the file that is replaced, not the link.
    let file = resolved(target);
    let mut file_on_disk = AtomicFile::create_beside(&file).map_err(failed)?;
    let out = BufWriter::new(file_on_disk.file());
    named(write_rows(store, shape, out).await)?;
    file_on_disk.persist(&file).map_err(failed)?;
    Ok(())
}

async fn write_rows(store: &mut Store, shape: &ExportShape, mut out: impl Write) -> Result<(), CommandError> {
    match shape.format {
        ExportFormat::Csv => {
            if shape.excel {
                out.write_all("\u{feff}".as_bytes())?;
            }
            let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
            csv.write_record(shape.columns.iter().map(|column| COLUMNS[*column])).map_err(csv_error)?;
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
                        let chosen = shape.columns.iter().map(|&at| (&row.0[at].0, &row.0[at].1));
                        serde_json::Serializer::new(&mut out).collect_map(chosen).map_err(io::Error::from)?;
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

/// Without --columns: those of version 0.1, which scripts count on.
const DEFAULT_COLUMNS: usize = 16;

fn record<'a>(row: &'a Record, shape: &'a ExportShape) -> impl Iterator<Item = String> + 'a {
    shape.columns.iter().map(move |&column| {
        let text = match &row.0[column].1 {
            Cell::Text(text) | Cell::Json(text) => text.clone().unwrap_or_default(),
            Cell::Time(at) => at.map(|at| at.to_string()).unwrap_or_default(),
            Cell::Number(number) => number.map(|number| number.to_string()).unwrap_or_default(),
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

fn csv_error(error: csv::Error) -> CommandError {
    match error.into_kind() {
        csv::ErrorKind::Io(cause) => cause.into(),
        _ => io::Error::from(io::ErrorKind::InvalidData).into(),
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
