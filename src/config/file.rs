//! The configuration file: where it is looked for, and what it sets.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ::config::{FileFormat, Map, Source as _, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::key::{self, FILE_VARIABLE};
use super::load::Sources;
use super::problem::{ConfigProblem, Origin, show_name, show_path};
use crate::file;

/// Where the file is looked for when nobody names one, the first that exists.
const SYSTEM_FILE: &str = "/etc/understory-sync/config.toml";

/// Finds the file and its text: the one that is named, else the first of the usual ones, else none.
pub(super) fn find(sources: &Sources<'_>) -> Result<Option<(PathBuf, String)>, ConfigProblem> {
    if let Some((path, origin)) = find_named(sources) {
        // It may well be a pipe that a shell opened.
        return match File::open(&path).map_err(|error| cannot_read(&error)).and_then(read) {
            Ok(text) => Ok(Some((path, text))),
            Err(what) => Err(unreadable(&path, Some(origin), &what)),
        };
    }
    let here = sources.working_dir.join("config.toml");
    for path in [here.as_path(), Path::new(SYSTEM_FILE)] {
        if std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            continue;
        }
        let file = file::open(path).map_err(|error| unreadable(path, None, &cannot_read(&error)))?;
        if path == here {
            refuse_foreign(path, &file, sources.caller)?;
        }
        let text = read(file).map_err(|what| unreadable(path, None, &what))?;
        return Ok(Some((path.to_owned(), text)));
    }
    Ok(None)
}

fn find_named(sources: &Sources<'_>) -> Option<(PathBuf, Origin)> {
    let by_variable = || {
        let path = PathBuf::from(sources.environment.get(FILE_VARIABLE)?);
        Some((path, Origin::Variable(FILE_VARIABLE.to_owned())))
    };
    let by_flag = sources.file.map(|path| (path.to_owned(), Origin::Flag("--config")));
    let (path, origin) = by_flag.or_else(by_variable)?;
    Some((sources.working_dir.join(path), origin))
}

/// Nobody named this file: in a folder that others may write to, anybody could have put it there, and send the secret anywhere.
fn refuse_foreign(path: &Path, file: &File, caller: u32) -> Result<(), ConfigProblem> {
    let metadata = file.metadata().map_err(|error| unreadable(path, None, &cannot_read(&error)))?;
    let shown = show_path(path);
    let named = format!("if it is meant, name it: --config {shown}");
    let foreign = |owner: u32| owner != caller && owner != 0;
    let link = std::fs::symlink_metadata(path);
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(unreadable(path, None, "it is a pipe or a device"));
    }
    let key = format!("configuration file {shown}");
    if foreign(metadata.uid()) || link.is_ok_and(|link| foreign(link.uid())) {
        let what = "it belongs to another user, so it is not read";
        return Err(ConfigProblem::new(key, None, what, named));
    }
    if file::others_may_write(&metadata) {
        let what = "it can be written by other users, so it is not read";
        return Err(ConfigProblem::new(key, None, what, format!("try: chmod go-w {shown}; {named}")));
    }
    Ok(())
}

fn cannot_read(error: &io::Error) -> String {
    format!("it cannot be read ({})", file::in_words(error))
}

fn read(mut file: File) -> Result<String, String> {
    let metadata = file.metadata().map_err(|error| cannot_read(&error))?;
    if metadata.is_dir() {
        return Err("it is a directory".to_owned());
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| cannot_read(&error))?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

fn unreadable(path: &Path, origin: Option<Origin>, what: &str) -> ConfigProblem {
    let key = format!("configuration file {}", show_path(path));
    ConfigProblem::new(key, origin, what, "expected a readable TOML file")
}

/// What a file sets, and what is wrong with the names in it.
#[derive(Debug, Clone)]
pub(super) struct FileLayer {
    pub path: PathBuf,
    /// By `section.name`.
    pub settings: Map<String, Value>,
    pub problems: Vec<ConfigProblem>,
}

/// Reads what the file sets; unknown keys become problems.
pub(super) fn parse(path: PathBuf, text: &str) -> Result<FileLayer, ConfigProblem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let table = ::config::File::from_str(text, FileFormat::Toml)
        .collect()
        .map_err(|error| explain_syntax(&path, text, &error))?;
    let mut layer = FileLayer { path, settings: Map::new(), problems: Vec::new() };
    layer.add_table("", table);
    Ok(layer)
}

impl FileLayer {
    fn add_table(&mut self, prefix: &str, table: Map<String, Value>) {
        for (name, value) in table.into_iter().collect::<BTreeMap<_, _>>() {
            self.add_value(format!("{prefix}{}", bare(&name)), value);
        }
    }

    fn add_value(&mut self, name: String, value: Value) {
        let is_section = key::is_section(&name);
        match (value.kind, key::find(&name)) {
            (ValueKind::Table(table), _) if is_section || !table.is_empty() => {
                self.add_table(&format!("{name}."), table);
            }
            (ValueKind::Table(_), Some(_)) => {
                self.add_problem(name, "it is a table", "expected one value");
            }
            (kind, Some(_)) => {
                self.settings.insert(name, Value::new(None, kind));
            }
            (_, None) if is_section => {
                let section = format!("it is a section, and holds keys: [{name}]");
                self.add_problem(name, &section, "");
            }
            (_, None) => {
                let allowed = format!("did you mean {}?", key::nearest(&name));
                self.add_problem(show_name(&name), "there is no such key", &allowed);
            }
        }
    }

    fn add_problem(&mut self, key: String, what: &str, allowed: &str) {
        let origin = Some(Origin::File(self.path.clone()));
        self.problems.push(ConfigProblem::new(key, origin, what, allowed));
    }
}

/// A name as TOML writes it: `"a.b"` is one name, not two.
fn bare(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(plain) { name.to_owned() } else { format!("{name:?}") }
}

/// A syntax error without the line it is in, which may hold a secret: position, key and reason only.
fn explain_syntax(path: &Path, text: &str, error: &::config::ConfigError) -> ConfigProblem {
    let cause = match error {
        ::config::ConfigError::FileParse { cause, .. } => cause.downcast_ref::<toml::de::Error>(),
        _ => None,
    };
    // A number that no kind of number can hold is found behind the parser, which gives no place for it.
    let span = cause.and_then(toml::de::Error::span).or_else(|| find_large_number(text));
    let before = span.and_then(|span| text.get(..span.start));
    let place = before.map_or_else(String::new, |before| {
        let line = before.rsplit('\n').next().unwrap_or_default();
        format!(" at line {}, column {}", before.matches('\n').count() + 1, line.chars().count() + 1)
    });
    let reason = cause.map_or("a number is too large", toml::de::Error::message);
    let key = before.and_then(|before| key_behind(text, before.len()));
    let key = key.unwrap_or_else(|| format!("configuration file {}", show_path(path)));
    let what = format!("this is not TOML{place}: {reason}");
    let allowed = "text stands in quotes, a section begins with [section]";
    ConfigProblem::new(key, Some(Origin::File(path.to_owned())), what, allowed)
}

fn find_large_number(text: &str) -> Option<Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    let is_large = |value: &DeValue<'_>| match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).is_err(),
        DeValue::Float(number) => number.as_str().parse::<f64>().is_ok_and(f64::is_infinite),
        _ => false,
    };
    let sections = table.get_ref().values().filter_map(|value| value.get_ref().as_table());
    let values = table.get_ref().values().chain(sections.flat_map(|section| section.values()));
    values.into_iter().find(|value| is_large(value.get_ref())).map(toml::Spanned::span)
}

/// The key on the line of a position, if it is one of ours.
fn key_behind(text: &str, position: usize) -> Option<String> {
    let start = text[..position].rfind('\n').map_or(0, |at| at + 1);
    let section =
        text[..start].lines().rev().find_map(|line| line.trim().strip_prefix('[')?.split(']').next());
    let name = text[start..].lines().next()?.split('=').next()?.trim();
    let inside = format!("{}.{name}", section.unwrap_or_default().trim());
    [name.to_owned(), inside].into_iter().find(|name| key::find(name).is_some())
}
