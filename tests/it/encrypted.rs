//! The way to PostgreSQL: a socket, or encrypted and verified, or refused; never plain unless somebody says so.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bench::cluster::{Cluster, is_root};
use crate::bench::{Bench, Ran};
use crate::support::certificates::{Authority, Valid};
use crate::support::not_run::cannot_run;

/// A name for this machine that does not say that it is this machine: the resolver knows, and so it is not trusted unseen.
const ELSEWHERE: &str = "127.1";

/// A certificate of this authority for these names, which the server may read.
fn certificate(folder: &Path, authority: &Authority, name: &str, hosts: &str) {
    authority.sign(name, hosts, Valid::Now);
    if is_root() {
        let done =
            Command::new("chown").arg("postgres").arg(folder.join(format!("{name}.key"))).status().unwrap();
        assert!(done.success());
    }
}

fn serve(cluster: &Cluster, lines: &str) {
    cluster.stop("fast");
    let file = cluster.folder().join("extra.conf");
    let text = fs::read_to_string(&file).unwrap();
    let kept = text.split("# TLS").next().unwrap();
    fs::write(&file, format!("{kept}# TLS\n{lines}")).unwrap();
    cluster.start();
}

fn authorized(cluster: &Cluster) -> (usize, usize) {
    let log = cluster.log();
    let lines =
        log.lines().filter(|line| line.contains("connection authorized") && line.contains("database=sync"));
    let (with, without): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains("SSL enabled"));
    (with.len(), without.len())
}

#[test]
fn a_server_elsewhere_is_reached_over_verified_tls_or_not_at_all() {
    let cluster = Cluster::with(&["log_connections = on"]);
    let folder = cluster.folder().to_path_buf();
    let port = cluster.port;
    let authority = Authority::make(&folder, "authority");
    certificate(&folder, &authority, "wrong", "DNS:db.example.com");
    certificate(&folder, &authority, "right", "IP:127.0.0.1,DNS:localhost");
    let authority = authority.file();
    let authority = authority.display();
    let mut bench = Bench::new(20, 50);
    let mut try_url = |host: &str, query: &str| {
        bench.at(format!("postgres://owner@{host}:{port}/sync{query}"));
        bench.run()
    };

    // No TLS on the server: refused, and not a word in plain.
    let before = authorized(&cluster);
    try_url(ELSEWHERE, "").must(69, &["no trusted TLS connection", ELSEWHERE, "hint"]);
    try_url(ELSEWHERE, "?sslmode=verify-full").must(69, &["no trusted TLS connection"]);
    try_url("127.0.0.1", "?sslmode=require").must(69, &["no trusted TLS connection"]);
    assert_eq!(authorized(&cluster), before);
    try_url("127.0.0.1", "").must(0, &[]);
    let warned = try_url(ELSEWHERE, "?sslmode=prefer");
    warned.must(0, &["sslmode"]);

    // A certificate of an authority that nobody knows, for another name.
    serve(
        &cluster,
        &format!(
            "ssl = on\nssl_cert_file = '{0}/wrong.pem'\nssl_key_file = '{0}/wrong.key'\n",
            folder.display()
        ),
    );
    let before = authorized(&cluster);
    try_url(ELSEWHERE, "").must(69, &["no trusted TLS connection", ELSEWHERE]);
    try_url(ELSEWHERE, "?sslmode=verify-full").must(69, &["no trusted TLS connection"]);
    try_url("127.0.0.1", &format!("?sslmode=verify-full&sslrootcert={authority}"))
        .must(69, &["no trusted TLS connection"]);
    try_url("localhost", &format!("?sslmode=verify-full&sslrootcert={authority}"))
        .must(69, &["no trusted TLS connection"]);
    try_url("127.0.0.1", "?sslmode=verify-ca").must(69, &["no trusted TLS connection"]);
    assert_eq!(authorized(&cluster), before);
    // As libpq has it, `require` with an authority verifies it, by whatever name.
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::make(elsewhere.path(), "stranger").file();
    for name in ["sslrootcert", "ssl-root-cert", "ssl-ca"] {
        try_url("127.0.0.1", &format!("?sslmode=require&{name}={}", stranger.display()))
            .must(69, &["no trusted TLS connection"]);
    }
    assert_eq!(authorized(&cluster), before);
    let (encrypted, plain) = before;
    try_url("127.0.0.1", &format!("?sslmode=verify-ca&sslrootcert={authority}")).must(0, &[]);
    let verified = try_url("127.0.0.1", &format!("?sslmode=require&sslrootcert={authority}"));
    verified.must(0, &[]);
    assert!(!verified.err.contains("does not verify"), "{verified:#?}");
    try_url("127.0.0.1", "?sslmode=require").must(0, &["does not verify the server"]);
    let after = authorized(&cluster);
    assert!(after.0 > encrypted && after.1 == plain, "{after:?}");

    // The right name.
    serve(
        &cluster,
        &format!(
            "ssl = on\nssl_cert_file = '{0}/right.pem'\nssl_key_file = '{0}/right.key'\n",
            folder.display()
        ),
    );
    let (encrypted, plain) = authorized(&cluster);
    for host in ["127.0.0.1", "localhost"] {
        try_url(host, &format!("?sslmode=verify-full&sslrootcert={authority}")).must(0, &[]);
    }
    // No sslmode, elsewhere, an authority of one's own: verified, and the name is not in the certificate.
    try_url(ELSEWHERE, &format!("?sslrootcert={authority}")).must(69, &["no trusted TLS connection"]);
    let after = authorized(&cluster);
    assert!(after.0 > encrypted && after.1 == plain, "{after:?}");
    let lost = folder.join("lost.pem");
    let ran = try_url("127.0.0.1", &format!("?sslmode=verify-full&sslrootcert={}", lost.display()));
    ran.must(78, &["sslrootcert", "cannot be read"]);
    fs::write(&lost, "no certificate at all").unwrap();
    let ran = try_url("127.0.0.1", &format!("?sslmode=verify-full&sslrootcert={}", lost.display()));
    ran.must(69, &["no trusted TLS connection"]);
}

/// The name is trusted without a certificate, so it must lead nowhere else, whatever the resolver says.
#[test]
fn localhost_is_this_machine_whatever_the_resolver_says() {
    let cluster = Cluster::new();
    let mut bench = Bench::new(20, 50);
    let hosts = bench.folder.path().join("hosts");
    // A network of documents: nobody is there.
    fs::write(&hosts, "192.0.2.1 localhost\n").unwrap();
    let script = format!("mount --bind '{}' /etc/hosts && exec \"$0\" \"$@\"", hosts.display());
    let elsewhere = ["unshare", "--mount", "sh", "-c", script.as_str()];
    let control =
        Command::new("unshare").args(&elsewhere[1..]).args(["getent", "ahosts", "localhost"]).output();
    let is_elsewhere =
        control.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).starts_with("192.0.2.1"));
    if !is_elsewhere {
        cannot_run("a localhost that leads elsewhere", "this process may not mount; run it as root");
        return;
    }
    bench.at(format!("postgres://owner@localhost:{}/sync", cluster.port));
    let ran: Ran = bench.command_in(&elsewhere, &["--run-once"]).output().unwrap().into();
    ran.must(0, &[]);
    // Where the name has to be proved it is looked up, and not followed there.
    bench.at(format!("postgres://owner@localhost:{}/sync?sslmode=verify-full", cluster.port));
    let ran: Ran = bench.command_in(&elsewhere, &["--run-once"]).output().unwrap().into();
    ran.must(75, &["localhost"]);
}

#[test]
fn a_unix_socket_can_be_named_both_ways() {
    let cluster = Cluster::new();
    let folder = cluster.folder().display().to_string();
    let encoded = folder.replace('/', "%2F");
    let port = cluster.port;
    let mut bench = Bench::new(20, 50);
    for url in [
        format!("postgres://owner@{encoded}:{port}/sync"),
        format!("postgres:///sync?host={folder}&port={port}&user=owner"),
        format!("postgresql://owner@localhost:{port}/sync?host={encoded}"),
    ] {
        bench.at(url);
        bench.run_well();
        bench.must_be_exact_in(&mut cluster.owner("sync"));
    }
    assert_eq!(cluster.owner("sync").number("select count(*) from sync_runs"), 3);
}
