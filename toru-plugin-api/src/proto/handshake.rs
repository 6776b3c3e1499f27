//! The start of a link (protocol section 2): what may come before streams are open.
//!
//! ```text
//!   host     AwaitReady ────── ready ──────► Done
//!               └───────────── failed ─────► Refused
//!
//!   plugin   AwaitInit ─ init ► Deciding ─── ready ──► Done
//!                                  └──────── failed ─► Refused
//! ```

use super::{ConnectionError, Side};
use crate::{frame::Frame, message::Parsed};

/// The version that a [`Connection`](super::Connection) speaks.
pub(super) const PROTOCOL: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handshake {
    /// Host: `init` is on its way.
    AwaitReady,
    /// Plugin: nothing has come.
    AwaitInit,
    /// Plugin: `init` has come, the application decides.
    Deciding,
    /// Streams are open.
    Done,
    /// The plugin refused to run.
    Refused,
}

impl Handshake {
    pub(super) fn start(side: Side) -> Self {
        match side {
            Side::Host => Self::AwaitReady,
            Side::Plugin => Self::AwaitInit,
        }
    }

    /// Whether this side may make calls: a plugin may from `init` on.
    pub(super) fn allows_calls(self) -> bool {
        matches!(self, Self::Deciding | Self::Done)
    }

    /// Whether a frame other than a message may come now.
    pub(super) fn check_frame(self, frame: &Frame) -> Result<(), ConnectionError> {
        match (self, frame) {
            (Self::Done | Self::Refused, _) | (_, Frame::Message(_)) => Ok(()),
            (Self::AwaitInit, _) => Err(ConnectionError::NotInit(frame_name(frame))),
            // The host may end a KV call that the plugin made.
            (Self::Deciding, Frame::Reset { .. }) => Ok(()),
            (Self::AwaitReady | Self::Deciding, _) => Err(ConnectionError::BeforeReady(frame_name(frame))),
        }
    }

    /// Whether a message may come now.
    pub(super) fn check_message(self, message: &Parsed) -> Result<(), ConnectionError> {
        let allowed = match self {
            Self::Done | Self::Refused => true,
            Self::AwaitInit => {
                let Parsed::Init(_) = message else {
                    return Err(ConnectionError::NotInit(message_name(message)));
                };
                true
            }
            Self::AwaitReady => match message {
                Parsed::Ready(_) | Parsed::Failed(_) => true,
                Parsed::Log(_) | Parsed::Event(_) | Parsed::KvCall { .. } => true,
                // An event that the host does not take is parsed as unknown; it is still an event.
                Parsed::Unknown { id: None, what } => what.starts_with("event "),
                _ => false,
            },
            Self::Deciding => matches!(message, Parsed::KvAnswer { .. } | Parsed::Shutdown(_)),
        };
        if allowed { Ok(()) } else { Err(ConnectionError::BeforeReady(message_name(message))) }
    }
}

/// Checks the version that the peer names.
pub(super) fn check_version(got: u32) -> Result<(), ConnectionError> {
    if got == PROTOCOL { Ok(()) } else { Err(ConnectionError::Version { expected: PROTOCOL, got }) }
}

/// What errors call a frame.
pub(super) fn frame_name(frame: &Frame) -> &'static str {
    match frame {
        Frame::Message(_) => "a message",
        Frame::Data { .. } => "DATA",
        Frame::Credit { .. } => "CREDIT",
        Frame::Reset { .. } => "RESET",
        Frame::Head { .. } => "HEAD",
    }
}

/// What errors and [`Event::Unknown`](super::Event::Unknown) call a message.
pub(super) fn message_name(message: &Parsed) -> &'static str {
    match message {
        Parsed::Init(_) => "init",
        Parsed::Ready(_) => "ready",
        Parsed::Failed(_) => "failed",
        Parsed::Ping => "a ping",
        Parsed::Pong(_) => "a pong",
        Parsed::Draining(_) => "draining",
        Parsed::Shutdown(_) => "shutdown",
        Parsed::Log(_) => "a log record",
        Parsed::Event(_) => "an event",
        Parsed::Request { .. } => "a request",
        Parsed::Response { .. } => "an answer",
        Parsed::KvCall { .. } => "a KV call",
        Parsed::KvAnswer { .. } => "a KV answer",
        Parsed::Unknown { .. } => "an unknown message",
    }
}
