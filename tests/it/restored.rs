//! After a restore no reader of the change feed goes on in silence: the database has forgotten what they were told.

use std::fs;

use serde_json::Value;

use crate::bench::Bench;
use crate::bench::cluster::Cluster;

const CRM: [&str; 5] = ["changes", "--as", "crm", "--", "cat"];

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn last_cursor(text: &str) -> String {
    lines(text).pop().unwrap()["cursor"].as_str().unwrap().to_owned()
}

/// Readers read, `keep` keeps that state, somebody comes and somebody leaves, readers read, and `restore` brings the old state
/// back. Two runs later nothing of it can be seen in the rows.
fn readers_are_told(bench: &mut Bench, keep: impl FnOnce(&Bench), restore: impl FnOnce(&mut Bench)) {
    let call = |bench: &Bench, arguments: &[&str]| {
        let ran = bench.call(arguments);
        ran.must(0, &[]);
        ran.out
    };
    bench.run_well();
    let early = last_cursor(&call(bench, &["changes"]));
    call(bench, &CRM);
    keep(bench);
    bench.api.people(|people| {
        let ids = people.ids();
        people.remove(&ids[0]);
        people.fill(2, 0..1);
    });
    bench.run_well();
    let late = last_cursor(&call(bench, &["changes", "--since", &early]));
    assert_eq!(lines(&call(bench, &CRM)).len(), 2);

    restore(bench);
    // Whoever came meanwhile has left by now: only the readers know of them.
    bench.api.people(|people| {
        people.remove_where(|item| item["email"] == understory_mock_api::person(2, 0)["email"]);
    });
    bench.run_well();
    bench.run_well();
    for cursor in [&early, &late] {
        let ran = bench.call(&["changes", "--since", cursor]);
        ran.must(65, &["the change feed cannot go on from this cursor", "begin anew: leave --since out"]);
        assert_eq!(ran.out, "");
    }
    let ran = bench.call(&CRM);
    ran.must(65, &["the change feed cannot go on from this cursor", "changes --forget-reader"]);
    assert_eq!(ran.out, "");
    assert!(call(bench, &["changes", "--list"]).contains("must begin anew"));
    for command in ["status", "check"] {
        assert!(bench.call(&[command]).out.contains("changes --restored"), "{command}");
    }

    call(bench, &["changes", "--forget-reader", "crm"]);
    let anew = lines(&call(bench, &CRM));
    assert_eq!(anew[0]["reset"], true);
    let active = anew.iter().filter(|line| line["state"] == "active").count();
    assert_eq!(active, bench.api.len());
    assert_eq!(call(bench, &CRM), "");
    assert!(call(bench, &["changes", "--restored"]).contains("confirmed"));
    for command in ["status", "check"] {
        assert!(!call(bench, &[command]).contains("changes --restored"), "{command}");
    }
    assert_eq!(call(bench, &CRM), "", "a confirmation is no restore");
}

fn file(keep: impl FnOnce(&Bench), restore: impl FnOnce(&Bench)) {
    let mut bench = Bench::new(5, 100);
    readers_are_told(&mut bench, keep, |bench| restore(bench));
}

fn back_up(bench: &Bench) {
    let copy = bench.folder.path().join("copy.db");
    bench.call(&["backup", copy.to_str().unwrap()]).must(0, &[]);
}

fn copy(bench: &Bench) {
    fs::copy(bench.file(), bench.folder.path().join("copy.db")).unwrap();
}

/// Onto the file that is there.
fn copy_back(bench: &Bench) {
    fs::copy(bench.folder.path().join("copy.db"), bench.file()).unwrap();
}

fn move_back(bench: &Bench) {
    fs::rename(bench.folder.path().join("copy.db"), bench.file()).unwrap();
}

#[test]
fn readers_are_told_that_a_backup_was_moved_into_place() {
    file(back_up, move_back);
}

#[test]
fn readers_are_told_that_a_backup_was_copied_over_the_file() {
    file(back_up, copy_back);
}

#[test]
fn readers_are_told_that_a_copy_was_moved_into_place() {
    file(copy, move_back);
}

#[test]
fn readers_of_what_a_copy_does_not_hold_are_told_that_it_was_copied_over_the_file() {
    let mut bench = Bench::new(5, 100);
    bench.run_well();
    let early = last_cursor(&bench.call(&["changes"]).out);
    bench.call(&CRM).must(0, &[]);
    copy(&bench);
    // Nothing was read since: the copy is as good as the file.
    copy_back(&bench);
    bench.run_well();
    bench.call(&["changes", "--since", &early]).must(0, &[]);
    bench.call(&CRM).must(0, &[]);
    readers_are_told(&mut bench, copy, |bench| copy_back(bench));
}

/// A server whose database is dumped, and what a restore makes of it.
fn server(restore: impl FnOnce(&Cluster, &mut Bench)) {
    let cluster = Cluster::new();
    let mut bench = Bench::new(5, 100);
    bench.at(cluster.url("owner", "sync"));
    let port = cluster.port.to_string();
    let to = ["-h", "127.0.0.1", "-p", &port, "-U", "owner"];
    readers_are_told(
        &mut bench,
        |_| cluster.must("pg_dump", &[&to[..], &["-Fc", "-f", "dump", "sync"]].concat()),
        |bench| restore(&cluster, bench),
    );
}

fn restore_dump(cluster: &Cluster, arguments: &[&str]) {
    let port = cluster.port.to_string();
    let to = ["-h", "127.0.0.1", "-p", &port, "-U", "owner", "-d", "sync"];
    cluster.must("pg_restore", &[&to[..], arguments, &["dump"]].concat());
}

#[test]
fn readers_are_told_that_a_dump_was_restored_into_a_new_database() {
    server(|cluster, _| {
        cluster.owner("postgres").run("drop database sync");
        cluster.owner("postgres").run("create database sync");
        restore_dump(cluster, &[]);
    });
}

#[test]
fn readers_are_told_that_a_dump_was_restored_into_the_same_database() {
    server(|cluster, _| restore_dump(cluster, &["--clean", "--if-exists"]));
}

#[test]
fn readers_are_told_that_a_dump_was_restored_on_another_server() {
    let other = Cluster::new();
    server(|cluster, bench| {
        fs::copy(cluster.folder().join("dump"), other.folder().join("dump")).unwrap();
        restore_dump(&other, &[]);
        bench.at(other.url("owner", "sync"));
    });
}

#[test]
fn readers_are_told_that_a_replica_that_was_behind_was_promoted() {
    let cluster = Cluster::new();
    let mut bench = Bench::new(5, 100);
    bench.at(cluster.url("owner", "sync"));
    let replica = std::cell::OnceCell::new();
    readers_are_told(
        &mut bench,
        |_| replica.get_or_init(|| cluster.replica()).stop("fast"),
        |bench| {
            // Nothing of what came since has reached it.
            cluster.stop("immediate");
            let replica = replica.get().unwrap();
            replica.start();
            replica.promote();
            bench.at(replica.url("owner", "sync"));
        },
    );
}

#[test]
fn a_server_that_is_restarted_or_vacuumed_is_the_same_to_its_readers() {
    let cluster = Cluster::new();
    let mut bench = Bench::new(5, 100);
    bench.at(cluster.url("owner", "sync"));
    bench.run_well();
    bench.call(&CRM).must(0, &[]);
    cluster.owner("sync").run("vacuum full");
    cluster.stop("immediate");
    cluster.start();
    bench.run_well();
    bench.call(&CRM).must(0, &[]);
    // Whoever may see less of the server goes on, too.
    let mut db = cluster.owner("sync");
    db.run("revoke execute on function pg_control_system() from public; create role poor login in role pg_read_all_data, pg_write_all_data");
    db.run("grant usage, create on schema public to poor");
    bench.at(cluster.url("poor", "sync"));
    let ran = bench.call(&CRM);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{ran:#?}");
}
