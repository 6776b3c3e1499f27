//! What a link, of either version, does for its plugin at the host: records, events, reports.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use serde_json::{Map, Value, json};
use toru_plugin_api::message::{
    event::{EventMessage, MAX_EVENT_DETAILS},
    log::{Level, LogMessage},
};

use super::{LinkSetup, gate::EventGate};
use crate::{
    event::{EventBus, EventType, is_event_name},
    log::PluginLog,
};

/// A way in which an answer breaks the rules of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BadAnswer {
    /// Its head is none: a status, a header name or value that does not exist.
    Head,
    /// An interim status that was not asked for.
    Interim,
    /// Header fields that belong to one connection.
    HopByHop,
    /// A cookie of the host's name.
    HostCookie,
    /// A content-length that is none, or not that of the body.
    ContentLength,
    /// A 101 to a protocol that was not offered.
    Upgrade,
}

/// Where what a plugin tells goes.
#[derive(Debug)]
pub(super) struct HostSide {
    plugin_id: Arc<str>,
    log: PluginLog,
    events: EventBus,
    /// One bit for each kind of bad answer that was told.
    told: AtomicU8,
}

impl HostSide {
    pub(super) fn new(setup: &LinkSetup) -> Arc<Self> {
        Arc::new(Self {
            plugin_id: setup.plugin_id.clone(),
            log: setup.log.clone(),
            events: setup.events.clone(),
            told: AtomicU8::new(0),
        })
    }

    /// Keeps a record that the plugin sent.
    pub(super) fn record(&self, record: &LogMessage) {
        self.log.record(None, record.level, &record.message, &record.fields);
    }

    /// Keeps a record of the link's own in the plugin's log.
    pub(super) fn warn(&self, message: &str, fields: &Map<String, Value>) {
        self.log.record(None, Level::Warn, message, fields);
    }

    /// Stores an event that the plugin sent, as `plugin.<name>`, unless it breaks a bound.
    pub(super) fn event(&self, event: EventMessage, gate: &mut EventGate) {
        let is_admitted = gate.admit(tokio::time::Instant::now());
        if !is_admitted {
            return;
        }
        self.tell_dropped(gate);
        if !is_event_name(&event.name) {
            self.warn("an event was dropped: its name is not [a-z0-9_.-]{1,64}", &Map::new());
        } else if details_len(&event.details) > MAX_EVENT_DETAILS {
            let fields = Map::from_iter([("event".to_owned(), Value::from(event.name))]);
            self.warn("an event was dropped: its details are larger than 8 KiB", &fields);
        } else {
            self.events.emit(&self.plugin_id, EventType::Plugin(event.name), event.details);
        }
    }

    /// Says in the plugin's log how many events its bound has cost, if any.
    pub(super) fn tell_dropped(&self, gate: &mut EventGate) {
        let dropped = gate.take_dropped();
        if dropped > 0 {
            let fields = Map::from_iter([("dropped".to_owned(), Value::from(dropped))]);
            self.warn("events were dropped: a plugin may tell 10 a second", &fields);
        }
    }

    pub(super) fn report_bad_answer(&self, kind: BadAnswer, what: &str) {
        let bit = 1 << kind as u8;
        if self.told.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            let details = Map::from_iter([("what".to_owned(), json!(what))]);
            self.events.emit(&self.plugin_id, EventType::BadAnswer, details);
        }
    }
}

fn details_len(details: &Map<String, Value>) -> usize {
    serde_json::to_string(details).map_or(usize::MAX, |text| text.len())
}
