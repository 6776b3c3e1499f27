//! Log records from the plugin.

use serde_json::{Map, Value};

use super::{
    MessageError,
    envelope::{close, open_payload, put_key, put_text},
    fields::Fields,
    json::{Reader, put_map, put_string},
};

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

impl Level {
    /// The name, as it stands in messages and log files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The level of this name, in any case; `warning` is one of them, because Python says so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];
        let alias = if name.eq_ignore_ascii_case("warning") { "warn" } else { name };
        all.into_iter().find(|level| alias.eq_ignore_ascii_case(level.as_str()))
    }
}

impl LogMessage {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        open_payload(out, "log", None);
        out.extend_from_slice(b"\"level\":");
        put_string(out, self.level.as_str());
        put_text(out, "message", &self.message);
        if !self.fields.is_empty() {
            put_key(out, "fields");
            put_map(out, &self.fields);
        }
        close(out);
    }
}

/// Reads a payload of type `log`.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<LogMessage, MessageError> {
    let mut fields = Fields::read(reader, &["level", "message", "fields"])?;
    let level = fields.string("level")?;
    Ok(LogMessage {
        level: level.as_deref().and_then(Level::from_name).unwrap_or(Level::Info),
        message: fields.required_string("message")?,
        fields: fields.map("fields")?,
    })
}
