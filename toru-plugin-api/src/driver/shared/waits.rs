//! What is waited for that concerns no stream alone: room in the queue, a place for one more stream, idleness.
//!
//! Who finds none says so under the lock, so that what comes is told however soon it goes again, and nothing is told
//! that nobody waits for.

use super::State;

/// What some have found wanting since it was last told.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    room: bool,
    place: bool,
    idle: bool,
}

/// What has come of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver) struct Arrived {
    /// A message may be queued, or a stream opened.
    pub(in crate::driver) room: bool,
    /// No stream is open.
    pub(in crate::driver) idle: bool,
}

impl State {
    /// Whether a message may be queued; if not, who asks is told when one may.
    pub(in crate::driver) fn finds_room(&mut self) -> bool {
        let found = self.connection.has_room();
        self.awaited.room |= !found;
        found
    }

    /// Whether the peer's limit leaves a place for one more stream; if not, who asks is told when there is one.
    pub(in crate::driver) fn finds_place(&mut self) -> bool {
        let found = !self.connection.is_full();
        self.awaited.place |= !found;
        found
    }

    /// Whether no stream is open; if not, who asks is told when that is so.
    pub(in crate::driver) fn finds_idle(&mut self) -> bool {
        let found = self.connection.open_streams() == 0;
        self.awaited.idle |= !found;
        found
    }

    /// What has come that is waited for, once.
    pub(in crate::driver) fn take_arrived(&mut self) -> Arrived {
        let Awaited { room, place, idle } = self.awaited;
        let room = room && self.connection.has_room();
        let place = place && !self.connection.is_full();
        let idle = idle && self.connection.open_streams() == 0;
        self.awaited.room &= !room;
        self.awaited.place &= !place;
        self.awaited.idle &= !idle;
        Arrived { room: room || place, idle }
    }
}
