//! What is written for users is held against the program: queries run, links lead somewhere, no failure's message is missing.
//! The README's recipes have a file of their own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::World;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder, or those with one of these endings.
pub(crate) fn files(folder: &Path, endings: Option<&[&str]>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_dir() {
            // Not what builds and git leave there.
            if name != "target" && !(name.starts_with('.') && folder == root()) {
                found.append(&mut files(&path, endings));
            }
        } else if endings.is_none_or(|endings| endings.contains(&ending)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every Markdown file of the project.
pub(crate) fn documents() -> Vec<PathBuf> {
    files(root(), Some(&["md"]))
}

/// What users read: the README and all of `docs/`.
pub(crate) fn pages() -> Vec<PathBuf> {
    let mut pages = files(&root().join("docs"), Some(&["md"]));
    pages.push(root().join("README.md"));
    pages
}

pub(crate) fn read_page(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// The fenced blocks in one language.
pub(crate) fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts.map(|part| part.split("```").next().unwrap().trim().to_owned()).collect()
}

on_both! {
    async fn every_query_of_the_other_documents_runs(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        for document in ["docs/operations.md", "docs/privacy.md", "docs/troubleshooting.md"] {
            for query in blocks(&read(document), "sql") {
                // Rights and schemas are PostgreSQL's own.
                if query.starts_with("select") && !query.contains("north.") {
                    world.db.query(&query).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn the_query_over_several_companies_asks_each_of_their_schemas() {
    let world = World::on(crate::support::Engine::Postgres).await;
    for (schema, people) in [("north", 3), ("south", 5)] {
        world.set("database.schema", schema);
        world.list_people(people);
        world.run_once().expect(0);
    }
    let query = blocks(&read("docs/operations.md"), "sql")
        .into_iter()
        .find(|query| query.contains("north."))
        .unwrap();
    let rows = world.db.query(query.trim_end_matches(';')).await;
    let mut counts: Vec<String> = rows.iter().map(|row| row[1].clone().unwrap()).collect();
    counts.sort();
    assert_eq!(counts, ["3", "5"]);
}

#[tokio::test]
async fn every_column_that_is_not_internal_is_explained() {
    const INTERNAL: [&str; 8] = [
        "row_hash",
        "item_hash",
        "natural_hash",
        "missing_judged",
        "batches",
        "has_id",
        "fingerprint",
        "missing_run_at",
    ];
    let world = World::on(crate::support::Engine::Sqlite).await;
    world.run(&["migrate"]).expect(0);
    let explained = read("docs/tables.md");
    for table in [
        "consents",
        "mailable_consents",
        "consent_days",
        "consent_history",
        "consent_feed",
        "sync_runs",
        "rejected_items",
        "suppressions",
        "sync_lease",
    ] {
        let start = explained.find(&format!("## {table}\n")).unwrap();
        let section = explained[start + 3..].split("\n## ").next().unwrap();
        let query = format!("select name from pragma_table_info('{table}')");
        for column in world.db.rows(&query).await {
            let named = section.contains(&format!("`{column}`"));
            assert!(named != INTERNAL.contains(&&*column), "{table}.{column} in docs/tables.md");
        }
    }
}

/// Whoever arrives reads one page.
#[test]
fn the_readme_stays_short() {
    let lines = read("README.md").lines().count();
    assert!((100..200).contains(&lines), "{lines} lines");
}

#[test]
fn every_metric_that_is_written_about_exists() {
    let real = understory_sync::observe::metrics::Metrics::new().render();
    let mut texts = documents();
    texts.append(&mut files(&root().join("docs"), Some(&["json", "yml"])));
    let mut unknown = Vec::new();
    for path in texts {
        let text = fs::read_to_string(&path).unwrap();
        for rest in text.split("understory_sync_").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            let name = format!("understory_sync_{}", &rest[..end.unwrap_or(rest.len())]);
            let is_metric = real.contains(&format!("\n{name}{{"))
                || real.contains(&format!("\n{name} "))
                || real.contains(&format!("# TYPE {name} "));
            if !is_metric {
                unknown.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn every_key_is_explained() {
    let explained = read("docs/configuration.md");
    let mut section = String::new();
    let mut keys = 0;
    for line in read("config.example.toml").lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((name, _)) = line.trim_start_matches('#').split_once(" = ")
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            keys += 1;
            let key = format!("`{section}.{name}`");
            assert!(explained.contains(&key), "{key} is not in docs/configuration.md");
        }
    }
    assert!(keys > 30, "{keys} keys");
}

/// Root reads no configuration that it did not name: `./config.toml` may be anybody's.
#[test]
fn root_always_names_its_configuration() {
    let mut seen = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap().replace("\\\n", " ");
        // `init --system` reads none, and names what it writes.
        let is_asked = |line: &&str| line.contains("sudo ") && !line.contains("init --system");
        for line in text.lines().filter(is_asked) {
            let command = line.split("sudo ").nth(1).unwrap();
            let mut words = command.split([' ', '`']).filter(|word| !word.contains('='));
            if words.next() == Some("understory-sync") {
                seen += 1;
                let named = words.next() == Some("--config")
                    && words.next().is_some_and(|file| file.starts_with("/etc/understory-sync/"));
                assert!(named, "{}: {line}", path.display());
            }
        }
    }
    assert!(seen >= 5, "{seen} lines");
}

/// Where messages of failures are made, and behind which words their texts stand.
const MESSAGES: [(&str, &[&str]); 14] = [
    (
        "src/api",
        &[
            "#[error(",
            "BadBody::Shape(",
            "Exit::Config,",
            "Exit::Data,",
            "Exit::Refused,",
            "Exit::Retry,",
            "Exit::Unavailable,",
            "Self::new(",
            "Transient::new(",
            "leads_nowhere(",
            "let message = ",
            "let words = ",
            "no_connection(",
            "refused_us(",
            "TEN_SECONDS: &str = ",
            "=> (",
        ],
    ),
    ("src/store", &["#[error(", "Problem::new(", "let message = "]),
    ("src/sync", &["#[error(", "Exit::Data,", "Exit::Retry,", "let message = "]),
    (
        "src/command",
        &[
            "#[error(",
            "usage(",
            "at_line(",
            "reader(format_args!(",
            "Exit::Config,",
            "Exit::Usage,",
            "Exit::Retry,",
            "let message = ",
        ],
    ),
    ("src/config", &["#[error(", "Complaint::new(", "wrong(", "let what = "]),
    ("src/schedule.rs", &["#[error("]),
    ("src/consent.rs", &["#[error("]),
    ("src/app", &["Usage(", "Err(_) => Err("]),
    ("src/config", &["warnings.push("]),
    ("src/command", &["what: ", "io::Error::other(", "self.note(&"]),
    ("src/app.rs", &["what: "]),
    ("src/observe/health.rs", &["reasons.push("]),
    ("src/observe/http.rs", &["let seconds = ANSWER_WITHIN.as_secs();"]),
    ("src", &["tracing::warn!(", "tracing::error!("]),
];

#[test]
fn every_message_of_a_failure_is_in_the_troubleshooting() {
    let explained = flat(&read("docs/troubleshooting.md"));
    let mut seen = 0;
    let mut missing = Vec::new();
    for (place, openings) in MESSAGES {
        let path = root().join(place);
        let sources = if path.is_dir() { files(&path, Some(&["rs"])) } else { vec![path] };
        for source in sources.iter().filter(|source| !is_test(source)) {
            let text = fs::read_to_string(source).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for opening in openings {
                for message in messages(text, opening) {
                    seen += 1;
                    if let Some(part) = fixed_parts(&message).iter().find(|part| !explained.contains(*part)) {
                        missing.push(format!("{}: {part}", source.display()));
                    }
                }
            }
        }
    }
    assert!(seen > 100, "{seen} messages");
    assert!(missing.is_empty(), "docs/troubleshooting.md does not hold:\n{}", missing.join("\n"));
}

/// Words that clap says, not we.
const OF_THE_COMMAND_LINE: [&str; 2] =
    ["a value is required", "the following required arguments were not provided"];

#[test]
fn every_message_of_the_troubleshooting_is_one_that_the_program_has() {
    let sources: String = files(&root().join("src"), Some(&["rs"]))
        .iter()
        .filter(|source| !is_test(source))
        .map(|source| {
            let text = fs::read_to_string(source).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            flat(&text.replace("\\\n", " ").replace("\\\"", "\""))
        })
        .collect();
    let mut seen = 0;
    let mut unknown = Vec::new();
    for span in spans(&read("docs/troubleshooting.md")) {
        let is_typed = span.starts_with("understory-sync ") || span.starts_with("forget ");
        let is_message = span.split(' ').count() > 2 && !is_typed && !span.contains(" = ");
        if !is_message || OF_THE_COMMAND_LINE.contains(&&*span) {
            continue;
        }
        seen += 1;
        for part in span.split('…') {
            let part = part.trim().trim_end_matches(':');
            if part.chars().filter(char::is_ascii_alphabetic).count() >= 3 && !sources.contains(part) {
                unknown.push(format!("{part:?} of {span:?}"));
            }
        }
    }
    assert!(seen > 150, "{seen} messages");
    assert!(
        unknown.is_empty(),
        "docs/troubleshooting.md tells of what the program never says:\n{}",
        unknown.join("\n")
    );
}

/// The texts in backticks, without the fenced blocks.
pub(crate) fn spans(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let mut found = Vec::new();
    let mut rest = &*prose;
    while let Some(at) = rest.find('`') {
        let fence = if rest[at..].starts_with("``") { "``" } else { "`" };
        let (span, after) = rest[at + fence.len()..].split_once(fence).unwrap();
        found.push(flat(span));
        rest = after;
    }
    found
}

fn is_test(source: &Path) -> bool {
    let inside = source.strip_prefix(root()).unwrap();
    inside.to_string_lossy().contains("tests")
}

/// The texts behind an opening: in `#[error(…)]` and the macros the literal that is the message, in calls the first argument.
fn messages(text: &str, opening: &str) -> Vec<String> {
    let mut found = Vec::new();
    for call in text.split(opening).skip(1) {
        let is_macro = opening.starts_with("tracing");
        let literal = if is_macro {
            // Fields come first, the message last.
            let end = call.find(");").unwrap_or(call.len());
            literals(&call[..end]).pop()
        } else {
            // A problem's exit code comes first.
            let call = if opening == "Problem::new(" {
                call.split_once(',').map_or("", |(_, rest)| rest)
            } else {
                call
            };
            let call = call.trim_start();
            literal(call.strip_prefix("format!(").unwrap_or(call).trim_start())
        };
        found.extend(literal);
    }
    found
}

/// All string literals, in their order.
fn literals(mut text: &str) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(at) = text.find('"') {
        let Some(literal) = literal(&text[at..]) else {
            break;
        };
        // Escapes are shorter here than in the source; the quotes are two.
        let mut escaped = false;
        let end = text[at + 1..]
            .char_indices()
            .find(|(_, c)| {
                let is_end = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                is_end
            })
            .map_or(text.len(), |(end, _)| at + 1 + end + 1);
        found.push(literal);
        text = &text[end..];
    }
    found
}

/// The string literal at the beginning, unescaped.
fn literal(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => match chars.next()? {
                // A literal that goes on in the next line.
                '\n' => out.push('\n'),
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
}

/// What stands between the placeholders, without spaces around it; a word or two of letters at least.
fn fixed_parts(message: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = message;
    loop {
        let (part, after) = rest.split_once('{').unwrap_or((rest, ""));
        let part = flat(part);
        if part.chars().filter(char::is_ascii_alphabetic).count() >= 3 {
            parts.push(part);
        }
        match after.split_once('}') {
            Some((_, next)) => rest = next,
            None => return parts,
        }
    }
}

/// One line, single spaces.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
