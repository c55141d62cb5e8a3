//! Links of the documentation lead somewhere, files that name a page name one that is there, and every page can be read in a
//! terminal and says whom it serves.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::documents::{documents, files, pages, read_page, root};

#[test]
fn every_link_leads_to_a_file_and_a_heading_of_it() {
    let mut seen = 0;
    let mut broken = Vec::new();
    for document in documents() {
        for target in targets(&prose(&read_page(&document))) {
            seen += 1;
            let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
            let file = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            if !target.contains("://") && !leads(&file, heading) {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(seen > 150, "{seen} links");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn leads(file: &Path, heading: &str) -> bool {
    file.exists() && (heading.is_empty() || headings(file).contains(heading))
}

/// Without the fenced blocks.
fn prose(text: &str) -> String {
    let mut is_fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        if !is_fence && !is_fenced {
            prose.push_str(line);
            prose.push('\n');
        }
        is_fenced ^= is_fence;
    }
    prose
}

/// Where the links and the pictures of a text lead.
fn targets(text: &str) -> Vec<String> {
    [("](", ')'), ("src=\"", '"'), ("href=\"", '"')]
        .iter()
        .flat_map(|(opening, end)| {
            text.split(opening).skip(1).map(|rest| rest.split(*end).next().unwrap().to_owned())
        })
        .collect()
}

/// A document's headings as links name them.
fn headings(document: &Path) -> HashSet<String> {
    prose(&read_page(document))
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            heading.chars().filter(is_kept).collect::<String>()
        })
        .map(|heading| heading.replace(' ', "-"))
        .collect()
}

/// What names pages outside of their links: sources, units, packaging, scripts, workflows.
fn files_that_name_pages() -> Vec<PathBuf> {
    let folders =
        ["src", "tests", "benches", "mock-api", "systemd", "packaging", "docs/examples", ".ci", ".github"];
    let mut found: Vec<PathBuf> =
        folders.iter().flat_map(|folder| files(&root().join(folder), None)).collect();
    found.extend(["Cargo.toml", "Dockerfile", "config.example.toml"].map(|name| root().join(name)));
    found.append(&mut documents());
    found
}

#[test]
fn every_page_that_a_file_names_is_there() {
    let mut seen = 0;
    let mut missing = Vec::new();
    for file in files_that_name_pages() {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        // A package puts the pages beside each other.
        for (opening, folder) in [("docs/", "docs"), ("/usr/share/doc/understory-sync/", "")] {
            for rest in text.split(opening).skip(1) {
                let is_of_name = |c: char| c.is_ascii_alphanumeric() || "-_./#@".contains(c);
                let named = rest.split(|c| !is_of_name(c)).next().unwrap().trim_end_matches('.');
                let (name, heading) = named.split_once('#').unwrap_or((named, ""));
                if Path::new(name).extension().is_none_or(|ending| ending != "md") {
                    continue;
                }
                seen += 1;
                let places = [root().join(folder).join(name), root().join("docs").join(name)];
                if !places.iter().any(|place| leads(place, heading)) {
                    missing.push(format!("{}: {opening}{named}", file.display()));
                }
            }
        }
    }
    assert!(seen > 30, "{seen} names");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// A page with a width of its own.
const OF_ANY_WIDTH: [&str; 1] = ["ARCHITECTURE.md"];

#[test]
fn no_line_is_longer_than_a_hundred_columns() {
    let mut long = Vec::new();
    for document in documents() {
        if OF_ANY_WIDTH.iter().any(|name| document == root().join(name)) {
            continue;
        }
        for line in prose(&read_page(&document)).lines() {
            // Tables and pictures cannot be wrapped, code that stands in a list keeps its form.
            if line.trim_start().starts_with(['|', '<']) || line.starts_with("    ") {
                continue;
            }
            let width = without_targets(line).chars().count();
            if width > 100 {
                long.push(format!("{}, {width}: {line}", document.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// A link is as wide as what is seen of it.
fn without_targets(line: &str) -> String {
    let mut parts = line.split("](");
    let mut seen = parts.next().unwrap().to_owned();
    for part in parts {
        seen.push(']');
        seen.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    seen
}

#[test]
fn every_page_begins_with_whom_it_serves() {
    for page in pages() {
        let text = read_page(&page);
        let mut paragraphs = text.split("\n\n");
        let title = paragraphs.next().unwrap();
        let serves = paragraphs.next().unwrap();
        assert!(title.starts_with("# ") && serves.starts_with("For "), "{}: {serves}", page.display());
    }
}
