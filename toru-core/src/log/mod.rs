//! Bounded log capture and rotation.
//!
//! A plugin's stdout and stderr are read for as long as it lives, whatever it writes: lines are cut at a bound and dropped past a rate, and
//! both are said in the log. What is kept goes to JSON-lines files that an outside agent can follow by name.
//!
//! # Blocking
//! A record is written by the task that has it, with one `write` to the page cache under the mutex of that one log: microseconds, and
//! a record is readable as soon as it was captured. Nothing is synced to disk here. A disk that stalls delays the capturing task of
//! the plugins that log, which is why these run beside supervision and never on a lane that serves requests.

mod budget;
mod capture;
mod file;
mod line;
mod query;
mod tail;

use std::{
    collections::HashMap,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value};
use tokio::time::Instant;
use toru_plugin_api::message::log::Level;

use budget::Budget;
use file::LogFile;
use tail::Tails;

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
pub struct Logs {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    plugins_dir: PathBuf,
    bounds: Bounds,
    supervisor: Mutex<LogFile>,
    /// One log for each id, however often it is asked for: its mutex is what keeps its lines apart.
    plugins: Mutex<HashMap<String, PluginLog>>,
}

/// The settings that concern logs.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    line_max: usize,
    lines_per_second: u32,
    rotate_bytes: u64,
    keep: usize,
}

/// One plugin's log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PluginLog {
    log: Arc<Log>,
}

#[derive(Debug)]
struct Log {
    id: String,
    path: PathBuf,
    bounds: Bounds,
    writing: Mutex<Writing>,
    tails: Mutex<Tails>,
}

#[derive(Debug)]
struct Writing {
    file: LogFile,
    budget: Budget,
}

/// Locks; what these mutexes guard is whole after each call, even one that panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time as records have it: RFC 3339 with milliseconds.
fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

impl Logs {
    /// Opens the folder, and makes it (mode 0700) where there is none.
    ///
    /// # Errors
    /// The folder or the supervisor's file in it cannot be made.
    pub fn open(config: &crate::config::Config) -> io::Result<Self> {
        let bounds = Bounds {
            line_max: config.log_line_max,
            lines_per_second: config.log_lines_per_second,
            rotate_bytes: config.log_rotate_bytes,
            keep: config.log_keep,
        };
        let plugins_dir = config.log_dir.join("plugins");
        DirBuilder::new().recursive(true).mode(0o700).create(&plugins_dir)?;
        let mut supervisor = LogFile::new(config.log_dir.join("plugin-supervisor.log"), bounds);
        supervisor.open()?;
        let supervisor = Mutex::new(supervisor);
        Ok(Self { folder: Arc::new(Folder { plugins_dir, bounds, supervisor, plugins: Mutex::default() }) })
    }

    /// The log of a plugin.
    pub fn plugin(&self, id: &str) -> PluginLog {
        let mut plugins = lock(&self.folder.plugins);
        if let Some(log) = plugins.get(id) {
            return log.clone();
        }
        let path = self.folder.plugins_dir.join(format!("{}.log", file_stem(id)));
        let log = PluginLog::new(id, path, self.folder.bounds);
        plugins.insert(id.to_owned(), log.clone());
        log
    }

    /// Writes a record of the supervisor.
    pub fn supervisor(&self, level: Level, plugin: Option<&str>, message: &str, error: Option<&str>) {
        let line_max = self.folder.bounds.line_max;
        let record = LogRecord {
            timestamp: now(),
            level,
            message: line::cut(message, line_max),
            plugin: plugin.map(str::to_owned),
            error: error.map(|error| line::cut(error, line_max)),
            pid: None,
            fields: Map::new(),
        };
        lock(&self.folder.supervisor).append(&record.to_line());
    }
}

/// The id as the name of a file: what an id may not hold is escaped, so that not even the id of a refused plugin leaves the folder.
fn file_stem(id: &str) -> String {
    let mut stem = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            stem.push(char::from(byte));
        } else {
            stem.push_str(&format!("%{byte:02X}"));
        }
    }
    stem
}

impl LogRecord {
    /// As a line of a file, with its end.
    fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("a record of texts and JSON values is always written");
        line.push(b'\n');
        line
    }
}

impl PluginLog {
    fn new(id: &str, path: PathBuf, bounds: Bounds) -> Self {
        let writing = Writing {
            file: LogFile::new(path.clone(), bounds),
            budget: Budget::new(bounds.lines_per_second),
        };
        let log =
            Log { id: id.to_owned(), path, bounds, writing: Mutex::new(writing), tails: Mutex::default() };
        Self { log: Arc::new(log) }
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.log.path
    }

    /// Writes a record that came over the link. It is bounded as a captured line is: cut, and dropped past the rate.
    pub fn record(&self, pid: Option<u32>, level: Level, message: &str, fields: &Map<String, Value>) {
        let log = &*self.log;
        let mut record = LogRecord {
            timestamp: now(),
            level,
            message: line::cut(message, log.bounds.line_max),
            plugin: Some(log.id.clone()),
            error: None,
            pid,
            fields: Map::new(),
        };
        let fields = fields.iter().filter(|(name, _)| !["level", "timestamp"].contains(&name.as_str()));
        let fields = fields.map(|(name, value)| (name.clone(), value.clone())).collect();
        line::take_fields(&mut record, fields, log.bounds.line_max);
        let now = Instant::now();
        let mut writing = lock(&log.writing);
        let mut lines = log.summary(writing.budget.settle(now));
        if writing.budget.admit(now) {
            lines.extend(record.to_line());
        }
        writing.file.append(&lines);
    }

    /// The last lines captured by [`PluginLog::capture`] from this process, at most 2 KiB, for the reason of a failure.
    pub fn tail(&self, pid: u32) -> Option<String> {
        lock(&self.log.tails).text(pid)
    }

    /// A page of records, newest first, over the rotated files too; a captured line is readable at once. The files are read
    /// backwards, block by block, so that the newest cost little and the memory is that of the page.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn query(&self, query: LogQuery) -> io::Result<Vec<LogRecord>> {
        let log = Arc::clone(&self.log);
        let page = tokio::task::spawn_blocking(move || {
            // Opened under the lock, no file is missed or read twice because of a rotation.
            let files = lock(&log.writing).file.open_all()?;
            query::newest(files, query)
        });
        page.await.map_err(io::Error::other)?
    }
}

impl Log {
    /// The record, as a line, that says how many lines were dropped; nothing for none.
    fn summary(&self, dropped: u64) -> Vec<u8> {
        if dropped == 0 {
            return Vec::new();
        }
        let bound = self.bounds.lines_per_second;
        let record = LogRecord {
            timestamp: now(),
            level: Level::Warn,
            message: format!("{dropped} lines were dropped: the plugin logs more than {bound} a second"),
            plugin: Some(self.id.clone()),
            error: None,
            pid: None,
            fields: [("dropped".to_owned(), dropped.into())].into_iter().collect(),
        };
        record.to_line()
    }
}
