//! Who broke what.

use crate::{
    frame::{FrameError, StreamId},
    message::MessageError,
};

/// Why a connection ended by itself. All are the peer's doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// Bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A text that is no message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The first frame is not `init`.
    #[error("the host began with {0} where init belongs")]
    NotInit(&'static str),
    /// Between `init` and the answer to it, something other than what is allowed there.
    #[error("the peer sent {0} before ready")]
    BeforeReady(&'static str),
    /// `init` or `ready` names another version than the one in force.
    #[error("the peer speaks version {got} of the protocol where {expected} is in force")]
    Version {
        /// The version in force.
        expected: u32,
        /// What the peer said.
        got: u32,
    },
    /// A frame for a stream that its opener has not opened.
    #[error("the peer sent {what} for stream {}, which is not open yet", .id.0)]
    NotOpened {
        /// The stream.
        id: StreamId,
        /// The frame.
        what: &'static str,
    },
    /// DATA, a HEAD or a message for a stream that has ended.
    #[error("the peer sent {what} for stream {}, which has ended", .id.0)]
    Forgotten {
        /// The stream.
        id: StreamId,
        /// The frame.
        what: &'static str,
    },
    /// A stream is opened by the wrong side.
    #[error("the peer opened stream {}, whose number is for this side to open", .0.0)]
    Parity(StreamId),
    /// A stream is opened while it is open.
    #[error("the peer opened stream {} twice", .0.0)]
    InUse(StreamId),
    /// More streams than `max_streams`.
    #[error("the peer opened more than {0} streams at once")]
    TooManyStreams(u32),
    /// DATA before the head of its direction.
    #[error("the peer sent DATA on stream {} before a head", .0.0)]
    DataBeforeHead(StreamId),
    /// DATA after the end of its direction.
    #[error("the peer sent DATA on stream {} after the end of that direction", .0.0)]
    DataAfterEnd(StreamId),
    /// A second head or message in one direction.
    #[error("the peer sent a second head on stream {}", .0.0)]
    SecondHead(StreamId),
    /// More DATA than the credit allows.
    #[error("the peer sent more on stream {} than its credit allows", .0.0)]
    CreditPassed(StreamId),
    /// More credit than a window can hold.
    #[error("the peer's credit for stream {} adds up to more than 2^31 - 1", .0.0)]
    CreditOverflow(StreamId),
    /// A use of a feature that is not in force.
    #[error("the peer used the feature {0:?}, which is not in force")]
    FeatureNotInForce(&'static str),
    /// The peer forces frames and does not read them.
    #[error("the peer does not read what it forces this side to send")]
    PeerDoesNotRead,
}

impl ConnectionError {
    /// The stable name of the cause, as the test vectors and events use it.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Frame(error) => error.cause(),
            Self::Message(error) => error.cause(),
            Self::NotInit(_) => "not_init",
            Self::BeforeReady(_) => "before_ready",
            Self::Version { .. } => "version",
            Self::NotOpened { .. } => "stream_not_opened",
            Self::Forgotten { .. } => "stream_forgotten",
            Self::Parity(_) => "stream_parity",
            Self::InUse(_) => "stream_in_use",
            Self::TooManyStreams(_) => "too_many_streams",
            Self::DataBeforeHead(_) => "data_before_head",
            Self::DataAfterEnd(_) => "data_after_end",
            Self::SecondHead(_) => "second_head",
            Self::CreditPassed(_) => "credit_passed",
            Self::CreditOverflow(_) => "credit_overflow",
            Self::FeatureNotInForce(_) => "feature_not_in_force",
            Self::PeerDoesNotRead => "peer_does_not_read",
        }
    }
}

/// Why no stream could be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Before `ready`, or after the end.
    #[error("the connection is not open")]
    NotOpen,
    /// Plugin: a request to a host that takes none: the feature `http-out` is not in force.
    #[error("the host takes no requests from plugins")]
    NotOffered,
    /// The peer's `max_streams` are open.
    #[error("the peer accepts no more streams at once")]
    Full,
    /// The peer drains or this side shuts down.
    #[error("the connection takes no new streams")]
    Draining,
    /// The head or inline body does not fit the peer's `max_message`.
    #[error("the message is larger than the peer accepts")]
    TooLarge,
    /// A streamed body for a peer without `streams`.
    #[error("the peer takes no streamed bodies")]
    NoStreams,
    /// Plugin: an upgrade, which no host takes from a plugin.
    #[error("a host takes no upgrade from a plugin")]
    NoUpgrade,
}

/// The stream has ended or was reset: the command had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream has ended")]
pub struct StreamGone;
