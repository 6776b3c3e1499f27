//! The messages of version 2, one file per conversation, and the shapes of version 1 apart.
//!
//! [`parse`] turns the text of a message frame into a [`Parsed`]; every type has an `encode`.

pub mod event;
pub mod http;
pub mod kv;
pub mod lifecycle;
pub mod log;
pub mod v1;

mod envelope;
mod error;
mod fields;
mod headers;
mod inline;
mod json;
mod source;
#[cfg(test)]
mod tests;

use crate::frame::StreamId;

pub use envelope::parse;
pub(crate) use envelope::parse_frame;
pub use error::MessageError;
pub use headers::KnownNames;
pub(crate) use headers::append as append_header;
pub(crate) use source::RequestMemory;

/// A version 2 message, as either side may receive it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Parsed {
    /// Host: the first message of a link.
    Init(Box<lifecycle::Init>),
    /// Plugin: the answer to `init`.
    Ready(lifecycle::Ready),
    /// Plugin: it refuses to run.
    Failed(lifecycle::Failed),
    /// Are you there?
    Ping,
    /// The answer to a ping.
    Pong(lifecycle::Pong),
    /// Plugin: no new streams, a successor is wanted.
    Draining(lifecycle::Draining),
    /// Host: finish what is in flight and exit.
    Shutdown(lifecycle::Shutdown),
    /// A log record from the plugin.
    Log(log::LogMessage),
    /// An event from the plugin.
    Event(event::EventMessage),
    /// Opens a stream with an HTTP request. A head that is no HTTP head is the stream's error, not the link's.
    Request {
        /// The stream.
        id: StreamId,
        /// The head, or what is wrong with it.
        head: Result<http::RequestHead, http::HeadError>,
        /// How its body comes.
        body: http::Framing,
    },
    /// Answers an HTTP request.
    Response {
        /// The stream.
        id: StreamId,
        /// The head, or what is wrong with it.
        head: Result<http::ResponseHead, http::HeadError>,
        /// How its body comes.
        body: http::Framing,
    },
    /// Opens a stream with a KV call.
    KvCall {
        /// The stream.
        id: StreamId,
        /// The call, or the error it is to be answered with (`invalid`, `too_large`, `unknown_action`).
        call: Result<kv::KvCall, kv::KvError>,
    },
    /// Answers a KV call.
    KvAnswer {
        /// The stream.
        id: StreamId,
        /// The answer, or the error it holds.
        answer: Result<kv::KvAnswer, kv::KvError>,
    },
    /// A type or action that is not known here.
    Unknown {
        /// Its `request_id`, when it has one.
        id: Option<StreamId>,
        /// `type` and `action` as they came, cut to 64 characters each.
        what: String,
    },
}

impl Parsed {
    /// Appends the message again, as this side would write it. False, and nothing appended: what came was
    /// no whole message, so there is nothing to write (a head or call that is none, or something unknown).
    pub fn encode(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Init(init) => init.encode(out),
            Self::Ready(ready) => ready.encode(out),
            Self::Failed(failed) => failed.encode(out),
            Self::Ping => lifecycle::encode_ping(out),
            Self::Pong(pong) => pong.encode(out),
            Self::Draining(draining) => draining.encode(out),
            Self::Shutdown(shutdown) => shutdown.encode(out),
            Self::Log(log) => log.encode(out),
            Self::Event(event) => event.encode(out),
            Self::Request { id, head: Ok(head), body } => http::encode_request(out, *id, head, body),
            Self::Response { id, head: Ok(head), body } => http::encode_response(out, *id, head, body),
            Self::KvCall { id, call: Ok(call) } => kv::encode_call(out, *id, call),
            Self::KvAnswer { id, answer: Ok(answer) } => kv::encode_answer(out, *id, answer),
            Self::KvAnswer { id, answer: Err(error) } => kv::encode_error(out, *id, error),
            Self::Request { .. } | Self::Response { .. } | Self::KvCall { .. } | Self::Unknown { .. } => {
                return false;
            }
        }
        true
    }
}
