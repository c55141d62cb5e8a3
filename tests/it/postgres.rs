//! What PostgreSQL does to a run: gone, back, slow, read-only, forbidden. The data is exact at the end, the exit code right.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bench::cluster::{Cluster, free_port};
use crate::bench::sql::Db;
use crate::bench::{Bench, Ran, number_from, wait_until};

pub(crate) const RUNNING: &str = "select count(*) from sync_runs where outcome = 'running' and pages > 0";

pub(crate) fn bench_at(url: String, people: u64, page: usize) -> Bench {
    let mut bench = Bench::new(people, page);
    bench.at(url);
    bench
}

/// Works beside a run until it is dropped.
struct Meanwhile {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Meanwhile {
    fn every(pause: Duration, mut work: impl FnMut() + Send + 'static) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::SeqCst) {
                work();
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(pause);
            }
        });
        Self { stop, done, thread: Some(thread) }
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The last run counted every item once.
#[track_caller]
pub(crate) fn must_count(db: &mut Db, people: i64, changes: &str) {
    assert_eq!(
        db.texts("select concat_ws(' ', items, added, updated, unchanged, duplicates) from sync_runs order by id desc limit 1"),
        [format!("{people} {changes} 0 0")]
    );
}

#[test]
fn a_server_that_restarts_in_mid_page_costs_nothing_or_one_run() {
    let cluster = Cluster::new();
    let bench = bench_at(cluster.url("owner", "sync"), 2_000, 50);
    bench.run_well();
    bench.api.configure(|settings| settings.latency = Duration::from_millis(80));
    for (round, mode) in ["fast", "immediate"].into_iter().enumerate() {
        bench.rename_everybody(2_000, &format!("Version {round}"));
        let child = bench.command(&["--run-once"]).spawn().unwrap();
        let mut db = bench.db();
        wait_until("pages are stored", Duration::from_secs(30), || db.number(RUNNING) == 1);
        drop(db);
        cluster.stop(mode);
        cluster.start();
        let ran: Ran = child.wait_with_output().unwrap().into();
        if ran.code == Some(0) {
            must_count(&mut bench.db(), 2_000, "0 2000");
        } else {
            ran.must(75, &["cannot be reached", &cluster.port.to_string()]);
            bench.run_well();
        }
        let mut db = bench.db();
        bench.must_be_exact_in(&mut db);
        let updated = db.number("select count(*) from consent_changes where change = 'updated'");
        assert_eq!(updated, 2_000 * (i64::try_from(round).unwrap() + 1));
    }
}

#[test]
fn a_server_that_is_down_ends_the_run_with_75() {
    let bench = bench_at(format!("postgres://owner:hush@127.0.0.1:{}/sync", free_port()), 10, 50);
    let ran = bench.run();
    ran.must(75, &["cannot be reached", "127.0.0.1"]);
    assert!(!format!("{ran:?}").contains("hush"));
}

#[test]
fn backends_that_are_terminated_again_and_again_lose_nothing() {
    let cluster = Cluster::new();
    let bench = bench_at(cluster.url("owner", "sync"), 1_500, 50);
    bench.run_well();
    bench.api.configure(|settings| settings.latency = Duration::from_millis(50));
    let mut owner = cluster.owner("sync");
    let killing = Meanwhile::every(Duration::from_secs(1), move || {
        owner.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'understory-sync'");
    });
    let until = Instant::now() + Duration::from_secs(number_from("UNDERSTORY_SYNC_TERMINATE_SECONDS", 12));
    let (mut good, mut bad, mut round) = (0, 0, 0);
    while Instant::now() < until {
        round += 1;
        bench.rename_everybody(1_500, &format!("Version {round}"));
        let ran = bench.run();
        if ran.code == Some(0) {
            good += 1;
        } else {
            ran.must(75, &[]);
            bad += 1;
        }
        let mut db = bench.db();
        assert_eq!(db.number("select count(*) from consents"), 1_500);
        assert_eq!(db.number("select count(*) from active_consents"), 1_500);
        if ran.code == Some(0) {
            must_count(&mut db, 1_500, "0 1500");
            bench.must_be_exact_in(&mut db);
        }
    }
    println!("{good} good runs, {bad} that ended with 75");
    drop(killing);
    bench.run_well();
    let mut db = bench.db();
    bench.must_be_exact_in(&mut db);
    // Each round changes each person once, whatever was tried again.
    let more = db.number("select coalesce(max(n), 0) from (select count(*) as n from consent_changes group by consent_key) as c");
    assert!(more <= round, "{more} changes of one person in {round} rounds");
}

#[test]
fn serialization_failures_and_deadlocks_are_tried_again() {
    let cluster = Cluster::new();
    let mut owner = cluster.owner("sync");
    owner.run(
        "create role syncer login; grant create, usage on schema public to syncer; \
         alter role syncer set default_transaction_isolation = 'serializable'; \
         alter role syncer set deadlock_timeout = '50ms'",
    );
    let bench = bench_at(cluster.url("syncer", "sync"), 1_500, 50);
    bench.run_well();
    bench.api.configure(|settings| settings.latency = Duration::from_millis(60));
    let ids = bench.api.people(|people| people.ids());
    let mut hammer = cluster.owner("sync");
    let hammering = Meanwhile::every(Duration::from_millis(3), move || {
        let _ = hammer.try_run("update sync_state set id = id");
    });
    let mut crossing = cluster.owner("sync");
    crossing.run("set deadlock_timeout = '10s'");
    let key = ids[700].clone();
    let crossings = Meanwhile::every(Duration::from_millis(50), move || {
        // The other way round than a run, which takes the lease first.
        let _ = crossing.try_run(&format!(
            "begin; select 1 from consents where consent_key = '{key}' for update; select pg_sleep(0.1); \
             update sync_lease set name = name; commit"
        ));
    });
    // A deadlock needs its moment.
    let met = |words: &str| cluster.log().matches(words).count();
    let mut round = 0;
    while round < 2 || round < 15 && (met("could not serialize access") == 0 || met("deadlock detected") == 0)
    {
        round += 1;
        bench.rename_everybody(1_500, &format!("Version {round}"));
        let ran = bench.run();
        if ran.code != Some(0) {
            ran.must(75, &[]);
        }
    }
    drop(crossings);
    assert!(hammering.done.load(Ordering::SeqCst) > 100);
    drop(hammering);
    let (serialization, deadlocks) = (met("could not serialize access"), met("deadlock detected"));
    println!("{serialization} serialization failures, {deadlocks} deadlocks");
    assert!(serialization > 0 && deadlocks > 0, "{serialization} {deadlocks}");
    bench.run_well();
    let mut db = bench.db();
    bench.must_be_exact_in(&mut db);
}

#[test]
fn a_row_that_somebody_holds_is_waited_for_and_then_the_run_ends_with_75() {
    let cluster = Cluster::new();
    let bench = bench_at(cluster.url("owner", "sync"), 100, 50);
    bench.run_well();
    for (held, code) in [(Duration::from_secs(3), 0), (Duration::from_secs(20), 75)] {
        bench.rename_everybody(100, &format!("Version {code}"));
        let mut other = cluster.owner("sync");
        other.run("begin; select 1 from consents for update");
        let began = Instant::now();
        let child = bench.command(&["--run-once"]).spawn().unwrap();
        if code == 0 {
            std::thread::sleep(held);
            other.run("rollback");
        }
        let ran: Ran = child.wait_with_output().unwrap().into();
        ran.must(code, &[]);
        assert!(began.elapsed() < Duration::from_secs(18));
    }
    bench.run_well();
    bench.must_be_exact();
}

#[test]
fn a_table_that_others_have_locked_is_waited_for_10_seconds_by_whoever_reads_it_too() {
    let cluster = Cluster::new();
    let bench = bench_at(cluster.url("owner", "sync"), 100, 50);
    bench.run_well();
    let mut other = cluster.owner("sync");
    other.run("begin; lock table consents in access exclusive mode");
    for arguments in [&["--run-once"] as &[_], &["status"]] {
        let began = Instant::now();
        bench.call(arguments).must(75, &["is locked"]);
        assert!(began.elapsed() < Duration::from_secs(18));
    }
    other.run("rollback");
    bench.run_well();
}

#[test]
fn a_server_that_is_read_only_for_a_while_ends_the_run_with_74() {
    let cluster = Cluster::new();
    let bench = bench_at(cluster.url("owner", "sync"), 1_000, 50);
    let mut owner = cluster.owner("sync");
    let mut read_only = |on: &str| {
        owner.run(&format!("alter database sync set default_transaction_read_only = {on}"));
    };
    read_only("on");
    let words = ["127.0.0.1", "read-only", "database sync"];
    bench.run().must(74, &words);
    read_only("off");
    bench.run_well();
    bench.rename_everybody(1_000, "Somebody Else");
    read_only("on");
    bench.run().must(74, &words);
    read_only("off");
    bench.run_well();
    bench.must_be_exact();
}

#[test]
fn a_server_that_becomes_read_only_in_mid_run_ends_it_with_74_and_the_next_run_goes_on() {
    let cluster = Cluster::new();
    let bench = bench_at(cluster.url("owner", "sync"), 1_000, 25);
    bench.run_well();
    bench.rename_everybody(1_000, "Somebody Else");
    bench.api.configure(|settings| settings.latency = Duration::from_millis(100));
    let child = bench.command(&["--run-once"]).spawn().unwrap();
    let mut db = bench.db();
    wait_until("pages are stored", Duration::from_secs(30), || db.number(RUNNING) == 1);
    let mut owner = cluster.owner("postgres");
    owner.run("alter system set default_transaction_read_only = on");
    owner.run("select pg_reload_conf()");
    let ran: Ran = child.wait_with_output().unwrap().into();
    ran.must(74, &["read-only"]);
    owner.run("set default_transaction_read_only = off");
    owner.run("alter system reset default_transaction_read_only");
    owner.run("select pg_reload_conf()");
    bench.api.configure(|settings| settings.latency = Duration::ZERO);
    wait_until("the server takes it back", Duration::from_secs(10), || {
        cluster.owner("sync").texts("show default_transaction_read_only") == ["off"]
    });
    // A server that takes nothing does not take the lease back either: it ends by itself, after 90 seconds.
    bench.run().must(75, &["another run is in progress"]);
    cluster.owner("sync").run("update sync_lease set expires_at = now()");
    bench.run_well();
    bench.must_be_exact();
}

#[test]
fn logins_databases_and_rights_that_are_missing_have_their_codes() {
    let cluster = Cluster::new();
    let mut owner = cluster.owner("sync");
    owner.run("create role guest login password 'right'; create role weak login; create role closed login connection limit 0");
    let port = cluster.port;
    let mut bench = Bench::new(20, 50);
    let mut must = |url: String, code: i32, words: &[&str]| {
        bench.at(url);
        let ran = bench.run();
        ran.must(code, words);
        let said = format!("{ran:?}");
        assert!(!said.contains("wr0ng") && !said.contains("hunter2"), "{said}");
    };
    must(cluster.url("owner", "nowhere"), 78, &["no such database", "nowhere"]);
    must(cluster.url("nobody", "sync"), 77, &["refused the login"]);
    // PostgreSQL 15 lets nobody but its owner create in the schema public; older ones are told to.
    owner.run("revoke create on schema public from public");
    must(cluster.url("weak", "sync"), 77, &["lacks a right", "42501"]);
    must(cluster.url("closed", "sync"), 75, &["cannot be reached"]);
    owner.run("alter role weak set search_path = nowhere");
    must(cluster.url("weak", "sync"), 77, &["lacks a right"]);
    owner.run("alter role weak reset search_path");
    must(cluster.url("owner", "sync"), 0, &[]);
    must(cluster.url("weak", "sync"), 77, &["lacks a right", "42501"]);
    owner.run("grant select, update on all tables in schema public to weak");
    must(cluster.url("weak", "sync"), 77, &["lacks a right", "42501"]);
    owner.run("grant insert, delete on all tables in schema public to weak");
    must(cluster.url("weak", "sync"), 0, &[]);
    owner.run("revoke insert on consents from weak");
    // Nothing new: nothing to insert.
    must(cluster.url("weak", "sync"), 0, &[]);
    cluster.set_logins("host all guest 127.0.0.1/32 scram-sha-256\nhost all weak 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 trust\nlocal all all trust\n");
    drop(owner);
    cluster.stop("fast");
    cluster.start();
    must(
        format!("postgres://guest:wr0ng@127.0.0.1:{port}/sync"),
        77,
        &["refused the login", "28P01", "hint"],
    );
    must(format!("postgres://guest:hunter2@127.0.0.1:{port}/sync"), 77, &["refused the login"]);
    must(cluster.url("weak", "sync"), 77, &["refused the login", "28000"]);
}

#[test]
fn schemas_with_odd_names_live_side_by_side_and_leave_no_search_path_behind() {
    let cluster = Cluster::new();
    let mut bench = bench_at(cluster.url("owner", "sync"), 60, 20);
    let names = [r#"odd "name" of søren"#, "Select; --", "a.b", "public"];
    for (number, name) in names.iter().enumerate() {
        bench.set("DATABASE__SCHEMA", name);
        bench.run_well();
        bench.run_well();
        bench.call(&["status"]).must(0, &[]);
        let mut db = cluster.owner("sync");
        let tables = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace where relname = 'consents'";
        assert_eq!(db.number(tables), i64::try_from(number).unwrap() + 1);
        let quoted = name.replace('"', "\"\"");
        db.run(&format!("set search_path = \"{quoted}\""));
        bench.must_be_exact_in(&mut db);
        assert_eq!(db.number("select count(*) from sync_runs"), 2);
        // One changes, the others do not.
        bench.rename_everybody(60, name);
    }
    let mut db = cluster.owner("sync");
    assert_eq!(db.texts("show search_path"), ["\"$user\", public"]);
}
