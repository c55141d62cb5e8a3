//! `init`: asks for the key and the database, tries both, writes the configuration, and says what to type next.
//!
//! Nothing is written before everything was tried, and never over a file that exists.

mod target;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use url::Url;

use super::error::CommandError;
use super::key::FirstLook;
use super::prompt::Prompt;
use crate::api::{Api, Deadline};
use crate::cli::InitArgs;
use crate::config::{self, Environment, LoadedConfig, Needs, Sources, load_draft, quoted};
use crate::exit::Exit;
use crate::file::caller;
use crate::store::{Probe, Store, StoreError, Timestamp};
use target::{NewFile, SYSTEM_FOLDER, SYSTEM_STATE, Target};

const UNIT: &str = "understory-sync.service";
const UNIT_FOLDERS: [&str; 3] =
    ["/etc/systemd/system", "/usr/lib/systemd/system", "/usr/local/lib/systemd/system"];

/// How long the key is tried while somebody waits at the prompt.
const KEY_TIMEOUT: Duration = Duration::from_secs(30);

const DATABASE_URL: &str = "UNDERSTORY_SYNC__DATABASE__URL";
/// Variables that would stand in the way of what is tried; those that win over the file are named at the end.
const IN_THE_WAY: [&str; 7] = [
    "UNDERSTORY_SYNC__AUTH__CLIENT_ID",
    "UNDERSTORY_SYNC__AUTH__CLIENT_SECRET",
    "UNDERSTORY_SYNC__AUTH__CLIENT_SECRET_FILE",
    DATABASE_URL,
    "UNDERSTORY_SYNC__DATABASE__URL_FILE",
    "DATABASE_URL",
    "CREDENTIALS_DIRECTORY",
];

const WHERE_KEYS_ARE_MADE: &str = "\
A key is made in Understory's Backoffice: Settings > Integrations > \"Create your
own integration\" > \"Create new key\", with Read on Marketing consents. Its secret
is shown once. Ctrl-C ends this; nothing is written before all of it was tried.
";

pub struct Surroundings {
    /// `--config`, or the variable for it.
    pub file: Option<PathBuf>,
    pub environment: Environment,
    pub working_dir: PathBuf,
    /// What starts a command of this program with this configuration file; none: the usual one.
    pub line: fn(Option<&Path>, &str) -> String,
    pub sudo: &'static str,
}

pub async fn run(
    args: &InitArgs,
    mut around: Surroundings,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let target = Target::new(args, &around)?;
    let prompt = Prompt::new();
    if !prompt.is_terminal && !args.yes {
        return Err(CommandError::usage(
            "nobody is at a terminal to answer: give --client-id ID and --yes, and the secret on standard input",
        ));
    }
    let given_url = around.environment.get(DATABASE_URL).map(SecretString::from);
    let winning: Vec<&str> = IN_THE_WAY.into_iter().filter(|name| around.environment.remove(name)).collect();
    prompt.print(WHERE_KEYS_ARE_MADE)?;
    let mut dialog = InitDialog { args, around: &around, target: &target, prompt: &prompt, out };
    let key = dialog.choose_key().await?;
    let database = dialog.choose_database(&key, given_url).await?;
    let files = target.files(&key, &database);
    target.write(&files)?;
    dialog.print_next(&files, &winning)?;
    Ok(Exit::Done)
}

struct ApiKey {
    client_id: String,
    secret: SecretString,
}

struct ChosenDatabase {
    url: SecretString,
    /// It holds a password.
    is_secret: bool,
}

struct InitDialog<'a> {
    args: &'a InitArgs,
    around: &'a Surroundings,
    target: &'a Target,
    prompt: &'a Prompt,
    out: &'a mut dyn Write,
}

impl InitDialog<'_> {
    /// The configuration as it would be, with this key and database.
    fn draft(&self, key: &ApiKey, database: &str) -> Result<LoadedConfig, CommandError> {
        let mut environment = self.around.environment.clone();
        environment.set("auth.client_secret", key.secret.expose_secret());
        let (id, url) = (quoted(&key.client_id), quoted(database));
        let text = format!("[auth]\nclient_id = {id}\n[database]\nurl = {url}\n");
        let sources = Sources {
            file: None,
            environment: &environment,
            log_level: None,
            log_format: None,
            working_dir: &self.around.working_dir,
            caller: caller(),
            now: Timestamp::now().to_utc(),
        };
        Ok(load_draft(&sources, &self.target.config, text, Needs::Credentials)?)
    }

    /// Asks until a key works; in a script the first failure is the last.
    async fn choose_key(&mut self) -> Result<ApiKey, CommandError> {
        let mut given_id = self.args.client_id.clone();
        let mut last_id: Option<String> = None;
        loop {
            let client_id = match &given_id {
                Some(id) => id.clone(),
                None => self.ask_id(last_id.take()).await?,
            };
            let secret = self.prompt.ask_hidden("Client secret (not shown)").await?;
            last_id = Some(client_id.clone());
            if secret.expose_secret().trim().is_empty() {
                self.report_failure(CommandError::usage("the secret is empty"))?;
                continue;
            }
            let key = ApiKey { client_id, secret };
            loop {
                let Err(error) = self.try_key(&key).await else { return Ok(key) };
                let passes = matches!(&error, CommandError::Api(error) if !error.is_about_the_key());
                self.report_failure(error)?;
                if !passes {
                    break;
                }
                self.prompt.ask("Enter tries again (Ctrl-C ends)").await?;
            }
            given_id = None;
        }
    }

    async fn ask_id(&self, last: Option<String>) -> Result<String, CommandError> {
        let question = last.as_ref().map_or("Client id".to_owned(), |last| format!("Client id [{last}]"));
        loop {
            let answer = self.prompt.ask(&question).await?;
            match (answer.trim(), &last) {
                ("", Some(last)) => return Ok(last.clone()),
                ("", None) => {}
                (id, _) => return Ok(id.to_owned()),
            }
        }
    }

    async fn try_key(&mut self, key: &ApiKey) -> Result<(), CommandError> {
        let loaded = self.draft(key, &self.target.default_database())?;
        let config = &loaded.config;
        let deadline = Deadline::at(Instant::now() + KEY_TIMEOUT);
        // Somebody waits, and can say "again" better than we can.
        let once = config::Retry { max_attempts: 1, ..config.retry.clone() };
        let mut api = Api::new(&config.auth, &config.api, &once)?;
        api.ensure_token(deadline).await?;
        let look = FirstLook::fetch(&mut api, config, deadline).await?;
        let company = look.company.as_deref().unwrap_or("a company that lists nobody yet");
        writeln!(self.out, "✓ the key belongs to {company}: {}", look.counted())?;
        self.print_warnings(&loaded)
    }

    /// Asks until a database can be used; in a script the first failure is the last.
    async fn choose_database(
        &mut self,
        key: &ApiKey,
        given: Option<SecretString>,
    ) -> Result<ChosenDatabase, CommandError> {
        let default = self.target.default_database();
        let mut next = match given {
            None if self.args.yes => Some(SecretString::from(default.clone())),
            given => given,
        };
        if next.is_none() {
            self.prompt.print("\nThe database: Enter for SQLite, or postgres://USER@HOST/DATABASE")?;
        }
        loop {
            let url = match next.take() {
                Some(url) => url,
                None => match self.prompt.ask(&format!("Database [{default}]")).await?.trim() {
                    "" => SecretString::from(default.clone()),
                    answer => SecretString::from(answer),
                },
            };
            match self.try_database(key, &url).await {
                Ok(is_secret) => return Ok(ChosenDatabase { url, is_secret }),
                Err(error) => {
                    let wants_password = matches!(&error, CommandError::Store(StoreError::Login { .. }));
                    self.report_failure(error)?;
                    if wants_password {
                        next = self.with_password(&url).await?;
                    }
                }
            }
        }
    }

    /// The URL with a password that is asked for, where it has none.
    async fn with_password(&self, url: &SecretString) -> Result<Option<SecretString>, CommandError> {
        let Ok(mut url) = Url::parse(url.expose_secret()) else { return Ok(None) };
        if url.password().is_some() {
            return Ok(None);
        }
        let password = self.prompt.ask_hidden("Password (not shown)").await?;
        let password = password.expose_secret();
        let fits = !password.is_empty() && url.set_password(Some(password)).is_ok();
        Ok(fits.then(|| SecretString::from(String::from(url))))
    }

    async fn try_database(&mut self, key: &ApiKey, url: &SecretString) -> Result<bool, CommandError> {
        let loaded = self.draft(key, url.expose_secret())?;
        let database = &loaded.config.database;
        if self.target.system
            && database.sqlite_path().is_some_and(|path| path.starts_with(SYSTEM_STATE))
            && !Path::new(SYSTEM_STATE).exists()
        {
            writeln!(self.out, "✓ database: {}, made at the service's first start", database.shown_url())?;
            return Ok(false);
        }
        let (place, state) = match Store::probe(database).await? {
            Probe::Ready(store) => {
                let place = store.place();
                store.close().await;
                (place, "in use by this program already")
            }
            Probe::Older { place } => (place, "to be brought up to date by the next run"),
            Probe::Absent { place } => (place, "to be filled by the first run"),
        };
        writeln!(self.out, "✓ database: {place}, {state}")?;
        self.print_warnings(&loaded)?;
        Ok(database.shown_url() != database.url.expose_secret())
    }

    fn print_warnings(&mut self, loaded: &LoadedConfig) -> Result<(), CommandError> {
        for warning in &loaded.warnings {
            writeln!(self.out, "! {warning}")?;
        }
        Ok(())
    }

    /// Tells what was wrong where it can be corrected, else ends with it.
    fn report_failure(&self, error: CommandError) -> Result<(), CommandError> {
        if !self.prompt.is_terminal || self.args.yes {
            return Err(error);
        }
        let text = match &error {
            CommandError::Config(error) => {
                let problems: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
                // Nothing is written yet: the file that the value would come from is not there.
                let drafted = format!(" (from file {})", self.target.config.display());
                problems.join("\n  ").replace(&drafted, "")
            }
            error => error.to_string(),
        };
        self.prompt.print(&format!("✗ {text}"))?;
        let is_plain = matches!(error, CommandError::Config(_)) || error.exit() == Exit::Usage;
        if let Some(hint) = error.hint().filter(|_| !is_plain) {
            self.prompt.print(&format!("  → {hint}"))?;
        }
        Ok(())
    }

    /// What was written, and the next line to type.
    fn print_next(&mut self, files: &[NewFile], winning: &[&str]) -> Result<(), CommandError> {
        for file in files {
            let readers = if file.mode == 0o600 { "you alone" } else { "everybody" };
            writeln!(self.out, "✓ wrote {}, readable by {readers}", file.path.display())?;
        }
        // The database's own says what the file says.
        let others =
            winning.iter().filter(|name| name.starts_with("UNDERSTORY_SYNC__") && **name != DATABASE_URL);
        for name in others {
            writeln!(self.out, "! {name} is set here, and wins over the file: unset {name}")?;
        }
        if !self.target.system {
            let config = self.target.is_named.then_some(&*self.target.config);
            let line = (self.around.line)(config, "--run-once");
            writeln!(self.out, "\nNext, a first run:\n\n    {line}")?;
            return Ok(());
        }
        let sudo = self.around.sudo;
        if !UNIT_FOLDERS.iter().any(|folder| Path::new(folder).join(UNIT).exists()) {
            writeln!(self.out, "! {UNIT} is not installed here yet; the package and the archive bring it")?;
        }
        writeln!(self.out, "\nNext:\n")?;
        if files.iter().any(|file| file.path == self.target.url_file()) {
            // The unit cannot name a file that only some have.
            writeln!(self.out, "    {sudo}mkdir -p /etc/systemd/system/{UNIT}.d")?;
            writeln!(
                self.out,
                "    printf '[Service]\\nLoadCredential=database_url:{SYSTEM_FOLDER}/database_url\\n\
                 Environment={DATABASE_URL}_FILE=%%d/database_url\\n' | {sudo}tee /etc/systemd/system/{UNIT}.d/database.conf"
            )?;
            writeln!(self.out, "    {sudo}systemctl daemon-reload")?;
        }
        writeln!(self.out, "    {sudo}systemctl enable --now understory-sync")?;
        Ok(())
    }
}
