//! What the peer started and the application has not taken.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use super::{
    State,
    slot::{StreamKey, register},
};
use crate::{frame::StreamId, proto::Event};

/// Log records and events that wait for the application; more are dropped and counted. A second of the
/// most that a host takes from one plugin.
const MAX_RECORDS: usize = 1_024;

/// In order, and without handles: these would lock again when they are dropped.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    events: VecDeque<Event>,
    records: usize,
    dropped_records: u64,
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
        if is_record(&event) {
            if self.records >= MAX_RECORDS {
                self.dropped_records += 1;
                return None;
            }
            self.records += 1;
        }
        self.events.push_back(event);
        self.waker.take()
    }

    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.records -= usize::from(is_record(&event));
        Some(event)
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

fn is_record(event: &Event) -> bool {
    matches!(event, Event::Log(_) | Event::Plugin(_))
}

/// The stream that the peer opened by this.
pub(super) fn opened_stream(event: &Event) -> Option<StreamId> {
    match *event {
        Event::Request { id, .. } | Event::KvCall { id, .. } => Some(id),
        _ => None,
    }
}
