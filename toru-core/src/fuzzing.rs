//! What the fuzz targets drive that is no part of the public API.

use serde_json::{Map, Value};

pub use crate::supervisor::fuzzing::run_schedule;

/// Merges the operator's settings over a plugin's defaults, as [`config_for`](crate::discovery::config_for) does.
pub fn merge_settings(defaults: &mut Map<String, Value>, settings: Map<String, Value>) {
    crate::discovery::merge_settings(defaults, settings);
}
