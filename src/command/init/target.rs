//! The files that `init` writes: all of them or none, and never over one that exists.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::super::error::CommandError;
use super::{ApiKey, ChosenDatabase, Surroundings};
use crate::cli::InitArgs;
use crate::config::quoted;
use crate::file::{caller, folder_of};
use crate::store::StoreError;

pub(super) const SYSTEM_FOLDER: &str = "/etc/understory-sync";
/// The service's own folder, which systemd makes at its first start.
pub(super) const SYSTEM_STATE: &str = "/var/lib/understory-sync";

pub(super) struct Target {
    pub(super) config: PathBuf,
    secret: PathBuf,
    /// Not where a command would look by itself.
    pub(super) is_named: bool,
    pub(super) system: bool,
}

impl Target {
    pub(super) fn new(args: &InitArgs, around: &Surroundings) -> Result<Self, CommandError> {
        if args.system && around.file.is_some() {
            return Err(CommandError::usage("--system names its files itself: leave --config out"));
        }
        if args.system && caller() != 0 {
            return Err(CommandError::usage("--system writes to /etc/understory-sync: run it as root"));
        }
        let config = match &around.file {
            _ if args.system => Path::new(SYSTEM_FOLDER).join("config.toml"),
            Some(file) => around.working_dir.join(file),
            None => around.working_dir.join("config.toml"),
        };
        // As the units for several companies name them: NAME.toml, NAME.secret.
        let is_usual = config.file_name().is_some_and(|name| name == "config.toml");
        let secret =
            if is_usual { config.with_file_name("client_secret") } else { config.with_extension("secret") };
        let target = Self { is_named: around.file.is_some(), system: args.system, config, secret };
        for path in [&target.config, &target.secret, &target.url_file()] {
            if path.symlink_metadata().is_ok() {
                return Err(CommandError::exists(path));
            }
        }
        if !target.system {
            // Fail before the questions, not after them.
            let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            rustix::fs::access(folder_of(&target.config), access)
                .map_err(|cause| StoreError::target(&target.config, &cause.into()))?;
        }
        Ok(target)
    }

    /// With --system, for a URL that holds a password: the configuration is readable by everybody there.
    pub(super) fn url_file(&self) -> PathBuf {
        self.config.with_file_name("database_url")
    }

    pub(super) fn default_database(&self) -> String {
        if self.system {
            format!("sqlite://{SYSTEM_STATE}/understory.db")
        } else {
            "sqlite://understory.db".to_owned()
        }
    }

    pub(super) fn write(&self, files: &[NewFile]) -> Result<(), CommandError> {
        let failed = |path: &Path, cause: io::Error| match cause.kind() {
            io::ErrorKind::AlreadyExists => CommandError::exists(path),
            _ => StoreError::target(path, &cause).into(),
        };
        if self.system {
            let folder = folder_of(&self.config);
            let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
            made.map_err(|cause| failed(folder, cause))?;
        }
        for (at, file) in files.iter().enumerate() {
            if let Err(cause) = file.write() {
                for written in &files[..at] {
                    let _ = fs::remove_file(&written.path);
                }
                return Err(failed(&file.path, cause));
            }
        }
        Ok(())
    }

    pub(super) fn files(&self, key: &ApiKey, database: &ChosenDatabase) -> Vec<NewFile> {
        let name = self.secret.file_name().unwrap_or_default().to_string_lossy();
        // For the service, systemd reads it as root and hands it over.
        let secret_line = if self.system { "" } else { &format!("client_secret_file = {}\n", quoted(&name)) };
        let own_file = self.system && database.is_secret;
        let database_line = if own_file {
            "url_file = \"database_url\"".to_owned()
        } else {
            format!("url = {}", quoted(database.url.expose_secret()))
        };
        let config = format!(
            "# Written by understory-sync init. Every key that there is: understory-sync config --example\n\n\
             [auth]\nclient_id = {}\n{secret_line}\n[database]\n{database_line}\n",
            quoted(&key.client_id)
        );
        let mode = if self.system { 0o644 } else { 0o600 };
        let private = |path: PathBuf, secret: &SecretString| {
            let content = SecretString::from(format!("{}\n", secret.expose_secret()));
            NewFile { path, mode: 0o600, content }
        };
        let mut files = vec![private(self.secret.clone(), &key.secret)];
        files.extend(own_file.then(|| private(self.url_file(), &database.url)));
        // The last: where it is, all of it is.
        files.push(NewFile { path: self.config.clone(), mode, content: config.into() });
        files
    }
}

pub(super) struct NewFile {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    content: SecretString,
}

impl NewFile {
    fn write(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)?;
        self.write_content(file).inspect_err(|_| drop(fs::remove_file(&self.path)))
    }

    fn write_content(&self, mut file: File) -> io::Result<()> {
        file.write_all(self.content.expose_secret().as_bytes())?;
        // Whatever the umask says.
        file.set_permissions(Permissions::from_mode(self.mode))?;
        file.sync_all()
    }
}
