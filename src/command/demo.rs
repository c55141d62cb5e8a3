//! `demo`: the whole job against the built-in mock API, into a local SQLite file; no account needed.
//!
//! Owns the order of the story; what is told stands in `crate::demo`. How a run is made and how a query is asked is the caller's.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::{Config, Environment, Needs, Sources, load};
use crate::demo::{
    ASK_ACTIVE, ASK_CHANGES, ASK_HISTORY, DemoApi, Table, change_the_world, fill, remove_old, render_change,
    render_next, render_query, render_run, render_start,
};
use crate::file::caller;
use crate::store::{RunRow, Timestamp};

/// The demo's database, in the working directory.
const DATABASE: &str = "understory-demo.db";

/// Plays the demo in a folder: two runs and what changed between them.
///
/// # Errors
/// Those of the runs and queries; `out` cannot be written; the old database cannot be removed; loopback cannot be listened on.
pub async fn run<E: From<io::Error>>(
    folder: &Path,
    out: &mut impl Write,
    mut sync: impl AsyncFnMut(&Config) -> Result<RunRow, E>,
    mut query: impl AsyncFnMut(&Config, &'static str) -> Result<Table, E>,
) -> Result<(), E> {
    let database = std::path::absolute(folder.join(DATABASE))?;
    remove_old(&database)?;
    let api = DemoApi::start(fill()).await?;
    let config = config(&api, &database)?;

    let base_url = api.base_url();
    writeln!(out, "{}", render_start(&base_url, &format!("./{DATABASE}")))?;
    let (row, took) = timed(&mut sync, &config).await?;
    write!(out, "{}", render_run("First run", &row, took))?;
    let change = change_the_world(&mut api.consents());
    write!(out, "{}", render_change(&change))?;
    let (row, took) = timed(&mut sync, &config).await?;
    write!(out, "{}", render_run("Second run", &row, took))?;

    for (title, sql) in [
        ("What each run changed:", ASK_HISTORY),
        (
            "Whom the second run changed (missing: not listed any more, hence no longer\n\
             active; recorded as removed when the next run confirms it):",
            ASK_CHANGES,
        ),
        ("Whom we may write to, the newest first:", ASK_ACTIVE),
    ] {
        let table = query(&config, sql).await?;
        write!(out, "\n{title}\n\n{}", render_query(sql, &table))?;
    }
    write!(out, "\n{}", render_next(DATABASE))?;
    out.flush()?;
    Ok(())
}

async fn timed<E>(
    sync: &mut impl AsyncFnMut(&Config) -> Result<RunRow, E>,
    config: &Config,
) -> Result<(RunRow, Duration), E> {
    let start = Instant::now();
    let row = sync(config).await?;
    Ok((row, start.elapsed()))
}

/// The defaults, apart from where the API is, and that it needs no rate limit.
fn config(api: &DemoApi, database: &Path) -> io::Result<Config> {
    let (base_url, token_url, database) = (api.base_url(), api.token_url(), sqlite_url(database)?);
    let environment: Environment = [
        ("UNDERSTORY_SYNC__AUTH__CLIENT_ID", "demo"),
        ("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET", "demo"),
        ("UNDERSTORY_SYNC__AUTH__TOKEN_URL", &token_url),
        ("UNDERSTORY_SYNC__API__BASE_URL", &base_url),
        ("UNDERSTORY_SYNC__API__REQUESTS_PER_SECOND", "0"),
        ("UNDERSTORY_SYNC__DATABASE__URL", &database),
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
    load(&sources, Needs::Credentials).map(|loaded| loaded.config).map_err(io::Error::other)
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
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_demo_tells_two_runs_three_queries_and_what_comes_next() {
        let folder = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        let mut runs = 0;
        let sync = async |config: &Config| -> io::Result<RunRow> {
            assert!(config.api.base_url.as_str().starts_with("http://127.0.0.1:"));
            runs += 1;
            Ok(RunRow { outcome: "succeeded".into(), ..RunRow::default() })
        };
        let query = async |_: &Config, _: &'static str| -> io::Result<Table> {
            Ok(Table { columns: vec!["answer".into()], rows: vec![vec![Some("42".into())]] })
        };
        run(folder.path(), &mut out, sync, query).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(runs, 2);
        for part in [
            "First run: succeeded",
            "Meanwhile: 12 people agree",
            "Second run: succeeded",
            "from consent_history",
            "from active_consents",
            "answer",
            "understory-sync --run-once",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_folder_with_odd_characters_makes_a_url_that_leads_there() {
        let url = sqlite_url(Path::new("/tmp/100% sure?/understory-demo.db")).unwrap();
        assert_eq!(url, "sqlite:///tmp/100%25 sure%3F/understory-demo.db");
    }
}
