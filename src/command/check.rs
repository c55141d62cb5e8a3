//! `check`: one line each for configuration, database, token and API: what is right, or the next step.

use std::io::{self, Write};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::error::CommandError;
use super::key::FirstLook;
use super::terminal::visible;
use crate::api::{Api, Deadline};
use crate::config::{Config, LoadedConfig};
use crate::exit::{Exit, Problem};
use crate::invocation::Invocation;
use crate::observe::http;
use crate::observe::notice::Notice;
use crate::observe::report::near_limit;
use crate::store::{Probe, Snapshot, Store, Timestamp};
use crate::sync::{Failure, RunError};

/// Goes through all of it; the exit code is that of the first line that is not right.
pub async fn run(loaded: &LoadedConfig, json: bool, notify: bool, out: &mut dyn Write) -> io::Result<Exit> {
    let mut report = Report { out, exit: Exit::Done, lines: json.then(Vec::new) };
    report.check_configuration(loaded)?;
    match report.check_database(&loaded.config).await? {
        Some(store) => {
            let asked =
                async |store: &mut Store| report.check_token_and_api(&loaded.config, Some(store)).await;
            store.close_after(asked).await?;
        }
        None => report.check_token_and_api(&loaded.config, None).await?,
    }
    if notify {
        report.check_notification(&loaded.config).await?;
    }
    report.finish()
}

struct Report<'a> {
    out: &'a mut dyn Write,
    exit: Exit,
    /// With `--json`: what will be one document at the end.
    lines: Option<Vec<Value>>,
}

impl Report<'_> {
    fn add_ok(&mut self, what: &str, message: &str) -> io::Result<()> {
        self.add_line("ok", what, message, None, Exit::Done)
    }

    fn add_warning(&mut self, what: &str, message: &str, hint: Option<String>) -> io::Result<()> {
        self.add_line("warning", what, message, hint, Exit::Done)
    }

    fn add_error(&mut self, what: &str, error: impl Into<CommandError>) -> io::Result<()> {
        let error = error.into();
        if self.exit == Exit::Done {
            self.exit = error.exit();
        }
        self.add_line("error", what, &error.to_string(), error.hint(), error.exit())
    }

    fn add_line(
        &mut self,
        state: &str,
        what: &str,
        message: &str,
        hint: Option<String>,
        exit: Exit,
    ) -> io::Result<()> {
        if let Some(lines) = &mut self.lines {
            lines.push(json!({
                "check": what, "state": state, "message": message, "next_step": hint, "exit_code": exit.code(),
            }));
            return Ok(());
        }
        let sign = match state {
            "ok" => "✓",
            "warning" => "!",
            _ => "✗",
        };
        writeln!(self.out, "{sign} {what}: {}", visible(message))?;
        hint.map_or(Ok(()), |hint| writeln!(self.out, "  → {}", visible(&hint)))
    }

    fn finish(self) -> io::Result<Exit> {
        if let Some(lines) = self.lines {
            let document = json!({ "exit_code": self.exit.code(), "checks": lines });
            writeln!(self.out, "{document:#}")?;
        }
        Ok(self.exit)
    }

    fn check_configuration(&mut self, loaded: &LoadedConfig) -> io::Result<()> {
        let file = loaded.file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
        self.add_ok("configuration", &file)?;
        for warning in &loaded.warnings {
            let mut parts = warning.splitn(2, "; try: ");
            let message = parts.next().unwrap_or_default();
            self.add_warning("configuration", message, parts.next().map(str::to_owned))?;
        }
        Ok(())
    }

    async fn check_token_and_api(&mut self, config: &Config, store: Option<&mut Store>) -> io::Result<()> {
        let mut api = match Api::new(&config.auth, &config.api, &config.retry) {
            Ok(api) => api,
            Err(error) => return self.add_error("token", error),
        };
        if let Err(error) = api.ensure_token(Deadline::none()).await {
            return self.add_error("token", error);
        }
        let host = config.auth.token_url.host_str().unwrap_or_default();
        self.add_ok("token", &format!("given by {host}"))?;
        self.check_api(config, &mut api, store).await
    }

    async fn check_notification(&mut self, config: &Config) -> io::Result<()> {
        let Some(url) = &config.notify.url else {
            let problem = Problem::new(Exit::Config, "notify.url is off").next_step("set notify.url");
            return self.add_error("notification", problem);
        };
        let message = Notice::test(config.api.company_id.as_deref(), Timestamp::now());
        let (content_type, text) = message.body(config.notify.format);
        match Api::notify(url, &config.api.user_agent, content_type, text).await {
            Ok(()) => self.add_ok("notification", "the receiver accepted a test message"),
            Err(error) => self.add_error("notification", error),
        }
    }

    async fn check_database(&mut self, config: &Config) -> io::Result<Option<Store>> {
        match Store::probe(&config.database).await {
            Ok(Probe::Absent { place }) => {
                self.add_ok("database", &format!("{place} can be made (the first run does it)"))?;
                self.check_listener(config, false).await?;
            }
            Ok(Probe::Older { place }) => {
                let migrate = Invocation::current().line("migrate");
                let hint = format!("the next run brings it up to date, or now: {migrate}");
                let older = format!("{place}, its schema is older");
                self.add_line("ok", "database", &older, Some(hint), Exit::Done)?;
                self.check_listener(config, true).await?;
            }
            Ok(Probe::Ready(mut store)) => {
                let place = store.place();
                match store.snapshot(1).await {
                    Ok(snapshot) => {
                        let active = snapshot.consents.active;
                        self.add_ok("database", &format!("{place}, {active} active consents"))?;
                        self.check_duration(config, &snapshot)?;
                        self.check_listener(config, snapshot.next_run_at.is_some()).await?;
                        self.check_restored(&snapshot)?;
                    }
                    Err(error) => self.add_error("database", error)?,
                }
                return Ok(Some(*store));
            }
            Err(error) => {
                self.add_error("database", error)?;
                self.check_listener(config, true).await?;
            }
        }
        Ok(None)
    }

    /// `has_daemon`: the database tells of a daemon that has not ended, or cannot be asked.
    async fn check_listener(&mut self, config: &Config, has_daemon: bool) -> io::Result<()> {
        let Some(address) = config.http.listen else { return Ok(()) };
        let Err(cause) = TcpListener::bind(address).await else {
            return self.add_ok("listener", &format!("{address} is free"));
        };
        let is_in_use = cause.kind() == io::ErrorKind::AddrInUse;
        if is_in_use && has_daemon && http::is_daemon(address).await {
            return self.add_ok("listener", &format!("{address}, where the daemon listens"));
        }
        self.add_error("listener", CommandError::listen(address, &cause))
    }

    /// People who were erased since the backup are in the database again.
    fn check_restored(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        if snapshot.restored_at.is_none() {
            return Ok(());
        }
        let confirm = Invocation::current().line("changes --restored");
        let hint = format!("make erasures since the backup again (forget), then confirm: {confirm}");
        self.add_warning("database", "this is a restored copy", Some(hint))
    }

    /// Warns from half of `schedule.run_timeout` on.
    fn check_duration(&mut self, config: &Config, snapshot: &Snapshot) -> io::Result<()> {
        let last = snapshot.last_complete.as_ref();
        let Some((took, timeout)) = last.and_then(|run| near_limit(run, config.schedule.run_timeout)) else {
            return Ok(());
        };
        let (took, timeout) = (took.as_secs(), timeout.as_secs());
        let message = format!("the last complete run took {took} s of the {timeout} s it may take");
        let hint = "raise schedule.run_timeout or api.requests_per_second";
        self.add_warning("schedule.run_timeout", &message, Some(hint.to_owned()))
    }

    async fn check_api(
        &mut self,
        config: &Config,
        api: &mut Api,
        store: Option<&mut Store>,
    ) -> io::Result<()> {
        let look = match FirstLook::fetch(api, config, Deadline::none()).await {
            Ok(look) => look,
            Err(error) => return self.add_error("API", error),
        };
        if config.api.company_id.is_none()
            && let Some(store) = store
            && !look.companies.is_empty()
            && matches!(store.knows_company(&look.companies).await, Ok(false))
        {
            return self.add_error("API", Failure::from(RunError::other_company()));
        }
        let company = look.company.as_ref().map(|company| format!("; the company is {company}"));
        self.add_ok("API", &format!("{}: {}{}", look.path, look.counted(), company.unwrap_or_default()))
    }
}
