//! Questions on a terminal, or the lines of a script: one answer a line, secrets without echo.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;

use super::error::CommandError;

/// Asks on standard error, so that standard output holds results alone.
pub(super) struct Prompt {
    pub(super) is_terminal: bool,
}

impl Prompt {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stdin().is_terminal() }
    }

    /// Prints to a terminal; a script gets no output.
    pub(super) fn print(&self, text: &str) -> io::Result<()> {
        if self.is_terminal {
            writeln!(io::stderr(), "{text}")?;
        }
        Ok(())
    }

    pub(super) async fn ask(&self, question: &str) -> Result<String, CommandError> {
        if self.is_terminal {
            write!(io::stderr(), "{question}: ")?;
        }
        read_line().await
    }

    /// As [`Prompt::ask`], for what must not stand on the screen.
    pub(super) async fn ask_hidden(&self, question: &str) -> Result<SecretString, CommandError> {
        let _hidden = if self.is_terminal { EchoOff::enable() } else { None };
        let answer = self.ask(question).await?;
        Ok(SecretString::from(answer))
    }
}

/// A line without its end, read on a thread of its own, so that Ctrl-C is heard meanwhile.
async fn read_line() -> Result<String, CommandError> {
    let read = || {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|length| (length > 0).then_some(line))
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?;
    let line = read.map_err(|cause| CommandError::Io { what: "cannot read the answers", cause })?;
    let line = line.ok_or_else(|| CommandError::usage("the input ended before everything was answered"))?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// A terminal that shows nothing of what is typed but the end of the line, until this is dropped, Ctrl-C included.
struct EchoOff {
    before: Termios,
}

impl EchoOff {
    fn enable() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Now, &silent).ok()?;
        Some(Self { before })
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
