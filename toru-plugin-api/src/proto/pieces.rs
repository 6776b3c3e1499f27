//! Which streams hold pieces of the read buffers.

use std::vec::Drain;

use crate::frame::StreamId;

/// The most streams that are kept of one buffer. A large one has fewer chunks that are kept as they came; past it counts as another
/// buffer.
const MAX_KEPT: usize = 1_024;

/// The streams on which chunks came that were kept without a copy: in the buffer that is read into, and in the one before.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    newer: Vec<StreamId>,
    older: Vec<StreamId>,
}

impl Pieces {
    /// A chunk was kept. True: it is time for [`next_buffer`](Self::next_buffer).
    #[must_use]
    pub(super) fn kept(&mut self, id: StreamId) -> bool {
        // A stream whose chunks follow each other is there already.
        if self.newer.last() != Some(&id) {
            self.newer.push(id);
        }
        self.newer.len() == MAX_KEPT
    }

    /// Another buffer is read into. Gives the streams whose pieces have had their time.
    pub(super) fn next_buffer(&mut self) -> Drain<'_, StreamId> {
        std::mem::swap(&mut self.newer, &mut self.older);
        self.newer.drain(..)
    }
}
