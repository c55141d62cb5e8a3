//! The command line: what can be asked for, in which words. No logic, and nothing is read but the arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{StringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

pub const EXIT_CODES: &str = "   0  done
   1  healthcheck: not healthy
   2  the command line cannot be understood
  65  the data cannot be trusted: removals withheld, answers of a wrong shape,
      another company's key, corrupt database
  69  lasting unavailability: route gone, redirect, oversize answer,
      certificate refused
  74  the database cannot be written: disk full, read-only, I/O error
  75  try again later: network, 5xx, 429, database unreachable or locked,
      another run in progress, interrupted, run_timeout
  77  refused: credentials, scope or rights, of the API or the database
  78  configuration: a value wrong or missing, no such database,
      a schema newer than the program, a file that is not ours";

/// What every `--help` ends with besides.
const LAYERS: &str = "\
Configuration, later wins: defaults, file, environment, flags.
auth.client_id in the file is UNDERSTORY_SYNC__AUTH__CLIENT_ID in the
environment. `understory-sync config` shows every value and its origin.";

/// Keeps a company's Understory marketing consents in a SQL table of its own.
///
/// Without a command it is the daemon: a run at start, then one at every tick of the schedule. With --run-once it makes one
/// run and exits, for cron, a systemd timer or a Kubernetes CronJob.
#[derive(Debug, Parser)]
#[command(name = "understory-sync", version, after_help = format!("Exit codes:\n{EXIT_CODES}\n\n{LAYERS}"), max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// The configuration file
    ///
    /// Without it: $UNDERSTORY_SYNC_CONFIG, else ./config.toml, else /etc/understory-sync/config.toml, else none.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How log lines are written (they go to stderr), instead of log.format
    #[arg(long, global = true, value_name = "FORMAT", value_parser = ["text", "json"])]
    pub log_format: Option<String>,

    /// How much is logged, instead of log.level (info)
    #[arg(long, global = true, value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log_level: Option<String>,

    /// One run, then exit
    #[arg(long)]
    pub run_once: bool,

    /// With --run-once: let this run mark up to N consents as missing that the removal guard would withhold
    #[arg(long, value_name = "N", requires = "run_once")]
    pub accept_removals: Option<u64>,

    /// With --run-once: a full scan, but nothing is written; prints what would change
    #[arg(long, requires = "run_once")]
    pub dry_run: bool,

    /// With --run-once: print nothing on success (cron mails whatever is printed)
    #[arg(long, requires = "run_once")]
    pub quiet: bool,

    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set it up: ask for the key and the database, try both, write the configuration
    ///
    /// Writes config.toml (or the FILE of --config) and client_secret beside it, readable by you alone, and nothing over a file
    /// that exists. For scripts: --client-id ID --yes, with the secret on standard input.
    Init(InitArgs),

    /// Try configuration, database, token and API, one line each, with the next step for what is wrong
    Check {
        /// As JSON
        #[arg(long)]
        json: bool,

        /// Send a test notification to notify.url as well
        #[arg(long)]
        notify: bool,
    },

    /// The last runs, what they changed, how many consents there are, when the next run is due
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },

    /// The effective configuration and where each value came from, secrets redacted
    Config {
        /// As JSON
        #[arg(long)]
        json: bool,

        /// Instead: a file with every key, its default and what it is for, to begin one's own with
        #[arg(long, conflicts_with = "json")]
        example: bool,

        /// Instead: the JSON Schema of a configuration file, for editors
        #[arg(long, conflicts_with_all = ["json", "example"])]
        schema: bool,
    },

    /// Let the next complete run mark up to N consents as missing that the removal guard withholds
    ///
    /// Needs the database alone. Used up by the first run that it helps, whoever starts it; ends after 24 hours.
    AcceptRemovals {
        /// How many; a later number replaces an earlier one, 0 withdraws it
        #[arg(value_name = "N")]
        removals: u64,
    },

    /// Bring the database's schema up to date and exit
    Migrate,

    /// Write the active consents, one a line
    Export(ExportArgs),

    /// What has changed in the table, oldest first: for mailing tools, CRMs and warehouses
    ///
    /// Without a cursor everything, behind a line that says reset: what the feed does not name, the reader drops. Each line
    /// has the cursor behind which --since goes on.
    Changes(ChangesArgs),

    /// All that the database holds about a person, as one JSON document
    ///
    /// Reads only. The address is found in every spelling, and where a row had it once. Where nothing is held, the document says
    /// so (`found`).
    Person {
        /// The address; - reads it from standard input, which keeps it out of the process list
        #[arg(value_name = "EMAIL|-", value_parser = secret())]
        who: SecretString,
    },

    /// Erase a person everywhere in the database, for good
    ///
    /// Says how many of the addresses the database held, and which other rows name them. Salted hashes of the address and of
    /// the consent ids are kept, so that no later run brings the person back.
    Forget {
        /// Allow the person again: the next run that lists them brings them back
        #[arg(long)]
        undo: bool,

        /// The address, with --undo also a consent id; - reads one a line from standard input, which keeps it out of the process list
        #[arg(value_name = "EMAIL|-", value_parser = secret())]
        who: SecretString,
    },

    /// A consistent copy of a SQLite database, while the daemon runs
    Backup {
        /// Where the copy goes; it appears whole or not at all, and replaces an older one
        file: PathBuf,
    },

    /// Exit 0 if the last complete run is fresh enough, else 1 (for a container's HEALTHCHECK)
    Healthcheck,

    /// The whole job against a built-in mock API, into a local SQLite file; no account needed
    ///
    /// It makes ./understory-demo.db, or replaces one that it made before.
    Demo {
        /// Go on as a daemon with the status page, until Ctrl-C
        #[arg(long)]
        serve: bool,
    },

    /// Print a shell's completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Print the manual page
    Man,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The key's id, from Understory's Backoffice: Settings, Integrations
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,

    /// Ask nothing but the secret, which may come from standard input: the database is SQLite, or the URL of
    /// UNDERSTORY_SYNC__DATABASE__URL
    #[arg(long, requires = "client_id")]
    pub yes: bool,

    /// For the systemd service: write to /etc/understory-sync (as root)
    #[arg(long)]
    pub system: bool,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What a line looks like
    #[arg(long, value_enum)]
    pub format: ExportFormat,

    /// Consents that are missing, removed or withheld too
    #[arg(long)]
    pub all: bool,

    /// Active consents that the removal guard keeps though they are no longer listed, too
    #[arg(long)]
    pub withheld: bool,

    /// Only these columns, in this order
    ///
    /// Of: consent_key, previous_key, consent_id, company_id, email, full_name, source, refs, extra, first_seen_at, changed_at,
    /// missing_since, withheld_since, removed_at, erased_at, first_run_id, changed_run_id, address.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub columns: Vec<String>,

    /// For spreadsheets: a byte order mark, and no cell that would run as a formula
    #[arg(long)]
    pub excel: bool,

    /// A file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Comma-separated values with a heading
    Csv,
    /// One JSON object a line
    Jsonl,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("reading").args(["since", "name", "list", "forget_reader", "restored"]))]
pub struct ChangesArgs {
    /// Only what has changed behind this cursor; keeps nothing in the database
    #[arg(long, value_name = "CURSOR")]
    pub since: Option<String>,

    /// Keep the cursor in the database under NAME (1 to 64 of a-z, 0-9, _ and -), and move it on once COMMAND took every line
    /// and ended with 0
    #[arg(long = "as", value_name = "NAME", value_parser = reader_name, requires = "command")]
    pub name: Option<String>,

    /// What a line looks like
    #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
    pub format: ExportFormat,

    /// The readers and how far each is
    #[arg(long)]
    pub list: bool,

    /// With --list: as JSON
    #[arg(long, requires = "list")]
    pub json: bool,

    /// Forget how far this reader was: its next reading begins anew
    #[arg(long, value_name = "NAME", value_parser = reader_name)]
    pub forget_reader: Option<String>,

    /// After a restored backup: begin a new feed, then confirm that erasures made since the backup were made again
    #[arg(long)]
    pub restored: bool,

    /// With --as: gets the lines on standard input; not started where there are none
    #[arg(last = true, requires = "name", value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Personal data: kept out of every `Debug`.
fn secret() -> impl TypedValueParser<Value = SecretString> {
    StringValueParser::new().map(SecretString::from)
}

fn reader_name(name: &str) -> Result<String, &'static str> {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let is_valid = (1..=64).contains(&name.len()) && name.bytes().all(valid);
    is_valid.then(|| name.to_owned()).ok_or("a reader's name has 1 to 64 of a-z, 0-9, _ and -")
}

impl Cli {
    /// Reads the arguments, the program's name first. Fails where they cannot be understood, and where help or the version is asked
    /// for: `clap::Error` knows what to print where, and its `exit_code` is 0 or 2.
    pub fn parse_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let cli = Self::try_parse_from(&arguments)
            .map_err(|error| hide_addresses(explain_subcommand(error), &arguments))?;
        if cli.run_once && cli.command.is_some() {
            let message = "the argument '--run-once' cannot be used with a command";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        Ok(cli)
    }
}

/// Other programs have a command for what this one does without.
fn explain_subcommand(error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let (daemon, once) = match typed.as_str() {
        "run" | "sync" => (true, true),
        "start" | "daemon" | "serve" => (true, false),
        "once" | "run-once" | "now" => (false, true),
        _ => return error,
    };
    let mut message = format!("there is no command '{typed}'\n");
    if once {
        message += "\n  one run, then exit:         understory-sync --run-once";
    }
    if daemon {
        message += "\n  the daemon, a run an hour:  understory-sync";
        message += "\n  ... as a systemd service:   systemctl enable --now understory-sync";
    }
    clap::Error::raw(error.kind(), message + "\n\nFor more information, try '--help'.\n")
}

/// A message about the command line quotes it, and on `forget`'s and `person`'s there is an address.
fn hide_addresses(error: clap::Error, arguments: &[OsString]) -> clap::Error {
    if !error.use_stderr() {
        return error;
    }
    let told = error.to_string();
    let addresses =
        arguments.iter().skip(1).filter_map(|argument| argument.to_str().filter(|text| text.contains('@')));
    let hidden = addresses.fold(told.clone(), |told, address| told.replace(address, "[redacted]"));
    if hidden == told {
        return error;
    }
    clap::Error::raw(error.kind(), hidden.strip_prefix("error: ").unwrap_or(&hidden))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Cli, clap::Error> {
        let arguments = std::iter::once("understory-sync").chain(arguments.split_whitespace());
        Cli::parse_arguments(arguments.map(OsString::from))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_contract_names_is_understood() {
        for arguments in [
            "",
            "--config c.toml --log-format json --log-level debug",
            "--run-once",
            "--run-once --accept-removals 50 --dry-run --quiet",
            "check",
            "check --config c.toml --log-level trace",
            "--config c.toml status --json",
            "check --json --notify",
            "config",
            "config --json",
            "config --example",
            "config --schema",
            "accept-removals 1004",
            "accept-removals 0",
            "migrate",
            "export --format csv",
            "export --format jsonl --all -o out.jsonl",
            "export --format csv --excel --withheld --columns email,full_name",
            "changes",
            "changes --since 1.f.2.n.k --format csv",
            "changes --as mail_1 -- sh -c true",
            "changes --list --json",
            "changes --forget-reader mail_1",
            "changes --restored",
            "person a@example.org",
            "person -",
            "forget a@example.org",
            "forget --undo -",
            "backup copy.db",
            "healthcheck",
            "demo",
            "demo --serve",
            "init",
            "init --client-id x --yes",
            "init --system",
            "--config x.toml init",
            "completions bash",
            "man",
        ] {
            assert!(parse(arguments).is_ok(), "{arguments}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for arguments in [
            "--nonsense",
            "nonsense",
            "--log-level loud",
            "--log-format xml",
            "--dry-run",
            "--quiet",
            "--accept-removals 3",
            "--run-once --accept-removals",
            "--run-once --accept-removals -1",
            "--run-once --accept-removals many",
            "--run-once check",
            "check --run-once",
            "--quiet check",
            "accept-removals",
            "accept-removals -1",
            "accept-removals 1,004",
            "export",
            "export --format xml",
            "person",
            "person a@example.org b@example.org",
            "forget",
            "forget a@example.org b@example.org",
            "changes --as mail",
            "changes --as Mail -- cat",
            "changes --since 1 --as mail -- cat",
            "changes --json",
            "changes -- cat",
            "backup",
            "completions",
            "--config",
        ] {
            let error = parse(arguments).unwrap_err();
            assert_eq!((error.exit_code(), error.use_stderr()), (2, true), "{arguments}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for arguments in ["--help", "-h", "--version", "-V", "export --help"] {
            let error = parse(arguments).unwrap_err();
            assert_eq!((error.exit_code(), error.use_stderr()), (0, false), "{arguments}");
        }
    }

    #[test]
    fn no_message_and_no_debug_form_repeats_an_address() {
        for command in ["forget", "person"] {
            let told = parse(&format!("{command} a@example.org b@example.org")).unwrap_err().to_string();
            assert!(!told.contains('@') && told.starts_with("error: "), "{told}");
            let told = format!("{:?}", parse(&format!("{command} a@example.org")).unwrap());
            assert!(!told.contains("example"), "{told}");
        }
    }

    #[test]
    fn the_help_is_what_it_was() {
        let help = Cli::command().term_width(100).render_long_help();
        insta::assert_snapshot!("help", help);
    }

    #[test]
    fn the_help_of_every_command_is_what_it_was() {
        let mut all = String::new();
        let mut root = Cli::command().term_width(100);
        root.build();
        for command in root.get_subcommands_mut() {
            let mut command = command.clone().term_width(100);
            let help = command.render_long_help();
            all.extend(["---- ", command.get_name(), "\n"]);
            all.extend([help.to_string(), "\n".to_owned()]);
        }
        insta::assert_snapshot!("help_of_commands", all);
    }
}
