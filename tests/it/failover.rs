//! A server whose replica takes over in mid run, and had not heard of what was acknowledged.

use std::time::Duration;

use crate::bench::cluster::Cluster;
use crate::bench::{Ran, wait_until};
use crate::postgres::{RUNNING, bench_at};
use crate::support::link::Link;

const PEOPLE: u64 = 2_000;

#[test]
fn a_replica_that_lacks_pages_of_the_run_ends_it_with_75_and_nobody_leaves_by_it() {
    fail_over(true);
}

#[test]
fn a_replica_that_lacks_the_whole_run_ends_it_with_75_and_nobody_leaves_by_it() {
    fail_over(false);
}

fn fail_over(heard_of_the_run: bool) {
    let primary = Cluster::new();
    let link = Link::to(&primary.url("owner", "sync"));
    let bench = bench_at(link.url(&primary.url("owner", "sync")), PEOPLE, 50);
    bench.run_well();
    let standby = primary.replica();
    if !heard_of_the_run {
        standby.stop("fast");
    }
    bench.rename_everybody(PEOPLE, "Version 1");
    bench.api.configure(|settings| settings.latency = Duration::from_millis(100));
    let child = bench.command(&["--run-once"]).spawn().unwrap();
    let mut db = primary.owner("sync");
    wait_until("pages are stored", Duration::from_secs(30), || db.number(RUNNING) == 1);
    if heard_of_the_run {
        // The first transactions reach the replica, those after them do not.
        let position = db.texts("select pg_current_wal_lsn()::text").concat();
        let mut follower = standby.owner("sync");
        wait_until("the replica has them", Duration::from_secs(30), || {
            follower.texts(&format!("select (pg_last_wal_replay_lsn() >= '{position}')::text")) == ["true"]
        });
        drop(follower);
        standby.stop("fast");
    }
    let stored = db.number("select batches from sync_runs order by id desc limit 1");
    wait_until("more pages are stored", Duration::from_secs(30), || {
        db.number("select batches from sync_runs order by id desc limit 1") > stored
    });
    drop(db);
    primary.stop("immediate");
    standby.start();
    standby.promote();
    link.lead_to(&standby.url("owner", "sync"));

    let ran: Ran = child.wait_with_output().unwrap().into();
    let mut db = standby.owner("sync");
    ran.must(75, &["fail over to a replica that was behind"]);
    let outcomes: &[&str] = if heard_of_the_run { &["succeeded", "failed"] } else { &["succeeded"] };
    assert_eq!(db.texts("select outcome from sync_runs order by id"), outcomes);
    let gone = "select count(*) from consents where missing_since is not null or removed_at is not null";
    assert_eq!(db.number(gone), 0);
    bench.api.configure(|settings| settings.latency = Duration::ZERO);
    bench.run_well();
    bench.must_be_exact_in(&mut db);
    assert_eq!(db.number("select count(*) from consents where full_name = 'Version 1'"), 2_000);
}
