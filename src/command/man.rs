//! `man`: the manual page, for `understory-sync man > understory-sync.1`.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::cli::{Cli, EXIT_CODES};
use crate::exit::Exit;

/// What is typed, named or set, and in the next line what for.
const EXAMPLES: &str = "\
understory-sync demo --serve
Look around without an account: made-up people, a run every minute, the status page.
understory-sync init
Set it up: key, database, configuration.
understory-sync check && understory-sync --run-once
Try everything, then make the first run.
understory-sync --run-once --dry-run
See what a run would change.
understory-sync
Stay, and make a run every hour.
7 * * * * understory-sync --config /etc/understory-sync/config.toml --run-once --quiet
A line of crontab(5): mails only what went wrong.
understory-sync export --format csv --excel -o consents.csv
Whom we may write to, for a spreadsheet.
printf '%s\\n' maria@example.com | understory-sync forget -
Erase a person; no process list shows the address.
sqlite3 understory.db 'select email, full_name from mailable_consents'
Ask the table itself; in PostgreSQL the same.";

const FILES: &str = "\
./config.toml, /etc/understory-sync/config.toml
The configuration, the first that exists. `understory-sync config --example` prints every key.
client_secret
Beside it where auth.client_secret_file says so: the key's secret, mode 0600.
understory.db
The database, beside the configuration file, unless database.url says otherwise.
understory.db-wal, understory.db-shm, understory.db.lock
Belong to the database. None of them is copied or deleted by hand: `understory-sync backup` makes a copy.
/var/lib/understory-sync/understory.db
The database of the systemd service.";

const ENVIRONMENT: &str = "\
UNDERSTORY_SYNC_CONFIG
The configuration file, where --config does not name one.
UNDERSTORY_SYNC__SECTION__KEY
Any key: auth.client_id is UNDERSTORY_SYNC__AUTH__CLIENT_ID. Wins over the file; empty counts as not set.
DATABASE_URL
The database, where no database.url is set.
CREDENTIALS_DIRECTORY
Set by systemd: its file client_secret is the secret where none is set.
HTTPS_PROXY, NO_PROXY
The proxy for https, and the hosts that are reached without it.
SSL_CERT_FILE, SSL_CERT_DIR
Certificate authorities in place of the system's.
NO_COLOR
Log lines without colour.";

const SEE_ALSO: &str = "sqlite3(1), psql(1), systemctl(1), systemd.timer(5), crontab(5); install.md, tables.md and the others in /usr/share/doc/understory-sync";

pub fn run(out: &mut dyn Write) -> io::Result<Exit> {
    let mut page = Vec::new();
    render(&mut page)?;
    super::print(&page, out)
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
        write_command(command, page)?;
    }
    // A table keeps its lines.
    writeln!(page, ".SH \"EXIT STATUS\"\n.nf\n{}\n.fi", escaped(EXIT_CODES))?;
    for (heading, entries) in [("EXAMPLES", EXAMPLES), ("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        write_entries(heading, entries, page)?;
    }
    writeln!(page, ".SH \"SEE ALSO\"\n{}", escaped(SEE_ALSO))?;
    man.render_version_section(page)
}

fn write_entries(heading: &str, entries: &str, page: &mut Vec<u8>) -> io::Result<()> {
    writeln!(page, ".SH \"{heading}\"")?;
    let lines: Vec<String> = entries.lines().map(escaped).collect();
    lines.as_chunks().0.iter().try_for_each(|[name, text]| writeln!(page, ".TP\n\\fB{name}\\fR\n{text}"))
}

/// Text that roff takes for itself.
fn escaped(text: &str) -> String {
    let escape =
        |line: &str| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() };
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

/// One command, in the page of them all: a page for each would be a dozen files to install.
fn write_command(command: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    let mut body = Vec::new();
    clap_mangen::Man::new(command.clone().disable_help_flag(true)).render_options_section(&mut body)?;
    let about =
        command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    writeln!(page, ".SH \"{}\"\n{}", command.get_name().to_uppercase(), about.replace('\\', "\\\\"))?;
    page.write_all(String::from_utf8_lossy(&body).replace(".SH OPTIONS", "").as_bytes())
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
            ".SH \"EXIT STATUS\"",
            ".SH \"EXAMPLES\"",
            ".SH \"FILES\"",
            ".SH \"ENVIRONMENT\"",
            ".SH \"SEE ALSO\"",
            "cannot be written",
        ] {
            assert!(page.contains(words), "{words}\n{page}");
        }
    }
}
