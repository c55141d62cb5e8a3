//! What is written from the table of keys: the example file and the JSON Schema of such a file.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::key::{ConfigKey, split};
use super::keys::KEYS;
use super::rule::{Kind, quoted, show_list};

const EXAMPLE_HEAD: &str = r##"#:schema ./config.schema.json
# understory-sync: every key with its default, and one line of why.
# A line that begins with "#" and a key is that key's default; a section's name must stand before its keys.
# Each key is a variable too: auth.client_id is UNDERSTORY_SYNC__AUTH__CLIENT_ID, and a variable wins over this file.
# Durations: 250ms, 30s, 5m, 2h, 30d.
"##;

impl ConfigKey {
    fn summary(&self) -> String {
        let lines = self.docs.iter().map(|line| line.trim()).take_while(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join(" ")
    }

    /// A default or sample as a file writes it.
    fn typed(&self, text: &str) -> Value {
        match self.shape.kind {
            Kind::Boolean | Kind::Integer | Kind::Number => serde_json::from_str(text).unwrap_or_default(),
            Kind::List(_) => text.split_whitespace().collect(),
            _ => text.into(),
        }
    }

    pub(super) fn to_toml(&self, text: &str) -> String {
        let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        match self.shape.kind {
            Kind::Boolean | Kind::Integer | Kind::Number => text,
            Kind::List(_) => show_list(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()),
            _ => quoted(&text),
        }
    }
}

/// The commented example, which says of each key why it is there.
pub fn example() -> String {
    let mut page = EXAMPLE_HEAD.to_owned();
    let mut section = "";
    for key in KEYS {
        let (of, name) = split(key.name);
        if of != section {
            let _ = writeln!(page, "\n[{of}]");
            section = of;
        }
        let value = key.to_toml(key.default.or(key.sample).unwrap_or("…"));
        let _ = writeln!(page, "# {}\n#{name} = {value}", key.summary());
    }
    page
}

/// JSON Schema, draft 7: what editors know.
pub fn schema() -> Value {
    let mut sections = Map::new();
    for key in KEYS {
        let (section, name) = split(key.name);
        let empty = || json!({ "type": "object", "additionalProperties": false, "properties": {} });
        let section = sections.entry(section).or_insert_with(empty);
        section["properties"][name] = property(key);
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "understory-sync's configuration",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
    })
}

fn property(key: &ConfigKey) -> Value {
    const DURATION: &str = "[0-9]+(ms|s|m|h|d)";
    let shape = key.shape;
    let mut property = match shape.kind {
        Kind::Text(_) => json!({ "type": "string", "minLength": 1 }),
        Kind::Duration(&[]) => json!({ "type": "string", "pattern": format!("^{DURATION}$") }),
        Kind::Duration(words) => {
            json!({ "type": "string", "pattern": format!("^({}|{DURATION})$", words.join("|")) })
        }
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer => json!({ "type": "integer", "minimum": shape.from, "maximum": shape.to }),
        Kind::Number => json!({ "type": "number", "minimum": shape.from, "maximum": shape.to }),
        Kind::Word(words) => json!({ "type": "string", "enum": words }),
        Kind::List(_) => json!({ "type": ["array", "string"], "items": { "type": "string" } }),
    };
    property["description"] = key.summary().into();
    if let Some(default) = key.default {
        property["default"] = key.typed(default);
    }
    property
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_kind_and_a_description() {
        let schema = schema();
        for key in KEYS {
            let (section, name) = key.name.split_once('.').unwrap_or_default();
            let property = &schema["properties"][section]["properties"][name];
            assert!(
                property["description"].as_str().is_some_and(|text| text.len() > 3),
                "{}: {property}",
                key.name
            );
            assert_eq!(property["default"].is_null(), key.default.is_none(), "{}: {property}", key.name);
        }
    }
}
