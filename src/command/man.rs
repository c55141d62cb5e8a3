//! `man`: the manual page, for `understory-sync man > understory-sync.1`.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::cli::Cli;
use crate::exit::Exit;

/// Writes the manual page, the commands with their options included.
pub fn run(out: &mut dyn Write) -> io::Result<Exit> {
    let mut page = Vec::new();
    render(&mut page)?;
    super::unless_closed(out.write_all(&page).and_then(|()| out.flush()), Exit::Done)
}

fn render(page: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let man = clap_mangen::Man::new(command.clone());
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    // Not built: the options that every command takes stand above, once.
    for command in Cli::command().get_subcommands() {
        section(command, page)?;
    }
    let mut extra = Vec::new();
    man.render_extra_section(&mut extra)?;
    // A table keeps its lines (.nf).
    let heading = ".SH \"EXIT STATUS AND CONFIGURATION\"\n.nf";
    writeln!(page, "{}.fi", String::from_utf8_lossy(&extra).replace(".SH EXTRA", heading))?;
    man.render_version_section(page)
}

/// One command, in the page of them all: a page for each would be a dozen files to install.
fn section(command: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    let mut body = Vec::new();
    clap_mangen::Man::new(command.clone().disable_help_flag(true)).render_options_section(&mut body)?;
    let about =
        command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    writeln!(page, ".SH \"{}\"\n{}", command.get_name().to_uppercase(), about.replace('\\', "\\\\"))?;
    let heading = ".SH OPTIONS";
    let body = String::from_utf8_lossy(&body).replace(heading, "");
    page.write_all(body.as_bytes())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_commands_options_and_exit_codes() {
        let mut out = Vec::new();
        assert_eq!(run(&mut out).unwrap(), Exit::Done);
        let page = String::from_utf8(out).unwrap();
        for words in [
            ".TH understory-sync 1",
            "HEALTHCHECK",
            "accept\\-removals",
            "undo",
            "Exit codes",
            "cannot be written",
        ] {
            assert!(page.contains(words), "{words}\n{page}");
        }
    }
}
