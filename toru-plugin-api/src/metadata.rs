//! `plugin.toml` and the metadata of a plugin: parsed once, valid ever after.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// How a plugin gets its socket (protocol section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// It inherits a connected socket.
    #[default]
    Fd,
    /// It listens on a path.
    Path,
}

/// What a plugin says of itself: every key of `plugin.toml` but `exec` and `dev`. The fields can only be
/// made by parsing, so they always hold the rules.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginMetadata {
    id: String,
    name: String,
    version: String,
    author: Option<String>,
    icon: String,
    route: String,
    protocol: u32,
    protocol_min: u32,
    transport: Transport,
    frontend: Option<String>,
    raw_paths: bool,
    env: BTreeMap<String, String>,
    config: Map<String, Value>,
}

/// All of `plugin.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// All but `exec` and `dev`.
    pub metadata: PluginMetadata,
    /// The program and its arguments, as written.
    pub exec: Vec<String>,
    /// For `toru dev`, `call` and `check`.
    pub dev: Option<Dev>,
}

/// The `[dev]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dev {
    /// Run by `sh -c` in the folder first.
    pub build: Option<String>,
    /// Replaces `exec`; may point anywhere.
    pub exec: Option<Vec<String>>,
}

/// What is wrong in a manifest or metadata: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ManifestError {
    /// Line and column, from 1, where they are known.
    pub position: Option<(usize, usize)>,
    /// The key, where it is one (`route`, `dev.exec`).
    pub key: Option<String>,
    /// One sentence with position and key: what was wrong and what to do.
    pub message: String,
}

#[allow(clippy::todo)]
impl PluginMetadata {
    /// Reads the metadata out of the text of a `plugin.toml`.
    ///
    /// # Errors
    /// The text breaks a rule.
    pub fn from_manifest(text: &str) -> Result<Self, ManifestError> {
        Ok(Manifest::parse(text)?.metadata)
    }
    /// Reads what `--metadata` printed.
    ///
    /// # Errors
    /// The text is no JSON or breaks a rule; `exec` and `dev` are refused.
    pub fn from_json(text: &str) -> Result<Self, ManifestError> {
        let _ = text;
        todo!("metadata")
    }
    /// What `--metadata` prints.
    #[must_use]
    pub fn to_json(&self) -> String {
        todo!("metadata")
    }
    /// ASCII letters, digits, hyphen.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
    /// At most 100 characters.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The plugin's own version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
    /// At most 100 characters.
    #[must_use]
    pub fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }
    /// An emoji or a short text.
    #[must_use]
    pub fn icon(&self) -> &str {
        &self.icon
    }
    /// Begins with `/`, has no `..`, no trailing `/`.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route
    }
    /// The highest protocol version it speaks.
    #[must_use]
    pub fn protocol(&self) -> u32 {
        self.protocol
    }
    /// The lowest protocol version it speaks.
    #[must_use]
    pub fn protocol_min(&self) -> u32 {
        self.protocol_min
    }
    /// How it gets its socket.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }
    /// The bundle, relative to the plugin's folder.
    #[must_use]
    pub fn frontend(&self) -> Option<&str> {
        self.frontend.as_deref()
    }
    /// `%2f` and `//` pass in its paths.
    #[must_use]
    pub fn raw_paths(&self) -> bool {
        self.raw_paths
    }
    /// Added to its environment.
    #[must_use]
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }
    /// Its default settings.
    #[must_use]
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }
}

#[allow(clippy::todo)]
impl Manifest {
    /// Reads the text of a `plugin.toml`.
    ///
    /// # Errors
    /// The text is no TOML or breaks a rule.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let _ = text;
        todo!("metadata")
    }
}
