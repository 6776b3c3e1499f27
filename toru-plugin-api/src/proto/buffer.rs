//! What arrived and was not yet read.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// DATA of fewer bytes is copied where some already waits, and joined with it. Else a peer that sends its window one byte at a
/// time would cost a handle of 32 bytes for each. Copying so few costs less than the system calls that bring them.
const JOINED_BELOW: usize = 4 << 10;

/// Bytes in order. What is read as soon as it comes is passed on as it came, and so are large chunks unless they wait for long.
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
        // An END alone brings none.
        if bytes.is_empty() {
            return false;
        }
        if bytes.len() < JOINED_BELOW && !self.is_empty() {
            if self.joined.is_empty() {
                self.begin_to_join();
            }
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

    /// A last chunk that is as small is the first of those that are joined.
    fn begin_to_join(&mut self) {
        if self.chunks.back().is_some_and(|last| last.bytes.len() < JOINED_BELOW) {
            let first = self.chunks.pop_back().expect("there is a last chunk");
            self.joined.extend_from_slice(&first.bytes);
        }
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
    fn small_chunks_that_wait_do_not_keep_the_buffer_that_they_were_read_into() {
        let mut read = BytesMut::zeroed(256 << 10);
        let mut buffer = Buffer::default();
        assert!(
            buffer.push(read.split_to(JOINED_BELOW - 1).freeze()),
            "who reads at once gets it without a copy"
        );
        assert!(!buffer.push(read.split_to(1).freeze()));
        read.clear();
        assert!(read.try_reclaim(256 << 10));
        assert_eq!(buffer.pop().map(|bytes| bytes.len()), Some(JOINED_BELOW));
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
