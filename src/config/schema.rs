//! The configuration file's JSON Schema, made from the table of keys and the comments of the example file: for editors.

use serde_json::{Map, Value, json};

use super::key::{KEYS, Key, Kind};

/// The commented example, which says of each key why it is there.
pub const EXAMPLE: &str = include_str!("../../config.example.toml");

/// JSON Schema, draft 7: what editors know.
pub fn schema() -> Value {
    let mut sections = Map::new();
    for key in &KEYS {
        let (section, name) = key.name.split_once('.').unwrap_or(("", key.name));
        let section = sections
            .entry(section)
            .or_insert_with(|| json!({ "type": "object", "additionalProperties": false, "properties": {} }));
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

fn property(key: &Key) -> Value {
    const DURATION: &str = "[0-9]+(ms|s|m|h|d)";
    let mut property = match key.kind {
        Kind::Text => json!({ "type": "string", "minLength": 1 }),
        Kind::Duration => json!({ "type": "string", "pattern": format!("^{DURATION}$") }),
        Kind::DurationOr(word) => json!({ "type": "string", "pattern": format!("^({word}|{DURATION})$") }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Kind::Number(to) => json!({ "type": "number", "minimum": 0, "maximum": to }),
        Kind::Word(words) => json!({ "type": "string", "enum": words }),
        Kind::List => json!({ "type": ["array", "string"], "items": { "type": "string" } }),
    };
    property["description"] = description(key.name).into();
    if let Some(default) = key.default {
        property["default"] = default_value(key.kind, default);
    }
    property
}

fn default_value(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Boolean | Kind::Integer(..) | Kind::Number(_) => serde_json::from_str(text).unwrap_or_default(),
        Kind::List => text.split_whitespace().collect(),
        _ => text.into(),
    }
}

/// The comment above a key in the example.
fn description(key: &str) -> String {
    let mut section = "";
    let mut comment = Vec::new();
    for line in EXAMPLE.lines() {
        let text = line.strip_prefix('#').unwrap_or_default();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if text.split_once(" = ").is_some_and(|(name, _)| key == format!("{section}.{name}")) {
            return comment.join(" ");
        } else if let Some(words) = text.strip_prefix(' ') {
            comment.push(words);
            continue;
        }
        comment.clear();
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_kind_and_a_description() {
        let schema = schema();
        for key in &KEYS {
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
