//! Events from the plugin.

use serde_json::{Map, Value};

/// The most bytes of an event's details, as JSON text.
pub const MAX_EVENT_DETAILS: usize = 8 << 10;

/// An event that the plugin reports; the host stores it as `plugin.<name>`.
#[derive(Debug, Clone, PartialEq)]
pub struct EventMessage {
    /// `[a-z0-9_.-]{1,64}`.
    pub name: String,
    /// More, by name; at most 8 KiB as JSON.
    pub details: Map<String, Value>,
}
