//! One version: in Cargo.toml, and wherever else a file names it.

use std::path::{Path, PathBuf};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(path: impl AsRef<Path>) -> String {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

/// The files that people read or build from, without the code and the lock files.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if is_markdown(&path) || path.ends_with("Dockerfile") || path.ends_with("config.example.toml") {
            files.push(path);
        }
    }
    for folder in ["docs", "packaging", "systemd", ".ci", ".github"] {
        collect(&root.join(folder), &mut files);
    }
    assert!(files.len() > 30, "{files:?}");
    files
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "md")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if std::fs::read_to_string(&path).is_ok() {
            // Pictures are no text.
            files.push(path);
        }
    }
}

/// The versions behind each `opening`: `1.2` or `1.2.3`.
fn versions_after<'a>(text: &'a str, opening: &str) -> Vec<&'a str> {
    text.split(opening)
        .skip(1)
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            rest[..end].trim_end_matches('.')
        })
        .filter(|version| version.contains('.'))
        .collect()
}

#[test]
fn every_file_that_names_a_version_of_the_program_names_this_one() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for file in documents() {
        let text = read(&file);
        for opening in [
            "understory-sync-",
            "understory-sync_",
            "understory-sync:",
            "understory-sync/",
            "understory-sync ",
        ] {
            for version in versions_after(&text, opening) {
                seen += 1;
                if version != VERSION {
                    wrong.push(format!("{}: {opening}{version}", file.display()));
                }
            }
        }
    }
    assert!(seen >= 4, "only {seen} versions were found");
    assert!(wrong.is_empty(), "Cargo.toml says {VERSION}, but {}", wrong.join(", "));
}

#[test]
fn image_package_changelog_and_lock_have_the_version_of_the_manifest() {
    assert_eq!(versions_after(&read("Dockerfile"), "ARG VERSION="), [VERSION]);
    let package = read("packaging/debian/changelog");
    assert!(
        package.starts_with(&format!("understory-sync ({VERSION}-1) ")),
        "packaging/debian/changelog: {package}"
    );
    assert!(
        read("CHANGELOG.md").contains(&format!("\n## [{VERSION}]")),
        "CHANGELOG.md has no section for {VERSION}"
    );
    let lock = read("Cargo.lock");
    assert!(lock.contains(&format!("name = \"understory-sync\"\nversion = \"{VERSION}\"")), "Cargo.lock");
}

#[test]
fn one_version_of_rust_is_asked_for() {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let image = read("Dockerfile");
    let pinned = versions_after(&image, "FROM rust:");
    assert!(
        !pinned.is_empty() && pinned.iter().all(|version| version.starts_with(wanted)),
        "Dockerfile: {pinned:?}"
    );
    let mut seen = 0;
    for file in documents().iter().filter(|file| is_markdown(file)) {
        for version in versions_after(&read(file), "Rust ") {
            seen += 1;
            assert!(version.starts_with(wanted), "{}: Rust {version} instead of {wanted}", file.display());
        }
    }
    assert!(seen >= 2, "only {seen} documents name the version of Rust");
}
