//! Every number that bounds a frame, with its reason.

/// What one side accepts, as told in `init` and `ready` (protocol section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of DATA that may be unacknowledged per stream and direction, 1 to 2^31 - 1.
    pub window: u32,
    /// Streams that the peer may have open at once, 1 to 2^31 - 1.
    pub max_streams: u32,
    /// The largest payload of a JSON or HEAD frame, at least 65,536.
    pub max_message: u32,
    /// The most bytes of one DATA frame after its 6-byte prefix, at least 1,024.
    pub max_data: u32,
}

impl Limits {
    /// What holds before `ready`, and for every number that a side does not name.
    pub const DEFAULT: Self =
        Self { window: 65_536, max_streams: 1_024, max_message: 1_048_576, max_data: 262_144 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The largest payload of a version 1 message: 16 MiB, given by the original protocol.
pub const V1_MAX_MESSAGE: u32 = 16 << 20;
/// The deepest nesting of JSON: enough for every message, shallow enough for any stack.
pub const MAX_JSON_DEPTH: usize = 64;
/// The bytes of a DATA frame before its data: kind, flags, stream.
pub const DATA_PREFIX: usize = 6;
/// The most bytes of an inline body, or of the values of one KV message, decoded.
pub const MAX_INLINE: usize = 512 << 10;
/// The most bytes of the head part of a HEAD frame.
pub const MAX_HEAD: usize = 64 << 10;
/// The longest payload of a JSON or HEAD frame that a peer may refuse to go below.
pub const MIN_MAX_MESSAGE: u32 = 65_536;
/// The least `max_data` that a peer may name.
pub const MIN_MAX_DATA: u32 = 1_024;
/// The largest window, `max_streams` and credit sum.
pub const MAX_WINDOW: u32 = (1 << 31) - 1;
/// The bytes of a frame's length field.
pub const LENGTH_PREFIX: usize = 4;
/// [`DATA_PREFIX`] as a length on the wire; HEAD frames have the same prefix.
pub(super) const BINARY_PREFIX: u32 = 6;
/// The payload of a CREDIT: kind, flags, stream, n.
pub(super) const CREDIT_LENGTH: u32 = 10;
/// The payload of a RESET: kind, code, stream.
pub(super) const RESET_LENGTH: u32 = 6;
