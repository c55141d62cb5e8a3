//! A PostgreSQL server of the test's own: unprivileged, on a free port of loopback, gone when dropped.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::sql::Db;
use super::wait_until;

pub(crate) struct Cluster {
    folder: TempDir,
    binaries: PathBuf,
    pub(crate) port: u16,
}

impl Cluster {
    /// Initialises and starts one. A test that needs PostgreSQL fails where it is not installed.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// The same, with these lines in its configuration.
    pub(crate) fn with(lines: &[&str]) -> Self {
        let binaries = binaries();
        let folder = TempDir::with_prefix("understory-sync-pg").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let port = free_port();
        let cluster = Self { folder, binaries, port };
        let data = cluster.data();
        cluster.must(
            "initdb",
            &[
                "-D",
                data.to_str().unwrap(),
                "-U",
                "owner",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
                "--locale=C.UTF-8",
            ],
        );
        cluster.configure(lines);
        cluster.start();
        cluster.owner("postgres").run("create database sync");
        cluster
    }

    /// A streaming replica of this one, as it stands now; it runs.
    pub(crate) fn replica(&self) -> Self {
        let folder = TempDir::with_prefix("understory-sync-pg").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let replica = Self { folder, binaries: self.binaries.clone(), port: free_port() };
        let (data, port) = (replica.data(), self.port.to_string());
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", "owner", "-c", "fast", "--no-sync"];
        replica.must("pg_basebackup", &[&from[..], &["-R", "-D", data.to_str().unwrap()]].concat());
        replica.configure(&[]);
        replica.start();
        replica
    }

    /// A replica becomes a server of its own.
    pub(crate) fn promote(&self) {
        self.must("pg_ctl", &["-D", self.data().to_str().unwrap(), "-w", "-t", "60", "promote"]);
    }

    fn configure(&self, lines: &[&str]) {
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nmax_connections = 40\nshared_buffers = 16MB\n",
            self.port,
            self.folder.path().display()
        );
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        // The server's user owns the file; whoever may write there appends through it.
        let extra = self.folder.path().join("extra.conf");
        fs::write(&extra, text).unwrap();
        fs::set_permissions(&extra, fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The server's first process.
    pub(crate) fn postmaster(&self) -> String {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().to_owned()
    }

    /// Where its socket is, and where files for it may lie.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn start(&self) {
        let options = format!(
            "-c config_file={} -c data_directory={} -c hba_file={} -c ident_file={}",
            self.folder.path().join("extra.conf").display(),
            self.data().display(),
            self.hba().display(),
            self.data().join("pg_ident.conf").display(),
        );
        let log = self.folder.path().join("log");
        self.must(
            "pg_ctl",
            &[
                "-D",
                self.data().to_str().unwrap(),
                "-w",
                "-t",
                "60",
                "-l",
                log.to_str().unwrap(),
                "-o",
                &options,
                "start",
            ],
        );
    }

    fn hba(&self) -> PathBuf {
        let own = self.folder.path().join("hba.conf");
        if own.exists() { own } else { self.data().join("pg_hba.conf") }
    }

    /// Other rules about who may log in how; takes effect with the next start.
    pub(crate) fn set_logins(&self, rules: &str) {
        let file = self.folder.path().join("hba.conf");
        fs::write(&file, rules).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// `fast`, `immediate`
    pub(crate) fn stop(&self, mode: &str) {
        self.must("pg_ctl", &["-D", self.data().to_str().unwrap(), "-w", "-m", mode, "stop"]);
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// For `database.url`.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// A connection of the server's owner.
    pub(crate) fn owner(&self, database: &str) -> Db {
        let url = self.url("owner", database);
        let mut db = None;
        wait_until("the server answers", Duration::from_secs(30), || {
            db = Db::try_open(&url).ok();
            db.is_some()
        });
        db.unwrap()
    }

    /// Runs one of PostgreSQL's programs in the folder.
    pub(crate) fn must(&self, program: &str, arguments: &[&str]) {
        let done = self.try_call(program, arguments);
        assert!(done, "{program} failed: {}", self.log());
    }

    fn try_call(&self, program: &str, arguments: &[&str]) -> bool {
        let program = self.binaries.join(program);
        unprivileged(&program)
            .args(arguments)
            .current_dir(self.folder.path())
            // A server that lives on must not hold the test's pipes.
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.try_call("pg_ctl", &["-D", self.data().to_str().unwrap_or_default(), "-m", "immediate", "stop"]);
    }
}

/// PostgreSQL refuses to be run by root.
pub(crate) fn unprivileged(program: &Path) -> Command {
    if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn binaries() -> PathBuf {
    let found = std::env::var_os("PG_BIN").map(PathBuf::from);
    found
        .into_iter()
        .chain((13..=20).rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))))
        .chain(["/usr/bin", "/usr/local/bin", "/usr/local/pgsql/bin"].map(PathBuf::from))
        .find(|folder| folder.join("initdb").exists())
        .expect("these tests need PostgreSQL's server programs (Debian: apt-get install postgresql); PG_BIN names their folder")
}
