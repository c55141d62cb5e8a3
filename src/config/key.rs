//! A key as the table describes it, its variable, and the nearest key to a misspelt one.

use super::keys::KEYS;
use super::rule::Shape;

#[derive(Debug)]
pub(super) struct ConfigKey {
    /// `section.name`
    pub name: &'static str,
    pub shape: Shape,
    /// As one would write it in a variable; `None` where there is none, or where another value decides it.
    pub default: Option<&'static str>,
    /// What the example file holds for a key without a default.
    pub sample: Option<&'static str>,
    /// What it is, line by line; behind an empty line what only the documentation adds.
    pub docs: &'static [&'static str],
}

/// What the names of all variables begin with.
pub(super) const PREFIX: &str = "UNDERSTORY_SYNC__";

pub(super) const FILE_VARIABLE: &str = "UNDERSTORY_SYNC_CONFIG";

pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

pub(super) fn find(name: &str) -> Option<&'static ConfigKey> {
    KEYS.iter().find(|key| key.name == name)
}

pub(super) fn position(name: &str) -> usize {
    KEYS.iter().position(|key| key.name == name).unwrap_or(KEYS.len())
}

pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| split(key.name).0 == name)
}

/// The key that was most likely meant.
pub(super) fn nearest(name: &str) -> &'static str {
    let score = |key: &&ConfigKey| {
        let whole = strsim::normalized_damerau_levenshtein(&squash(name), &squash(key.name));
        let leaf = strsim::normalized_damerau_levenshtein(&squash(split(name).1), &squash(split(key.name).1));
        // The right name in the wrong section is nearer than a wrong name in the right one.
        whole.max(leaf * 0.95)
    };
    KEYS.iter().max_by(|a, b| score(a).total_cmp(&score(b))).map_or("auth.client_id", |key| key.name)
}

pub(super) fn nearest_variable(name: &str) -> String {
    let upper = name.to_uppercase();
    let rest = upper.trim_start_matches("UNDERSTORY").trim_start_matches("_SYNC");
    let rest = rest.trim_start_matches('_').replace("__", ".");
    let file = strsim::normalized_damerau_levenshtein(&upper, FILE_VARIABLE);
    let by_key = variable(nearest(&rest));
    let key = strsim::normalized_damerau_levenshtein(&squash(&upper), &squash(&by_key));
    if file > key { FILE_VARIABLE.to_owned() } else { by_key }
}

pub(super) fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

/// Separators and case aside: `AUTH_CLIENT_ID` is `auth.client_id` with the wrong ones.
fn squash(name: &str) -> String {
    name.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_the_one_that_was_meant() {
        for (typed, meant) in [
            ("auth.clientid", "auth.client_id"),
            ("client_id", "auth.client_id"),
            ("api.client_id", "auth.client_id"),
            ("auht.client_secret", "auth.client_secret"),
            ("api.pagesize", "api.page_size"),
            ("api.page-size", "api.page_size"),
            ("api.timeout", "api.read_timeout"),
            ("database.uri", "database.url"),
            ("schedule.time_zone", "schedule.timezone"),
            ("log.lvl", "log.level"),
            ("http.listen_addr", "http.listen"),
        ] {
            assert_eq!(nearest(typed), meant, "{typed}");
        }
    }

    #[test]
    fn the_nearest_variable_is_the_one_that_was_meant() {
        for (typed, meant) in [
            ("UNDERSTORY_SYNC_AUTH_CLIENT_ID", "UNDERSTORY_SYNC__AUTH__CLIENT_ID"),
            ("UNDERSTORY_SYNC__AUTH_CLIENT_ID", "UNDERSTORY_SYNC__AUTH__CLIENT_ID"),
            ("UNDERSTORY_SYNC_API__PAGE_SIZE", "UNDERSTORY_SYNC__API__PAGE_SIZE"),
            ("UNDERSTORY_SYNC__AUTH__CLIENT_SECRT", "UNDERSTORY_SYNC__AUTH__CLIENT_SECRET"),
            ("understory_sync__log__level", "UNDERSTORY_SYNC__LOG__LEVEL"),
            ("UNDERSTORY_SYNC__CONFIG", "UNDERSTORY_SYNC_CONFIG"),
            ("UNDERSTORY_SYNC_CONFIG_FILE", "UNDERSTORY_SYNC_CONFIG"),
            ("UNDERSTORY_SYNC", "UNDERSTORY_SYNC_CONFIG"),
            ("UNDERSTORY_SYNC_DATABASE_URL", "UNDERSTORY_SYNC__DATABASE__URL"),
        ] {
            assert_eq!(nearest_variable(typed), meant, "{typed}");
        }
    }

    #[test]
    fn every_key_has_its_own_variable() {
        let mut variables: Vec<String> = KEYS.iter().map(|key| variable(key.name)).collect();
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), KEYS.len());
    }
}
