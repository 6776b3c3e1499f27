//! What the peer started and the application has not taken.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use serde_json::{Map, Value};

use super::{
    State,
    slot::{StreamKey, register},
};
use crate::{frame::StreamId, message::lifecycle::Pong, proto::Event};

/// Log records and events that wait for the application; more are dropped and counted. A second of the
/// most that a host takes from one plugin.
const MAX_RECORDS: usize = 1_024;

/// What those records may hold in memory: a few messages of the largest size, so that a slow host does not pay for a plugin that
/// puts its megabyte into each.
const MAX_RECORD_BYTES: usize = 4 << 20;

/// In order, and without handles: these would lock again when they are dropped.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    events: VecDeque<Event>,
    records: usize,
    record_bytes: usize,
    dropped_records: u64,
    /// The latest pong, in whose place an empty one stands in `events`: how a plugin was before does not matter any more.
    pong: Option<Pong>,
    waker: Option<Waker>,
    abandoned: bool,
}

/// What the application takes.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub(in crate::driver) enum Taken {
    /// The peer started something; the stream that it opened, held once.
    Started(Event, Option<StreamKey>),
    /// So many records were dropped.
    Dropped(u64),
}

impl Inbox {
    /// Adds an event; gives back who waits for it.
    pub(super) fn push(&mut self, event: Event) -> Option<Waker> {
        if let Some(bytes) = record_bytes(&event) {
            if self.records >= MAX_RECORDS || self.record_bytes + bytes > MAX_RECORD_BYTES {
                self.dropped_records += 1;
                return self.waker.take();
            }
            self.records += 1;
            self.record_bytes += bytes;
        }
        let event = match event {
            Event::Pong(pong) => match self.pong.replace(pong) {
                None => Event::Pong(Pong::default()),
                Some(_) => return None,
            },
            event => event,
        };
        self.events.push_back(event);
        self.waker.take()
    }

    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Some(bytes) = record_bytes(&event) {
            self.records -= 1;
            self.record_bytes -= bytes;
        }
        Some(match event {
            Event::Pong(_) => Event::Pong(self.pong.take().expect("the one that this stands for")),
            event => event,
        })
    }

    /// Takes out what opened this stream.
    pub(super) fn remove(&mut self, id: StreamId) -> Option<Event> {
        let place = self.events.iter().position(|event| opened_stream(event) == Some(id))?;
        self.events.remove(place)
    }

    /// Whether the application takes nothing any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }
}

impl State {
    /// The next thing that the application has not taken. The count of dropped records comes after those that were kept.
    pub(in crate::driver) fn poll_incoming(&mut self, cx: &Context<'_>) -> Poll<Option<Taken>> {
        if let Some(event) = self.inbox.pop() {
            let key = opened_stream(&event).and_then(|id| self.handed_over(id));
            return Poll::Ready(Some(Taken::Started(event, key)));
        }
        match std::mem::take(&mut self.inbox.dropped_records) {
            0 if self.is_over() => Poll::Ready(None),
            0 => {
                register(&mut self.inbox.waker, cx);
                Poll::Pending
            }
            dropped => Poll::Ready(Some(Taken::Dropped(dropped))),
        }
    }

    fn handed_over(&mut self, id: StreamId) -> Option<StreamKey> {
        let slot = self.slots.get_mut(&id)?;
        slot.queued = false;
        slot.holders = 1;
        Some(StreamKey { id, generation: slot.generation })
    }

    /// The application takes nothing any more: what it has not taken is refused, and what comes will be.
    pub(in crate::driver) fn abandon_inbox(&mut self) {
        self.inbox.abandoned = true;
        while let Some(event) = self.inbox.pop() {
            if let Some(id) = opened_stream(&event) {
                self.slots.remove(&id);
            }
            self.refuse(&event);
        }
    }
}

/// What a record holds in memory; `None`: it is no record.
fn record_bytes(event: &Event) -> Option<usize> {
    match event {
        Event::Log(log) => Some(log.message.len() + map_bytes(&log.fields)),
        Event::Plugin(event) => Some(event.name.len() + map_bytes(&event.details)),
        _ => None,
    }
}

fn map_bytes(map: &Map<String, Value>) -> usize {
    map.iter().map(|(key, value)| key.len() + value_bytes(value)).sum()
}

/// As deep as the value, which the protocol bounds.
fn value_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(value_bytes).sum(),
            Value::Object(map) => map_bytes(map),
        }
}

/// The stream that the peer opened by this.
pub(super) fn opened_stream(event: &Event) -> Option<StreamId> {
    match *event {
        Event::Request { id, .. } | Event::KvCall { id, .. } => Some(id),
        _ => None,
    }
}
