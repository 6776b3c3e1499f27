//! The event bus and its hooks.

use std::sync::Arc;

use serde_json::{Map, Value};

/// What happened. The text form is what the store and the API show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// Discovered for the first time, or again after a change.
    Discovered,
    /// A process was spawned. `{"pid"}`
    Started,
    /// It answers. `{"protocol", "start_ms"}`
    Ready,
    /// It ended as asked.
    Stopped,
    /// It ended by itself. `{"signal"}` or `{"exit_code"}`
    Crashed,
    /// It could not be started, or broke the protocol. `{"code", "message"}`
    Failed,
    /// It will be started again. `{"attempt", "delay_ms"}`
    RestartScheduled,
    /// It failed too often. `{"failures"}`
    AutoDisabled,
    /// An operator enabled it.
    Enabled,
    /// An operator disabled it.
    Disabled,
    /// Three pings missed.
    Unhealthy,
    /// It answers pings again.
    Healthy,
    /// It refused to run. `{"code", "message"}`
    Refused,
    /// It asked for a successor. `{"reason"}`
    Draining,
    /// It broke the protocol. `{"cause", "excerpt"}`
    ProtocolError,
    /// Its answer was changed or refused by the rules of HTTP. `{"what"}`
    BadAnswer,
    /// Reported by the plugin: `plugin.<name>`.
    Plugin(String),
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Whose.
    pub plugin_id: String,
    /// What.
    pub event_type: EventType,
    /// When (RFC 3339 in the store and the API).
    pub timestamp: jiff::Timestamp,
    /// More, by name.
    pub details: Map<String, Value>,
}

/// Told of every event, in order, on the bus's own task. Must not block.
pub trait EventHook: Send + Sync + 'static {
    /// An event happened; it has been stored, or could not be (then the log says so).
    fn on_event(&self, event: &Event);
}

/// Takes events from anywhere without waiting, stores them and tells the hooks. Cheap to clone. Bounded; past the bound events are counted as dropped and that is logged.
#[derive(Clone, Debug)]
pub struct EventBus {}

#[allow(clippy::todo, clippy::unused_async)]
impl EventBus {
    /// A bus over this store, with a task on the current runtime.
    #[must_use]
    pub fn new(store: Arc<dyn crate::store::EventStore>, hooks: Vec<Box<dyn EventHook>>) -> Self {
        let _ = (store, hooks);
        todo!("event")
    }
    /// Emits an event, stamped now.
    pub fn emit(&self, plugin_id: &str, event_type: EventType, details: Map<String, Value>) {
        let _ = (plugin_id, event_type, details);
        todo!("event")
    }
    /// Resolves when all that was emitted before is stored and told.
    pub async fn flush(&self) {
        todo!("event")
    }
}
