//! What a connection tells the application.

use crate::{
    frame::{ResetCode, StreamId},
    message::{event::EventMessage, http, kv, lifecycle, log::LogMessage},
};

/// What a connection tells the application, in order, by [`Connection::poll_event`](super::Connection::poll_event).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Plugin: the host said `init`; answer with `ready` or `fail`.
    Init(Box<lifecycle::Init>),
    /// Host: the plugin is ready; streams may be opened.
    Ready(lifecycle::Ready),
    /// Host: the plugin refuses to run.
    Failed(lifecycle::Failed),
    /// A request came: of the host, or with the feature `http-out` of the plugin. `Framing::Stream`: its body is read by
    /// `read`.
    Request {
        /// The stream.
        id: StreamId,
        /// The head.
        head: http::RequestHead,
        /// How the body comes; an inline one is here.
        body: http::Framing,
    },
    /// The head of the answer to a request of this side came.
    Response {
        /// The stream.
        id: StreamId,
        /// The head, or why it is none: a 502; the stream has been reset.
        head: Result<http::ResponseHead, http::HeadError>,
        /// How the body comes; an inline one is here.
        body: http::Framing,
    },
    /// Host: the peer opened a KV call; answer with `answer_kv`.
    /// Plugin: the host opened one (get, set, delete).
    KvCall {
        /// The stream.
        id: StreamId,
        /// The call; malformed ones are answered by the connection itself.
        call: kv::KvCall,
    },
    /// A KV call of this side was answered, timed out, or its stream was reset.
    KvAnswer {
        /// The stream.
        id: StreamId,
        /// The answer.
        answer: Result<kv::KvAnswer, kv::KvError>,
    },
    /// `read` has something for this stream: bytes, its end or its reset.
    Readable(StreamId),
    /// All that was given to `send` is on its way: the next chunk may come.
    Writable(StreamId),
    /// The stream is over before its end: what was not read of it is gone, and nothing more is told of it.
    /// A request of this side without its answer gets no `Response` after this; who works on one of the peer's is to be dropped.
    /// Not told for an answer that had ended, nor for a KV call of the peer: that is answered all the same.
    Reset {
        /// The stream.
        id: StreamId,
        /// Why: the peer's code; `INTERNAL` for an answer that is none and for a body that does not have its
        /// content-length; `TIMED_OUT` for the response timer and `CANCELLED` for the body idle timer.
        code: ResetCode,
        /// It is the peer's doing (as against a timer of this side).
        by_peer: bool,
    },
    /// The peer does not want the rest of what this side sends (its RESET after a complete answer): stop the source.
    StopSending(StreamId),
    /// Host: the count of consecutive missed pings changed; 0: healthy again.
    PingsMissed(u32),
    /// Host: a pong told how the plugin is.
    Pong(lifecycle::Pong),
    /// Host: a log record.
    Log(LogMessage),
    /// Host: an event of the plugin.
    Plugin(EventMessage),
    /// Host: the plugin takes no new streams and wants a successor.
    Draining(lifecycle::Draining),
    /// Plugin: the host ends it.
    Shutdown(lifecycle::Shutdown),
    /// Something that is not known here, told once per kind.
    Unknown {
        /// What it was.
        what: String,
    },
}
