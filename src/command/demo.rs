//! `demo`: the whole job against the built-in mock API, into a local SQLite file; no account needed.
//!
//! Owns the order of the story; what happens and what is said of it stands in `crate::demo`.

use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::error::CommandError;
use super::forget;
use crate::config::{self, Config, Environment, LoadedConfig, Needs, Sources, load};
use crate::demo::server::DemoApi;
use crate::demo::story::{self, ASK_FEED, ASK_MARIA, ASK_RUNS, STEPS};
use crate::demo::table::render_query;
use crate::exit::{Exit, Problem};
use crate::file::{DATABASE_FILES, caller};
use crate::store::{Bounds, RunRow, Store, Timestamp, Trigger};
use crate::sync::{RunOptions, Syncer};

const DATABASE: &str = "understory-demo.db";
/// Where the status page is looked for first.
const STATUS_PORT: u16 = 9187;

/// The API of a demo that was played, and the configuration to go on with.
pub struct Demo {
    pub api: DemoApi,
    pub loaded: LoadedConfig,
}

/// Plays the demo in a folder: five runs, what happened between them, and what the database says of it.
pub async fn run(folder: &Path, serve: bool, out: &mut impl Write) -> Result<Demo, CommandError> {
    let database = std::path::absolute(folder.join(DATABASE))?;
    remove_old(&database)?;
    let api = DemoApi::start(story::initial_people()).await?;
    let listen = serve.then(free_port).transpose()?;
    let loaded = configuration(&api, &database, listen)?;
    let config = &loaded.config;
    create(&config.database).await?;
    write!(out, "{}", story::render_start(&api.base_url(), &format!("./{DATABASE}")))?;
    play_steps(&api, config, out).await?;
    show_query(config, "What the runs did:\n", ASK_RUNS, out).await?;
    show_query(config, "The history of Maria@example.com:\n", ASK_MARIA, out).await?;
    let address = story::erased_address();
    let given = forget::addresses(&address, &mut io::empty())?;
    forget::erase(config, &given, &mut io::sink()).await?;
    show_query(config, &story::render_erasure(&address), ASK_FEED, out).await?;
    match listen {
        Some(listen) => write!(out, "\n{}", story::render_serving(&format!("http://{listen}/"), DATABASE))?,
        None => write!(out, "\n{}", story::render_next(DATABASE))?,
    }
    out.flush()?;
    Ok(Demo { api, loaded })
}

async fn play_steps(api: &DemoApi, config: &Config, out: &mut impl Write) -> Result<(), CommandError> {
    for step in &STEPS {
        (step.change)(&mut api.consents());
        writeln!(out)?;
        if !step.says.is_empty() {
            write!(out, "{}", story::wrap("", step.says))?;
        }
        let begun = Instant::now();
        let row = run_once(config).await?;
        write!(out, "{}", story::render_run(step.run, &row, begun.elapsed()))?;
    }
    Ok(())
}

async fn show_query(
    config: &Config,
    title: &str,
    sql: &'static str,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let store = Store::open_existing(&config.database, Bounds::COMMAND).await?;
    let table = store.close_after(async |store| store.query_table(sql).await).await?;
    Ok(write!(out, "\n{title}{}", render_query(sql, &table))?)
}

async fn run_once(config: &Config) -> Result<RunRow, CommandError> {
    let mut syncer = Syncer::new(config.clone())?;
    let never = CancellationToken::new();
    Ok(syncer.run_once(Trigger::Once, &RunOptions::default(), &never, &|_| {}).await?.row)
}

/// Makes the database, and marks it as one that the next demo may replace.
async fn create(database: &config::Database) -> Result<(), CommandError> {
    let store = Store::open(database, Bounds::COMMAND).await?;
    Ok(store.close_after(async |store| store.mark_as_demo().await).await?)
}

/// Removes the database of an earlier demo and what lies beside it, and refuses any other file of that name.
fn remove_old(database: &Path) -> Result<(), CommandError> {
    let kind = match fs::symlink_metadata(database) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?.file_type(),
    };
    if !kind.is_file() || !is_marked(database)? {
        let problem = Problem::new(Exit::Config, format!("{DATABASE} exists, and the demo did not make it"));
        return Err(problem.next_step("move it away, or run the demo in another folder").into());
    }
    for companion in DATABASE_FILES {
        let mut path = database.as_os_str().to_owned();
        path.push(companion);
        match fs::remove_file(PathBuf::from(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Reads `user_version` from the file's header, so that another program's file is not even opened as a database.
fn is_marked(database: &Path) -> io::Result<bool> {
    let mut header = Vec::new();
    File::open(database)?.take(64).read_to_end(&mut header)?;
    Ok(header.starts_with(b"SQLite format 3\0") && header.get(60..64) == Some(b"demo"))
}

fn free_port() -> io::Result<SocketAddr> {
    let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr();
    listen(STATUS_PORT).or_else(|_| listen(0))
}

/// The defaults, apart from where things are, that the API needs no rate limit, and a run every minute.
fn configuration(
    api: &DemoApi,
    database: &Path,
    listen: Option<SocketAddr>,
) -> Result<LoadedConfig, CommandError> {
    let (base_url, token_url, database) = (api.base_url(), api.token_url(), sqlite_url(database)?);
    let listen = listen.map(|listen| listen.to_string()).unwrap_or_default();
    let environment: Environment = [
        ("UNDERSTORY_SYNC__AUTH__CLIENT_ID", "demo"),
        ("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET", "demo"),
        ("UNDERSTORY_SYNC__AUTH__TOKEN_URL", &token_url),
        ("UNDERSTORY_SYNC__API__BASE_URL", &base_url),
        ("UNDERSTORY_SYNC__API__REQUESTS_PER_SECOND", "0"),
        ("UNDERSTORY_SYNC__SCHEDULE__CRON", "0 * * * * *"),
        ("UNDERSTORY_SYNC__DATABASE__URL", &database),
        ("UNDERSTORY_SYNC__HTTP__LISTEN", &listen),
        ("UNDERSTORY_SYNC__LOG__LEVEL", "error"),
    ]
    .into_iter()
    .collect();
    let sources = Sources {
        // Nothing of an installation: with its file, a demo would use its heartbeat and its notifications.
        file: Some(Path::new("/dev/null")),
        environment: &environment,
        log_level: None,
        log_format: None,
        working_dir: Path::new("/"),
        caller: caller(),
        now: Timestamp::now().to_utc(),
    };
    Ok(load(&sources, Needs::Credentials)?)
}

/// In an SQLite URL `?` begins the options and `%` an escape.
fn sqlite_url(database: &Path) -> io::Result<String> {
    let path = database.to_str().ok_or_else(|| {
        io::Error::other("the working directory's name is not UTF-8; run the demo in another one")
    })?;
    let path = path.replace('%', "%25").replace('?', "%3F");
    Ok(format!("sqlite://{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_odd_characters_makes_a_url_that_leads_there() {
        let url = sqlite_url(Path::new("/tmp/100% sure?/understory-demo.db")).ok();
        assert_eq!(url.as_deref(), Some("sqlite:///tmp/100%25 sure%3F/understory-demo.db"));
    }
}
