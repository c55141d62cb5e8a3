//! `check`: configuration, database, token, API: one line each, what is right or how to cure it.

use std::io::{self, Write};
use std::time::Duration;

use super::terminal::visible;
use crate::api::{Api, ApiError, Deadline, Paths, QUICKSTART_PATH, RawPage};
use crate::config::{Config, ConsentsPath, Loaded};
use crate::exit::Exit;
use crate::store::{Probe, Store, StoreError};
use crate::sync::companies;

/// Goes through all of it; the exit code is that of the first line that is not right.
pub async fn run(loaded: &Loaded, out: &mut dyn Write) -> io::Result<Exit> {
    let config = &loaded.config;
    let mut report = Report { out, exit: Exit::Done };
    let file = loaded.file.as_ref().map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
    report.good(&format!("configuration: {file}, {} keys", loaded.entries.len()))?;
    for warning in &loaded.warnings {
        report.note(&format!("configuration: {warning}"))?;
    }
    let mut store = report.database(config).await?;
    let mut api = match Api::new(&config.auth, &config.api, &config.retry) {
        Ok(api) => api,
        Err(error) => {
            report.bad("token", &error.to_string(), error.hint(), error.exit())?;
            return report.end(store).await;
        }
    };
    if let Err(error) = api.ensure_token(Deadline::none()).await {
        report.bad("token", &error.to_string(), error.hint(), error.exit())?;
        return report.end(store).await;
    }
    report.good(&format!("token: given by {}", config.auth.token_url.host_str().unwrap_or_default()))?;
    report.api(config, &mut api, store.as_mut()).await?;
    report.end(store).await
}

struct Report<'a> {
    out: &'a mut dyn Write,
    exit: Exit,
}

impl Report<'_> {
    fn good(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "✓ {}", visible(line))
    }

    fn note(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "! {}", visible(line))
    }

    fn bad(&mut self, what: &str, error: &str, hint: Option<String>, exit: Exit) -> io::Result<()> {
        if self.exit == Exit::Done {
            self.exit = exit;
        }
        let hint = hint.map(|hint| format!(" → {hint}")).unwrap_or_default();
        writeln!(self.out, "✗ {what}: {}", visible(&format!("{error}{hint}")))
    }

    async fn end(self, store: Option<Store>) -> io::Result<Exit> {
        if let Some(store) = store {
            store.close().await;
        }
        Ok(self.exit)
    }

    async fn database(&mut self, config: &Config) -> io::Result<Option<Store>> {
        match open(config).await {
            Ok((place, None)) => {
                self.good(&format!("database: {place} can be made (the first run does it)"))?;
                Ok(None)
            }
            Ok((place, Some(mut store))) => {
                match store.snapshot(1).await {
                    Ok(snapshot) => {
                        let active = snapshot.consents.active;
                        self.good(&format!("database: {place}, {active} active consents"))?;
                        self.duration(config, &snapshot)?;
                    }
                    Err(error) => self.bad(
                        "database",
                        &error.to_string(),
                        error.hint().map(str::to_owned),
                        error.exit(),
                    )?,
                }
                Ok(Some(store))
            }
            Err(error) => {
                self.bad("database", &error.to_string(), error.hint().map(str::to_owned), error.exit())?;
                Ok(None)
            }
        }
    }

    /// A run that takes half of what it may take is worth a word before it takes all of it.
    fn duration(&mut self, config: &Config, snapshot: &crate::store::Snapshot) -> io::Result<()> {
        let (Some(timeout), Some(run)) = (config.schedule.run_timeout, &snapshot.last_complete) else {
            return Ok(());
        };
        let Some(finished) = run.finished_at else {
            return Ok(());
        };
        let took =
            Duration::from_millis((finished.millis() - run.started_at.millis()).max(0).cast_unsigned());
        if took * 2 < timeout {
            return Ok(());
        }
        let (took, timeout) = (took.as_secs(), timeout.as_secs());
        self.note(&format!(
            "schedule.run_timeout: the last complete run took {took} s of the {timeout} s it may take → raise schedule.run_timeout or api.requests_per_second"
        ))
    }

    async fn api(&mut self, config: &Config, api: &mut Api, store: Option<&mut Store>) -> io::Result<()> {
        let paths = match &config.api.consents_path {
            ConsentsPath::Auto => Paths::Auto { first: QUICKSTART_PATH.to_owned() },
            ConsentsPath::Fixed(path) => Paths::Fixed(path.clone()),
        };
        let first = first_page(api, paths).await;
        let (path, page) = match first {
            Ok(first) => first,
            Err(error) => return self.bad("API", &error.to_string(), error.hint(), error.exit()),
        };
        let companies = page.as_ref().map(|page| companies(&page.read())).unwrap_or_default();
        if config.api.company_id.is_none()
            && let Some(store) = store
            && !companies.is_empty()
            && matches!(store.knows_company(&companies).await, Ok(false))
        {
            let error = crate::sync::RunError::OtherCompany;
            return self.bad("API", &error.to_string(), error.hint(), error.exit());
        }
        let count = page.map_or(0, |page| page.len());
        self.good(&format!("API: {path} answers, {count} consents on the first page"))
    }
}

async fn first_page(api: &mut Api, paths: Paths) -> Result<(String, Option<RawPage>), ApiError> {
    let mut walk = api.walk(paths, Deadline::none());
    let page = walk.next_page().await?;
    Ok((walk.endpoint().to_owned(), page))
}

async fn open(config: &Config) -> Result<(String, Option<Store>), StoreError> {
    match Store::probe(&config.database).await? {
        Probe::Ready(store) => Ok((store.place(), Some(*store))),
        Probe::Absent { place } => Ok((place, None)),
    }
}
