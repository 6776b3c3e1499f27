//! What is kept: KV, events, the enabled state. Traits, and a store in memory and in SQLite.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use toru_plugin_api::message::kv::{KvAnswer, KvCall, KvError};

use crate::event::Event;

/// Keeps the values of all plugins, a namespace each. All of protocol section 5; a call that a store does not have yet is
/// answered with `unknown_action`.
#[async_trait]
pub trait KvStore: Send + Sync + Debug + 'static {
    /// Runs one call in a plugin's namespace. A write is durable when this resolves. Dropping the future may or may not undo it.
    ///
    /// # Errors
    /// As the protocol names them.
    async fn call(&self, namespace: &str, call: KvCall) -> Result<KvAnswer, KvError>;
}

/// An event with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Ascending.
    pub id: i64,
    /// The event.
    pub event: Event,
}

/// Keeps events.
#[async_trait]
pub trait EventStore: Send + Sync + Debug + 'static {
    /// Stores events.
    ///
    /// # Errors
    /// They were not stored.
    async fn append(&self, events: Vec<Event>) -> Result<(), StoreError>;
    /// The newest of a plugin, newest first.
    ///
    /// # Errors
    /// They cannot be read.
    async fn recent(&self, plugin_id: &str, limit: usize) -> Result<Vec<StoredEvent>, StoreError>;
    /// Deletes what is older; how many.
    ///
    /// # Errors
    /// They cannot be deleted.
    async fn prune(&self, older_than: Duration) -> Result<usize, StoreError>;
}

/// Keeps which plugins are enabled.
#[async_trait]
pub trait StateStore: Send + Sync + Debug + 'static {
    /// All that is known; a plugin not listed counts as enabled.
    ///
    /// # Errors
    /// It cannot be read, or is damaged: never reset silently.
    async fn load(&self) -> Result<std::collections::BTreeMap<String, bool>, StoreError>;
    /// Sets one plugin's state, durable when this resolves; concurrent calls are kept apart.
    ///
    /// # Errors
    /// It was not stored.
    async fn set_enabled(&self, plugin_id: &str, enabled: bool) -> Result<(), StoreError>;
}

/// A store failed: what, where (the path), and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// One sentence.
    pub message: String,
}
