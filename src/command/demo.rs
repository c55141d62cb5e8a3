//! `demo`: the whole job against the built-in stand-in of the API, into a local SQLite file; no account needed.
//!
//! Owns the order of the story; what is told stands in `crate::demo`. How a run is made and how a query is asked is the caller's.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use url::Url;

use crate::config::{
    Api, Auth, Config, ConsentsPath, Database, Health, Http, Log, LogFormat, Notify, NotifyFormat, Removal,
    Retention, Retry, Schedule,
};
use crate::demo::{
    ASK_ACTIVE, ASK_CHANGES, ASK_HISTORY, Settings, StandIn, Table, change_the_world, fill, remove_old,
    render_change, render_next, render_query, render_run, render_start,
};
use crate::schedule::Schedule as Times;
use crate::store::RunRow;

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
    let stand_in = StandIn::start(Settings::default()).await?;
    stand_in.people(fill);
    let config = config(&stand_in, &database)?;

    let base_url = stand_in.base_url();
    writeln!(out, "{}", render_start(&base_url, &format!("./{DATABASE}")))?;
    let (row, took) = timed(&mut sync, &config).await?;
    write!(out, "{}", render_run("First run", &row, took))?;
    let change = stand_in.people(change_the_world);
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
    stand_in.stop().await;
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

/// The defaults, but for where the stand-in is and that nobody needs to be spared.
fn config(stand_in: &StandIn, database: &Path) -> io::Result<Config> {
    Ok(Config {
        auth: auth(stand_in)?,
        api: api(url(&stand_in.base_url())?),
        retry: Retry {
            max_attempts: 5,
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_mins(1),
            rate_limit_delay: Duration::from_mins(1),
        },
        schedule: Schedule {
            times: Times::parse("0 0 * * * *", jiff::tz::TimeZone::UTC, chrono::DateTime::UNIX_EPOCH)
                .map_err(io::Error::other)?,
            interval: Duration::from_hours(1),
            jitter: Duration::ZERO,
            run_at_start: true,
            run_timeout: Some(Duration::from_mins(1)),
        },
        database: Database { url: sqlite_url(database)?, schema: None },
        removal: Removal {
            confirm_runs: 2,
            max_percent: 20.0,
            min_count: 5,
            confirm_after: Duration::from_hours(7 * 24),
            max_checks: 500,
        },
        retention: Retention { history: None, removed: None, erasures: Duration::from_hours(90 * 24) },
        notify: Notify { url: None, after_failures: 3, format: NotifyFormat::Json },
        http: Http { listen: None, allowed_hosts: Vec::new() },
        health: Health {
            stale_after: Duration::from_mins(130),
            absence_after: Duration::from_hours(24),
            heartbeat_url: None,
        },
        log: Log { level: tracing::Level::WARN, format: LogFormat::Text },
    })
}

fn auth(stand_in: &StandIn) -> io::Result<Auth> {
    let settings = stand_in.settings();
    Ok(Auth {
        client_id: settings.client_id,
        client_secret: settings.client_secret.into(),
        client_secret_file: None,
        token_url: url(&stand_in.token_url())?,
        audience: settings.audience,
        scopes: settings.scopes,
    })
}

/// One page after the other without a pause: the stand-in needs no sparing, and the demo is to be short.
fn api(base_url: Url) -> Api {
    Api {
        base_url,
        consents_path: ConsentsPath::Auto,
        page_size: 100,
        requests_per_second: 0.0,
        user_agent: concat!("understory-sync/", env!("CARGO_PKG_VERSION")).into(),
        company_id: None,
        connect_timeout: Duration::from_secs(10),
        read_timeout: Duration::from_secs(30),
        request_timeout: Duration::from_mins(1),
        max_page_bytes: 8_388_608,
    }
}

fn url(text: &str) -> io::Result<Url> {
    Url::parse(text).map_err(io::Error::other)
}

/// In an SQLite URL `?` begins the options and `%` an escape.
fn sqlite_url(database: &Path) -> io::Result<SecretString> {
    let path = database.to_str().ok_or_else(|| {
        io::Error::other("the working directory's name is not UTF-8; run the demo in another one")
    })?;
    let path = path.replace('%', "%25").replace('?', "%3F");
    Ok(format!("sqlite://{path}").into())
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
        use secrecy::ExposeSecret as _;
        let url = sqlite_url(Path::new("/tmp/100% sure?/understory-demo.db")).unwrap();
        assert_eq!(url.expose_secret(), "sqlite:///tmp/100%25 sure%3F/understory-demo.db");
    }
}
