//! Why bytes are not a frame.

/// Why the bytes are not a frame. Every one of these is the peer's protocol error: the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A length of 0: there is no frame without its first byte.
    #[error("the peer sent a frame of length 0")]
    LengthZero,
    /// A length above what this side accepts for this kind of frame, or for any.
    #[error("the peer sent a frame of {length} bytes where {limit} are accepted")]
    TooLong {
        /// The declared length.
        length: u32,
        /// What was accepted.
        limit: u32,
    },
    /// A first byte that marks no frame of this version.
    #[error("the peer sent a frame of the unknown kind {0:#04x}")]
    UnknownKind(u8),
    /// A CREDIT, RESET, DATA or HEAD frame that cannot have this length.
    #[error("the peer sent a frame of kind {kind:#04x} with the impossible length {length}")]
    WrongLength {
        /// The first byte.
        kind: u8,
        /// The declared length.
        length: u32,
    },
    /// A flag bit that has no meaning yet.
    #[error("the peer set undefined bits in the flags {flags:#04x} of a frame of kind {kind:#04x}")]
    UndefinedFlags {
        /// The first byte.
        kind: u8,
        /// All flags.
        flags: u8,
    },
    /// HEAD flags that exclude each other: no body and a whole one, or an upgrade and either.
    #[error("the peer sent a HEAD whose flags {0:#04x} exclude each other")]
    ConflictingFlags(u8),
    /// Stream 0, which is not used.
    #[error("the peer sent a frame for stream 0")]
    StreamZero,
    /// DATA that holds nothing and ends nothing.
    #[error("the peer sent an empty DATA without END")]
    EmptyData,
    /// CREDIT of 0 bytes.
    #[error("the peer sent a CREDIT of 0")]
    CreditZero,
    /// A message that is not UTF-8.
    #[error("the peer sent a message that is not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// The first bad byte, counted from the start of the payload.
        at: usize,
    },
    /// The peer closed the connection inside a frame.
    #[error("the peer closed the connection {have} bytes into a frame")]
    EofInsideFrame {
        /// The bytes of the frame that had arrived, its length field among them.
        have: usize,
    },
    /// A HEAD that ends inside its head part.
    #[error("the peer sent a HEAD that ends inside its {field}")]
    HeadCutShort {
        /// What was being read.
        field: &'static str,
    },
    /// A HEAD whose head part passes [`MAX_HEAD`](super::limits::MAX_HEAD).
    #[error("the peer sent a HEAD whose head part is larger than 64 KiB")]
    HeadTooLarge,
    /// Bytes after the head part of a HEAD that does not hold its body.
    #[error("the peer sent a HEAD with {0} bytes after its head part, but without the flag for a body")]
    HeadTrailingBytes(usize),
    /// The flag for an answer on a request, or none on an answer.
    #[error("the peer sent a HEAD whose flags {0:#04x} are those of the other direction")]
    HeadDirection(u8),
    /// A 101 without the upgrade flag, or the flag on another status.
    #[error("the peer sent a HEAD of status {0} whose upgrade flag says otherwise")]
    UpgradeMismatch(u16),
    /// An inline body above [`MAX_INLINE`](super::limits::MAX_INLINE).
    #[error("the peer sent an inline body of {0} bytes where 524288 are accepted")]
    InlineTooLarge(usize),
}

impl FrameError {
    /// The stable name of the cause, as the test vectors and events use it.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::LengthZero => "length_zero",
            Self::TooLong { .. } => "too_long",
            Self::UnknownKind(_) => "unknown_kind",
            Self::WrongLength { .. } => "wrong_length",
            Self::UndefinedFlags { .. } => "undefined_flags",
            Self::ConflictingFlags(_) => "conflicting_flags",
            Self::StreamZero => "stream_zero",
            Self::EmptyData => "empty_data",
            Self::CreditZero => "credit_zero",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::EofInsideFrame { .. } => "eof_inside_frame",
            Self::HeadCutShort { .. } => "head_cut_short",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTrailingBytes(_) => "head_trailing_bytes",
            Self::HeadDirection(_) => "head_direction",
            Self::UpgradeMismatch(_) => "upgrade_mismatch",
            Self::InlineTooLarge(_) => "inline_too_large",
        }
    }
}
