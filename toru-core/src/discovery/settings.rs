//! The operator's settings of a plugin, over its own defaults.

use std::{io, path::Path};

use serde_json::{Map, Value};
use toru_plugin_api::metadata::parse_settings;

use super::{Problem, safety::read_small_file};

/// The settings that a plugin gets: `<data_dir>/config/<id>.toml` merged key by key over the `[config]` of its metadata.
/// Tables are merged into tables; any other value replaces the default. No file: the defaults. Blocking.
///
/// # Errors
/// The file cannot be read or is no TOML: the message names path, line and column.
pub fn config_for(
    data_dir: &Path,
    id: &str,
    defaults: &Map<String, Value>,
) -> Result<Map<String, Value>, Problem> {
    let path = data_dir.join("config").join(format!("{id}.toml"));
    let invalid = |why: String| Problem::new("config_invalid", format!("{}: {why}", path.display()));
    let text = match read_small_file(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(defaults.clone()),
        Err(error) => return Err(invalid(format!("it cannot be read: {error}"))),
    };
    let settings = parse_settings(&text).map_err(|error| invalid(error.to_string()))?;
    let mut merged = defaults.clone();
    merge_settings(&mut merged, settings);
    Ok(merged)
}

/// Merges key by key. Nesting is bounded by `CONFIG_DEPTH_MAX` on both sides.
pub(crate) fn merge_settings(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge_settings(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
