//! The hook that writes every event to the supervisor's log.

use std::borrow::Cow;

use toru_plugin_api::message::log::Level;

use super::{Event, EventHook, EventType};
use crate::log::Logs;

/// Writes every event to `plugin-supervisor.log` and to `tracing`.
#[derive(Debug, Clone)]
pub struct LogHook {
    logs: Logs,
}

impl LogHook {
    /// A hook over these logs.
    #[must_use]
    pub fn new(logs: Logs) -> Self {
        Self { logs }
    }
}

impl EventHook for LogHook {
    /// One small write to the page cache; see [`Logs`] on why that counts as not blocking.
    fn on_event(&self, event: &Event) {
        let level = level_of(&event.event_type);
        let message = describe(event);
        let error = event.details.get("message").and_then(|text| text.as_str());
        self.logs.supervisor(level, Some(&event.plugin_id), &message, error);
        let plugin = event.plugin_id.as_str();
        let (message, error) = (printable(&message), error.map(printable));
        let error = error.as_deref();
        match level {
            Level::Error => tracing::error!(plugin, error, "{message}"),
            Level::Warn => tracing::warn!(plugin, error, "{message}"),
            _ => tracing::info!(plugin, error, "{message}"),
        }
    }
}

/// The host's own failures are graver than what a plugin reports of itself.
fn level_of(event_type: &EventType) -> Level {
    match event_type {
        EventType::Failed | EventType::AutoDisabled | EventType::Refused | EventType::ProtocolError => {
            Level::Error
        }
        EventType::Crashed | EventType::Unhealthy | EventType::BadAnswer | EventType::RestartScheduled => {
            Level::Warn
        }
        _ => Level::Info,
    }
}

/// `crashed (signal 9)`: the type, and the details but for the message, which is the record's `error`.
fn describe(event: &Event) -> String {
    let details: Vec<String> = event
        .details
        .iter()
        .filter(|(name, _)| *name != "message")
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name} {text}"),
            None => format!("{name} {value}"),
        })
        .collect();
    if details.is_empty() {
        return event.event_type.to_string();
    }
    format!("{} ({})", event.event_type, details.join(", "))
}

/// What a subscriber may write to a terminal as it is: a plugin's text could forge lines there, or drive it.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    text.chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect::<String>()
        .into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{config::Config, log::LogRecord};

    #[test]
    fn an_event_is_a_record_of_the_supervisors_log() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::new(folder.path().join("plugins"), folder.path().join("data"));
        let hook = LogHook::new(Logs::open(&config).unwrap());
        hook.on_event(&Event {
            plugin_id: "hello".into(),
            event_type: EventType::Failed,
            timestamp: jiff::Timestamp::now(),
            details: json!({"code": "exec_missing", "message": "there is no ./main"})
                .as_object()
                .unwrap()
                .clone(),
        });
        let file = std::fs::read_to_string(config.log_dir.join("plugin-supervisor.log")).unwrap();
        let record: LogRecord = serde_json::from_str(file.trim_end()).unwrap();
        assert_eq!(record.level, Level::Error);
        assert_eq!(record.message, "failed (code exec_missing)");
        assert_eq!(record.plugin.as_deref(), Some("hello"));
        assert_eq!(record.error.as_deref(), Some("there is no ./main"));
    }

    #[test]
    fn a_text_of_a_plugin_forges_no_line_and_drives_no_terminal() {
        assert_eq!(printable("disk full"), "disk full");
        assert_eq!(printable("a\nERROR b\u{1b}[2J\u{9b}c"), "a\u{fffd}ERROR b\u{fffd}[2J\u{fffd}c");
    }
}
