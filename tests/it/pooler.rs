//! PgBouncer in transaction mode: every transaction may meet another server connection, and none may leave anything in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use crate::bench::cluster::{Cluster, free_port, unprivileged};
use crate::bench::sql::Db;
use crate::bench::{Bench, wait_until};

pub(crate) struct Pooler {
    child: Child,
    port: u16,
}

impl Pooler {
    fn new(cluster: &Cluster, size: u32) -> Self {
        Self::in_mode(cluster, size, "transaction")
    }

    /// `transaction`, `statement`
    pub(crate) fn in_mode(cluster: &Cluster, size: u32, mode: &str) -> Self {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"]
            .map(Path::new)
            .into_iter()
            .find(|path| path.exists())
            .expect("this test needs PgBouncer (Debian: apt-get install pgbouncer)");
        let port = free_port();
        let folder = cluster.folder();
        let users = folder.join("users.txt");
        fs::write(&users, "\"owner\" \"\"\n").unwrap();
        let file = folder.join("pgbouncer.ini");
        let text = format!(
            "[databases]\nsync = host=127.0.0.1 port={} dbname=sync\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\ndefault_pool_size = {size}\n\
             max_client_conn = 50\nlogfile = {}\n",
            cluster.port,
            users.display(),
            folder.join("pgbouncer.log").display()
        );
        fs::write(&file, text).unwrap();
        for path in [&users, &file] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let child = unprivileged(program)
            .arg("-q")
            .arg(&file)
            .current_dir(folder)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pooler = Self { child, port };
        wait_until("the pooler answers", Duration::from_secs(20), || Db::try_open(&pooler.url()).is_ok());
        pooler
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://owner@127.0.0.1:{}/sync", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_whole_job_works_through_a_pooler_and_leaves_nothing_in_its_connections() {
    let cluster = Cluster::new();
    for size in [1, 3] {
        let pooler = Pooler::new(&cluster, size);
        let mut bench = Bench::new(300, 50);
        bench.at(pooler.url());
        let schema = format!("pooled {size}");
        bench.set("DATABASE__SCHEMA", &schema);
        let mut db = cluster.owner("sync");
        let see = format!("set search_path = \"{schema}\"");
        bench.run_well();
        db.run(&see);
        bench.must_be_exact_in(&mut db);
        // Two runs at once: one works, the other is told who does.
        bench.rename_everybody(300, "Somebody Else");
        bench.api.configure(|settings| settings.latency = Duration::from_millis(200));
        let first = bench.command(&["--run-once"]).spawn().unwrap();
        wait_until("the first run has begun", Duration::from_secs(20), || {
            db.number("select count(*) from sync_runs where outcome = 'running'") == 1
        });
        bench.run().must(75, &["another run is in progress"]);
        bench.call(&["status"]).must(0, &[]);
        let ran: crate::bench::Ran = first.wait_with_output().unwrap().into();
        ran.must(0, &[]);
        bench.api.configure(|settings| settings.latency = Duration::ZERO);
        bench.must_be_exact_in(&mut db);
        let someone = bench.api.people(|people| people.items())[7]["email"].as_str().unwrap().to_owned();
        bench.call(&["forget", &someone]).must(0, &[]);
        assert_eq!(db.number("select count(*) from consents"), 299);
        bench.run_well();
        assert_eq!(db.number("select count(*) from consents"), 299);
        bench.call(&["forget", "--undo", &someone]).must(0, &[]);
        bench.run_well();
        bench.must_be_exact_in(&mut db);
        bench.call(&["export", "--format", "csv"]).must(0, &[]);
        bench.call(&["healthcheck"]).must(0, &[]);
        // Every server connection of the pool, each held by a transaction.
        let mut clients: Vec<Db> = (0..size).map(|_| Db::open(&pooler.url())).collect();
        let mut backends = std::collections::BTreeSet::new();
        for client in &mut clients {
            client.run("begin");
            backends.extend(client.texts("select pg_backend_pid()::text"));
            assert_eq!(client.number("select count(*) from pg_prepared_statements where name <> ''"), 0);
            for (setting, value) in [
                ("search_path", "\"$user\", public"),
                ("lock_timeout", "0"),
                ("idle_in_transaction_session_timeout", "0"),
                ("understory_sync.schema", ""),
            ] {
                let found = client.texts(&format!("select coalesce(current_setting('{setting}', true), '')"));
                assert_eq!(found, [value], "{setting}");
            }
        }
        assert_eq!(backends.len(), usize::try_from(size).unwrap());
    }
}
