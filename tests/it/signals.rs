//! Stops at once when told, and says so; runs now when told.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::support::not_run::cannot_run;
use crate::support::{Done, Engine, Running, World, until};

const IDLE: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_secs(5);

fn ends_within(running: Running, limit: Duration) -> Done {
    let began = Instant::now();
    let done = running.wait();
    let took = began.elapsed();
    assert!(took <= limit, "{took:?}\n{}", done.stderr);
    done
}

async fn idle(world: &World) -> Running {
    let daemon = world.start(&[]);
    until("a complete run", async || daemon.stderr().contains(" ok in ").then_some(())).await;
    daemon
}

async fn in_mid_page(world: &World, arguments: &[&str]) -> Running {
    world.list_people(250);
    let rule = FaultRule::on(Endpoint::List, Fault::Delay(Duration::from_mins(2)));
    world.api.play(rule.page(2));
    let running = world.start(arguments);
    until("the second page to be asked for", async || {
        let asked = world.api.requests();
        asked.iter().any(|seen| seen.page == Some(2)).then_some(())
    })
    .await;
    running
}

/// A `backup` that waits for a run to end (the lock is the test's) and catches this signal by now.
async fn waiting_backup(world: &World, words: &str, number: u32) -> (Running, std::fs::File) {
    let path = world.db.path();
    let lock = path.with_file_name(format!("{}.lock", path.file_name().unwrap().display()));
    let lock = std::fs::OpenOptions::new().write(true).open(lock).unwrap();
    lock.lock().unwrap();
    let running = Running::start(world.command_after(words, &["backup", "copy.db"]));
    until("the signal to be caught", async || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.id())).ok()?;
        catches(&status, number).then_some(())
    })
    .await;
    (running, lock)
}

/// Whether the status of a process says that it is our program, and catches this signal.
fn catches(status: &str, number: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or_default();
    status.starts_with("Name:\tunderstory") && mask & 1 << (number - 1) != 0
}

/// It would hold the secret, the token and people.
#[tokio::test]
async fn no_core_is_dumped_whatever_the_limit() {
    use std::os::unix::process::ExitStatusExt as _;
    let world = World::on(Engine::Sqlite).await;
    let dumps = async |mut command: Command, begun: &str| {
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        until("the start", async || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
            (status.starts_with("Name:\tsleep") || catches(&status, 15)).then_some(())
        })
        .await;
        assert!(
            Command::new("kill").args(["-s", "ABRT", &child.id().to_string()]).status().unwrap().success()
        );
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(6), "{begun}");
        status.core_dumped()
    };
    let limit = "ulimit -c unlimited";
    let mut other = Command::new("sh");
    other.args(["-c", &format!("{limit}; exec sleep 60")]).current_dir(world.home());
    if !dumps(other, "sleep").await {
        cannot_run("that no core is dumped", "this system dumps none of any program");
    }
    assert!(!dumps(world.command_after(limit, &[]), "the program").await);
}

#[tokio::test]
async fn a_closed_terminal_stops_a_command_unless_it_was_started_to_outlive_it() {
    let world = World::on(Engine::Sqlite).await;
    world.run_once().expect(0);
    // Where whoever runs the tests ignores the signal, so does every command of theirs.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    if ignored.is_none_or(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 0) {
        let (stopped, lock) = waiting_backup(&world, "true", 1).await;
        stopped.signal("HUP");
        ends_within(stopped, BUSY).expect(75).says("interrupted");
        drop(lock);
    }
    let (outlives, lock) = waiting_backup(&world, "trap '' HUP", 15).await;
    outlives.signal("HUP");
    drop(lock);
    outlives.wait().expect(0);
    assert!(world.home().join("copy.db").exists());
}

on_both! {
    async fn an_idle_daemon_ends_within_a_second(world: World) {
        world.list_people(3);
        world.set("http.listen", "127.0.0.1:0");
        for signal in ["TERM", "INT"] {
            let daemon = if signal == "TERM" {
                idle(&world).await
            } else {
                let daemon = world.start(&[]);
                until("the daemon", async || daemon.stderr().contains("no run at start").then_some(())).await;
                daemon
            };
            daemon.signal(signal);
            ends_within(daemon, IDLE).expect(0);
        }
    }

    async fn a_busy_daemon_ends_within_five_seconds_and_its_run_is_interrupted(world: World) {
        let daemon = in_mid_page(&world, &[]).await;
        daemon.signal("TERM");
        ends_within(daemon, BUSY).expect(0);
        assert_eq!(world.last_run("outcome, absence, pages").await, "interrupted|-|1");
        assert_eq!(world.db.count("consents").await, 100, "the page that was read is stored");
    }

    async fn a_single_run_that_is_stopped_ends_with_75_and_the_next_heals(world: World) {
        for signal in ["INT", "TERM"] {
            let run = in_mid_page(&world, &["--run-once"]).await;
            run.signal(signal);
            ends_within(run, BUSY).expect(75).says("interrupted");
            assert_eq!(world.last_run("outcome").await, "interrupted");
            let _ = world.api.take_requests();
        }
        world.api.clear_faults();
        world.run_once().expect(0);
        assert_eq!(world.db.count("active_consents").await, 250);
    }

    async fn a_stop_while_a_retry_is_waited_for_is_as_quick(world: World) {
        world.list_people(3);
        world.set("retry.rate_limit_delay", "10m");
        world.api.play(FaultRule::on(Endpoint::List, Fault::status(429)).always());
        let run = world.start(&["--run-once"]);
        until("the refusal", async || {
            let asked = world.api.requests();
            asked.iter().any(|seen| seen.status == Some(429)).then_some(())
        })
        .await;
        run.signal("TERM");
        ends_within(run, BUSY).expect(75);
        assert_eq!(world.last_run("outcome").await, "interrupted");
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let world = World::on(Engine::Postgres).await;
    let run = in_mid_page(&world, &["--run-once"]).await;
    // What the run wants to write at its end has to wait.
    let mut blocker = world.db.postgres_connection().await;
    let lock = "begin; lock table sync_runs in access exclusive mode";
    sqlx::raw_sql(lock).execute(&mut blocker).await.unwrap();
    run.signal("TERM");
    until("the first signal", async || run.stderr().contains("a second signal ends").then_some(())).await;
    run.signal("TERM");
    ends_within(run, Duration::from_millis(500)).expect(75);
    drop(blocker);
}

#[tokio::test]
async fn several_sighups_during_a_run_are_one_more_run() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(3);
    let daemon = idle(&world).await;
    world.api.configure(|api| api.latency = Duration::from_millis(700));
    let _ = world.api.take_requests();
    daemon.signal("HUP");
    until("the run", async || (!world.api.requests().is_empty()).then_some(())).await;
    for _ in 0..3 {
        daemon.signal("HUP");
    }
    let complete = "select count(*) from sync_runs where trigger = 'signal' and outcome = 'succeeded'";
    until("the runs", async || (world.db.number(complete).await == 2).then_some(())).await;
    daemon.signal("TERM");
    daemon.wait().expect(0);
    assert_eq!(world.db.count("sync_runs").await, 3);
}

/// In a container the program is process 1, for which the system has no default action for signals.
#[tokio::test]
async fn as_process_1_it_stops_as_well() {
    // As root, or as anybody where user namespaces are allowed, as Debian and Ubuntu have it.
    let ways: [&[&str]; 2] = [&["--pid", "--fork"], &["--user", "--map-root-user", "--pid", "--fork"]];
    let way = ways.into_iter().find(|way| {
        let tried = Command::new("unshare").args(*way).arg("true").output();
        tried.is_ok_and(|output| output.status.success())
    });
    let way =
        way.expect("this test needs `unshare --pid` (util-linux), as root or with user namespaces allowed");
    let world = World::on(Engine::Sqlite).await;
    world.list_people(3);
    let mut command = Command::new("unshare");
    let program = world.command(&[]);
    command
        .args(way)
        .arg("--kill-child")
        .arg(program.get_program())
        .env_clear()
        .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(world.home());
    let unshare = Running::start(command);
    until("a complete run", async || unshare.stderr().contains(" ok in ").then_some(())).await;
    let children = format!("/proc/{0}/task/{0}/children", unshare.id());
    let children = std::fs::read_to_string(children).unwrap();
    let sent = Command::new("kill").args(["-s", "TERM", children.trim()]).status();
    assert!(sent.unwrap().success());
    ends_within(unshare, IDLE).expect(0);
}

#[tokio::test]
async fn a_limit_of_a_few_open_files_is_told_and_no_panic() {
    let world = crate::support::World::on(crate::support::Engine::Sqlite).await;
    for limit in [6, 12, 31] {
        let command = world.command_after(&format!("ulimit -n {limit}"), &["--run-once"]);
        crate::support::run(command).expect(74).says("open files are allowed (ulimit -n)");
    }
    crate::support::run(world.command_after("ulimit -n 32", &["--run-once"])).expect(0);
}
