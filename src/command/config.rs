//! `config`: the effective configuration, each value with where it came from; no secret.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::config::{self, ConfigEntry, LoadedConfig, schema};
use crate::exit::Exit;

/// Writes the configuration to `out` in a form that a configuration file accepts, and what is missing to `err`.
pub fn run(loaded: &LoadedConfig, json: bool, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let written = if json { writeln!(out, "{:#}", to_json(loaded)) } else { write_text(loaded, out) };
    match written.and_then(|()| print_problems(loaded, err)) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(if loaded.missing.is_empty() { Exit::Done } else { Exit::Config }),
    }
}

/// The commented example, which needs no configuration.
pub fn example(out: &mut dyn Write) -> io::Result<Exit> {
    super::print(config::example().as_bytes(), out)
}

/// The JSON Schema of a configuration file, which needs none either.
pub fn print_schema(out: &mut dyn Write) -> io::Result<Exit> {
    super::print(format!("{:#}\n", schema()).as_bytes(), out)
}

/// Values as TOML writes them are JSON too; what is not is given as text.
fn to_json(loaded: &LoadedConfig) -> Value {
    let entry = |entry: &ConfigEntry| {
        let parse = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into());
        let value = entry.value.as_ref().map_or(Value::Null, parse);
        json!({ "key": entry.key, "value": value, "origin": entry.origin.to_string() })
    };
    let missing: Vec<String> = loaded.missing.iter().map(ToString::to_string).collect();
    let outside: serde_json::Map<String, Value> =
        loaded.surroundings.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    json!({
        "file": loaded.file.as_ref().map(|file| file.display().to_string()),
        "keys": loaded.entries.iter().map(entry).collect::<Vec<_>>(),
        "environment": outside,
        "warnings": loaded.warnings,
        "missing": missing,
    })
}

fn write_text(loaded: &LoadedConfig, out: &mut dyn Write) -> io::Result<()> {
    let file = loaded.file.as_ref().map_or("none".to_owned(), |path| path.display().to_string());
    writeln!(out, "# configuration file: {}", file.escape_debug())?;
    let mut section = "";
    for entry in &loaded.entries {
        let first = entry.key.split('.').next().unwrap_or_default();
        if first != section {
            writeln!(out)?;
            section = first;
        }
        match &entry.value {
            Some(value) => writeln!(out, "{} = {value}  # from {}", entry.key, entry.origin)?,
            None => writeln!(out, "# {} is not set", entry.key)?,
        }
    }
    writeln!(out, "\n# honoured, and set outside")?;
    if loaded.surroundings.is_empty() {
        writeln!(out, "# no HTTPS_PROXY, NO_PROXY or SSL_CERT_FILE")?;
    }
    for (name, value) in &loaded.surroundings {
        writeln!(out, "# {name} = {}", value.escape_debug())?;
    }
    out.flush()
}

fn print_problems(loaded: &LoadedConfig, err: &mut dyn Write) -> io::Result<()> {
    for warning in &loaded.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    for problem in &loaded.missing {
        writeln!(err, "missing: {problem}")?;
    }
    err.flush()
}
