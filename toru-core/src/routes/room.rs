//! Room for the bodies that are collected for a plugin: apart from the places on its links, so that a client that is slow to send its body
//! keeps nobody from the plugin.

use std::sync::atomic::AtomicUsize;

use tokio::sync::{Semaphore, SemaphorePermit};

/// What room is given in: what a body of unknown length begins with, and grows by.
const PIECE: usize = 64 << 10;

/// What the bodies hold together that are collected for one plugin, in pieces: 64 MiB, which are four of the largest of version 1, 128 of
/// a version 2 plugin that takes no streams, and a thousand of clients that send nothing.
const PIECES: usize = (64 << 20) / PIECE;

/// The room of one plugin.
#[derive(Debug)]
pub(super) struct Collecting {
    pub(super) pieces: Semaphore,
    /// The bodies that wait for their first piece.
    pub(super) waiting: AtomicUsize,
}

impl Collecting {
    pub(super) fn new() -> Self {
        Self { pieces: Semaphore::new(PIECES), waiting: AtomicUsize::new(0) }
    }
}

/// The room of one body, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    of: &'a Collecting,
    held: SemaphorePermit<'a>,
}

/// The other bodies hold all that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl<'a> Room<'a> {
    pub(super) fn new(of: &'a Collecting, held: SemaphorePermit<'a>) -> Self {
        Self { of, held }
    }

    /// Takes as much as a body of so many bytes needs. It does not wait: what is here already would keep others waiting.
    ///
    /// # Errors
    /// There is not as much.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let missing = bytes.div_ceil(PIECE).saturating_sub(self.held.num_permits());
        if missing > 0 {
            let missing = u32::try_from(missing).map_err(|_| NoRoom)?;
            self.held.merge(self.of.pieces.try_acquire_many(missing).map_err(|_| NoRoom)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_takes_room_as_it_grows_and_gives_all_of_it_back() {
        let collecting = Collecting::new();
        let begin = || Room::new(&collecting, collecting.pieces.try_acquire().unwrap());
        let mut room = begin();
        room.grow_to(PIECE).unwrap();
        assert_eq!(collecting.pieces.available_permits(), PIECES - 1);
        room.grow_to(PIECE + 1).unwrap();
        assert_eq!(collecting.pieces.available_permits(), PIECES - 2);
        let mut other = begin();
        other.grow_to((PIECES - 2) * PIECE).unwrap();
        assert_eq!(room.grow_to(2 * PIECE + 1), Err(NoRoom));
        drop(other);
        room.grow_to(2 * PIECE + 1).unwrap();
        assert_eq!(room.grow_to(usize::MAX), Err(NoRoom));
        drop(room);
        assert_eq!(collecting.pieces.available_permits(), PIECES);
    }
}
