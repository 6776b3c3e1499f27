//! `plugin.toml`, what `--metadata` prints, and the settings that an operator writes over those of a plugin.

use serde_json::{Map, Value};
use toru_core::fuzzing::merge_settings;
use toru_plugin_api::{
    PluginMetadata,
    metadata::{ID_MAX, Manifest, ManifestError, NAME_MAX, ROUTE_MAX, parse_settings},
};

/// The first byte chooses: a manifest, metadata, or two texts of settings with a 0 between them.
pub fn manifest(input: &[u8]) {
    let Some((&kind, text)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match kind % 3 {
        0 => match Manifest::parse(text) {
            Ok(manifest) => {
                assert!(!manifest.exec.is_empty(), "a manifest names its program");
                check(&manifest.metadata);
            }
            Err(error) => check_error(text, &error),
        },
        1 => match PluginMetadata::from_json(text) {
            Ok(metadata) => check(&metadata),
            Err(error) => check_error(text, &error),
        },
        _ => {
            let (defaults, settings) = text.split_once('\0').unwrap_or((text, ""));
            if let (Ok(defaults), Ok(settings)) = (parse_settings(defaults), parse_settings(settings)) {
                check_overlay(&defaults, &settings);
            }
        }
    }
}

/// What was taken holds the rules, and is printed so that it is read the same again.
fn check(metadata: &PluginMetadata) {
    let id = metadata.id();
    assert!(!id.is_empty() && id.len() <= ID_MAX);
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{id}");
    let route = metadata.route();
    assert!(route.len() > 1 && route.starts_with('/') && route.len() <= ROUTE_MAX, "{route}");
    assert!(!route.contains("..") && !route.contains("//") && !route.ends_with('/'), "{route}");
    assert!(route.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%\\\"<>".contains(&byte)), "{route}");
    for text in [Some(metadata.name()), metadata.author()].into_iter().flatten() {
        assert!(text.chars().count() <= NAME_MAX && !text.chars().any(char::is_control), "{text}");
    }
    assert!(metadata.protocol() >= metadata.protocol_min() && metadata.protocol_min() > 0);
    assert!(
        metadata.env().keys().all(|name| !name.starts_with("TORU_")),
        "the host's own variables are its own"
    );
    let printed = metadata.to_json();
    assert!(!printed.contains('\n'), "metadata is one line");
    let again = PluginMetadata::from_json(&printed).expect("what is printed can be read");
    assert_eq!(&again, metadata, "{printed}");
}

/// An error names a place that is in the text.
fn check_error(text: &str, error: &ManifestError) {
    assert!(!error.message.is_empty());
    if let Some((line, column)) = error.position {
        let lines = text.matches('\n').count() + 1;
        assert!((1..=lines).contains(&line) && column > 0, "{error:?} is not within {lines} lines");
    }
}

/// Tables are merged into tables, all else is replaced; and doing it twice changes nothing.
fn check_overlay(defaults: &Map<String, Value>, settings: &Map<String, Value>) {
    let mut merged = defaults.clone();
    merge_settings(&mut merged, settings.clone());
    check_merged(&merged, defaults, settings);
    let mut again = merged.clone();
    merge_settings(&mut again, settings.clone());
    assert_eq!(again, merged);
}

fn check_merged(merged: &Map<String, Value>, defaults: &Map<String, Value>, settings: &Map<String, Value>) {
    for key in merged.keys() {
        assert!(defaults.contains_key(key) || settings.contains_key(key), "{key} came from nowhere");
    }
    for (key, value) in defaults {
        if !settings.contains_key(key) {
            assert_eq!(&merged[key], value);
        }
    }
    for (key, value) in settings {
        match (&merged[key], defaults.get(key), value) {
            (Value::Object(merged), Some(Value::Object(defaults)), Value::Object(settings)) => {
                check_merged(merged, defaults, settings);
            }
            (merged, _, value) => assert_eq!(merged, value),
        }
    }
}
