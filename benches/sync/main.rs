//! This program beside the floor: the same pages fetched and thrown away by a minimal client, and the same rows put in by
//! the database's own bulk way into the same columns and indexes, with the same durability and as many commits.
//!
//! `cargo bench` measures 10,000 and 100,000 rows; `cargo bench -- --rows 10000,100000,1000000` all of them. `--pages` (rows
//! a page), `--databases` (sqlite,postgres) choose. What is measured is the released program, which is built first (`cargo bench`
//! itself would leave `panic = "abort"` out); `BENCH_PROGRAM` names another one. PostgreSQL: `BENCH_POSTGRES_URL`, else a throwaway cluster with its
//! default durability. The server, the client and the program are processes of their own, all on 127.0.0.1.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where something is wrong"
)]

mod floor;
mod measure;
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use floor::{Database, Floor};
use measure::{Cost, run};

/// The program that is measured.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(program) = std::env::var_os("BENCH_PROGRAM") {
        return program.into();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked", "--bin", "understory-sync", "--target-dir"]);
    let target = folder.join("target");
    assert!(build.arg(&target).current_dir(folder).status().unwrap().success());
    target.join("release/understory-sync")
});

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", rows, page] => server::serve(rows.parse().unwrap(), page.parse().unwrap()),
        ["fetch", address, pages] => server::fetch(address, pages.parse().unwrap()),
        _ => bench(&words),
    }
}

fn option<'a>(words: &[&'a str], name: &str, default: &'a str) -> Vec<&'a str> {
    let at = words.iter().position(|word| *word == name);
    at.and_then(|at| words.get(at + 1)).copied().unwrap_or(default).split(',').collect()
}

fn bench(words: &[&str]) {
    let numbers = |name, default| -> Vec<usize> {
        option(words, name, default).iter().map(|number| number.parse().unwrap()).collect()
    };
    println!("{}", measure::machine());
    println!(
        "\n| database | rows | page | what | wall s | CPU s | CPU µs a row | peak RSS MiB | floor wall s | floor CPU s | wall × floor | CPU × floor | \
         write() × file | disk × file |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    let folder = tempfile::tempdir().unwrap();
    let databases = option(words, "--databases", "sqlite,postgres");
    let cluster = databases.contains(&"postgres").then(|| floor::Cluster::start(folder.path()));
    for rows in numbers("--rows", "10000,100000") {
        for page in numbers("--pages", "100,1000") {
            for database in &databases {
                let database = match (*database, &cluster) {
                    ("postgres", Some(cluster)) => cluster.database(rows, page),
                    _ => Database::sqlite(folder.path(), rows, page),
                };
                measure_one(folder.path(), &database, rows, page);
            }
        }
    }
    small(folder.path());
}

fn measure_one(folder: &Path, database: &Database, rows: usize, page: usize) {
    let server = server::Server::start(rows, page);
    let program = |folder: &Path| {
        let mut command = Command::new(&*PROGRAM);
        configure(&mut command, folder, &server.address, database.url());
        command
    };
    let fetch = run(&mut server.fetcher());
    let sync = || database.run(program(folder).arg("--run-once").arg("--quiet"));
    let first = sync();
    let floor = Floor::prepare(folder, database, rows);
    let bulk = floor.load();
    line(database, rows, page, "first load", first, fetch.plus(bulk));

    let log_before = database.log_position();
    let unchanged = sync();
    let written = database.log_position().saturating_sub(log_before);
    line(database, rows, page, "unchanged", unchanged, fetch);

    server.change_one_percent();
    let changed = sync();
    line(database, rows, page, "1 % changed", changed, fetch.scaled(1.3).plus(bulk.scaled(0.02)));
    if let Some(bytes) = database.says_log().then_some(written) {
        println!(
            "<!-- {rows} rows, page {page}: the unchanged run wrote {bytes} bytes of PostgreSQL's log -->"
        );
    }
}

fn configure(command: &mut Command, folder: &Path, address: &str, url: &str) {
    command.env_clear().current_dir(folder);
    for (key, value) in [
        ("AUTH__CLIENT_ID", "bench"),
        ("AUTH__CLIENT_SECRET", "bench"),
        ("AUTH__TOKEN_URL", &format!("http://{address}/oauth2/token")),
        ("API__BASE_URL", &format!("http://{address}")),
        ("API__REQUESTS_PER_SECOND", "0"),
        ("DATABASE__URL", url),
    ] {
        command.env(format!("UNDERSTORY_SYNC__{key}"), value);
    }
}

/// `--version`, and a run over an empty list.
fn small(folder: &Path) {
    let version =
        run(Command::new(&*PROGRAM).arg("--version").env_clear().stdout(std::process::Stdio::null()));
    let server = server::Server::start(0, 100);
    let database = Database::sqlite(folder, 0, 100);
    let mut empty = Command::new(&*PROGRAM);
    configure(&mut empty, folder, &server.address, database.url());
    let empty = run(empty.arg("--run-once").arg("--quiet"));
    let size = std::fs::metadata(&*PROGRAM).unwrap().len();
    println!(
        "\n`--version`: {:.1} ms. `--run-once` on an empty list, SQLite: {:.1} ms, {:.1} MiB.",
        version.wall * 1e3,
        empty.wall * 1e3,
        empty.mib
    );
    println!("The binary: {:.2} MiB.", measure::mib(size));
}

#[expect(clippy::cast_precision_loss, reason = "sizes and counts are far below 2^53")]
fn line(database: &Database, rows: usize, page: usize, what: &str, ours: Cost, floor: Cost) {
    // PostgreSQL's own processes write its files.
    let of_file = |bytes: f64| match database.file_bytes() {
        Some(size) => format!("{:.2}", bytes / size as f64),
        None => "–".to_owned(),
    };
    println!(
        "| {} | {rows} | {page} | {what} | {:.2} | {:.2} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |",
        database.name(),
        ours.wall,
        ours.cpu,
        ours.cpu * 1e6 / rows.max(1) as f64,
        ours.mib,
        floor.wall,
        floor.cpu,
        ours.wall / floor.wall,
        ours.cpu / floor.cpu,
        of_file(ours.written),
        of_file(ours.stored)
    );
}
