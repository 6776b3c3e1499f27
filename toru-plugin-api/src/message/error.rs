//! Why a text is not a message.

/// Why the text of a message frame is no message. A protocol error: the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Bytes that are not UTF-8.
    #[error("the peer sent a message that is not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// The first bad byte.
        at: usize,
    },
    /// Text that is not JSON, or does not begin with `{`.
    #[error("the peer sent a message that is not JSON: at byte {at} {expected} was expected")]
    NotJson {
        /// What would have been right.
        expected: &'static str,
        /// Where.
        at: usize,
    },
    /// Nested deeper than [`MAX_JSON_DEPTH`](crate::frame::limits::MAX_JSON_DEPTH).
    #[error("the peer sent a message that is nested more than 64 deep")]
    TooDeep,
    /// Half a surrogate pair.
    #[error("the peer sent a message with a lone surrogate at byte {at}")]
    LoneSurrogate {
        /// The first hex digit.
        at: usize,
    },
    /// A key of the protocol that stands twice in one object.
    #[error("the peer sent a message that holds {0:?} twice")]
    RepeatedKey(&'static str),
    /// A field that must be there.
    #[error("the peer sent a message without {0:?}")]
    MissingField(&'static str),
    /// A field of another type.
    #[error("the peer sent a message whose {field:?} is not {expected}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// A `request_id` that is no stream number in canonical decimal, 1 to 4294967295.
    #[error("the peer sent a message whose request_id is no stream number in canonical decimal")]
    BadRequestId,
    /// More than one of `body`, `body_base64` and `body_stream`.
    #[error("the peer sent a message with more than one form of body")]
    TwoBodies,
    /// An offered upgrade, or a 101, with a body.
    #[error("the peer sent an upgrade with a body")]
    UpgradeWithBody,
    /// A body that is not base64 as RFC 4648 section 4 has it, with padding.
    #[error("the peer sent a body_base64 that is not base64 (RFC 4648, 4)")]
    BadBase64,
    /// An inline body above [`MAX_INLINE`](crate::frame::limits::MAX_INLINE).
    #[error("the peer sent an inline body of {0} bytes where 524288 are accepted")]
    InlineTooLarge(usize),
    /// A number of `init` or `ready` outside of its range: the handshake fails.
    #[error("the peer named a {field} of {value}, which is out of range")]
    LimitOutOfRange {
        /// Which number.
        field: &'static str,
        /// What it was.
        value: u64,
    },
}

impl MessageError {
    /// The stable name of the cause, as the test vectors and events use it.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::NotUtf8 { .. } => "not_utf8",
            Self::NotJson { .. } => "not_json",
            Self::TooDeep => "too_deep",
            Self::LoneSurrogate { .. } => "lone_surrogate",
            Self::RepeatedKey(_) => "repeated_key",
            Self::MissingField(_) => "missing_field",
            Self::WrongType { .. } => "wrong_type",
            Self::BadRequestId => "bad_request_id",
            Self::TwoBodies => "two_bodies",
            Self::UpgradeWithBody => "upgrade_with_body",
            Self::BadBase64 => "bad_base64",
            Self::InlineTooLarge(_) => "inline_too_large",
            Self::LimitOutOfRange { .. } => "limit_out_of_range",
        }
    }
}
