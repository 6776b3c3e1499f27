//! What happens to plugins: the kinds of events, the bus that stores them, and the hooks that are told.

mod bus;
mod log_hook;

use std::{borrow::Cow, fmt, str::FromStr};

use serde_json::{Map, Value};

pub use bus::{EventBus, EventHook};
pub use log_hook::LogHook;

/// What the text form of a plugin's own event begins with, so that none can pose as the host's.
const PLUGIN_PREFIX: &str = "plugin.";

/// The longest name of a plugin's own event, in bytes (protocol section 6).
pub const MAX_EVENT_NAME: usize = 64;

/// What happened. The text form ([`EventType::as_str`], `Display`) is what the store, the log and the API show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// `discovered`: discovered for the first time, or again after a change.
    Discovered,
    /// `started`: a process was spawned. `{"pid"}`
    Started,
    /// `attached`: a process that a developer started was connected to. `{"pid"}`
    Attached,
    /// `detached`: it has ended, or closed its connection.
    Detached,
    /// `ready`: it answers. `{"protocol", "start_ms"}`
    Ready,
    /// `stopped`: it ended as asked.
    Stopped,
    /// `crashed`: it ended by itself. `{"signal"}` or `{"exit_code"}`
    Crashed,
    /// `failed`: it could not be started, or broke the protocol. `{"code", "message"}`
    Failed,
    /// `restart_scheduled`: it will be started again. `{"attempt", "delay_ms"}`
    RestartScheduled,
    /// `auto_disabled`: it failed too often. `{"failures"}`
    AutoDisabled,
    /// `enabled`: an operator enabled it.
    Enabled,
    /// `disabled`: an operator disabled it.
    Disabled,
    /// `unhealthy`: three pings missed.
    Unhealthy,
    /// `healthy`: it answers pings again.
    Healthy,
    /// `refused`: it refused to run. `{"code", "message"}`
    Refused,
    /// `draining`: it asked for a successor. `{"reason"}`
    Draining,
    /// `protocol_error`: it broke the protocol. `{"cause", "excerpt"}`
    ProtocolError,
    /// `bad_answer`: its answer was changed or refused by the rules of HTTP. `{"what"}`
    BadAnswer,
    /// `plugin.<name>`: reported by the plugin.
    Plugin(String),
    /// Read from a store that another version of Toru wrote; shown as it stands there.
    Other(String),
}

/// The kinds whose text form is a word of the host's.
const HOST_TYPES: [EventType; 18] = [
    EventType::Discovered,
    EventType::Started,
    EventType::Attached,
    EventType::Detached,
    EventType::Ready,
    EventType::Stopped,
    EventType::Crashed,
    EventType::Failed,
    EventType::RestartScheduled,
    EventType::AutoDisabled,
    EventType::Enabled,
    EventType::Disabled,
    EventType::Unhealthy,
    EventType::Healthy,
    EventType::Refused,
    EventType::Draining,
    EventType::ProtocolError,
    EventType::BadAnswer,
];

impl EventType {
    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> Cow<'_, str> {
        match self {
            Self::Discovered => "discovered".into(),
            Self::Started => "started".into(),
            Self::Attached => "attached".into(),
            Self::Detached => "detached".into(),
            Self::Ready => "ready".into(),
            Self::Stopped => "stopped".into(),
            Self::Crashed => "crashed".into(),
            Self::Failed => "failed".into(),
            Self::RestartScheduled => "restart_scheduled".into(),
            Self::AutoDisabled => "auto_disabled".into(),
            Self::Enabled => "enabled".into(),
            Self::Disabled => "disabled".into(),
            Self::Unhealthy => "unhealthy".into(),
            Self::Healthy => "healthy".into(),
            Self::Refused => "refused".into(),
            Self::Draining => "draining".into(),
            Self::ProtocolError => "protocol_error".into(),
            Self::BadAnswer => "bad_answer".into(),
            Self::Plugin(name) => format!("{PLUGIN_PREFIX}{name}").into(),
            Self::Other(text) => text.into(),
        }
    }

    /// What a store holds: like [`FromStr`], but a text that this version does not know is kept as [`EventType::Other`].
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        text.parse().unwrap_or_else(|_| Self::Other(text.to_owned()))
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str())
    }
}

/// A text is no event type: neither one of the host's words nor `plugin.` and a name of `[a-z0-9_.-]{1,64}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no event type; expected one like `crashed`, or `plugin.<name>`")]
pub struct UnknownEventType(pub String);

impl FromStr for EventType {
    type Err = UnknownEventType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(name) = text.strip_prefix(PLUGIN_PREFIX) {
            return if is_event_name(name) {
                Ok(Self::Plugin(name.to_owned()))
            } else {
                Err(UnknownEventType(text.to_owned()))
            };
        }
        HOST_TYPES
            .into_iter()
            .find(|event_type| event_type.as_str() == text)
            .ok_or_else(|| UnknownEventType(text.to_owned()))
    }
}

/// Whether a plugin may report an event of this name (protocol section 6): `[a-z0-9_.-]{1,64}`.
#[must_use]
pub fn is_event_name(name: &str) -> bool {
    (1..=MAX_EVENT_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_type_reads_back_from_its_text() {
        for event_type in HOST_TYPES.into_iter().chain([EventType::Plugin("import.done".into())]) {
            assert_eq!(event_type.as_str().parse(), Ok(event_type.clone()), "{event_type}");
        }
    }

    #[test]
    fn a_plugin_event_carries_its_prefix_in_text() {
        assert_eq!(EventType::Plugin("crashed".into()).as_str(), "plugin.crashed");
        assert_eq!("plugin.crashed".parse(), Ok(EventType::Plugin("crashed".into())));
    }

    #[test]
    fn a_text_that_is_no_event_type_is_refused() {
        for text in
            ["", "Crashed", "plugin.", "plugin.A", "plugin.a b", &format!("plugin.{}", "a".repeat(65))]
        {
            assert_eq!(text.parse::<EventType>(), Err(UnknownEventType(text.to_owned())));
        }
        assert!(format!("plugin.{}", "a".repeat(64)).parse::<EventType>().is_ok());
    }

    #[test]
    fn a_stored_type_of_another_version_is_kept_as_it_is() {
        let other = EventType::from_stored("hibernated");
        assert_eq!(other, EventType::Other("hibernated".into()));
        assert_eq!(other.as_str(), "hibernated");
    }
}
