//! Bounded log capture and rotation.

use std::path::Path;

use serde_json::{Map, Value};
use tokio::io::AsyncRead;
use toru_plugin_api::message::log::Level;

/// One record, as the files and the API hold it: `{timestamp, level, message, plugin?, error?, pid?}`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LogRecord {
    /// RFC 3339.
    pub timestamp: String,
    /// How grave.
    pub level: Level,
    /// The text.
    pub message: String,
    /// Whose.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plugin: Option<String>,
    /// An error's text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// The process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<u32>,
    /// More, by name.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// A page of records.
#[derive(Debug, Clone, Copy)]
pub struct LogQuery {
    /// From 1.
    pub page: usize,
    /// 1 to 1,000.
    pub page_size: usize,
    /// The lowest wanted.
    pub level: Level,
}

/// All log files of a host: per plugin `<log dir>/plugins/<id>.log`, and `<log dir>/plugin-supervisor.log`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Logs {}

/// One plugin's log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PluginLog {}

#[allow(unused_variables, clippy::todo, clippy::unused_async)]
impl Logs {
    /// Opens the folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(config: &crate::config::Config) -> std::io::Result<Self> {
        todo!("log")
    }
    /// The log of a plugin.
    pub fn plugin(&self, id: &str) -> PluginLog {
        todo!("log")
    }
    /// Writes a record of the supervisor.
    pub fn supervisor(&self, level: Level, plugin: Option<&str>, message: &str, error: Option<&str>) {
        todo!("log")
    }
}

#[allow(unused_variables, clippy::todo, clippy::unused_async)]
impl PluginLog {
    /// Where it is written.
    pub fn path(&self) -> &Path {
        todo!("log")
    }
    /// Writes a record that came over the link.
    pub fn record(&self, pid: Option<u32>, level: Level, message: &str, fields: &Map<String, Value>) {
        todo!("log")
    }
    /// Reads lines until the end of the pipe and keeps each as a record: JSON lines as they are, others as info. Never stops reading: lines past the rate are counted as dropped, long ones are cut and marked.
    pub async fn capture<R: AsyncRead + Unpin>(&self, pid: u32, pipe: R) {
        todo!("log")
    }
    /// The last lines captured from stderr of this process, at most 2 KiB, for the reason of a failure.
    pub fn tail(&self, pid: u32) -> Option<String> {
        todo!("log")
    }
    /// A page of records, newest first, over the rotated files too; a captured line is readable at once.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn query(&self, query: LogQuery) -> std::io::Result<Vec<LogRecord>> {
        todo!("log")
    }
}
