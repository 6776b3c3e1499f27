//! Log records from the plugin.

use serde_json::{Map, Value};

/// How grave a record is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The finest.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// The usual; what an unknown level counts as.
    #[default]
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

/// A record that the plugin sends over the link.
#[derive(Debug, Clone, PartialEq)]
pub struct LogMessage {
    /// How grave.
    pub level: Level,
    /// The text.
    pub message: String,
    /// More, by name.
    pub fields: Map<String, Value>,
}
