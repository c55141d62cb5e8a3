//! The binary as it runs, and as it ran.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// How the program ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    /// The exit code; a signal is 128 and its number, as a shell would say.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// The most memory that it held at one time, in KiB: the kernel's own high-water mark, read every 2 ms; 0 where there is none.
    pub(crate) peak_kib: u64,
    /// From its start.
    pub(crate) took: Duration,
}

impl Done {
    /// The program must have ended so; shows what it said where it did not.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Both outputs, for what must or must not be in either.
    pub(crate) fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Standard error must hold this.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in\n--- stderr\n{}", self.stderr);
        self
    }
}

/// The program while it runs. It is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Output,
    stderr: Output,
    started: Instant,
}

type Output = (Arc<Mutex<Vec<u8>>>, Option<JoinHandle<()>>);

/// Runs a command that a world made and a test has changed since.
#[track_caller]
pub(crate) fn run(command: Command) -> Done {
    Running::start(command).wait()
}

impl Running {
    /// Starts a command.
    pub(crate) fn start(mut command: Command) -> Self {
        let started = Instant::now();
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        Self { child, stdout, stderr, started }
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// What it has written to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// Sends a signal by its name: TERM, INT, HUP, STOP, CONT, KILL.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// As `kill -9`, if it still runs.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn wait(self) -> Done {
        self.wait_within(PATIENCE)
    }

    /// The same for what takes longer.
    #[track_caller]
    pub(crate) fn wait_within(mut self, patience: Duration) -> Done {
        use std::os::unix::process::ExitStatusExt as _;
        let deadline = Instant::now() + patience;
        let mut peak_kib = 0;
        let status = loop {
            peak_kib = self.peak_kib().unwrap_or(0).max(peak_kib);
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "the program does not end\n--- stdout\n{}\n--- stderr\n{}",
                self.stdout(),
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(2));
        };
        let took = self.started.elapsed();
        for (_, reader) in [&mut self.stdout, &mut self.stderr] {
            reader.take().unwrap().join().unwrap();
        }
        Done {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap()),
            stdout: self.stdout(),
            stderr: self.stderr(),
            peak_kib,
            took,
        }
    }

    /// The high-water mark of its memory so far. Before the child has become the program, the memory is still the tests' own.
    fn peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        if !status.starts_with("Name:\tunderstory-sync\n") {
            return None;
        }
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, most likely.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads on a thread, so that a full pipe stops nobody.
fn collect(mut from: impl Read + Send + 'static) -> Output {
    let read = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&read);
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            into.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    (read, Some(reader))
}

fn text((bytes, _): &Output) -> String {
    String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned()
}
