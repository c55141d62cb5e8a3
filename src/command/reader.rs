//! The command behind `changes --as`: a process that gets lines on its standard input.

use std::ffi::OsString;
use std::io::{self, PipeReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe::Sender;
use tokio::process::{Child, Command};

/// The argument that makes this program become a reader's command. It is not part of the command line that users see.
const BECOME: &str = "--become-reader-of";

/// What a shell exits with where a command is not found, or cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

/// A reader's command while it runs. It dies with this process, however this one ends.
pub(super) struct ReaderProcess {
    child: Child,
    input: Option<Sender>,
    /// The other end of `input`, never read from: it tells what the command has left in the pipe.
    unread: PipeReader,
}

impl ReaderProcess {
    pub(super) fn start(command: &[OsString]) -> io::Result<Self> {
        let (unread, input) = io::pipe()?;
        let child = starter(command).stdin(unread.try_clone()?).kill_on_drop(true).spawn()?;
        let input = Some(Sender::from_owned_fd(OwnedFd::from(input))?);
        Ok(Self { child, input, unread })
    }

    /// Waits until the pipe has taken the bytes. Some: the command ended before.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<Option<ExitStatus>> {
        let Some(input) = &mut self.input else { return Ok(None) };
        tokio::select! {
            biased;
            ended = self.child.wait() => ended.map(Some),
            written = input.write_all(bytes) => written.map(|()| None),
        }
    }

    /// Lets the command see the end of its input. Gives how it ended, and whether it left a part of the input unread.
    pub(super) async fn finish(&mut self) -> io::Result<(ExitStatus, bool)> {
        self.input = None;
        let ended = self.child.wait().await?;
        Ok((ended, rustix::io::ioctl_fionread(&self.unread)? > 0))
    }
}

/// On Linux this program itself, which asks the system for its death with ours and then becomes the command: one that outlived
/// us would hand on older lines while its successor hands on newer ones.
fn starter(command: &[OsString]) -> Command {
    const OWN: &str = "/proc/self/exe";
    if cfg!(target_os = "linux") && Path::new(OWN).exists() {
        let mut starting = Command::new(OWN);
        starting.arg0("understory-sync").args([BECOME, &std::process::id().to_string()]).args(command);
        return starting;
    }
    let [program, arguments @ ..] = command else { return Command::new("") };
    let mut starting = Command::new(program);
    starting.args(arguments);
    starting
}

/// Becomes a reader's command where the arguments say so. Gives a code where that failed.
pub fn become_reader(arguments: &[OsString]) -> Option<ExitCode> {
    let [_, word, parent, program, arguments @ ..] = arguments else { return None };
    if word != BECOME {
        return None;
    }
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    // The parent may have died before the death signal was set.
    let alive = std::os::unix::process::parent_id().to_string();
    if parent.to_str() != Some(&*alive) {
        return Some(ExitCode::from(NOT_RUNNABLE));
    }
    let cause = std::process::Command::new(program).args(arguments).exec();
    let _ = writeln!(io::stderr(), "{}: {cause}", program.display());
    Some(ExitCode::from(if cause.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE }))
}
