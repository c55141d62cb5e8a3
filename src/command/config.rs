//! `config`: the effective configuration, each value with where it came from; no secret.

use std::io::{self, Write};

use crate::config::{Entry, Loaded};
use crate::exit::Exit;

/// Writes the configuration to `out` in a form that a configuration file accepts, and what is missing to `err`.
pub fn run(loaded: &Loaded, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let exit = if loaded.missing.is_empty() { Exit::Done } else { Exit::Config };
    super::unless_closed(write(loaded, out).and_then(|()| tell(loaded, err)), exit)
}

fn write(loaded: &Loaded, out: &mut dyn Write) -> io::Result<()> {
    match &loaded.file {
        Some(path) => writeln!(out, "# configuration file: {}", path.display().to_string().escape_debug())?,
        None => writeln!(out, "# configuration file: none")?,
    }
    let mut section = "";
    for entry in &loaded.entries {
        let first = entry.key.split('.').next().unwrap_or_default();
        if first != section {
            writeln!(out)?;
            section = first;
        }
        line(entry, out)?;
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

fn line(entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
    match &entry.value {
        Some(value) => writeln!(out, "{} = {value}  # from {}", entry.key, entry.origin),
        None => writeln!(out, "# {} is not set", entry.key),
    }
}

fn tell(loaded: &Loaded, err: &mut dyn Write) -> io::Result<()> {
    for warning in &loaded.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    for problem in &loaded.missing {
        writeln!(err, "missing: {problem}")?;
    }
    err.flush()
}
