//! The composition root: from the command line to an exit code.
//!
//! Builds what each command needs and hands it down; decides what is printed where. Results go to standard output, logs and
//! errors to standard error.

mod notify;
mod once;
mod place;
mod serve;

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use secrecy::ExposeSecret as _;
use tokio::runtime::Runtime;

use crate::cli::{Cli, Command, InitArgs};
use crate::command::{self, CommandError};
use crate::config::{Config, Environment, LoadedConfig, Log, LogFormat, Needs, Sources, load};
use crate::exit::Exit;
use crate::file::caller;
use crate::lifecycle::{Role, Signals, forbid_core_dumps};
use crate::observe::progress::ProgressLine;
use crate::observe::view::{Installation, View};
use crate::observe::{health, logging};
use crate::store::{Bounds, Snapshot, Store, StoreError, Timestamp, identity};
use crate::zone;

/// Everything that `main` does.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(exit) = command::reader::become_reader(&arguments) {
        return exit;
    }
    forbid_core_dumps();
    logging::hush_panics();
    // Both TLS users, the API's client and PostgreSQL's driver, share one set of algorithms. A second install is refused, and as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::parse_arguments(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    // As far as it can be told before the configuration is read, which may be what fails.
    let format = cli.log_format.clone().or_else(|| std::env::var("UNDERSTORY_SYNC__LOG__FORMAT").ok());
    let is_json = format.is_some_and(|format| format == "json");
    let format = Cell::new(if is_json { LogFormat::Json } else { LogFormat::Text });
    let exit = run(&cli, &format).unwrap_or_else(|error| {
        print_error(&error, format.get());
        exit_of(cli.command.as_ref(), &error)
    });
    exit.into()
}

/// The exit code of a failure: the error's own, but `healthcheck` says "not healthy" whatever went wrong. Container runtimes know 0 and
/// 1 and reserve the rest; only one that was interrupted has found nothing out.
fn exit_of(command: Option<&Command>, error: &CommandError) -> Exit {
    match (command, error) {
        (Some(Command::Healthcheck), CommandError::Interrupted) => Exit::Retry,
        (Some(Command::Healthcheck), _) => Exit::Unhealthy,
        _ => error.exit(),
    }
}

/// One clear message: what failed, why, and what to do.
fn print_error(error: &CommandError, format: LogFormat) {
    if error.is_closed_pipe() {
        return;
    }
    let hint = error.hint();
    if format == LogFormat::Json {
        // Where nothing could be logged so far.
        let level = tracing::Level::ERROR;
        logging::begin(&Log { level, format }, ProgressLine::default());
        let run_id = match error {
            CommandError::Run(failure) => failure.row.as_ref().map(|row| row.id),
            _ => None,
        };
        tracing::error!(run_id, exit = error.exit().code(), hint, "{error}");
        return;
    }
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "error: {error}");
    if let Some(hint) = hint {
        let _ = writeln!(err, "hint: {hint}");
    }
}

fn run(cli: &Cli, format: &Cell<LogFormat>) -> Result<Exit, CommandError> {
    let mut out = io::stdout().lock();
    match &cli.command {
        Some(Command::Completions { shell }) => return Ok(command::completions::run(*shell, &mut out)?),
        Some(Command::Man) => return Ok(command::man::run(&mut out)?),
        Some(Command::Config { example: true, .. }) => return Ok(command::config::example(&mut out)?),
        Some(Command::Config { schema: true, .. }) => return Ok(command::config::print_schema(&mut out)?),
        Some(Command::Config { json, .. }) => {
            let loaded = configuration(cli, Needs::Nothing, format)?;
            return Ok(command::config::run(&loaded, *json, &mut out, &mut io::stderr().lock())?);
        }
        _ => drop(out),
    }
    require_file_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| CommandError::Io { what: "cannot start", cause })?;
    let exit = match &cli.command {
        None => {
            let loaded = configuration(cli, Needs::Credentials, format)?;
            if cli.run_once {
                runtime.block_on(once::run(cli, loaded))
            } else {
                runtime.block_on(serve::run(loaded))
            }
        }
        Some(command) => dispatch(cli, command, &runtime, format),
    };
    // A blocking look-up of a host name must not hold up the end.
    runtime.shutdown_background();
    exit
}

/// The runtime and the handling of signals end in a panic where no file can be opened.
fn require_file_limit() -> Result<(), CommandError> {
    const NEEDED: u64 = 32;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let Some(limit) = limit.filter(|limit| *limit < NEEDED) else { return Ok(()) };
    let cause = io::Error::other(format!("{limit} open files are allowed (ulimit -n), {NEEDED} are needed"));
    Err(CommandError::Io { what: "cannot start", cause })
}

fn dispatch(
    cli: &Cli,
    command: &Command,
    runtime: &Runtime,
    format: &Cell<LogFormat>,
) -> Result<Exit, CommandError> {
    match command {
        Command::Demo { serve } => runtime.block_on(demo(*serve)),
        Command::Init(args) => runtime.block_on(interruptible(init(cli, args))),
        Command::Check { json, notify } => {
            let loaded = configuration(cli, Needs::Credentials, format)?;
            quiet_log(&loaded);
            runtime.block_on(interruptible(async {
                Ok(command::check::run(&loaded, *json, *notify, &mut io::stdout().lock()).await?)
            }))
        }
        _ => {
            let loaded = configuration(cli, Needs::Database, format)?;
            quiet_log(&loaded);
            log_warnings(&loaded);
            runtime.block_on(interruptible(on_database(command, loaded)))
        }
    }
}

/// Commands that work on the database alone.
async fn on_database(command: &Command, loaded: LoadedConfig) -> Result<Exit, CommandError> {
    let installation = installation(&loaded);
    let config = loaded.config;
    let mut out = command::terminal::stdout();
    match command {
        Command::Status { json } => {
            let snapshot = snapshot(&config).await?;
            let view = View {
                snapshot: &snapshot,
                installation: &installation,
                next_run: snapshot.next_run_at,
                now: Timestamp::now(),
            };
            // An unhealthy state is a result, not a failure of this command.
            let text = if *json { format!("{:#}\n", view.to_json()) } else { view.to_text() };
            out.write_all(text.as_bytes())?;
            Ok(Exit::Done)
        }
        Command::Healthcheck => {
            let seen = snapshot(&config).await;
            // A container's HEALTHCHECK knows no other numbers, so a database that does not answer is a 1 too.
            let (words, exit) = match health::verdict(seen.as_ref(), &config.health, Timestamp::now()) {
                Ok(()) => ("ok\n".to_owned(), Exit::Done),
                Err(reasons) => (reasons, Exit::Unhealthy),
            };
            // The answer is the exit code, whether or not anybody reads the words.
            let _ = out.write_all(words.as_bytes());
            Ok(exit)
        }
        Command::Migrate => command::migrate::run(&config, &mut out).await,
        Command::Export(args) => command::export::run(&config, args).await,
        Command::Person { who } => {
            let given = addresses(who.expose_secret())?;
            command::person::run(&config, &given, &mut out).await
        }
        Command::Forget { undo, who } => {
            let emails = addresses(who.expose_secret())?;
            if *undo {
                return command::forget::undo(&config, &emails, &mut out).await;
            }
            command::forget::erase(&config, &emails, &mut out).await
        }
        Command::Changes(args) => command::changes::run(&config, args, &mut io::BufWriter::new(out)).await,
        Command::AcceptRemovals { removals } => {
            command::accept_removals::run(&config, *removals, &crate::host::operator(), &mut out).await
        }
        Command::Backup { file } => command::backup::run(&config, file, &mut out).await,
        _ => Ok(Exit::Done),
    }
}

/// Whom a command is about: the argument, or what is typed or sent to standard input.
fn addresses(who: &str) -> Result<Vec<command::forget::Given>, CommandError> {
    let input = io::stdin();
    if who == "-" && input.is_terminal() {
        let _ = writeln!(io::stderr(), "One address a line; end with Ctrl-D:");
    }
    command::forget::addresses(who, &mut BufReader::new(input))
}

/// A command that is interrupted ends with 75; what it was doing in the database is rolled back with its connection.
async fn interruptible<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let signals = listen(Role::Command)?;
    tokio::select! {
        biased;
        () = signals.stop.cancelled() => Err(CommandError::Interrupted),
        done = work => done,
    }
}

fn listen(role: Role) -> Result<Signals, CommandError> {
    Signals::listen(role).map_err(|cause| CommandError::Io { what: "cannot listen to signals", cause })
}

fn working_dir() -> Result<PathBuf, CommandError> {
    std::env::current_dir()
        .map_err(|cause| CommandError::Io { what: "cannot find the working directory", cause })
}

fn configuration(cli: &Cli, needs: Needs, format: &Cell<LogFormat>) -> Result<LoadedConfig, CommandError> {
    let environment: Environment = std::env::vars_os().collect();
    let working_dir = working_dir()?;
    let sources = Sources {
        file: cli.config.as_deref(),
        environment: &environment,
        log_level: cli.log_level.as_deref(),
        log_format: cli.log_format.as_deref(),
        working_dir: &working_dir,
        caller: caller(),
        now: Timestamp::now().to_utc(),
    };
    let loaded = load(&sources, needs)?;
    format.set(loaded.config.log.format);
    zone::set_current(loaded.config.schedule.cron.zone().clone());
    place::invocation(&loaded, cli.command.is_none() && !cli.run_once).set_current();
    Ok(loaded)
}

/// Commands that print a result log nothing but warnings.
fn quiet_log(loaded: &LoadedConfig) {
    let mut log = loaded.config.log.clone();
    log.level = log.level.min(tracing::Level::WARN);
    logging::begin(&log, ProgressLine::default());
}

fn log_warnings(loaded: &LoadedConfig) {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
}

/// The state of the database; what is not there yet has no runs.
async fn snapshot(config: &Config) -> Result<Snapshot, StoreError> {
    let store = Store::open_to_read(&config.database, Bounds::look()).await?;
    let Some(store) = store else { return Ok(Snapshot::default()) };
    store.close_after(async |store| store.snapshot(20).await).await
}

fn installation(loaded: &LoadedConfig) -> Installation {
    let config = &loaded.config;
    Installation {
        health: config.health.clone(),
        run_timeout: config.schedule.run_timeout,
        database: identity(&config.database),
        config_file: loaded.file.as_ref().map(|file| place::absolute(file)),
        company_id: config.api.company_id.clone(),
        notifies: config.notify.url.is_some(),
    }
}

async fn init(cli: &Cli, args: &InitArgs) -> Result<Exit, CommandError> {
    logging::begin(&Log { level: tracing::Level::ERROR, format: LogFormat::Text }, ProgressLine::default());
    let environment: Environment = std::env::vars_os().collect();
    let file = cli.config.clone().or_else(|| environment.get("UNDERSTORY_SYNC_CONFIG").map(PathBuf::from));
    let around = command::init::Surroundings {
        file,
        working_dir: working_dir()?,
        line: place::line,
        sudo: if environment.get("SUDO_USER").is_some() { "sudo " } else { "" },
        environment,
    };
    Box::pin(command::init::run(args, around, &mut command::terminal::stdout())).await
}

async fn demo(serve: bool) -> Result<Exit, CommandError> {
    logging::begin(&Log { level: tracing::Level::ERROR, format: LogFormat::Text }, ProgressLine::default());
    let mut out = io::stdout();
    let played = interruptible(command::demo::run(Path::new("."), serve, &mut out));
    let command::demo::Demo { api: _api, loaded } = Box::pin(played).await?;
    if serve { serve::run(loaded).await } else { Ok(Exit::Done) }
}
