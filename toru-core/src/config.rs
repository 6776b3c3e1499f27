//! Settings with documented defaults, validated once.

use std::{path::PathBuf, time::Duration};

/// Where things are and how much of each is allowed. Every number of protocol section 8 and of the bounds table.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where plugins are looked for.
    pub plugins_dir: PathBuf,
    /// The host's data: `toru.db`, `instance-id`, `plugins/<id>/`, `config/<id>.toml`.
    pub data_dir: PathBuf,
    /// Where logs go; `<data_dir>/logs` by default.
    pub log_dir: PathBuf,
    /// From spawn to ready.
    pub start_timeout: Duration,
    /// Until the answer's head.
    pub response_timeout: Duration,
    /// A request body awaited from the client.
    pub body_idle_timeout: Duration,
    /// A KV call.
    pub kv_timeout: Duration,
    /// Between pings.
    pub ping_interval: Duration,
    /// Missed pings until a plugin is shown as unhealthy.
    pub ping_unhealthy: u32,
    /// Missed pings until it is killed and restarted.
    pub ping_dead: u32,
    /// From `shutdown` to SIGTERM.
    pub shutdown_grace: Duration,
    /// From SIGTERM to SIGKILL.
    pub term_grace: Duration,
    /// Requests without an answer's head per link.
    pub max_in_flight: usize,
    /// Requests that wait for a plugin that is starting or full.
    pub queue_len: usize,
    /// How long each waits.
    pub queue_wait: Duration,
    /// `--metadata` of a binary.
    pub metadata_timeout: Duration,
    /// Its output.
    pub metadata_max_bytes: usize,
    /// A captured line, longer ones are cut and marked.
    pub log_line_max: usize,
    /// Captured lines a second per plugin, more are counted as dropped.
    pub log_lines_per_second: u32,
    /// The size at which a log file is rotated.
    pub log_rotate_bytes: u64,
    /// Rotated files kept.
    pub log_keep: usize,
    /// Days that events are kept.
    pub event_days: u32,
    /// How failures are retried.
    pub restart: crate::supervisor::RestartPolicy,
}

impl Config {
    /// The defaults, around these two folders.
    pub fn new(plugins_dir: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            plugins_dir: plugins_dir.into(),
            log_dir: data_dir.join("logs"),
            data_dir,
            start_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(30),
            kv_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(10),
            ping_unhealthy: 3,
            ping_dead: 6,
            shutdown_grace: Duration::from_secs(5),
            term_grace: Duration::from_secs(2),
            max_in_flight: 128,
            queue_len: 1_024,
            queue_wait: Duration::from_secs(5),
            metadata_timeout: Duration::from_secs(5),
            metadata_max_bytes: 64 << 10,
            log_line_max: 8 << 10,
            log_lines_per_second: 1_000,
            log_rotate_bytes: 10_000_000,
            log_keep: 5,
            event_days: 7,
            restart: crate::supervisor::RestartPolicy::default(),
        }
    }
}
