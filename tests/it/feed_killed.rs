//! Readers of the change feed that are killed, stopped, too slow or two: nothing is lost, and the order holds.

#![expect(clippy::print_stdout, reason = "where a kill hit is what one wants to see of a failure")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use understory_mock_api::person;

use crate::bench::{Dice, number_from};
use crate::support::not_run::strace_may_run;
use crate::support::{Engine, Follower, World, run, until};

/// More lines than a pipe takes.
const PEOPLE: u64 = 800;

/// Everything that readings of one name have handed on, a file each.
struct Taken {
    folder: tempfile::TempDir,
    readings: usize,
}

impl Taken {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), readings: 0 }
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join(format!("{:05}.pid", self.readings))
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(format!("{:05}", self.readings))
    }

    /// The words of a command that writes what it gets into the next file, its process id beside it.
    fn command(&mut self) -> String {
        self.readings += 1;
        format!("echo $$ >{}; exec cat >{}", self.pid_file().display(), self.file().display())
    }

    fn pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap_or_default()
    }
}

const READING: [&str; 6] = ["changes", "--as", "crm", "--", "sh", "-c"];

fn reading(command: &str) -> Vec<&str> {
    [&READING[..], &[command]].concat()
}

/// What a killed holder's ten seconds do, without the seconds.
async fn let_the_name_go(world: &World) {
    world.db.execute("update feed_readers set holder = null, held_until = null").await;
}

fn rename_everybody(world: &World, name: &str, leaves: u64) {
    let items: Vec<_> = (leaves..PEOPLE)
        .map(|number| {
            let mut item = person(1, number);
            item["full_name"] = json!(name);
            item
        })
        .collect();
    world.api.set_people(&items);
}

/// Whoever has this number by now may be somebody else.
fn parent_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn is_alive(pid: u32) -> bool {
    // A zombie that nobody has waited for yet does nothing more.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z') && !line.contains('X'))
}

on_both! {
    async fn killed_at_any_instant_a_reader_or_its_command_loses_nothing(world: World) {
        let mut dice = Dice::new(number_from("UNDERSTORY_SYNC_SEED", 1));
        let rounds = number_from("UNDERSTORY_SYNC_FEED_KILLS", 10);
        let (mut taken, mut follower) = (Taken::new(), Follower::default());
        world.list_people(PEOPLE);
        world.run_once().expect(0);
        let command = taken.command();
        let usual = world.run(&reading(&command)).expect(0).took;
        follower.take(&taken.text());
        let (mut cut, mut whole) = (0, 0);
        for round in 0..rounds {
            if dice.chance(60) {
                rename_everybody(&world, &format!("Name {round}"), round % 3);
                world.run_once().expect(0);
            }
            let command = taken.command();
            let reader = world.start(&reading(&command));
            let after = Duration::from_micros(dice.below(u64::try_from(usual.as_micros()).unwrap() * 11 / 10));
            std::thread::sleep(after);
            let command = taken.pid().filter(|pid| dice.chance(50) && parent_of(*pid) == Some(reader.id()));
            let victim = command.unwrap_or(reader.id());
            let _ = Command::new("kill").args(["-s", "KILL", &victim.to_string()]).output().unwrap();
            let done = reader.wait();
            println!("round {round}: killed {victim} after {after:?}: {}", done.code);
            assert!([0, 75, 137].contains(&done.code), "{done:?}");
            (cut, whole) = (cut + u64::from(done.code != 0), whole + u64::from(done.code == 0));
            // A command that outlived us would hand on older lines while its successor hands on newer ones.
            if let Some(pid) = taken.pid() {
                until("the end of the command", async || (!is_alive(pid)).then_some(())).await;
            }
            follower.take(&taken.text());
            let_the_name_go(&world).await;
            if dice.chance(30) {
                let command = taken.command();
                world.run(&reading(&command)).expect(0);
                follower.take(&taken.text());
                follower.expect_equal(&world).await;
            }
        }
        assert!(cut >= rounds / 4, "only {cut} of {rounds} readings were cut, {whole} were whole");
        let command = taken.command();
        world.run(&reading(&command)).expect(0);
        follower.take(&taken.text());
        follower.expect_equal(&world).await;
    }

    async fn killed_at_every_write_a_reader_delivers_everything_the_next_time(world: World) {
        if !strace_may_run("faults at every write of a reader") {
            return;
        }
        let (mut taken, mut before) = (Taken::new(), Follower::default());
        world.list_people(300);
        world.run_once().expect(0);
        let command = taken.command();
        world.run(&reading(&command)).expect(0);
        before.take(&taken.text());
        let saved = world.db.value("select cursor from feed_readers").await;
        for number in 0..150 {
            let id = person(1, number)["id"].as_str().unwrap().to_owned();
            assert!(if number < 20 { world.api.remove(&id) } else { world.api.update(&id, |item| item["full_name"] = json!("B")) });
        }
        world.run_once().expect(0);
        let calls: &[&str] = match world.db.engine() {
            Engine::Sqlite => &["write", "writev", "pwrite64", "fdatasync", "fsync"],
            Engine::Postgres => &["write", "writev", "sendto"],
        };
        let mut deaths = 0;
        for call in calls {
            for number in 1.. {
                world.db.execute(&format!("update feed_readers set cursor = '{saved}', holder = null, held_until = null")).await;
                let mut follower = before.clone();
                let command = taken.command();
                let model = world.command(&reading(&command));
                let mut traced = Command::new("strace");
                traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
                traced.args(["-e", &format!("inject={call}:signal=SIGKILL:when={number}")]);
                traced.arg(model.get_program()).args(model.get_args()).env_clear().current_dir(world.home());
                traced.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
                let done = run(traced);
                assert!([0, 75, 137].contains(&done.code), "{call} {number}: {done:?}");
                if done.code == 0 {
                    println!("{} places of death at {call}", number - 1);
                    break;
                }
                deaths += 1;
                follower.take(&taken.text());
                let_the_name_go(&world).await;
                let command = taken.command();
                world.run(&reading(&command)).expect(0);
                follower.take(&taken.text());
                println!("{call} {number}: {}, then {} lines", done.code, taken.text().lines().count());
                follower.expect_equal(&world).await;
            }
        }
        assert!(deaths > 5, "only {deaths} places of death");
    }

    async fn a_command_that_does_not_read_to_the_end_has_taken_nothing(world: World) {
        world.list_people(PEOPLE);
        world.run_once().expect(0);
        // Those that end with 0, too; the last two leave lines where everything would fit into the pipe.
        for command in ["head -c 100000 >/dev/null", "exec 0</dev/null; exit 0", "exit 0", "head -c 10 >/dev/null; exit 1"] {
            world.run(&reading(command)).expect(75);
        }
        let mut taken = Taken::new();
        // A pipe that is full for a while stops nobody.
        let command = format!("sleep 0.5; {}", taken.command());
        world.run(&reading(&command)).expect(0);
        let mut follower = Follower::default();
        assert_eq!(follower.take(&taken.text()), usize::try_from(PEOPLE).unwrap());
        follower.expect_equal(&world).await;
        let _ = world.api.remove(person(1, 0)["id"].as_str().unwrap());
        world.run_once().expect(0);
        let said = world.run(&reading("exit 0")).expect(75);
        assert!(said.stderr.contains("did not read to the end (exit status: 0)"), "{}", said.stderr);
        let command = taken.command();
        world.run(&reading(&command)).expect(0);
        assert_eq!(follower.take(&taken.text()), 1);
        follower.expect_equal(&world).await;
    }

    async fn a_living_holder_keeps_its_name_and_a_killed_one_for_ten_seconds_at_most(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        let holder = world.start(&reading("cat >/dev/null; exec sleep 600"));
        until("the name is held", async || world.db.find("select holder from feed_readers").await).await;
        // Longer than a killed one would hold it.
        std::thread::sleep(Duration::from_secs(11));
        let second = world.run(&reading("cat")).expect(75);
        assert!(second.stdout.is_empty() && second.took < Duration::from_secs(5), "{second:?}");
        holder.signal("KILL");
        let killed = Instant::now();
        assert_eq!(holder.wait().code, 137);
        let lines = until("the name is free", async || {
            let done = world.run(&reading("cat"));
            (done.code == 0).then_some(done.stdout)
        })
        .await;
        assert!(killed.elapsed() < Duration::from_secs(12), "{:?}", killed.elapsed());
        assert_eq!(lines.lines().count(), 4);
    }

    async fn told_to_stop_it_ends_although_nobody_takes_its_lines(world: World) {
        world.list_people(PEOPLE);
        world.run_once().expect(0);
        let mut child = world.command(&["changes"]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        // It has begun, and the rest does not fit into the pipe.
        std::io::Read::read_exact(&mut out, &mut [0]).unwrap();
        let told = Instant::now();
        assert!(Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap().success());
        let ended = until("its end", async || child.try_wait().unwrap()).await;
        assert_eq!(ended.code(), Some(75));
        assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    }

    async fn a_clock_that_goes_back_makes_no_killed_holder_stay(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        world.run(&reading("cat >/dev/null")).expect(0);
        world.db.execute("update feed_readers set holder = 'killed', held_until = '2100-01-01T00:00:00.000Z'").await;
        world.run(&reading("cat >/dev/null")).expect(0);
    }

    async fn a_paused_reader_that_lost_its_name_moves_nobody_s_cursor(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        let (taken, go) = (world.home().join("taken"), world.home().join("go"));
        let words = "cat >taken; until [ -e go ]; do sleep 0.05; done";
        let paused = world.start(&reading(words));
        until("its lines were taken", async || std::fs::read(&taken).is_ok_and(|text| !text.is_empty()).then_some(())).await;
        paused.signal("STOP");
        let_the_name_go(&world).await;
        let _ = world.api.remove(person(1, 0)["id"].as_str().unwrap());
        world.run_once().expect(0);
        world.run(&reading("cat >/dev/null")).expect(0);
        let cursor = world.db.value("select cursor from feed_readers").await;
        std::fs::write(&go, "").unwrap();
        paused.signal("CONT");
        paused.wait().expect(75).says("another process reads the change feed as crm");
        assert_eq!(world.db.value("select cursor from feed_readers").await, cursor);
    }
}
