//! `plugin.toml` and the metadata of a plugin: parsed once, valid ever after.
//!
//! ```
//! use toru_plugin_api::PluginMetadata;
//!
//! let metadata = PluginMetadata::from_manifest(
//!     r#"
//!         id = "hello"
//!         name = "Hello"
//!         version = "0.1.0"
//!         icon = "👋"
//!         route = "/hello"
//!         protocol = 2
//!         exec = ["./hello"]
//!     "#,
//! )?;
//! assert_eq!(metadata.route(), "/hello");
//! # Ok::<(), toru_plugin_api::metadata::ManifestError>(())
//! ```

use std::collections::BTreeMap;

use serde_json::{Map, Value};

mod read;
mod rules;
#[cfg(test)]
mod tests;
mod tree;

pub use rules::{
    CONFIG_DEPTH_MAX, DEFAULT_ICON, ICON_MAX, ID_MAX, MANIFEST_MAX, NAME_MAX, ROUTE_MAX, VERSION_MAX,
};

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
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PluginMetadata {
    id: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    icon: String,
    route: String,
    protocol: u32,
    protocol_min: u32,
    transport: Transport,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frontend: Option<String>,
    raw_paths: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
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

impl PluginMetadata {
    /// States the metadata of a version 2 plugin in code, with the default icon.
    ///
    /// # Errors
    /// A text breaks its rule.
    pub fn new(id: &str, name: &str, version: &str, route: &str) -> Result<Self, ManifestError> {
        read::metadata_from_texts([("id", id), ("name", name), ("version", version), ("route", route)])
    }

    /// The same with this author.
    ///
    /// # Errors
    /// The text breaks its rule.
    pub fn with_author(self, author: &str) -> Result<Self, ManifestError> {
        Ok(Self { author: Some(read::author(author)?), ..self })
    }

    /// The same with this icon.
    ///
    /// # Errors
    /// The text breaks its rule.
    pub fn with_icon(self, icon: &str) -> Result<Self, ManifestError> {
        Ok(Self { icon: read::icon(icon)?, ..self })
    }

    /// Reads the metadata out of the text of a `plugin.toml`.
    ///
    /// # Errors
    /// The text breaks a rule.
    pub fn from_manifest(text: &str) -> Result<Self, ManifestError> {
        Ok(Manifest::parse(text)?.metadata)
    }

    /// Reads what `--metadata` printed. A key that is null counts as absent. Metadata without `protocol` is that
    /// of the original protocol, whose unknown keys are ignored; otherwise they are refused.
    ///
    /// # Errors
    /// The text is no JSON object, is longer than [`MANIFEST_MAX`] or breaks a rule; `exec` and `dev` are refused.
    pub fn from_json(text: &str) -> Result<Self, ManifestError> {
        read::metadata_from_json(text)
    }

    /// What `--metadata` prints: one line, which [`from_json`](Self::from_json) reads back as the same value.
    ///
    /// # Panics
    /// Never: text keys and finite numbers always have a form in JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("metadata holds text keys and finite numbers only")
    }

    /// 1 to [`ID_MAX`] ASCII letters, digits and hyphens.
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

    /// An emoji or a short text; [`DEFAULT_ICON`] if the plugin names none.
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

    /// How it gets its socket. Version 1 knows no inherited socket, so this says something only where version 2 is spoken.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The features of the protocol that a host may offer it; `None`: all that the host has. With `["streams"]` heads
    /// stay JSON, which a person can read on the wire.
    #[must_use]
    pub fn features(&self) -> Option<&[String]> {
        self.features.as_deref()
    }

    /// The bundle, or with a `/` at its end the folder of the frontend's files, relative to the plugin's folder.
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

impl Manifest {
    /// Reads the text of a `plugin.toml`.
    ///
    /// # Errors
    /// The text is no TOML, is longer than [`MANIFEST_MAX`], has an unknown key or breaks a rule.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        read::manifest(text)
    }
}

/// Reads a TOML document of free settings, as an operator writes them over a plugin's `[config]`. Dates become text.
///
/// # Errors
/// The text is no TOML, is longer than [`MANIFEST_MAX`], nests deeper than [`CONFIG_DEPTH_MAX`], or holds a number
/// that JSON cannot.
pub fn parse_settings(text: &str) -> Result<Map<String, Value>, ManifestError> {
    read::settings(text)
}

/// Holds a text against the rule of ids, for what is named by one: a folder, a file, a route of the API.
///
/// # Errors
/// The text is no id.
pub fn check_id(text: &str) -> Result<(), ManifestError> {
    read::check_id(text)
}
