//! The table of streams.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::stream::Stream;
use crate::frame::StreamId;

/// A map by stream number. It hashes by one multiplication, because every frame is looked up: who picks numbers which
/// collide gains little, for the streams of a connection are bounded by `max_streams`.
pub(crate) type StreamMap<T> = HashMap<StreamId, T, BuildHasherDefault<NumberHasher>>;

/// All streams that the wire or the application still knows, by number.
#[derive(Debug, Default)]
pub(super) struct Streams {
    table: StreamMap<Stream>,
    own: usize,
    peer: usize,
    most_own: usize,
}

impl Streams {
    /// Streams that this side opened and the wire has not forgotten.
    pub(super) fn own(&self) -> usize {
        self.own
    }

    /// Streams that the peer opened and the wire has not forgotten.
    pub(super) fn peer(&self) -> usize {
        self.peer
    }

    /// The most streams of this side that were open at once.
    pub(super) fn most_own(&self) -> usize {
        self.most_own
    }

    pub(super) fn contains(&self, id: StreamId) -> bool {
        self.table.contains_key(&id)
    }

    pub(super) fn insert(&mut self, id: StreamId, own: bool, stream: Stream) -> &mut Stream {
        *self.count(own) += 1;
        self.most_own = self.most_own.max(self.own);
        self.table.entry(id).insert_entry(stream).into_mut()
    }

    /// A stream, though only the application may still know it.
    pub(super) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.table.get(&id)
    }

    /// A stream, though only the application may still know it.
    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.table.get_mut(&id)
    }

    /// A stream that the wire knows.
    pub(super) fn open_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.table.get_mut(&id).filter(|stream| !stream.closed)
    }

    /// The wire forgets the stream; it leaves its place in `max_streams`.
    pub(super) fn close(&mut self, id: StreamId, own: bool) {
        if let Some(stream) = self.open_mut(id) {
            stream.closed = true;
            *self.count(own) -= 1;
        }
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<Stream> {
        self.table.remove(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        self.table.iter().map(|(&id, stream)| (id, stream))
    }

    pub(super) fn ids(&self) -> Vec<StreamId> {
        self.table.keys().copied().collect()
    }

    fn count(&mut self, own: bool) -> &mut usize {
        if own { &mut self.own } else { &mut self.peer }
    }
}

/// Spreads stream numbers by one multiplication.
#[derive(Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        // 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming, 6.4).
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
