//! The lifecycle conversation: init, ready, failed, ping, pong, draining, shutdown.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::frame::Limits;

/// The features of the protocol that a side may name in `init` and `ready`.
pub mod feature {
    /// Bodies may be streamed as DATA.
    pub const STREAMS: &str = "streams";
    /// HTTP heads may come as HEAD frames.
    pub const HEADS: &str = "heads";
}

/// The names that a side offers: `[a-z0-9-]{1,32}` each, sorted, no name twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features(Vec<String>);

impl Features {
    /// Those of `names` that are well formed, in order; the rest is ignored, as unknown features are.
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(names: I) -> Self {
        let mut names: Vec<String> = names
            .into_iter()
            .map(Into::into)
            .filter(|name| {
                (1..=32).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
            .collect();
        names.sort();
        names.dedup();
        Self(names)
    }

    /// Whether this side named it.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|own| own == name)
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// What the host tells a plugin first, on each link.
#[derive(Debug, Clone, PartialEq)]
pub struct Init {
    /// The version in force.
    pub protocol: u32,
    /// The instance id of the host (UUID v4).
    pub instance_id: String,
    /// The id of the plugin.
    pub plugin_id: String,
    /// The path of the plugin's socket; empty where it was inherited.
    pub plugin_socket: String,
    /// Where the host writes this plugin's log.
    pub log_path: String,
    /// A folder of the plugin's own.
    pub data_dir: String,
    /// The settings: the operator's over the manifest's. Empty on an extra link.
    pub config: Map<String, Value>,
    /// The number of an extra link; `None` on the first.
    pub link: Option<u32>,
    /// What the host speaks.
    pub features: Features,
    /// What the host accepts.
    pub limits: Limits,
}

/// A plugin's answer: it can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Must equal that of `init`.
    pub protocol: u32,
    /// What the plugin speaks.
    pub features: Features,
    /// What the plugin accepts.
    pub limits: Limits,
}

/// A plugin's answer: it refuses to run. Not a crash, and not tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// A short code of the plugin's own.
    pub code: String,
    /// What the operator reads.
    pub message: String,
}

/// How a plugin says it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pong {
    /// The plugin says it works with less than it needs.
    pub degraded: bool,
    /// Why, in the plugin's words.
    pub detail: Option<String>,
}

/// A plugin wants a successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draining {
    /// Why, in the plugin's words.
    pub reason: String,
}

/// The host ends the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// How long the plugin may take for what is in flight.
    pub grace: Duration,
}
