//! Every key there is, with its default: the one list that reading, misspellings and `config` are checked against.

#[derive(Debug)]
pub(super) struct Key {
    /// `section.name`
    pub name: &'static str,
    /// As one would write it in a variable; `None` where there is no default, or where another value decides it.
    pub default: Option<&'static str>,
    /// Its value is never shown, not even in an error.
    pub secret: bool,
    /// What a file writes for it.
    pub kind: Kind,
}

/// What a value is in a file, as a schema can tell it; the parsers know more.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Duration,
    /// A duration, or this word.
    DurationOr(&'static str),
    Boolean,
    /// From, and to.
    Integer(i64, i64),
    /// From 0 to this.
    Number(i64),
    Word(&'static [&'static str]),
    /// Texts in a list, or in one text with spaces or commas between.
    List,
}

use Kind::{Boolean, Duration, DurationOr, Integer, List, Number, Text, Word};

const fn key(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { name, default: Some(default), secret: false, kind }
}

const fn unset(name: &'static str, kind: Kind) -> Key {
    Key { name, default: None, secret: false, kind }
}

const fn secret(name: &'static str, default: Option<&'static str>) -> Key {
    Key { name, default, secret: true, kind: Text }
}

/// In the order in which they are shown.
pub(super) const KEYS: [Key; 47] = [
    unset("auth.client_id", Text),
    secret("auth.client_secret", None),
    unset("auth.client_secret_file", Text),
    key("auth.token_url", Text, "https://api.auth.understory.io/oauth2/token"),
    key("auth.audience", Text, "https://api.understory.io"),
    key("auth.scopes", List, "openid marketing.read"),
    key("api.base_url", Text, "https://api.understory.io"),
    key("api.consents_path", Text, "auto"),
    key("api.page_size", Integer(1, 100), "100"),
    key("api.requests_per_second", Number(1_000_000), "5"),
    key("api.user_agent", Text, concat!("understory-sync/", env!("CARGO_PKG_VERSION"))),
    unset("api.company_id", Text),
    key("api.connect_timeout", Duration, "10s"),
    key("api.read_timeout", Duration, "30s"),
    key("api.request_timeout", Duration, "60s"),
    key("api.max_page_bytes", Integer(1_024, 1 << 30), "8388608"),
    key("retry.max_attempts", Integer(1, 100), "5"),
    key("retry.base_delay", Duration, "1s"),
    key("retry.max_delay", Duration, "60s"),
    key("retry.rate_limit_delay", Duration, "60s"),
    key("schedule.cron", Text, "0 0 * * * *"),
    key("schedule.timezone", Text, "UTC"),
    key("schedule.jitter", Duration, "5m"),
    key("schedule.run_at_start", Boolean, "true"),
    key("schedule.run_timeout", DurationOr("off"), "50m"),
    secret("database.url", Some("sqlite://understory.db")),
    unset("database.url_file", Text),
    unset("database.schema", Text),
    key("removal.confirm_runs", Integer(2, 100), "2"),
    key("removal.max_percent", Number(100), "20"),
    key("removal.min_count", Integer(0, i64::MAX), "5"),
    key("removal.confirm_after", Duration, "7d"),
    key("removal.max_checks", Integer(0, 1_000_000), "500"),
    key("retention.history", DurationOr("never"), "never"),
    key("retention.removed", DurationOr("never"), "never"),
    key("retention.erasures", Duration, "90d"),
    secret("notify.url", Some("off")),
    unset("notify.url_file", Text),
    key("notify.after_failures", Integer(1, 1_000), "3"),
    key("notify.format", Word(&["json", "slack", "text"]), "json"),
    key("http.listen", Text, "off"),
    key("http.allowed_hosts", List, ""),
    unset("health.stale_after", Duration),
    unset("health.absence_after", Duration),
    secret("health.heartbeat_url", Some("off")),
    key("log.level", Word(&["error", "warn", "info", "debug", "trace"]), "info"),
    key("log.format", Word(&["text", "json"]), "text"),
];

/// What the names of all variables begin with.
pub(super) const PREFIX: &str = "UNDERSTORY_SYNC__";

/// The variable that names the configuration file.
pub(super) const FILE_VARIABLE: &str = "UNDERSTORY_SYNC_CONFIG";

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// The key of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Where a key stands in the list.
pub(super) fn position(name: &str) -> usize {
    KEYS.iter().position(|key| key.name == name).unwrap_or(KEYS.len())
}

/// Whether a section of that name exists.
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| split(key.name).0 == name)
}

/// The key that was most likely meant.
pub(super) fn nearest(name: &str) -> &'static str {
    let score = |key: &&Key| {
        let whole = strsim::normalized_damerau_levenshtein(&squash(name), &squash(key.name));
        let leaf = strsim::normalized_damerau_levenshtein(&squash(split(name).1), &squash(split(key.name).1));
        // The right name in the wrong section is nearer than a wrong name in the right one.
        whole.max(leaf * 0.95)
    };
    KEYS.iter().max_by(|a, b| score(a).total_cmp(&score(b))).map_or("auth.client_id", |key| key.name)
}

/// The variable that was most likely meant.
pub(super) fn nearest_variable(name: &str) -> String {
    let upper = name.to_uppercase();
    let rest = upper.trim_start_matches("UNDERSTORY").trim_start_matches("_SYNC");
    let rest = rest.trim_start_matches('_').replace("__", ".");
    let file = strsim::normalized_damerau_levenshtein(&upper, FILE_VARIABLE);
    let by_key = variable(nearest(&rest));
    let key = strsim::normalized_damerau_levenshtein(&squash(&upper), &squash(&by_key));
    if file > key { FILE_VARIABLE.to_owned() } else { by_key }
}

fn split(name: &str) -> (&str, &str) {
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
