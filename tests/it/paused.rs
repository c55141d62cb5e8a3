//! A connection that loses answers or stands still, a holder that sleeps: each page counts once, and nobody waits for long.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::bench::cluster::Cluster;
use crate::bench::proxy::Proxy;
use crate::bench::{Ran, wait_until};
use crate::postgres::{RUNNING, bench_at, must_count};

#[test]
fn a_commit_whose_answer_is_lost_counts_once() {
    let cluster = Cluster::new();
    let proxy = Proxy::new(cluster.port);
    let mut bench = bench_at(cluster.url("owner", "sync"), 90, 30);
    bench.run_well();
    bench.at(format!("postgres://owner@127.0.0.1:{}/sync?sslmode=disable", proxy.port));
    let mut db = cluster.owner("sync");
    let (mut round, mut lost) = (0_u32, 0);
    for times in 1..=2 {
        // Lease and run row, pages, end and lease.
        for spare in 0..4 {
            round += 1;
            bench.rename_everybody(90, &format!("Version {round}"));
            proxy.orders.spare_commits.store(spare, Ordering::SeqCst);
            proxy.orders.lose_commits.store(times, Ordering::SeqCst);
            let ran = bench.run();
            ran.must(0, &[]);
            lost += proxy.orders.lost.swap(0, Ordering::SeqCst);
            let runs = db.texts("select outcome from sync_runs where outcome <> 'succeeded'");
            assert!(runs.is_empty(), "a run that never was: {runs:?}, {spare} spared");
            assert_eq!(db.number("select count(*) from sync_runs"), i64::from(round) + 1, "{spare} spared");
            must_count(&mut db, 90, "0 90");
            assert_eq!(
                db.number("select count(*) from consent_changes"),
                90 * i64::from(round),
                "{spare} spared"
            );
            bench.must_be_exact_in(&mut db);
        }
    }
    assert!(lost >= 9, "only {lost} answers were lost");
}

#[test]
fn a_holder_that_is_paused_in_a_transaction_blocks_nobody_for_long() {
    let cluster = Cluster::new();
    let proxy = Proxy::new(cluster.port);
    let mut bench = bench_at(cluster.url("owner", "sync"), 50, 25);
    bench.run_well();
    bench.api.people(|people| people.fill(1, 50..60));
    bench.at(format!("postgres://owner@127.0.0.1:{}/sync?sslmode=disable", proxy.port));
    proxy.orders.freeze_in_transaction.store(true, Ordering::SeqCst);
    let mut paused = bench.command(&["--run-once"]).spawn().unwrap();
    wait_until("the holder stands still in a transaction", Duration::from_secs(30), || {
        proxy.orders.frozen.load(Ordering::SeqCst)
    });
    let began = Instant::now();
    bench.at(cluster.url("owner", "sync"));
    bench.run().must(75, &["another run is in progress", "process"]);
    assert!(began.elapsed() < Duration::from_secs(5), "the second comer waited {:?}", began.elapsed());
    let mut db = cluster.owner("sync");
    wait_until("the paused holder's locks are gone", Duration::from_secs(14), || {
        db.try_texts("select name from sync_lease for update nowait").is_ok()
    });
    assert!(cluster.log().contains("idle-in-transaction timeout"));
    let _ = paused.kill();
    let _ = paused.wait();
    db.run("update sync_lease set expires_at = now()");
    bench.run_well();
    bench.must_be_exact_in(&mut db);
}

fn signal(name: &str, process: u32) {
    let done = Command::new("kill").args([name, &process.to_string()]).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_holder_that_was_paused_past_its_lease_writes_nothing_more() {
    let cluster = Cluster::new();
    let bench = bench_at(cluster.url("owner", "sync"), 600, 20);
    bench.run_well();
    bench.rename_everybody(600, "Version 1");
    bench.api.configure(|settings| settings.latency = Duration::from_millis(100));
    let paused = bench.command(&["--run-once"]).spawn().unwrap();
    let mut db = cluster.owner("sync");
    wait_until("pages are stored", Duration::from_secs(30), || db.number(RUNNING) == 1);
    signal("-STOP", paused.id());
    // While it waits for the API it holds no lock; a rare stop in a transaction ends with the server's time-out.
    wait_until("no lock is held", Duration::from_secs(14), || {
        db.try_texts("select name from sync_lease for update nowait").is_ok()
    });
    bench.run().must(75, &["another run is in progress"]);
    db.run("update sync_lease set expires_at = now()");
    bench.api.configure(|settings| settings.latency = Duration::ZERO);
    bench.rename_everybody(600, "Version 2");
    bench.run_well();
    let after = db.texts("select max(changed_at)::text || ' ' || (select last_changed_at::text from sync_state) || ' ' || (select fence from sync_lease) from consents");
    signal("-CONT", paused.id());
    let ran: Ran = paused.wait_with_output().unwrap().into();
    ran.must(75, &["lost its lease"]);
    assert_eq!(after, db.texts("select max(changed_at)::text || ' ' || (select last_changed_at::text from sync_state) || ' ' || (select fence from sync_lease) from consents"));
    assert_eq!(
        db.texts("select outcome from sync_runs order by id"),
        ["succeeded", "interrupted", "succeeded"]
    );
    bench.must_be_exact_in(&mut db);
}

#[test]
fn every_transaction_limits_how_long_it_may_stand_idle() {
    let cluster = Cluster::with(&["log_statement = all"]);
    let bench = bench_at(cluster.url("owner", "sync"), 60, 20);
    bench.run_well();
    bench.rename_everybody(60, "Somebody Else");
    bench.run_well();
    let log = cluster.log();
    let statements = || log.lines().filter(|line| line.contains("LOG:  statement: "));
    let begun = statements().filter(|line| line.to_lowercase().contains("statement: begin")).count();
    let limit = "set local idle_in_transaction_session_timeout = '10s'";
    let limited = statements().filter(|line| line.contains(limit)).count();
    assert!(begun > 10, "{begun}");
    assert_eq!(begun, limited, "{log}");
}
