//! One task per plugin, and the facade over them.

mod restart;
mod state;
mod status;

use std::{path::PathBuf, sync::Arc};

use toru_plugin_api::message::kv::{KvAnswer, KvCall, KvError};

use crate::{
    config::Config,
    event::EventHook,
    http::PluginService,
    log::{LogQuery, LogRecord},
    store::{EventStore, KvStore, StateStore, StoreError, StoredEvent},
};

pub use restart::{RestartPolicy, RestartPolicyError, RestartSettings};
pub use status::{Health, PluginStatus, Reason, StateName};

/// Runs plugins. Dropping it without `shutdown` kills all their groups.
#[derive(Debug)]
pub struct PluginSupervisor {}

/// Builds a supervisor. Stores that are not given are SQLite and `config.json`, in the folders of the config.
#[derive(Debug)]
pub struct Builder {}

/// Why a supervisor cannot be built or started: what, where, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// A folder or file.
    #[error("{path}: {message}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A setting.
    #[error("{0}")]
    Config(String),
}

/// Why a command on a plugin failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No plugin has this id.
    #[error("there is no plugin {0:?}")]
    Unknown(String),
    /// The wish could not be stored; nothing has changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The supervisor is shutting down.
    #[error("the supervisor is shutting down")]
    ShuttingDown,
}

#[allow(unused_variables, clippy::todo)]
impl Builder {
    /// Takes this KV store.
    #[must_use]
    pub fn kv_store(self, store: Arc<dyn KvStore>) -> Self {
        todo!("supervisor")
    }
    /// Takes this event store.
    #[must_use]
    pub fn event_store(self, store: Arc<dyn EventStore>) -> Self {
        todo!("supervisor")
    }
    /// Takes this state store.
    #[must_use]
    pub fn state_store(self, store: Arc<dyn StateStore>) -> Self {
        todo!("supervisor")
    }
    /// Adds a hook that is told of every event.
    #[must_use]
    pub fn event_hook(self, hook: impl EventHook) -> Self {
        todo!("supervisor")
    }
    /// Adds a source folder outside the plugins folder (`toru dev`): built already, run by its `[dev] exec` if it has one.
    #[must_use]
    pub fn source_dir(self, dir: impl Into<PathBuf>) -> Self {
        todo!("supervisor")
    }
    /// Builds it on the current tokio runtime; nothing runs yet.
    ///
    /// # Errors
    /// See [`SupervisorError`].
    pub fn build(self) -> Result<PluginSupervisor, SupervisorError> {
        todo!("supervisor")
    }
}

#[allow(unused_variables, clippy::todo, clippy::unused_async)]
impl PluginSupervisor {
    /// A builder around this config.
    #[must_use]
    pub fn builder(config: Config) -> Builder {
        todo!("supervisor")
    }
    /// Discovers the plugins and starts the enabled ones; waits for the discovery, not for the plugins.
    ///
    /// # Errors
    /// See [`SupervisorError`].
    pub async fn initialize(&self) -> Result<(), SupervisorError> {
        todo!("supervisor")
    }
    /// All plugins, by id. Never waits.
    pub fn list(&self) -> Vec<PluginStatus> {
        todo!("supervisor")
    }
    /// One plugin. Never waits.
    pub fn status(&self, id: &str) -> Option<PluginStatus> {
        todo!("supervisor")
    }
    /// Resolves when the plugin's status fulfils the predicate.
    ///
    /// # Errors
    /// No plugin has this id.
    pub async fn wait_until(
        &self,
        id: &str,
        predicate: impl FnMut(&PluginStatus) -> bool + Send,
    ) -> Result<PluginStatus, CommandError> {
        todo!("supervisor")
    }
    /// Wants it up; stored before this resolves. Also the way out of auto-disabled and failed.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn enable(&self, id: &str) -> Result<(), CommandError> {
        todo!("supervisor")
    }
    /// Wants it down; stored before this resolves, the process may still be ending.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn disable(&self, id: &str) -> Result<(), CommandError> {
        todo!("supervisor")
    }
    /// The HTTP service, on links that the supervisor's runtime drives.
    pub fn service(&self) -> PluginService {
        todo!("supervisor")
    }
    /// The HTTP service whose links are driven by the runtime it is called on.
    pub fn lane(&self) -> PluginService {
        todo!("supervisor")
    }
    /// A KV operation on the plugin itself: reaches its `handle_kv`.
    ///
    /// # Errors
    /// The plugin's error; `unavailable` when it does not run.
    pub async fn plugin_kv(&self, id: &str, call: KvCall) -> Result<KvAnswer, KvError> {
        todo!("supervisor")
    }
    /// The host's store, whose namespaces are the plugins' ids.
    pub fn kv_store(&self) -> &Arc<dyn KvStore> {
        todo!("supervisor")
    }
    /// The newest events of a plugin.
    ///
    /// # Errors
    /// The store failed.
    pub async fn events(&self, id: &str, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        todo!("supervisor")
    }
    /// A page of a plugin's log.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn logs(&self, id: &str, query: LogQuery) -> std::io::Result<Vec<LogRecord>> {
        todo!("supervisor")
    }
    /// The plugin's frontend bundle: an absolute path that was checked to lie inside its folder.
    pub fn bundle(&self, id: &str) -> Option<PathBuf> {
        todo!("supervisor")
    }
    /// The instance id.
    pub fn instance_id(&self) -> &str {
        todo!("supervisor")
    }
    /// Stops all plugins in phases and resolves when all groups are gone. Later calls join the first.
    pub async fn shutdown(&self) {
        todo!("supervisor")
    }
}
