//! What is published of a plugin.

use toru_plugin_api::PluginMetadata;

/// What a plugin's process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StateName {
    /// No process is wanted.
    Stopped,
    /// Spawned, not ready.
    Starting,
    /// Ready.
    Running,
    /// Ending.
    Draining,
    /// Waiting to be started again.
    Backoff,
    /// It will not be started again by itself.
    Failed,
}

/// The health badge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Health {
    /// Not wanted.
    Disabled,
    /// Running and answering pings.
    Healthy,
    /// Anything else.
    Unhealthy,
}

impl Health {
    /// Of a plugin without a process that answers.
    pub(super) fn unless_running(enabled: bool) -> Self {
        if enabled { Self::Unhealthy } else { Self::Disabled }
    }
}

/// Why a plugin is not running.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Reason {
    /// A stable code.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What it last wrote to stderr.
    pub stderr_tail: Option<String>,
}

/// One entry of `GET /api/plugins`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PluginStatus {
    /// Its id.
    pub id: String,
    /// Null where unknown, as the next four.
    pub name: Option<String>,
    /// Its own version.
    pub version: Option<String>,
    /// Its author.
    pub author: Option<String>,
    /// Its icon.
    pub icon: Option<String>,
    /// Its route.
    pub route: Option<String>,
    /// What the operator wants.
    pub enabled: bool,
    /// `state` is `running`.
    pub running: bool,
    /// Its process.
    pub pid: Option<u32>,
    /// The version in force; null before the handshake.
    pub protocol: Option<u32>,
    /// The links that take requests: 0 while it does not run, 1 for a plugin that leaves those of further lanes alone. For who
    /// embeds this: no part of the entry.
    #[serde(skip)]
    pub links: usize,
    /// The badge.
    pub health: Health,
    /// The state.
    pub state: StateName,
    /// Why it is not running.
    pub reason: Option<Reason>,
    /// Restarts since the counter was last reset.
    pub restarts: u32,
    /// When it is started again (RFC 3339), in backoff.
    pub next_retry_at: Option<String>,
}

impl PluginStatus {
    /// A plugin of which nothing is known but its id.
    pub(super) fn unknown(id: &str, enabled: bool) -> Self {
        Self {
            id: id.to_owned(),
            name: None,
            version: None,
            author: None,
            icon: None,
            route: None,
            enabled,
            running: false,
            pid: None,
            protocol: None,
            links: 0,
            health: Health::unless_running(enabled),
            state: StateName::Stopped,
            reason: None,
            restarts: 0,
            next_retry_at: None,
        }
    }

    /// Fills in what the plugin says of itself.
    pub(super) fn describe(&mut self, metadata: &PluginMetadata) {
        self.name = Some(metadata.name().to_owned());
        self.version = Some(metadata.version().to_owned());
        self.author = metadata.author().map(str::to_owned);
        self.icon = Some(metadata.icon().to_owned());
        self.route = Some(metadata.route().to_owned());
    }
}
