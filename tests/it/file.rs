//! What `database.url` may name by mistake or misfortune: each has its exit code, its message, and stays as it was.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::bench::sql::Db;
use crate::bench::{Bench, Dice, must_be_whole, wait_until};

fn scribble(file: &Path, from: u64, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    file.write_all(bytes).unwrap();
}

fn noise(length: u64) -> Vec<u8> {
    let mut dice = Dice::new(7);
    (0..length).map(|_| u8::try_from(dice.below(256)).unwrap()).collect()
}

/// A run refuses the file with this code, twice, and changes nothing in it.
#[track_caller]
fn must_refuse(bench: &Bench, code: i32, words: &[&str]) {
    let before = fs::read(bench.file()).unwrap();
    for command in [&["--run-once"][..], &["status"], &["check"], &["--run-once"]] {
        let ran = bench.call(command);
        assert_eq!(ran.code, Some(code), "{command:?}: {ran:#?}");
        let said = format!("{}{}", ran.out, ran.err);
        for word in words {
            assert!(said.contains(word), "no {word:?}: {command:?}: {ran:#?}");
        }
    }
    assert!(before == fs::read(bench.file()).unwrap(), "the file was changed");
}

#[test]
fn a_corrupt_file_ends_with_65_and_stays_as_it_was() {
    type Damage = fn(&Path, u64);
    let damages: [(&str, Damage); 6] = [
        ("scribbled in the middle", |file, size| {
            scribble(file, size / 4 / 4096 * 4096, &noise(size / 2));
        }),
        ("zeroes in the middle", |file, size| {
            scribble(file, size / 4 / 4096 * 4096, &vec![0; usize::try_from(size / 2).unwrap()]);
        }),
        ("truncated", |file, size| {
            fs::OpenOptions::new().write(true).open(file).unwrap().set_len(size / 2 + 100).unwrap();
        }),
        ("header scribbled over", |file, _| {
            scribble(file, 0, &noise(60));
        }),
        ("first 100 bytes gone", |file, _| {
            scribble(file, 0, &[0; 100]);
        }),
        ("first page scribbled over", |file, _| {
            scribble(file, 0, &noise(4096));
        }),
    ];
    for (name, damage) in damages {
        println!("{name}");
        let bench = Bench::new(2_000, 500);
        bench.run_well();
        let good = fs::read(bench.file()).unwrap();
        damage(&bench.file(), good.len() as u64);
        let file = bench.file();
        must_refuse_run(&bench, 65, &[file.to_str().unwrap(), "corrupt"]);
        fs::write(&file, &good).unwrap();
        bench.run_well();
        bench.must_be_exact();
    }
}

/// As [`must_refuse`], for damage that only a run is sure to meet.
#[track_caller]
fn must_refuse_run(bench: &Bench, code: i32, words: &[&str]) {
    let before = fs::read(bench.file()).unwrap();
    for _ in 0..2 {
        bench.run().must(code, words);
    }
    let after = fs::read(bench.file()).unwrap();
    assert_eq!(before.len(), after.len());
}

#[test]
fn what_is_not_ours_ends_with_78_and_stays_as_it_was() {
    let bench = Bench::new(20, 100);
    let file = bench.file();
    let path = file.to_str().unwrap();
    for text in ["Dear diary,\n", &"no database at all ".repeat(1_000), "\n"] {
        fs::write(&file, text).unwrap();
        must_refuse(&bench, 78, &[path, "did not make"]);
    }
    for mode in ["delete", "wal"] {
        fs::remove_file(&file).unwrap();
        fs::write(&file, "").unwrap();
        let mut other = Db::open(&bench.url);
        other.run(&format!(
            "pragma journal_mode = {mode}; create table diary (entry text); insert into diary values ('dear')"
        ));
        other.close();
        must_refuse(&bench, 78, &[path, "did not make"]);
    }
    fs::remove_file(&file).unwrap();
    bench.run_well();
    bench.must_be_exact();
}

#[test]
fn a_directory_or_a_missing_folder_ends_with_78() {
    let mut bench = Bench::new(20, 100);
    let folder = bench.folder.path().join("folder");
    fs::create_dir(&folder).unwrap();
    bench.at(format!("sqlite://{}", folder.display()));
    bench.run().must(78, &[folder.to_str().unwrap(), "is a directory"]);
    let nowhere = bench.folder.path().join("no/such/folder/consents.db");
    bench.at(format!("sqlite://{}", nowhere.display()));
    bench.run().must(78, &[nowhere.to_str().unwrap(), "does not exist"]);
    let below = bench.folder.path().join("a-file/consents.db");
    fs::write(bench.folder.path().join("a-file"), "").unwrap();
    bench.at(format!("sqlite://{}", below.display()));
    bench.run().must(78, &[below.to_str().unwrap()]);
    fs::create_dir_all(nowhere.parent().unwrap()).unwrap();
    bench.at(format!("sqlite://{}", nowhere.display()));
    bench.run_well();
    bench.must_be_exact();
}

#[test]
fn what_is_no_file_at_all_ends_with_78_and_nothing_is_made_beside_it() {
    let mut bench = Bench::new(20, 100);
    let folder = bench.folder.path().join("odd");
    fs::create_dir(&folder).unwrap();
    let pipe = folder.join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let _socket = UnixListener::bind(folder.join("socket")).unwrap();
    symlink("/dev/null", folder.join("device")).unwrap();
    symlink("there", folder.join("here")).unwrap();
    symlink("here", folder.join("there")).unwrap();
    let count = || fs::read_dir(&folder).unwrap().count();
    let before = count();
    for (name, words) in [
        ("pipe", "did not make"),
        ("socket", "did not make"),
        ("device", "/dev/null"),
        ("here", "run in a circle"),
    ] {
        let path = folder.join(name);
        bench.at(format!("sqlite://{}", path.display()));
        bench.run().must(78, &[words]);
        bench.call(&["status"]).must(78, &[words]);
    }
    assert_eq!(count(), before);
    assert!(!Path::new("/dev/null.lock").exists());
}

#[test]
fn a_symbolic_link_leads_to_one_database_with_one_lock() {
    let mut bench = Bench::new(20, 100);
    let elsewhere = bench.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let (real, link) = (elsewhere.join("real.db"), bench.folder.path().join("link.db"));
    let second = bench.folder.path().join("second.db");
    symlink("elsewhere/real.db", &link).unwrap();
    symlink("link.db", &second).unwrap();
    // Dangling: the file is made where the link points.
    bench.at(format!("sqlite://{}", second.display()));
    bench.run_well();
    assert!(real.exists() && fs::symlink_metadata(&second).unwrap().is_symlink());
    bench.must_be_exact();
    // A run over the one name keeps the other name's out.
    bench.api.configure(|settings| settings.latency = Duration::from_secs(2));
    let mut first = bench.command(&["--run-once", "--quiet"]).spawn().unwrap();
    wait_until("the first run has begun", Duration::from_secs(20), || {
        let url = format!("sqlite://{}?mode=ro", real.display());
        Db::open(&url).number("select count(*) from sync_runs where outcome = 'running'") == 1
    });
    for name in [&real, &link] {
        bench.at(format!("sqlite://{}", name.display()));
        bench.run().must(75, &["another run is in progress", "process"]);
    }
    assert!(first.wait().unwrap().success());
    symlink("no/such/folder/x.db", bench.folder.path().join("lost.db")).unwrap();
    bench.at(format!("sqlite://{}", bench.folder.path().join("lost.db").display()));
    bench.run().must(78, &["does not exist"]);
}

#[test]
fn a_reader_that_stays_does_not_stop_a_run_and_the_log_says_what_it_costs() {
    let bench = Bench::new(500, 100);
    bench.run_well();
    let mut reader = bench.db();
    reader.run("begin");
    assert_eq!(reader.number("select count(*) from consents"), 500);
    bench.rename_everybody(520, "Somebody Else");
    let ran = bench.run_well();
    assert!(ran.err.contains("-wal") && ran.err.contains("could not be emptied"), "{ran:#?}");
    assert!(ran.err.contains(bench.file().to_str().unwrap()));
    // The reader still sees what it saw.
    assert_eq!(reader.number("select count(*) from consents where full_name = 'Somebody Else'"), 0);
    bench.must_be_exact();
    reader.run("rollback");
    reader.close();
    let ran = bench.run_well();
    assert!(!ran.err.contains("-wal"), "{ran:#?}");
    let log = bench.folder.path().join("consents.db-wal");
    assert_eq!(fs::metadata(&log).map_or(0, |found| found.len()), 0);
    must_be_whole(&bench.file());
}

#[test]
fn a_writer_that_stays_makes_a_run_end_with_75_after_the_time_out() {
    let bench = Bench::new(50, 100);
    bench.run_well();
    bench.rename_everybody(60, "Somebody Else");
    let mut writer = bench.db();
    writer.run("begin immediate; update sync_state set id = id");
    let began = Instant::now();
    bench.run().must(75, &[bench.file().to_str().unwrap(), "locked by another program"]);
    let took = began.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(25)).contains(&took), "{took:?}");
    writer.run("rollback");
    writer.close();
    bench.run_well();
    bench.must_be_exact();
}

#[test]
fn a_writer_that_comes_in_mid_run_is_waited_for() {
    let bench = Bench::new(50, 10);
    bench.run_well();
    bench.rename_everybody(50, "Somebody Else");
    bench.api.configure(|settings| settings.latency = Duration::from_millis(400));
    let child = bench.command(&["--run-once"]).spawn().unwrap();
    let mut writer = bench.db();
    wait_until("the run has begun", Duration::from_secs(20), || {
        writer.number("select count(*) from sync_runs where outcome = 'running'") == 1
    });
    writer.run("begin immediate");
    std::thread::sleep(Duration::from_secs(4));
    writer.run("rollback");
    writer.close();
    let ran: crate::bench::Ran = child.wait_with_output().unwrap().into();
    ran.must(0, &[]);
    bench.must_be_exact();
}
