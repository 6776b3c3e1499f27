//! Settings with documented defaults, validated once.

use std::{path::PathBuf, time::Duration};

use crate::supervisor::RestartPolicy;

/// From spawn to ready: a slow interpreter with a cold cache fits (protocol section 2).
pub const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Until the answer's head; given by the original protocol.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// A pause in a request body: a client that sends nothing for so long has gone.
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A KV call; given by the original protocol.
pub const KV_TIMEOUT: Duration = Duration::from_secs(5);
/// Between pings: rare enough that 100 idle plugins cost nothing.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Missed pings until a plugin is shown as unhealthy: one may be a pause of the machine, three are not.
pub const PING_UNHEALTHY: u32 = 3;
/// Missed pings until a plugin is killed: as long again as until it is shown.
pub const PING_DEAD: u32 = 6;
/// From `shutdown` to SIGTERM.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// From SIGTERM to SIGKILL.
pub const TERM_GRACE: Duration = Duration::from_secs(2);
/// Requests without an answer's head per link: what a plugin sees at once of a flood.
pub const MAX_IN_FLIGHT: usize = 128;
/// Requests that wait for a plugin that is starting or full.
pub const QUEUE_LEN: usize = 1_024;
/// How long each waits: a restart after the first crash fits.
pub const QUEUE_WAIT: Duration = Duration::from_secs(5);
/// `--metadata` of a binary: an interpreter that imports much fits.
pub const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// Its output: as much as a `plugin.toml` may have.
pub const METADATA_MAX_BYTES: usize = 64 << 10;
/// A captured line: a long stack frame fits, a dumped body does not.
pub const LOG_LINE_MAX: usize = 8 << 10;
/// Captured lines a second per plugin: more than anybody reads, less than fills a disk within the hour.
pub const LOG_LINES_PER_SECOND: u32 = 1_000;
/// The size at which a log file is rotated; given by the original system.
pub const LOG_ROTATE_BYTES: u64 = 10_000_000;
/// Rotated files kept; given by the original system.
pub const LOG_KEEP: usize = 5;
/// Days that events are kept; given by the original system.
pub const EVENT_DAYS: u32 = 7;

/// The longest of all times: further ahead, clocks overflow and nobody means it.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Streams on a link are at most this many (protocol section 2), so more requests never run.
const IN_FLIGHT_MAX: usize = 1_024;

/// Where things are and how much of each is allowed. Every number of protocol section 8 and of the bounds table.
///
/// ```
/// use std::time::Duration;
/// use toru_core::Config;
///
/// let mut config = Config::new("plugins", "data");
/// config.start_timeout = Duration::from_secs(30);
/// config.validate()?;
/// # Ok::<(), toru_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where plugins are looked for.
    pub plugins_dir: PathBuf,
    /// The host's data: `toru.db`, `instance-id`, `plugins/<id>/`, `config/<id>.toml`.
    pub data_dir: PathBuf,
    /// Where logs go; `<data_dir>/logs` by default.
    pub log_dir: PathBuf,
    /// From spawn to ready: [`START_TIMEOUT`].
    pub start_timeout: Duration,
    /// Until the answer's head: [`RESPONSE_TIMEOUT`].
    pub response_timeout: Duration,
    /// A request body awaited from the client: [`BODY_IDLE_TIMEOUT`].
    pub body_idle_timeout: Duration,
    /// A KV call: [`KV_TIMEOUT`].
    pub kv_timeout: Duration,
    /// Between pings: [`PING_INTERVAL`].
    pub ping_interval: Duration,
    /// Missed pings until a plugin is shown as unhealthy: [`PING_UNHEALTHY`].
    pub ping_unhealthy: u32,
    /// Missed pings until it is killed and restarted: [`PING_DEAD`].
    pub ping_dead: u32,
    /// From `shutdown` to SIGTERM: [`SHUTDOWN_GRACE`]. Zero: at once.
    pub shutdown_grace: Duration,
    /// From SIGTERM to SIGKILL: [`TERM_GRACE`]. Zero: at once.
    pub term_grace: Duration,
    /// Requests without an answer's head per link: [`MAX_IN_FLIGHT`].
    pub max_in_flight: usize,
    /// Requests that wait for a plugin that is starting or full: [`QUEUE_LEN`]. Zero: none waits.
    pub queue_len: usize,
    /// How long each waits: [`QUEUE_WAIT`]. Zero: none waits.
    pub queue_wait: Duration,
    /// `--metadata` of a binary: [`METADATA_TIMEOUT`].
    pub metadata_timeout: Duration,
    /// Its output: [`METADATA_MAX_BYTES`].
    pub metadata_max_bytes: usize,
    /// A captured line, longer ones are cut and marked: [`LOG_LINE_MAX`].
    pub log_line_max: usize,
    /// Captured lines a second per plugin, more are counted as dropped: [`LOG_LINES_PER_SECOND`].
    pub log_lines_per_second: u32,
    /// The size at which a log file is rotated: [`LOG_ROTATE_BYTES`].
    pub log_rotate_bytes: u64,
    /// Rotated files kept: [`LOG_KEEP`]. Zero: a full file is dropped.
    pub log_keep: usize,
    /// Days that events are kept: [`EVENT_DAYS`].
    pub event_days: u32,
    /// How failures are retried; a value of this type is valid.
    pub restart: RestartPolicy,
    /// A setting of tests: the host's streams on each link are numbered from here on, so that the numbers wrap soon.
    #[doc(hidden)]
    pub stream_numbers_after: Option<u32>,
}

/// A setting that makes no sense: which, and what it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the setting `{setting}` is {value}: {rule}")]
pub struct ConfigError {
    /// The field of [`Config`].
    pub setting: &'static str,
    /// What it was.
    pub value: String,
    /// What it may be.
    pub rule: String,
}

impl Config {
    /// The defaults, around these two folders.
    pub fn new(plugins_dir: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            plugins_dir: plugins_dir.into(),
            log_dir: data_dir.join("logs"),
            data_dir,
            start_timeout: START_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            body_idle_timeout: BODY_IDLE_TIMEOUT,
            kv_timeout: KV_TIMEOUT,
            ping_interval: PING_INTERVAL,
            ping_unhealthy: PING_UNHEALTHY,
            ping_dead: PING_DEAD,
            shutdown_grace: SHUTDOWN_GRACE,
            term_grace: TERM_GRACE,
            max_in_flight: MAX_IN_FLIGHT,
            queue_len: QUEUE_LEN,
            queue_wait: QUEUE_WAIT,
            metadata_timeout: METADATA_TIMEOUT,
            metadata_max_bytes: METADATA_MAX_BYTES,
            log_line_max: LOG_LINE_MAX,
            log_lines_per_second: LOG_LINES_PER_SECOND,
            log_rotate_bytes: LOG_ROTATE_BYTES,
            log_keep: LOG_KEEP,
            event_days: EVENT_DAYS,
            restart: RestartPolicy::default(),
            stream_numbers_after: None,
        }
    }

    /// Holds every setting against its rule.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (setting, folder) in
            [("plugins_dir", &self.plugins_dir), ("data_dir", &self.data_dir), ("log_dir", &self.log_dir)]
        {
            require(setting, format!("{folder:?}"), !folder.as_os_str().is_empty(), "name a folder")?;
        }
        for (setting, time) in [
            ("start_timeout", self.start_timeout),
            ("response_timeout", self.response_timeout),
            ("body_idle_timeout", self.body_idle_timeout),
            ("kv_timeout", self.kv_timeout),
            ("ping_interval", self.ping_interval),
            ("metadata_timeout", self.metadata_timeout),
        ] {
            let sensible = !time.is_zero() && time <= TIME_MAX;
            require(setting, format!("{time:?}"), sensible, "it must be above zero and at most a week")?;
        }
        for (setting, time) in [
            ("shutdown_grace", self.shutdown_grace),
            ("term_grace", self.term_grace),
            ("queue_wait", self.queue_wait),
        ] {
            require(setting, format!("{time:?}"), time <= TIME_MAX, "it must be at most a week")?;
        }
        for (setting, bytes, least) in [
            // The shortest metadata that can be valid has about 60 bytes; a line of a log must hold its own mark.
            ("metadata_max_bytes", self.metadata_max_bytes as u64, 128),
            ("log_line_max", self.log_line_max as u64, 128),
            ("log_rotate_bytes", self.log_rotate_bytes, 2 * self.log_line_max as u64),
            ("log_lines_per_second", self.log_lines_per_second.into(), 1),
            ("event_days", self.event_days.into(), 1),
            ("ping_unhealthy", self.ping_unhealthy.into(), 1),
            ("ping_dead", self.ping_dead.into(), u64::from(self.ping_unhealthy)),
        ] {
            let rule = format!("it must be at least {least}");
            require(setting, bytes.to_string(), bytes >= least, &rule)?;
        }
        let in_flight = self.max_in_flight;
        let rule = format!("it must be 1 to {IN_FLIGHT_MAX}");
        require("max_in_flight", in_flight.to_string(), (1..=IN_FLIGHT_MAX).contains(&in_flight), &rule)
    }
}

fn require(setting: &'static str, value: String, holds: bool, rule: &str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError { setting, value, rule: rule.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::new("plugins", "data");
        change(&mut config);
        config.validate().expect_err("the setting makes no sense").to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = Config::new("plugins", "data");
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.log_dir, PathBuf::from("data/logs"));
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named_with_its_rule() {
        assert_eq!(
            refused(|config| config.start_timeout = Duration::ZERO),
            "the setting `start_timeout` is 0ns: it must be above zero and at most a week"
        );
        assert_eq!(
            refused(|config| config.ping_dead = 2),
            "the setting `ping_dead` is 2: it must be at least 3"
        );
        assert_eq!(
            refused(|config| config.max_in_flight = 0),
            "the setting `max_in_flight` is 0: it must be 1 to 1024"
        );
        assert_eq!(
            refused(|config| config.plugins_dir = PathBuf::new()),
            "the setting `plugins_dir` is \"\": name a folder"
        );
        assert!(refused(|config| config.term_grace = Duration::MAX).contains("at most a week"));
        assert!(refused(|config| config.log_rotate_bytes = 1).contains("at least 16384"));
    }

    #[test]
    fn no_grace_and_no_queue_are_valid() {
        let mut config = Config::new("plugins", "data");
        config.shutdown_grace = Duration::ZERO;
        config.term_grace = Duration::ZERO;
        config.queue_len = 0;
        config.queue_wait = Duration::ZERO;
        config.log_keep = 0;
        assert_eq!(config.validate(), Ok(()));
    }
}
