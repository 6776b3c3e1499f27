//! The operator's settings of a plugin: `<data>/config/<id>.toml`, merged key by key over `[config]` of its manifest.

use std::{io, path::Path};

use serde_json::{Map, Value};

use super::state::Failure;

/// The most bytes of an operator's settings: they are sent in one `init` message, whose limit is 1 MiB.
const MAX_SETTINGS: u64 = 256 << 10;

/// The settings in force. Blocking. Without a file they are the manifest's.
pub(super) fn load(path: &Path, defaults: &Map<String, Value>) -> Result<Map<String, Value>, Failure> {
    let invalid = |message: String| Failure::new("config_invalid", message);
    let size = match std::fs::metadata(path) {
        Ok(file) => file.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(defaults.clone()),
        Err(error) => return Err(invalid(format!("{}: cannot be read: {error}", path.display()))),
    };
    if size > MAX_SETTINGS {
        return Err(invalid(format!("{}: larger than {MAX_SETTINGS} bytes; shorten it", path.display())));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| invalid(format!("{}: cannot be read: {error}", path.display())))?;
    let own = parse(&text).map_err(|problem| invalid(format!("{}: {problem}", path.display())))?;
    Ok(merge(defaults.clone(), own))
}

fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        let position = error.span().map(|span| position(text, span.start));
        let place =
            position.map(|(line, column)| format!("line {line}, column {column}: ")).unwrap_or_default();
        format!("{place}{}", error.message())
    })?;
    table.into_iter().map(|(key, value)| Ok((key.clone(), to_json(value, &key)?))).collect()
}

/// Line and column, from 1, of a byte.
fn position(text: &str, offset: usize) -> (usize, usize) {
    // A span of the parser begins at a character.
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn to_json(value: toml::Value, key: &str) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(
            serde_json::Number::from_f64(number)
                .ok_or_else(|| format!("{key}: {number} cannot be sent to a plugin; use a finite number"))?,
        ),
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| to_json(item, key)).collect::<Result<_, _>>()?)
        }
        toml::Value::Table(table) => Value::Object(
            table
                .into_iter()
                .map(|(inner, value)| {
                    let value = to_json(value, &format!("{key}.{inner}"))?;
                    Ok((inner, value))
                })
                .collect::<Result<_, String>>()?,
        ),
    })
}

/// `over` on top of `under`: tables are merged, anything else is replaced.
fn merge(mut under: Map<String, Value>, over: Map<String, Value>) -> Map<String, Value> {
    for (key, value) in over {
        let value = match (under.remove(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => Value::Object(merge(old, new)),
            (_, value) => value,
        };
        under.insert(key, value);
    }
    under
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_operators_keys_win_and_tables_are_merged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "greeting = \"hi\"\nsince = 2024-01-01\n[limits]\nrows = 5\n").unwrap();
        let defaults = json!({"greeting": "hello", "limits": {"rows": 1, "columns": 2}, "own": true});
        assert_eq!(
            Value::Object(load(&path, &object(defaults)).unwrap()),
            json!({"greeting": "hi", "since": "2024-01-01", "limits": {"rows": 5, "columns": 2}, "own": true})
        );
    }

    #[test]
    fn without_a_file_the_manifests_settings_hold() {
        let defaults = object(json!({"a": 1}));
        assert_eq!(load(Path::new("/nonexistent/a.toml"), &defaults).unwrap(), defaults);
    }

    #[test]
    fn a_broken_file_is_named_with_line_and_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "a = 1\nb = = 2\n").unwrap();
        let why = load(&path, &Map::new()).unwrap_err();
        assert_eq!(why.code, "config_invalid");
        assert!(why.message.contains("a.toml: line 2, column 5"), "{}", why.message);
    }

    #[test]
    fn a_number_that_json_lacks_is_refused_with_its_key() {
        let why = parse("[x]\ny = inf").unwrap_err();
        assert!(why.starts_with("x.y: "), "{why}");
    }

    #[test]
    fn a_file_past_the_bound_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let line = "# a comment to fill the file\n";
        std::fs::write(&path, line.repeat(usize::try_from(MAX_SETTINGS).unwrap() / line.len() + 1)).unwrap();
        assert!(load(&path, &Map::new()).unwrap_err().message.contains("262144 bytes"));
    }
}
