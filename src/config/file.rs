//! The configuration file: where it is looked for, and what it sets.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ::config::{FileFormat, Source, Value, ValueKind};

use super::key::{self, FILE_VARIABLE};
use super::load::Sources;
use super::problem::{Origin, Problem, show_name};
use super::value::{Raw, Setting};
use crate::file;

/// Where the file is looked for when nobody names one, the first that exists.
const SYSTEM_FILE: &str = "/etc/understory-sync/config.toml";

pub(super) type Settings = Vec<(&'static str, Setting)>;

/// Finds the file and its text: the one that is named, else the first of the usual ones, else none.
pub(super) fn find(sources: &Sources<'_>) -> Result<Option<(PathBuf, String)>, Problem> {
    if let Some((path, origin)) = named(sources) {
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

fn named(sources: &Sources<'_>) -> Option<(PathBuf, Origin)> {
    let by_variable = || {
        let path = PathBuf::from(sources.environment.get(FILE_VARIABLE)?);
        Some((path, Origin::Variable(FILE_VARIABLE.to_owned())))
    };
    let by_flag = sources.file.map(|path| (path.to_owned(), Origin::Flag("--config")));
    let (path, origin) = by_flag.or_else(by_variable)?;
    Some((sources.working_dir.join(path), origin))
}

/// Nobody named this file: in a folder that others may write to, anybody could have put it there, and send the secret anywhere.
fn refuse_foreign(path: &Path, file: &File, caller: u32) -> Result<(), Problem> {
    let metadata = file.metadata().map_err(|error| unreadable(path, None, &cannot_read(&error)))?;
    let shown = super::problem::show_path(path);
    let named = format!("if it is meant, name it: --config {shown}");
    let foreign = |owner: u32| owner != caller && owner != 0;
    let link = std::fs::symlink_metadata(path);
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(unreadable(path, None, "it is a pipe or a device"));
    }
    let problem = |what: String, allowed: String| {
        Err(Problem { key: format!("configuration file {shown}"), origin: None, what, allowed })
    };
    if foreign(metadata.uid()) || link.is_ok_and(|link| foreign(link.uid())) {
        return problem("it belongs to another user, so it is not read".to_owned(), named);
    }
    if file::others_may_write(&metadata) {
        let what = "it can be written by other users, so it is not read".to_owned();
        return problem(what, format!("try: chmod go-w {shown}; {named}"));
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

fn unreadable(path: &Path, origin: Option<Origin>, what: &str) -> Problem {
    Problem {
        key: format!("configuration file {}", super::problem::show_path(path)),
        origin,
        what: what.to_owned(),
        allowed: "a readable TOML file is wanted".to_owned(),
    }
}

/// Reads what the file sets; unknown keys become problems.
pub(super) fn parse(path: &Path, text: &str) -> Result<(Settings, Vec<Problem>), Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let origin = Origin::File(path.to_owned());
    let mut found = Found { settings: Vec::new(), problems: Vec::new(), origin };
    let table = ::config::File::from_str(text, FileFormat::Toml)
        .collect()
        .map_err(|error| syntax(path, text, &error))?;
    for (name, value) in sorted(table) {
        found.top(&name, value);
    }
    Ok((found.settings, found.problems))
}

fn sorted(table: ::config::Map<String, Value>) -> std::collections::BTreeMap<String, Value> {
    table.into_iter().collect()
}

struct Found {
    settings: Settings,
    problems: Vec<Problem>,
    origin: Origin,
}

impl Found {
    /// A name at the top: a section.
    fn top(&mut self, name: &str, value: Value) {
        match value.kind {
            ValueKind::Table(table) => {
                if table.is_empty() && !key::is_section(name) {
                    self.unknown(&bare(name));
                }
                for (inner, value) in sorted(table) {
                    self.inside(&format!("{}.{}", bare(name), bare(&inner)), value);
                }
            }
            _ if key::is_section(name) => {
                let what = format!("it is a section, and holds keys: [{name}]");
                self.problem(name.to_owned(), what, String::new());
            }
            _ => self.unknown(&bare(name)),
        }
    }

    /// A name below a section: a key, or a table that should not be there.
    fn inside(&mut self, name: &str, value: Value) {
        match value.kind {
            ValueKind::Table(table) if !table.is_empty() => {
                for (inner, value) in sorted(table) {
                    self.inside(&format!("{name}.{}", bare(&inner)), value);
                }
            }
            kind => match key::find(name) {
                None => self.unknown(name),
                Some(key) => match raw(kind) {
                    Some(raw) => self.settings.push((key.name, Setting { raw, origin: self.origin.clone() })),
                    None => self.problem(
                        name.to_owned(),
                        "it is a table".to_owned(),
                        "one value is wanted".to_owned(),
                    ),
                },
            },
        }
    }

    fn unknown(&mut self, name: &str) {
        let allowed = format!("did you mean {}?", key::nearest(name));
        self.problem(show_name(name), "there is no such key".to_owned(), allowed);
    }

    fn problem(&mut self, key: String, what: String, allowed: String) {
        self.problems.push(Problem { key, origin: Some(self.origin.clone()), what, allowed });
    }
}

/// A name as TOML writes it: `"a.b"` is one name, not two.
fn bare(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(plain) { name.to_owned() } else { format!("{name:?}") }
}

fn raw(kind: ValueKind) -> Option<Raw> {
    Some(match kind {
        ValueKind::Boolean(value) => Raw::Boolean(value),
        ValueKind::I64(value) => Raw::Integer(value),
        ValueKind::Float(value) => Raw::Float(value),
        ValueKind::String(value) => Raw::Text(value),
        ValueKind::Array(items) => {
            Raw::List(items.into_iter().map(|item| raw(item.kind)).collect::<Option<_>>()?)
        }
        // The TOML reader makes no other kinds.
        _ => return None,
    })
}

/// A syntax error without the line it quotes, which may hold a secret: position, key and reason only.
fn syntax(path: &Path, text: &str, error: &::config::ConfigError) -> Problem {
    let told = match error {
        ::config::ConfigError::FileParse { cause, .. } => cause.to_string(),
        _ => String::new(),
    };
    let mut lines = told.lines();
    let first = lines.next().unwrap_or_default();
    let (position, reason) = match first.strip_prefix("TOML parse error at ") {
        // The gutter, the quoted line and the caret stand between the position and the reason.
        Some(position) => (Some(position), lines.skip(3).collect::<Vec<_>>().join(", ")),
        None => (None, first.to_owned()),
    };
    let number = position.and_then(line_number).or_else(|| large_number(text));
    let key = number
        .and_then(|number| key_at(text, number))
        .unwrap_or_else(|| format!("configuration file {}", super::problem::show_path(path)));
    let place = position.map_or_else(String::new, |position| format!(" at {position}"));
    Problem {
        key,
        origin: Some(Origin::File(path.to_owned())),
        what: format!("this is not TOML{place}: {reason}"),
        allowed: "text stands in quotes, a section begins with [section]".to_owned(),
    }
}

fn line_number(position: &str) -> Option<usize> {
    position.strip_prefix("line ")?.split(',').next()?.parse().ok()
}

/// The line of a number that no kind of number can hold: the one error that comes without a position.
fn large_number(text: &str) -> Option<usize> {
    let long = |line: &str| line.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 18);
    text.lines().position(long).map(|index| index + 1)
}

/// The key whose value stands on a line, if it is one of ours.
fn key_at(text: &str, number: usize) -> Option<String> {
    let mut section = "";
    for line in text.lines().take(number) {
        if let Some(name) = line.trim().strip_prefix('[').and_then(|line| line.split(']').next()) {
            section = name.trim();
        }
    }
    let name = text.lines().nth(number.checked_sub(1)?)?.split('=').next()?.trim();
    [name.to_owned(), format!("{section}.{name}")].into_iter().find(|name| key::find(name).is_some())
}
