//! The layers laid over each other: defaults, the file, the environment, flags. Later ones win.

use std::collections::HashMap;

use ::config::{Config, ConfigError, Map, Source, Value, ValueKind};

use super::file::FileLayer;
use super::key;
use super::keys::KEYS;
use super::load::Sources;
use super::problem::Origin;
use super::reader::Setting;

/// What the crate calls each value's origin; those of a file that was read from a text have none.
const DEFAULT: &str = "default";
const ENVIRONMENT: &str = "the environment";
const FLAGS: [(&str, &str); 2] = [("log.level", "--log-level"), ("log.format", "--log-format")];

/// The value of every key that some layer sets.
pub(super) fn overlay(
    file: Option<&FileLayer>,
    environment: ::config::Environment,
    sources: &Sources<'_>,
) -> Result<HashMap<&'static str, Setting>, ConfigError> {
    let mut layers = Config::builder();
    for key in KEYS {
        if let Some(text) = key.default {
            layers = layers.set_default(key.name, Value::new(Some(&DEFAULT.to_owned()), text))?;
        }
    }
    if let Some(file) = file {
        layers = layers.add_source(file.clone());
    }
    layers = layers.add_source(environment);
    for ((key, flag), text) in FLAGS.into_iter().zip([sources.log_level, sources.log_format]) {
        let value = text.map(|text| Value::new(Some(&flag.to_owned()), text));
        layers = layers.set_override_option(key, value)?;
    }
    let tree = layers.build()?.collect()?;
    let setting = |name: &'static str| {
        let (section, leaf) = name.split_once('.')?;
        let ValueKind::Table(section) = &tree.get(section)?.kind else { return None };
        let value = section.get(leaf)?;
        Some((name, Setting { value: value.kind.clone(), origin: origin(name, value, file)? }))
    };
    Ok(KEYS.iter().filter_map(|key| setting(key.name)).collect())
}

fn origin(key: &str, value: &Value, file: Option<&FileLayer>) -> Option<Origin> {
    Some(match value.origin() {
        Some(DEFAULT) => Origin::Default,
        Some(ENVIRONMENT) => Origin::Variable(key::variable(key)),
        Some(flag) => Origin::Flag(FLAGS.iter().find(|(_, known)| *known == flag)?.1),
        None => Origin::File(file?.path.clone()),
    })
}

/// The file's keys alone: what else stands in it is a problem already, and could not be laid over anything.
impl Source for FileLayer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.settings.clone())
    }
}
