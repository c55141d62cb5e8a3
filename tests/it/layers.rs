//! Who may import whom (ARCHITECTURE.md), held against the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// What each module may name of ours, besides itself.
const MAY_NAME: [(&str, &str); 24] = [
    ("main", "app"),
    ("lib", ""),
    (
        "app",
        "api cli command config consent daemon demo exit file host invocation lifecycle observe schedule store sync zone",
    ),
    ("command", "api cli config consent demo exit file invocation observe schedule store sync"),
    ("daemon", "exit lifecycle schedule store zone"),
    ("sync", "api config consent exit hash invocation reconcile store"),
    ("api", "config consent exit hash"),
    ("store", "config consent exit file hash host reconcile"),
    ("observe", "config invocation store zone"),
    ("demo", "store"),
    ("reconcile", "consent hash"),
    ("hash", "consent"),
    ("config", "exit file schedule"),
    ("cli", ""),
    ("consent", ""),
    ("exit", ""),
    ("file", ""),
    ("host", ""),
    ("invocation", ""),
    ("lifecycle", ""),
    ("schedule", ""),
    ("zone", ""),
    ("tests", ""),
    ("snapshots", ""),
];

/// The name of a new schema cannot be bound; the server itself quotes it.
const SCHEMA_NAME: &str = "src/store/conn.rs";

/// Where a crate may be named.
const CRATES: [(&str, &str); 4] = [
    // SQL that is put together at run time: nowhere, except in `SCHEMA_NAME`.
    ("AssertSqlSafe", ""),
    ("reqwest", "api"),
    ("sqlx", "store"),
    ("axum", "observe demo"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The module of the first level that a file belongs to; none for tests, which may name anything.
fn module(file: &Path, root: &Path) -> Option<String> {
    let inside = file.strip_prefix(root).unwrap().with_extension("");
    let names: Vec<&str> = inside.iter().map(|name| name.to_str().unwrap()).collect();
    let is_test = names.iter().any(|name| *name == "tests" || name.ends_with("_tests"));
    (!is_test).then(|| names[0].to_owned())
}

#[test]
fn nothing_imports_upward_and_each_foreign_crate_has_its_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50);
    for file in files {
        let Some(module) = module(&file, &root) else {
            continue;
        };
        let (_, may_name) = MAY_NAME
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{module} has no place in ARCHITECTURE.md"));
        let text = fs::read_to_string(&file).unwrap();
        // Tests stand at the end of a file.
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for rest in line.split("crate::").skip(1).chain(line.split("understory_sync::").skip(1)) {
                let named: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let fine = named == module || may_name.split(' ').any(|name| name == named);
                assert!(fine || named.is_empty(), "{}: {module} names {named}: {line}", file.display());
            }
            for (name, places) in CRATES {
                let names_it =
                    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == name);
                let quoted = name == "AssertSqlSafe" && file.ends_with(SCHEMA_NAME);
                let fine = quoted || places.split(' ').any(|place| place == module);
                assert!(!names_it || fine, "{}: {name} is named: {line}", file.display());
            }
        }
    }
}

/// A database that is sharded by the key refuses a statement that assigns it, whether or not the value stays the same.
#[test]
fn one_statement_alone_gives_a_consent_another_key() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut updates, mut renaming) = (0, Vec::new());
    for file in files {
        // A statement may go over several lines, each of which ends with a backslash.
        let text = fs::read_to_string(&file).unwrap().replace("\\\n", " ");
        for statement in text.split('"') {
            // `update_in_list` adds the first word.
            let statement = statement.strip_prefix("update ").unwrap_or(statement);
            let words: Vec<&str> =
                statement.split_whitespace().filter(|word| *word != "or" && *word != "fail").collect();
            let is_update = words.len() > 2 && (words[1] == "set" || words[1..3] == ["as", "c"]);
            if !is_update || words[0] != "consents" {
                continue;
            }
            updates += 1;
            let words = words.join(" ");
            let (_, assigned) = words.split_once(" set ").unwrap();
            let assigned = assigned.split(" where ").next().unwrap().split(" from json_each").next().unwrap();
            if assigned.split(", ").any(|one| one.starts_with("consent_key =")) {
                renaming.push(format!("{}: {words}", file.display()));
            }
        }
    }
    assert!(updates > 15, "{updates}");
    // For SQLite and for PostgreSQL.
    assert_eq!(renaming.len(), 2, "{renaming:#?}");
    assert!(renaming.iter().all(|found| found.contains("bulk.rs: consents ")), "{renaming:#?}");
    let alone =
        |found: &String| found.split(" set ").nth(1).unwrap().split(" from ").next().unwrap().to_owned();
    assert_eq!(alone(&renaming[0]), "consent_key = v.value ->> 1");
    assert_eq!(alone(&renaming[1]), "consent_key = v.new_key");
}
