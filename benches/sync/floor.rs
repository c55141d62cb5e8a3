//! The same rows by the database's own bulk way: `.import` of the sqlite3 shell, `COPY` of PostgreSQL, in the order of the primary key,
//! with the indexes made afterwards.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::measure::{Cost, cpu_of, run};

/// A database to measure with.
pub(crate) enum Database {
    Sqlite { path: PathBuf, url: String },
    Postgres { url: String, postmaster: u32 },
}

impl Database {
    pub(crate) fn sqlite(folder: &Path, rows: usize, page: usize) -> Self {
        let path = folder.join(format!("bench-{rows}-{page}.db"));
        Self::Sqlite { url: format!("sqlite://{}", path.display()), path }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "SQLite",
            Self::Postgres { .. } => "PostgreSQL",
        }
    }

    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Sqlite { url, .. } | Self::Postgres { url, .. } => url,
        }
    }

    pub(crate) fn says_log(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// Runs a process to its end. The CPU time of the database's server is its own.
    pub(crate) fn run(&self, command: &mut Command) -> Cost {
        let server = match self {
            Self::Sqlite { .. } => None,
            Self::Postgres { postmaster, .. } => Some(*postmaster),
        };
        let before = server.map_or(0.0, cpu_of);
        let mut cost = run(command);
        cost.cpu += server.map_or(0.0, cpu_of) - before;
        cost
    }

    /// SQLite: the size of its file.
    pub(crate) fn file_bytes(&self) -> Option<u64> {
        match self {
            Self::Sqlite { path, .. } => std::fs::metadata(path).ok().map(|metadata| metadata.len()),
            Self::Postgres { .. } => None,
        }
    }

    /// Bytes of write-ahead log so far (PostgreSQL).
    pub(crate) fn log_position(&self) -> u64 {
        match self {
            Self::Sqlite { .. } => 0,
            Self::Postgres { url, .. } => {
                ask(url, "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").parse().unwrap()
            }
        }
    }
}

/// The bulk load, ready to go.
pub(crate) struct Floor<'a> {
    database: &'a Database,
    folder: PathBuf,
    commits: usize,
}

/// The table with its columns in an order in which `.import` can leave out what is null; else as in migrations/sqlite.
const SQLITE_TABLE: &str = "create table consents (consent_key text not null primary key, consent_id text, \
    company_id text not null, email text, full_name text, source text, refs text, extra text, first_seen_at text not null, \
    changed_at text not null, first_run_id integer not null, changed_run_id integer not null, row_hash text not null, \
    natural_hash integer, address text, item_hash text, missing_since text, withheld_since text, removed_at text, erased_at text, \
    missing_judged integer, previous_key text, missing_run_at text, \
    check (email is not null or erased_at is not null)) strict;";

const SQLITE_INDEXES: &str = "create index consents_natural on consents (natural_hash);
    create index consents_unlisted on consents (consent_key) where missing_since is not null;
    create index consents_withheld on consents (consent_key) where withheld_since is not null;
    create index consents_address on consents (address);
    create index consents_changed on consents (changed_at, consent_key);";

/// Makes the primary key and the indexes as the program's table has them.
const POSTGRES_INDEXES: &str = "select replace(indexdef, ' public.consents ', ' floor.consents ') \
    from pg_indexes where schemaname = 'public' and tablename = 'consents'";

const COLUMNS: &str = "consent_key, consent_id, company_id, email, full_name, source, refs, extra, first_seen_at, changed_at, \
    first_run_id, changed_run_id, row_hash, natural_hash, address, item_hash";

impl<'a> Floor<'a> {
    /// Writes out what the program loaded, in as many parts as it made commits.
    pub(crate) fn prepare(folder: &Path, database: &'a Database, rows: usize) -> Self {
        let folder = folder.join("floor");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let commits = "select batches from sync_runs order by id desc limit 1";
        let commits: usize = match database {
            Database::Sqlite { path, .. } => shell(path, commits).trim().parse().unwrap(),
            Database::Postgres { url, .. } => ask(url, commits).parse().unwrap(),
        };
        let all = folder.join("all.csv");
        match database {
            Database::Sqlite { path, .. } => {
                let select = format!("select {COLUMNS} from consents order by consent_key");
                let script = format!(".mode csv\n.output {}\n{select};", all.display());
                shell(path, &script);
            }
            Database::Postgres { url, .. } => {
                let select = format!("select {COLUMNS} from consents order by consent_key");
                ask(url, &format!("\\copy ({select}) to '{}' csv", all.display()));
            }
        }
        // No value holds a line break.
        let mut split = Command::new("split");
        let part = rows.div_ceil(commits).to_string();
        split.args(["--numeric-suffixes", "--suffix-length=6", "--lines", &part]);
        let parts = split.arg(&all).arg(folder.join("part")).status().unwrap();
        assert!(parts.success());
        let commits = rows.div_ceil(rows.div_ceil(commits));
        Self { database, folder, commits }
    }

    /// Loads it all.
    pub(crate) fn load(&self) -> Cost {
        match self.database {
            Database::Sqlite { .. } => self.load_sqlite(),
            Database::Postgres { url, .. } => self.load_postgres(url),
        }
    }

    fn part(&self, number: usize) -> String {
        let file = self.folder.join(format!("part{number:06}"));
        file.display().to_string()
    }

    fn load_sqlite(&self) -> Cost {
        let path = self.folder.join("floor.db");
        let mut script = format!("pragma journal_mode = wal;\n{SQLITE_TABLE}\n");
        script.push_str(
            "pragma synchronous = full;\npragma secure_delete = on;\npragma cache_size = -8000;\n.mode csv\n",
        );
        for number in 0..self.commits {
            writeln!(script, ".import {} consents", self.part(number)).unwrap();
        }
        script.push_str(SQLITE_INDEXES);
        script.push_str("\npragma wal_checkpoint(truncate);\n");
        let file = self.folder.join("script");
        std::fs::write(&file, script).unwrap();
        let script = std::fs::File::open(&file).unwrap();
        run(Command::new("sqlite3").arg(&path).stdin(script).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    fn load_postgres(&self, url: &str) -> Cost {
        ask(
            url,
            "drop schema if exists floor cascade; create schema floor; \
             create table floor.consents (like public.consents including defaults including constraints)",
        );
        let mut script = String::new();
        for number in 0..self.commits {
            let file = self.part(number);
            writeln!(script, "\\copy floor.consents ({COLUMNS}) from '{file}' csv").unwrap();
        }
        writeln!(script, "{POSTGRES_INDEXES} \\gexec").unwrap();
        let file = self.folder.join("script");
        std::fs::write(&file, script).unwrap();
        let mut psql = Command::new("psql");
        self.database.run(psql.arg("-q").arg(url).arg("-f").arg(&file))
    }
}

fn shell(path: &Path, sql: &str) -> String {
    use std::io::Write as _;
    let mut child =
        Command::new("sqlite3").arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{sql}").unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

fn ask(url: &str, sql: &str) -> String {
    let out = Command::new("psql").args(["-qAtX", url, "-c", sql]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// A PostgreSQL server of our own, with its default durability, or the one of `BENCH_POSTGRES_URL`.
pub(crate) struct Cluster {
    base: String,
    postmaster: u32,
    stop: Option<PathBuf>,
}

impl Cluster {
    pub(crate) fn start(folder: &Path) -> Self {
        if let Ok(base) = std::env::var("BENCH_POSTGRES_URL") {
            return Self { base, postmaster: 0, stop: None };
        }
        let data = folder.join("cluster");
        let script = format!(
            r#"set -e
            bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
            mkdir -p {data} && chmod 711 {folder}
            as=""; [ "$(id -u)" = 0 ] && chown postgres {data} && as="setpriv --reuid=postgres --regid=postgres --clear-groups"
            $as $bin/initdb -D {data} -U bench -A trust >/dev/null
            for try in 1 2 3 4 5; do
                port=$(shuf -i 20000-30000 -n 1)
                $as $bin/pg_ctl -D {data} -w -o "-p $port -k {data} -c listen_addresses=127.0.0.1 -c max_wal_size=4GB" -l {data}/log start >/dev/null && break
            done
            echo $port $(head -n 1 {data}/postmaster.pid)"#,
            data = data.display(),
            folder = folder.display()
        );
        let out = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let words = String::from_utf8(out.stdout).unwrap();
        let (port, postmaster) = words.trim().split_once(' ').unwrap();
        Self {
            base: format!("postgres://bench@127.0.0.1:{port}"),
            postmaster: postmaster.parse().unwrap(),
            stop: Some(data),
        }
    }

    pub(crate) fn database(&self, rows: usize, page: usize) -> Database {
        let name = format!("bench_{rows}_{page}");
        ask(&format!("{}/postgres", self.base), &format!("create database {name}"));
        Database::Postgres { url: format!("{}/{name}", self.base), postmaster: self.postmaster }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(data) = &self.stop {
            let stop = format!("kill -INT $(head -n 1 {}/postmaster.pid)", data.display());
            let _ = Command::new("bash").args(["-c", &stop]).status();
        }
    }
}
