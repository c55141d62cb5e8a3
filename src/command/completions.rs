//! `completions SHELL`: what a shell sources to complete our command line.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Exit;

pub fn run(shell: Shell, out: &mut dyn Write) -> io::Result<Exit> {
    // The generator panics where it cannot write: it gets memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "understory-sync", &mut script);
    super::print(&script, out)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_has_completions() {
        for shell in Shell::value_variants() {
            let mut out = Vec::new();
            assert_eq!(run(*shell, &mut out).unwrap(), Exit::Done);
            assert!(String::from_utf8(out).unwrap().contains("accept-removals"), "{shell}");
        }
    }
}
