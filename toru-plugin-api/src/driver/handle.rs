//! What an application commands a connection with.

use std::{borrow::Borrow, future::poll_fn, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Body;

use super::{
    BoxError, RecvBody, Tunnel,
    pump::pump,
    shared::{Answer, ResetOnDrop, Shared, State, Stream, StreamKey, now},
};
use crate::{
    frame::{Limits, ResetCode, StreamId},
    message::{
        event::EventMessage,
        http::{Framing, HeadError, RequestHead, ResponseHead},
        kv::{KvAnswer, KvCall, KvError, KvErrorCode},
        lifecycle::{Failed, Features, Pong},
        log::LogMessage,
    },
    proto::{OpenError, OutgoingBody},
};

/// Commands a connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// How a request's body comes from the application.
#[derive(Debug)]
pub enum RequestBody<B> {
    /// None.
    Empty,
    /// All of it.
    Full(Bytes),
    /// Pulled as the link accepts it, by a task of its own.
    Stream(B),
    /// None, and an upgrade is offered: to the protocol that the head's `upgrade` names (protocol section 4). For a plugin with
    /// `streams` only.
    Upgrade,
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Its head.
    pub head: ResponseHead,
    /// Its body. Dropping it unread resets the stream.
    pub body: RecvBody,
    /// What goes on in place of HTTP after a 101; the body is empty then. Dropping it cuts the stream.
    pub tunnel: Option<Tunnel>,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No stream could be opened; nothing was sent.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The peer reset the stream before the answer's head.
    #[error("the peer gave up with code {}", .0.0)]
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

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Sends a request (a plugin: where the feature `http-out` is in force) and awaits the answer's head. Dropping the future resets the stream (`CANCELLED`). Who may have to
    /// send it again lends the head.
    ///
    /// Waits while the link has no room or the peer's `max_streams` are open: the caller bounds how many wait. A streamed body
    /// needs a tokio runtime around the call.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request<B>(
        &self,
        head: impl Borrow<RequestHead>,
        body: RequestBody<B>,
    ) -> Result<Response, RequestError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.request_within(Duration::MAX, head, body).await
    }

    /// As [`request`](Self::request), but waits no longer than this for its stream to be opened. Where there is room this costs no timer.
    ///
    /// # Errors
    /// See [`RequestError`]; [`OpenError::Full`] when the wait is over.
    pub async fn request_within<B>(
        &self,
        wait: Duration,
        head: impl Borrow<RequestHead>,
        body: RequestBody<B>,
    ) -> Result<Response, RequestError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (outgoing, source) = match body {
            RequestBody::Empty => (OutgoingBody::Empty, None),
            RequestBody::Full(bytes) => (OutgoingBody::Full(bytes), None),
            RequestBody::Stream(source) => (OutgoingBody::Stream, Some(source)),
            RequestBody::Upgrade => (OutgoingBody::Tunnel, None),
        };
        let stream = self.open(wait, |state| state.connection.request(head, outgoing, now())).await?;
        if let Some(source) = source {
            tokio::spawn(pump_request(stream.clone(), source));
        }
        match answer(&stream).await {
            Answer::Http(head, Framing::Tunnel) => Ok(Response {
                head,
                body: RecvBody::new(Framing::Empty, || unreachable!("an empty body is not read")),
                tunnel: Some(Tunnel::new(stream)),
            }),
            Answer::Http(head, framing) => {
                Ok(Response { head, body: RecvBody::new(framing, || stream), tunnel: None })
            }
            Answer::Failed(error) => Err(error),
            Answer::Kv(_) => unreachable!("an HTTP stream gets no KV answer"),
        }
    }

    /// Makes a KV call. Dropping the future resets the stream; a write may have happened.
    ///
    /// # Errors
    /// The peer's error, `timeout` or, when the link ends, `unavailable`.
    pub async fn call_kv(&self, call: KvCall) -> Result<KvAnswer, KvError> {
        let stream = self.open(Duration::MAX, |state| state.connection.call_kv(call, now())).await.map_err(
            |error| match error {
                OpenError::TooLarge => KvError::new(KvErrorCode::TooLarge, error.to_string()),
                _ => KvError::new(KvErrorCode::Unavailable, error.to_string()),
            },
        )?;
        match answer(&stream).await {
            Answer::Kv(answer) => answer,
            Answer::Failed(error) => Err(KvError::new(
                KvErrorCode::Unavailable,
                format!("{error}: a write may or may not have happened"),
            )),
            Answer::Http(..) => unreachable!("a KV stream gets no HTTP answer"),
        }
    }

    /// Opens a stream as soon as there is room for it, within this time.
    async fn open(
        &self,
        wait: Duration,
        open: impl FnOnce(&mut State) -> Result<StreamId, OpenError>,
    ) -> Result<Stream, OpenError> {
        let mut open = Some(open);
        let mut attempt = || self.shared.command(|state| try_open(state, &mut open));
        let opened = match attempt() {
            Some(opened) => opened,
            None => {
                tokio::time::timeout(wait, self.await_room(attempt)).await.unwrap_or(Err(OpenError::Full))
            }
        };
        Ok(Stream::adopt(self.shared.clone(), opened?))
    }

    /// Tries again whenever there may be room.
    async fn await_room<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> T {
        loop {
            // Made before the look: a change after it is not missed.
            let room = self.shared.room.notified();
            if let Some(opened) = attempt() {
                return opened;
            }
            room.await;
        }
    }

    /// Sends a log record; false: dropped.
    pub fn log(&self, log: &LogMessage) -> bool {
        self.shared.command(|state| state.connection.log(log))
    }

    /// Sends an event; false: dropped.
    pub fn event(&self, event: &EventMessage) -> bool {
        self.shared.command(|state| state.connection.event(event))
    }

    /// Plugin: answers `init` with `ready`.
    pub fn ready(&self) {
        self.shared.command(|state| state.connection.ready(now()));
    }

    /// Plugin: answers `init` with `failed`.
    pub fn fail(&self, failed: Failed) {
        self.shared.command(|state| state.connection.fail(failed, now()));
    }

    /// Plugin: what pongs say from now on.
    pub fn set_pong(&self, pong: Pong) {
        self.shared.command(|state| state.connection.set_pong(pong));
    }

    /// Plugin: takes no new streams and asks for a successor.
    pub fn drain(&self, reason: &str) {
        self.shared.command(|state| state.connection.drain(reason));
    }

    /// Plugin: refuses new streams from now on, as after `shutdown`, which comes on the first link for all.
    pub fn refuse_streams(&self) {
        self.shared.command(|state| state.connection.refuse_streams());
    }

    /// Host: asks the plugin to finish and exit.
    pub fn shutdown(&self, grace: Duration) {
        self.shared.command(|state| state.connection.shutdown(grace));
    }

    /// Writes what is queued (for at most one second), then closes the socket; open streams end as by link loss.
    pub fn close(&self) {
        self.shared.command(State::close);
    }

    /// Resolves when the connection has ended.
    pub async fn closed(&self) {
        loop {
            let ended = self.shared.ended.notified();
            if self.is_closed() {
                return;
            }
            ended.await;
        }
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().has_ended()
    }

    /// Resolves when no stream is open, or the connection has ended. Cancel safe.
    pub async fn idle(&self) {
        loop {
            let idle = self.shared.idle.notified();
            {
                let mut state = self.shared.lock();
                if state.has_ended() || state.finds_idle() {
                    return;
                }
            }
            idle.await;
        }
    }

    /// The features in force.
    pub fn features(&self) -> Features {
        self.shared.lock().connection.features().clone()
    }

    /// What the peer accepts.
    pub fn peer_limits(&self) -> Limits {
        self.shared.lock().connection.peer_limits()
    }

    /// The bytes with which the peer broke the protocol, 200 at most; none if it has not.
    pub fn offending(&self) -> Vec<u8> {
        self.shared.lock().connection.offending().to_vec()
    }

    /// Streams that are open, whoever opened them.
    pub fn open_streams(&self) -> usize {
        self.shared.lock().connection.open_streams()
    }
}

/// One try to open a stream; `None`: it has to wait, and `open` was not called yet.
fn try_open(
    state: &mut State,
    open: &mut Option<impl FnOnce(&mut State) -> Result<StreamId, OpenError>>,
) -> Option<Result<StreamKey, OpenError>> {
    if state.is_over() {
        return Some(Err(OpenError::NotOpen));
    }
    if !state.finds_room() || !state.finds_place() {
        return None;
    }
    let open = open.take().expect("a stream is opened by one try only");
    Some(open(state).map(|id| state.opened(id)))
}

/// Awaits what came for who asked. Dropped before that, it resets the stream.
async fn answer(stream: &Stream) -> Answer {
    let guard = ResetOnDrop::new(stream, ResetCode::CANCELLED);
    let answer = poll_fn(|cx| stream.shared.lock().poll_answer(stream.key, cx)).await;
    guard.disarm();
    answer
}

/// Moves a request's body; when its source fails, who asked is told.
async fn pump_request<B>(stream: Stream, body: B)
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    if let Err(error) = pump(&stream, pin!(body)).await {
        let key = stream.key;
        stream.shared.command(|state| state.fail(key, ResetCode::CANCELLED, RequestError::Body(error)));
    }
}
