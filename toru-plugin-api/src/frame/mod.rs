//! Bytes to frames and back (protocol section 1). No I/O, no JSON: a frame is routed by its fixed
//! prefix before anything in it is parsed.

pub mod head;
pub mod limits;

mod decode;
mod encode;
mod error;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use decode::Decoder;
pub use encode::{
    TransmitBuf, encode_credit, encode_data, encode_frame, encode_head, encode_message, encode_reset,
};
pub use error::FrameError;
pub use limits::Limits;

/// The first bytes that mark a frame: 0x01 to 0x3F belong to the protocol, 0x40 to 0x7F are reserved.
mod kind {
    pub(super) const DATA: u8 = 0x01;
    pub(super) const CREDIT: u8 = 0x02;
    pub(super) const RESET: u8 = 0x03;
    pub(super) const HEAD: u8 = 0x04;
    pub(super) const MESSAGE: u8 = b'{';
}

/// The number of a stream: the `request_id` of its messages and the stream field of its frames.
///
/// Odd numbers are opened by the host, even ones by the plugin; 0 is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// Why a stream was reset (protocol section 3). An unknown number is kept: it means what 3 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResetCode(pub u8);

impl ResetCode {
    /// Done: the rest is not wanted.
    pub const DONE: Self = Self(0);
    /// The one who asked has gone away.
    pub const CANCELLED: Self = Self(1);
    /// The answer took too long.
    pub const TIMED_OUT: Self = Self(2);
    /// The sender failed.
    pub const INTERNAL: Self = Self(3);
    /// Refused, and nothing was processed: it may be sent again.
    pub const REFUSED: Self = Self(4);
    /// A body or value was too large.
    pub const TOO_LARGE: Self = Self(5);
}

/// One frame, as decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A JSON message, whole: UTF-8 text that begins with `{`, not yet parsed.
    Message(Bytes),
    /// Body bytes of one direction of a stream.
    Data {
        /// The stream.
        stream: StreamId,
        /// The last frame of this direction.
        end: bool,
        /// The bytes; empty only with `end`.
        bytes: Bytes,
    },
    /// `n` more bytes may be sent on this stream.
    Credit {
        /// The stream.
        stream: StreamId,
        /// How many more bytes; never 0.
        n: u32,
    },
    /// The stream ends here.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: ResetCode,
    },
    /// An HTTP head in binary, not yet parsed: see [`head`].
    Head {
        /// The stream.
        stream: StreamId,
        /// The flags, all of them defined ones.
        flags: head::HeadFlags,
        /// What follows the stream number.
        bytes: Bytes,
    },
}
