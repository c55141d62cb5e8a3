//! The process's variables as a value, and which of them are meant for this program.
//!
//! An empty variable counts as one that is not set: compose files and unit files write `NAME=` for "nothing". Its name must
//! be right all the same.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::key::{self, FILE_VARIABLE, PREFIX};
use super::keys::KEYS;
use super::problem::{ConfigProblem, show_name};

/// The variables, given by the caller: nothing here asks the process.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// Names of those whose name or value is no Unicode text.
    unreadable: Vec<String>,
}

impl std::fmt::Debug for Environment {
    /// Names only: values hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str()) {
                environment.variables.insert(name.to_owned(), value.to_owned());
            } else {
                environment.unreadable.push(name.to_string_lossy().into_owned());
            }
        }
        environment
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Environment {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(variables: I) -> Self {
        let owned = |(name, value): (&str, &str)| (OsString::from(name), OsString::from(value));
        variables.into_iter().map(owned).collect()
    }
}

impl Environment {
    /// A variable's value; empty counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Takes a variable out, and tells whether it was set.
    pub fn remove(&mut self, name: &str) -> bool {
        self.variables.remove(name).is_some_and(|value| !value.is_empty())
    }

    pub fn set(&mut self, key: &str, value: &str) {
        self.variables.insert(key::variable(key), value.to_owned());
    }

    /// The variables that set our keys, for the crate to read, and what looks meant for us but is not.
    pub(super) fn layer(&self) -> (::config::Environment, Vec<ConfigProblem>) {
        let mut problems = self.unreadable_problems();
        let ours = self.variables.iter().filter(|(name, _)| is_ours(name) && *name != FILE_VARIABLE);
        let (known, unknown): (Vec<_>, Vec<_>) =
            ours.partition(|(name, _)| KEYS.iter().any(|key| key::variable(key.name) == **name));
        problems.extend(unknown.into_iter().map(|(name, _)| unknown_variable(name)));
        let known = known.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let layer = ::config::Environment::with_prefix("UNDERSTORY_SYNC")
            .separator("__")
            .ignore_empty(true)
            .source(Some(known));
        (layer, problems)
    }

    fn unreadable_problems(&self) -> Vec<ConfigProblem> {
        let ours = |name: &&String| is_ours(name) || READ_ELSEWHERE.contains(&name.as_str());
        self.unreadable
            .iter()
            .filter(ours)
            .map(|name| {
                let what = "the variable is not valid UTF-8";
                ConfigProblem::new(show_name(name), None, what, "set it to UTF-8 text")
            })
            .collect()
    }
}

/// Variables without our prefix that decide something here.
const READ_ELSEWHERE: [&str; 2] = ["DATABASE_URL", "CREDENTIALS_DIRECTORY"];

fn unknown_variable(name: &str) -> ConfigProblem {
    let what = "there is no such variable";
    ConfigProblem::new(show_name(name), None, what, format!("did you mean {}?", key::nearest_variable(name)))
}

/// Whether a variable is meant for this program, rightly spelt or not.
fn is_ours(name: &str) -> bool {
    let upper = name.to_uppercase();
    if let Some(rest) = upper.strip_prefix("UNDERSTORY_SYNC") {
        return (rest.is_empty() || rest.starts_with('_')) && !is_service_link(name);
    }
    // A slip in the prefix itself: UNDERSTORY_SNYC__AUTH__CLIENT_ID, UNDERSTORYSYNC__LOG__LEVEL.
    upper.split_once("__").is_some_and(|(head, _)| {
        head.starts_with("UNDER") && strsim::damerau_levenshtein(head, PREFIX.trim_end_matches('_')) <= 2
    })
}

/// What Kubernetes sets in every pod of a namespace that has a Service named `understory-sync…` (for the metrics):
/// `UNDERSTORY_SYNC_SERVICE_HOST`, `UNDERSTORY_SYNC_PORT_9187_TCP_ADDR`. Nobody misspelt anything there.
fn is_service_link(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("UNDERSTORY_SYNC").filter(|rest| !rest.starts_with("__")) else {
        return false;
    };
    rest.ends_with("_SERVICE_HOST")
        || rest.ends_with("_SERVICE_PORT")
        || rest.contains("_SERVICE_PORT_")
        || rest.ends_with("_PORT")
        || rest.match_indices("_PORT_").any(|(at, found)| is_port(&rest[at + found.len()..]))
}

/// `9187_TCP`, `9187_TCP_ADDR`: what follows `_PORT_` in a service link.
fn is_port(text: &str) -> bool {
    let mut parts = text.split('_');
    parts.next().is_some_and(|number| number.parse::<u16>().is_ok())
        && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
        && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"))
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_look_meant_for_us_are_ours() {
        for name in [
            "UNDERSTORY_SYNC",
            "UNDERSTORY_SYNC_CONFIG",
            "UNDERSTORY_SYNC__AUTH__CLIENT_ID",
            "UNDERSTORY_SYNC_AUTH_CLIENT_ID",
            "UNDERSTORY_SYNC_API__X",
            "understory_sync__log__level",
            "UNDERSTORY_SNYC__LOG__LEVEL",
            "UNDERSTORYSYNC__LOG__LEVEL",
            "UNDERSTORY_SYNC__SERVICE_HOST",
        ] {
            assert!(is_ours(name), "{name}");
        }
    }

    #[test]
    fn other_programs_variables_are_not() {
        for name in [
            "PATH",
            "UNDERSTORY_API_KEY",
            "UNDERSTORY_SYNCHRONIZER_URL",
            "UNDERSTORY__X",
            "UNDERSTORY_SYNC_SERVICE_HOST",
            "UNDERSTORY_SYNC_SERVICE_PORT",
            "UNDERSTORY_SYNC_SERVICE_PORT_HTTP",
            "UNDERSTORY_SYNC_PORT",
            "UNDERSTORY_SYNC_PORT_9187_TCP",
            "UNDERSTORY_SYNC_PORT_9187_TCP_ADDR",
            "UNDERSTORY_SYNC_PORT_9187_TCP_PORT",
            "UNDERSTORY_SYNC_PORT_9187_TCP_PROTO",
            "UNDERSTORY_SYNC_METRICS_SERVICE_HOST",
            "UNDERSTORY_SYNC_METRICS_PORT_9187_TCP_PORT",
        ] {
            assert!(!is_ours(name), "{name}");
        }
    }

    #[test]
    fn an_empty_variable_is_not_set_but_must_be_spelt_right() {
        let environment: Environment =
            [("UNDERSTORY_SYNC__API__COMPANY_ID", ""), ("UNDERSTORY_SYNC__API__COMPANYID", "")]
                .into_iter()
                .collect();
        let (layer, problems) = environment.layer();
        assert!(::config::Source::collect(&layer).is_ok_and(|settings| settings.is_empty()));
        assert_eq!(problems.len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_text_is_named_but_not_shown() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(b"secret\xff".to_vec());
        let environment: Environment = [
            (OsString::from("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET"), odd.clone()),
            (OsString::from("OTHER"), odd),
        ]
        .into_iter()
        .collect();
        let (_, problems) = environment.layer();
        assert_eq!(problems.len(), 1);
        let text = problems.iter().map(ToString::to_string).collect::<String>();
        assert!(text.starts_with("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET") && !text.contains("secret\u{fffd}"));
    }
}
