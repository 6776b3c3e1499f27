//! The only I/O: a [`Connection`](crate::proto::Connection) over a socket.
//!
//! [`drive`] gives three things: a [`Handle`] to command the connection with (clone it at will), an
//! [`Incoming`] that tells what the peer starts, and a [`Driver`], a future that does the I/O
//! until the connection has ended. A `Handle` and the bodies it gives share one mutex with the driver, held
//! for a few hundred nanoseconds and never across an await.

use std::{marker::PhantomData, time::Duration};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    frame::{Limits, ResetCode},
    message::{
        event::EventMessage,
        http::{HeadError, RequestHead, ResponseHead},
        kv::{KvAnswer, KvCall, KvError},
        lifecycle::{Draining, Failed, Features, Init, Pong, Ready, Shutdown},
        log::LogMessage,
    },
    proto::{Connection, ConnectionError, OpenError},
};

/// The boxed error that a body source may end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Puts a connection on a socket.
pub fn drive<IO>(io: IO, connection: Connection) -> (Handle, Incoming, Driver<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _ = (io, connection);
    todo!("driver")
}

/// Does the I/O. Resolves when the connection has ended: `Ok` at the peer's clean end or `Handle::close`.
#[derive(Debug)]
#[must_use = "nothing is read or written unless the driver is polled"]
pub struct Driver<IO>(PhantomData<IO>);

impl<IO> Future for Driver<IO> {
    type Output = Result<(), DriveError>;
    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        todo!("driver")
    }
}

/// Why a connection ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(#[from] ConnectionError),
    /// The socket failed.
    #[error("the link failed")]
    Io(#[from] std::io::Error),
    /// The peer does not read what it forces this side to send.
    #[error("the peer does not read")]
    PeerDoesNotRead,
}

/// Commands a connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {}

/// How a request's body comes from the application.
#[derive(Debug)]
pub enum RequestBody<B> {
    /// None.
    Empty,
    /// All of it.
    Full(Bytes),
    /// Pulled as the link accepts it, by a task of its own.
    Stream(B),
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Its head.
    pub head: ResponseHead,
    /// Its body. Dropping it unread resets the stream.
    pub body: RecvBody,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No stream could be opened; nothing was sent.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The peer reset the stream before the answer's head.
    #[error("the plugin gave up with code {}", .0.0)]
    Reset(ResetCode),
    /// The response timer expired.
    #[error("no answer in time")]
    TimedOut,
    /// The answer's head is none.
    #[error("the answer is not HTTP: {0}")]
    Head(HeadError),
    /// The client's body failed or stalled; the stream was reset.
    #[error("the request's body failed")]
    Body(#[source] BoxError),
    /// The link ended without an answer.
    #[error("the link ended before the answer")]
    LinkLost,
}

#[allow(unused_variables, clippy::todo, clippy::unused_async)]
impl Handle {
    /// Sends a request and awaits the answer's head. Dropping the future resets the stream (`CANCELLED`).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request<B>(&self, head: RequestHead, body: RequestBody<B>) -> Result<Response, RequestError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        todo!("driver")
    }
    /// Makes a KV call. Dropping the future resets the stream; a write may have happened.
    ///
    /// # Errors
    /// The peer's error, `timeout` or, when the link ends, `unavailable`.
    pub async fn call_kv(&self, call: KvCall) -> Result<KvAnswer, KvError> {
        todo!("driver")
    }
    /// Sends a log record; false: dropped.
    pub fn log(&self, log: &LogMessage) -> bool {
        todo!("driver")
    }
    /// Sends an event; false: dropped.
    pub fn event(&self, event: &EventMessage) -> bool {
        todo!("driver")
    }
    /// Plugin: answers `init` with `ready`.
    pub fn ready(&self) {
        todo!("driver")
    }
    /// Plugin: answers `init` with `failed`.
    pub fn fail(&self, failed: Failed) {
        todo!("driver")
    }
    /// Plugin: what pongs say from now on.
    pub fn set_pong(&self, pong: Pong) {
        todo!("driver")
    }
    /// Plugin: takes no new streams and asks for a successor.
    pub fn drain(&self, reason: &str) {
        todo!("driver")
    }
    /// Host: asks the plugin to finish and exit.
    pub fn shutdown(&self, grace: Duration) {
        todo!("driver")
    }
    /// Writes what is queued, then closes the socket; open streams end as by link loss.
    pub fn close(&self) {
        todo!("driver")
    }
    /// Resolves when the connection has ended.
    pub async fn closed(&self) {
        todo!("driver")
    }
    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        todo!("driver")
    }
    /// The features in force.
    pub fn features(&self) -> Features {
        todo!("driver")
    }
    /// What the peer accepts.
    pub fn peer_limits(&self) -> Limits {
        todo!("driver")
    }
    /// Streams that are open, whoever opened them.
    pub fn open_streams(&self) -> usize {
        todo!("driver")
    }
}

/// What the peer starts, in order.
#[derive(Debug)]
pub struct Incoming {}

#[allow(clippy::todo, clippy::unused_async)]
impl Incoming {
    /// The next thing; `None` when the connection has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<IncomingEvent> {
        todo!("driver")
    }
}

/// Something that the peer started.
#[derive(Debug)]
#[non_exhaustive]
pub enum IncomingEvent {
    /// Plugin: the host's `init`; answer by `Handle::ready` or `fail`.
    Init(Box<Init>),
    /// Host: the plugin is ready.
    Ready(Ready),
    /// Host: the plugin refuses to run.
    Failed(Failed),
    /// Plugin: a request.
    Request(IncomingRequest),
    /// A KV call.
    Kv(IncomingKv),
    /// Host: consecutive missed pings; 0: healthy again.
    PingsMissed(u32),
    /// Host: how the plugin says it is.
    Pong(Pong),
    /// Host: a log record.
    Log(LogMessage),
    /// Host: an event of the plugin.
    Event(EventMessage),
    /// Host: the plugin wants a successor.
    Draining(Draining),
    /// Plugin: the host ends it.
    Shutdown(Shutdown),
    /// Something that is not known here, told once per kind.
    Unknown(String),
}

/// A request, to be answered by its responder.
#[derive(Debug)]
pub struct IncomingRequest {
    /// Its head.
    pub head: RequestHead,
    /// Its body. Dropping it discards the rest; the answer goes on.
    pub body: RecvBody,
    /// Answers it.
    pub responder: Responder,
}

/// Answers one request. Dropped unused, it resets the stream (`INTERNAL`).
#[derive(Debug)]
pub struct Responder {}

#[allow(unused_variables, clippy::todo, clippy::unused_async)]
impl Responder {
    /// Sends the answer and pumps its body; resolves when the body's last byte is queued, or the stream is over. A body that
    /// fails resets the stream (`INTERNAL`). Dropping the future does too.
    pub async fn respond<B>(self, head: ResponseHead, body: B)
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        todo!("driver")
    }
    /// Resolves when the host cancelled the request or the link ended.
    pub async fn cancelled(&self) {
        todo!("driver")
    }
    /// Ends the stream with this code.
    pub fn reset(self, code: ResetCode) {
        todo!("driver")
    }
}

/// A KV call, to be answered.
#[derive(Debug)]
pub struct IncomingKv {
    /// The call.
    pub call: KvCall,
    /// Answers it.
    pub responder: KvResponder,
}

/// Answers one KV call. Dropped unused, it answers `unavailable`.
#[derive(Debug)]
pub struct KvResponder {}

#[allow(unused_variables, clippy::todo)]
impl KvResponder {
    /// Sends the answer.
    pub fn answer(self, answer: Result<KvAnswer, KvError>) {
        todo!("driver")
    }
}

/// A body as it arrives, an [`http_body::Body`]. Reading returns credit. An answer's body dropped
/// before its end resets the stream.
#[derive(Debug)]
pub struct RecvBody {}

/// Why a body is not whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The peer reset the stream.
    #[error("the peer ended the body with code {}", .0.0)]
    Reset(ResetCode),
    /// The link ended.
    #[error("the link ended inside the body")]
    LinkLost,
}

impl http_body::Body for RecvBody {
    type Data = Bytes;
    type Error = RecvError;
    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, RecvError>>> {
        todo!("driver")
    }
}
