//! Who broke what.

use crate::{frame::FrameError, message::MessageError};

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
    // the protocol's owner fills in the rest: one variant per cause of sections 2, 3, 6, each with a stable `cause()` name
}

/// Why no stream could be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Before `ready`, or after the end.
    #[error("the connection is not open")]
    NotOpen,
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
}

/// The stream has ended or was reset: the command had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream has ended")]
pub struct StreamGone;
