//! The configuration: one table of keys (`keys.rs`), the layers that set them, and where each value came from.
//!
//! The caller gives everything that a value may come from ([`Sources`]); nothing here asks the process or the clock.

mod address;
mod credentials;
mod cron;
mod database;
mod duration;
mod environment;
mod file;
mod key;
mod keys;
mod layers;
mod load;
mod problem;
mod reader;
mod rule;
mod schema;
mod secret;
mod section;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests;

pub use database::{ROOT_CERTIFICATE, is_postgres_parameter};
pub use duration::{parse_duration, show_duration};
pub use environment::Environment;
pub use keys::{
    ApiConfig, Auth, Config, Database, Health, Http, Log, Notify, Removal, Retention, Retry, Schedule,
};
pub use load::{LoadedConfig, Needs, Sources, load, load_draft};
pub use problem::{ConfigError, ConfigProblem, Origin};
pub use reader::ConfigEntry;
pub use rule::quoted;
pub use schema::{example, schema};

use std::str::FromStr;

use secrecy::SecretString;

impl Auth {
    /// The secret as it is now, or what is wrong with its file; the secret that was read before may still be good.
    pub fn current_secret(&self) -> Result<SecretString, String> {
        match &self.client_secret_file {
            // A pipe can be read once, and waits for ever after that.
            Some(path) if path.metadata().is_ok_and(|file| !file.is_file()) => Ok(self.client_secret.clone()),
            Some(path) => {
                // What is warned of was warned of at start.
                secret::read(path, &mut Vec::new())
                    .map(SecretString::from)
                    .map_err(|complaint| complaint.what)
            }
            None => Ok(self.client_secret.clone()),
        }
    }
}

/// Which path lists the consents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsentsPath {
    /// The path that last worked here, else the Quickstart's, else the newer one.
    Auto,
    /// One path and no other.
    Fixed(String),
}

/// Values that are one of a few words.
macro_rules! words {
    ($Name:ident { $($Variant:ident = $word:literal),+ }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $Name { $($Variant),+ }

        impl FromStr for $Name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text {
                    $($word => Ok(Self::$Variant),)+
                    _ => Err(()),
                }
            }
        }
    };
}

words! { NotifyFormat { Json = "json", Slack = "slack", Text = "text" } }
words! { LogFormat { Text = "text", Json = "json" } }
