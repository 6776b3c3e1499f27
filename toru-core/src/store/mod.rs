//! What is kept: KV, events, the enabled state. Traits, and stores in memory, in SQLite and in a JSON file.
//!
//! | trait | in memory | durable |
//! |---|---|---|
//! | [`KvStore`] | [`MemoryKvStore`] | [`SqliteKvStore`] |
//! | [`EventStore`] | [`MemoryEventStore`] | [`SqliteEventStore`] |
//! | [`StateStore`] | [`MemoryStateStore`] | [`JsonStateStore`] |
//!
//! Every backend passes the same suite, `conformance`.

mod apply;
mod clock;
#[cfg(any(test, feature = "conformance"))]
#[doc(hidden)]
pub mod conformance;
mod json_state;
mod limits;
mod memory;
mod sqlite;

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use toru_plugin_api::message::kv::{KvAnswer, KvCall, KvError};

use crate::event::Event;

#[doc(hidden)]
pub use clock::Clock;
pub use json_state::JsonStateStore;
pub use limits::KvLimits;
pub use memory::{MemoryEventStore, MemoryKvStore, MemoryStateStore};
pub use sqlite::{Database, SqliteEventStore, SqliteKvStore};

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
    /// Stores events, all or none of them, in this order.
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

impl StoreError {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
