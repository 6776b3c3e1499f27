//! Bytes to frames.

use bytes::BytesMut;

use super::Frame;

/// Cuts frames off the front of a buffer. Holds only the limits: the bytes stay with the caller.
#[derive(Debug, Clone)]
pub struct Decoder {
    max_message: u32,
    max_data: u32,
    binary: bool,
}

/// Why the bytes are not a frame. Every one of these is a protocol error: the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    // the codec's owner fills this in: one variant per cause, each with a stable `cause()` name
}

impl Decoder {
    /// A decoder for version 2 that accepts messages and data up to these sizes.
    #[must_use]
    pub fn new(max_message: u32, max_data: u32) -> Self {
        Self { max_message, max_data, binary: true }
    }

    /// A decoder for version 1: JSON messages only, up to 16 MiB.
    #[must_use]
    pub fn v1() -> Self {
        Self { max_message: super::limits::V1_MAX_MESSAGE, max_data: 0, binary: false }
    }

    /// Takes the next whole frame off the front of `input`, without copying its bytes.
    /// `None`: more bytes are needed. Never reserves memory for a length that has not arrived.
    ///
    /// # Errors
    /// The first frame is no frame; the same error whatever way the bytes were split.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let _ = (input, self.max_message, self.max_data, self.binary);
        todo!("codec")
    }
}
