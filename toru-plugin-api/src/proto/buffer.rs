//! What arrived and was not yet read.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// DATA of fewer bytes is copied, and joined with what already waits. Else a peer that sends its window one byte at a time
/// would cost a handle of 32 bytes for each, and keep alive every read buffer that a byte came in. Copying so few costs less
/// than the system calls that bring them.
const JOINED_BELOW: usize = 4 << 10;

/// Bytes in order. Large chunks are passed on as they came, without a copy, unless they wait for long.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    chunks: VecDeque<Chunk>,
    /// Small chunks, joined; they come after `chunks`.
    joined: BytesMut,
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// It is a piece of a read buffer.
    is_piece: bool,
}

impl Buffer {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.joined.is_empty()
    }

    /// True: the chunk is kept as it came, and with it the buffer that it was read into.
    pub(super) fn push(&mut self, bytes: Bytes) -> bool {
        if bytes.len() < JOINED_BELOW {
            self.joined.extend_from_slice(&bytes);
            return false;
        }
        if !self.joined.is_empty() {
            let bytes = std::mem::take(&mut self.joined).freeze();
            self.chunks.push_back(Chunk { bytes, is_piece: false });
        }
        self.chunks.push_back(Chunk { bytes, is_piece: true });
        true
    }

    /// Copies what still waits, so that it keeps no read buffer.
    pub(super) fn let_go(&mut self) {
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.is_piece) {
            *chunk = Chunk { bytes: Bytes::copy_from_slice(&chunk.bytes), is_piece: false };
        }
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.chunks
            .pop_front()
            .map(|chunk| chunk.bytes)
            .or_else(|| (!self.joined.is_empty()).then(|| std::mem::take(&mut self.joined).freeze()))
    }

    /// Drops everything; gives how much it was.
    pub(super) fn clear(&mut self) -> usize {
        let Self { chunks, joined } = std::mem::take(self);
        chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>() + joined.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_bytes_are_joined() {
        let mut buffer = Buffer::default();
        for n in 0..=255_u8 {
            buffer.push(Bytes::copy_from_slice(&[n]));
        }
        assert!(buffer.chunks.is_empty());
        let read: Vec<u8> = std::iter::from_fn(|| buffer.pop()).flatten().collect();
        assert_eq!(read, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn a_small_chunk_does_not_keep_the_buffer_that_it_was_read_into() {
        let mut read = BytesMut::zeroed(256 << 10);
        let mut buffer = Buffer::default();
        buffer.push(read.split_to(JOINED_BELOW - 1).freeze());
        read.clear();
        assert!(read.try_reclaim(256 << 10));
        assert_eq!(buffer.pop().map(|bytes| bytes.len()), Some(JOINED_BELOW - 1));
    }

    #[test]
    fn order_holds_between_small_and_large_chunks() {
        let mut buffer = Buffer::default();
        let sizes = [1, 2, JOINED_BELOW, 3, 4, JOINED_BELOW + 1, 5];
        for (n, size) in (0_u8..).zip(sizes) {
            buffer.push(Bytes::from(vec![n; size]));
        }
        let read: Vec<u8> = std::iter::from_fn(|| buffer.pop()).flatten().collect();
        let sent: Vec<u8> = (0_u8..).zip(sizes).flat_map(|(n, size)| vec![n; size]).collect();
        assert!(read == sent);
    }

    #[test]
    fn clearing_tells_how_much_was_dropped() {
        let mut buffer = Buffer::default();
        buffer.push(Bytes::from_static(b"ab"));
        buffer.push(Bytes::from_static(b"c"));
        assert_eq!(buffer.clear(), 3);
        assert!(buffer.is_empty());
    }
}
