//! The disk is full, read-only or not ours to write: 74 with the path and the cause, the data stays, the next run heals.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::cluster::is_root;
use crate::bench::mount::Mount;
use crate::bench::{Bench, PROGRAM, Ran, must_be_whole};
use crate::support::not_run::{cannot_run, strace_may_run};

fn mount(kilobytes: u64) -> Option<Mount> {
    let mount = Mount::new(kilobytes);
    if mount.is_none() {
        cannot_run("full and read-only file systems", "this process may not mount; run it as root");
    }
    mount
}

/// The bench, with a program that somebody else may run, and that somebody else.
struct Stranger {
    program: PathBuf,
}

impl Stranger {
    /// Root may write everywhere, so the program is run as nobody; others are strangers enough.
    fn run(bench: &Bench) -> Ran {
        if !is_root() {
            return bench.run();
        }
        let stranger = Self::new(bench);
        let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(&stranger.program).arg("--run-once");
        let model = bench.command(&["--run-once"]);
        command.env_clear().current_dir("/");
        for (key, value) in model.get_envs() {
            command.env(key, value.unwrap());
        }
        command.output().unwrap().into()
    }

    fn new(bench: &Bench) -> Self {
        fs::set_permissions(bench.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = bench.folder.path().join("program");
        if !program.exists() {
            // Not by this process: what another test starts meanwhile would hold the copy open for writing ("text file busy").
            assert!(Command::new("cp").arg(PROGRAM).arg(&program).status().unwrap().success());
        }
        Self { program }
    }
}

fn full(bench: &Bench, ran: &Ran, file: &Path) {
    ran.must(74, &[file.to_str().unwrap(), "the disk is full", "hint: make room"]);
    assert!(!ran.err.contains("panicked"));
    let _ = bench;
}

#[test]
fn a_full_disk_ends_the_run_with_74_at_whatever_size_and_room_heals() {
    let Some(mount) = mount(64_000) else { return };
    let mut bench = Bench::new(200, 100);
    bench.at(mount.url());
    bench.run_well();
    let used = fs::metadata(mount.file()).unwrap().len() / 1024;
    bench.api.people(|people| people.fill(1, 200..8_000));
    let mut failed = 0;
    for more in [8, 32, 64, 200, 500, 1_000, 2_000] {
        mount.remount(&format!("size={}k", used + 16 + more));
        let ran = bench.run();
        if ran.code == Some(0) {
            continue;
        }
        full(&bench, &ran, &mount.file());
        failed += 1;
        mount.remount("size=64000k");
        must_be_whole(&mount.file());
        let mut db = bench.db();
        assert!(db.number("select count(*) from active_consents") >= 200);
        db.close();
    }
    assert!(failed >= 4, "{failed}");
    mount.remount("size=64000k");
    bench.run_well();
    bench.must_be_exact();
}

#[test]
fn a_disk_that_is_full_from_the_start_is_named_too() {
    let Some(mount) = mount(64) else { return };
    let mut bench = Bench::new(50, 100);
    bench.at(mount.url());
    fs::write(mount.path().join("ballast"), vec![0; 60_000]).unwrap();
    full(&bench, &bench.run(), &mount.file());
    fs::remove_file(mount.path().join("ballast")).unwrap();
    mount.remount("size=8000k");
    bench.run_well();
    bench.must_be_exact();
}

/// SQLite's statement journals would hold people's data in `/var/tmp`.
#[test]
fn a_run_makes_no_file_outside_the_folder_of_its_database() {
    if !strace_may_run("files of a run outside its folder") {
        return;
    }
    let bench = Bench::new(20_000, 500);
    let folder = bench.folder.path().to_str().unwrap();
    let trace = bench.folder.path().join("trace");
    let strace = ["strace", "-f", "-qq", "-e", "trace=open,openat,creat", "-o", trace.to_str().unwrap()];
    let run_traced = || {
        let ran: Ran = bench.command_in(&strace, &["--run-once", "--quiet"]).output().unwrap().into();
        ran.must(0, &[]);
        let calls = fs::read_to_string(&trace).unwrap();
        if !calls.contains("consents.db") {
            // The program is not dumpable, so only root's strace reads what it passes.
            return false;
        }
        let made: Vec<&str> =
            calls.lines().filter(|call| call.contains("O_CREAT") || call.contains("creat(")).collect();
        assert!(made.iter().any(|call| call.contains("consents.db-wal")), "{made:?}");
        assert!(made.iter().all(|call| call.contains(folder)), "{made:#?}");
        true
    };
    if !run_traced() {
        cannot_run(
            "files of a run outside its folder",
            "strace may not read this process's memory; run it as root",
        );
        return;
    }
    bench.rename_everybody(20_000, "Somebody Else");
    assert!(run_traced());
    bench.must_be_exact();
}

#[test]
fn a_limit_of_the_file_size_ends_the_run_with_74_and_not_by_a_signal() {
    let bench = Bench::new(200, 100);
    bench.run_well();
    bench.api.people(|people| people.fill(1, 200..5_000));
    let limited = ["prlimit", "--fsize=300000:300000"];
    let ran: Ran = bench.command_in(&limited, &["--run-once"]).output().unwrap().into();
    ran.must(74, &[bench.file().to_str().unwrap()]);
    must_be_whole(&bench.file());
    bench.run_well();
    bench.must_be_exact();
}

#[test]
fn a_read_only_file_system_ends_the_run_with_74_and_remounting_heals() {
    let Some(mount) = mount(64_000) else { return };
    let mut bench = Bench::new(50, 100);
    bench.at(mount.url());
    let file = mount.file();
    mount.remount("ro");
    bench.run().must(74, &[file.to_str().unwrap(), "read-only"]);
    mount.remount("rw");
    bench.run_well();
    bench.rename_everybody(60, "Somebody Else");
    mount.remount("ro");
    let before = fs::read(&file).unwrap();
    bench.run().must(74, &[file.to_str().unwrap(), "read-only"]);
    assert!(before == fs::read(&file).unwrap());
    mount.remount("rw");
    bench.run_well();
    bench.must_be_exact();
}

#[test]
fn what_only_reads_works_on_a_read_only_file_system_too() {
    let Some(mount) = mount(64_000) else { return };
    let mut bench = Bench::new(50, 100);
    bench.at(mount.url());
    bench.run_well();
    mount.remount("ro");
    let count = || fs::read_dir(mount.path()).unwrap().count();
    let before = (fs::read(mount.file()).unwrap(), count());
    bench.call(&["status"]).must(0, &[]);
    bench.call(&["healthcheck"]).must(0, &[]);
    bench.call(&["--run-once", "--dry-run"]).must(0, &[]);
    let table = bench.call(&["export", "--format", "csv"]);
    table.must(0, &[]);
    assert_eq!(table.out.lines().count(), 1 + 50);
    let checked = bench.call(&["check"]);
    checked.must(74, &[]);
    assert!(checked.out.contains("it is read-only"), "{checked:#?}");
    bench.call(&["migrate"]).must(74, &["read-only"]);
    assert!(before == (fs::read(mount.file()).unwrap(), count()));
    mount.remount("rw");
    bench.run_well();
    bench.must_be_exact();
}

#[test]
fn a_folder_that_may_not_be_written_ends_the_run_with_74() {
    let mut bench = Bench::new(50, 100);
    let folder = bench.folder.path().join("closed");
    fs::create_dir(&folder).unwrap();
    bench.at(format!("sqlite://{}", folder.join("consents.db").display()));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    let ran = Stranger::run(&bench);
    ran.must(74, &[folder.join("consents.db").to_str().unwrap(), "permission denied"]);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let ran = Stranger::run(&bench);
    ran.must(0, &[]);
    bench.must_be_exact();
}

#[test]
fn a_file_that_may_not_be_written_ends_the_run_with_74() {
    let mut bench = Bench::new(50, 100);
    let folder = bench.folder.path().join("open");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let file = folder.join("consents.db");
    bench.at(format!("sqlite://{}", file.display()));
    Stranger::run(&bench).must(0, &[]);
    for mode in [0o444, 0o000] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let ran = Stranger::run(&bench);
        ran.must(74, &[file.to_str().unwrap()]);
        assert!(["read-only", "permission denied"].iter().any(|cause| ran.err.contains(cause)), "{ran:#?}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    Stranger::run(&bench).must(0, &[]);
}

#[test]
fn files_are_0600_whatever_the_umask_and_a_plain_copy_is_a_good_one() {
    for umask in ["0000", "0022", "0777"] {
        let bench = Bench::new(50, 100);
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let wrapper = ["sh", "-c", script.as_str()];
        for _ in 0..2 {
            let ran: Ran = bench.command_in(&wrapper, &["--run-once"]).output().unwrap().into();
            ran.must(0, &[]);
            let mut names = Vec::new();
            for entry in fs::read_dir(bench.folder.path()).unwrap().flatten() {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
                assert_eq!(mode, 0o600, "{} with umask {umask}", entry.path().display());
                names.push(entry.file_name());
            }
            assert!(names.len() >= 2, "{names:?}");
            let log = bench.folder.path().join("consents.db-wal");
            assert_eq!(fs::metadata(&log).map_or(0, |found| found.len()), 0);
            let copy = bench.folder.path().join("copy.db");
            fs::copy(bench.file(), &copy).unwrap();
            must_be_whole(&copy);
            let mut db = crate::bench::sql::Db::open(&format!("sqlite://{}", copy.display()));
            bench.must_be_exact_in(&mut db);
            db.close();
            fs::remove_file(&copy).unwrap();
        }
    }
}

#[test]
fn the_log_beside_the_file_is_0600_while_a_run_is_on() {
    let bench = Bench::new(2_000, 10);
    bench.api.configure(|settings| settings.latency = std::time::Duration::from_millis(15));
    let wrapper = ["sh", "-c", "umask 0000; exec \"$0\" \"$@\""];
    let mut child = bench.command_in(&wrapper, &["--run-once", "--quiet"]).spawn().unwrap();
    let log = bench.folder.path().join("consents.db-wal");
    crate::bench::wait_until("a page is stored", std::time::Duration::from_secs(30), || {
        fs::metadata(&log).is_ok_and(|found| found.len() > 20_000)
    });
    for entry in fs::read_dir(bench.folder.path()).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
    assert!(child.wait().unwrap().success());
}
