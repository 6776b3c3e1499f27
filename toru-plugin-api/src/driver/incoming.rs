//! What the peer starts, and the responders that answer it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::Body;

use super::{
    BoxError, RecvBody, Tunnel,
    pump::{self, Chunk, poll_source, pump},
    shared::{ResetOnDrop, Shared, State, Stream, Taken, now},
};
use crate::{
    frame::{ResetCode, limits::MAX_INLINE},
    message::{
        event::EventMessage,
        http::{Framing, RequestHead, ResponseHead},
        kv::{KvAnswer, KvCall, KvError, KvErrorCode},
        lifecycle::{Draining, Failed, Init, Pong, Ready, Shutdown, feature},
        log::LogMessage,
    },
    proto::{Event, OutgoingBody},
};

/// What the peer starts, in order. Requests and calls that are not taken are bounded by this side's `max_streams`, log
/// records and events by 1,024 and 4 MiB (more are dropped and counted), pongs by the latest. Dropped, it has requests refused and KV calls
/// answered `unavailable`.
#[derive(Debug)]
pub struct Incoming {
    shared: Arc<Shared>,
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
    /// A request: of the host, or with the feature `http-out` of the plugin.
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
    /// Host: so many log records and events were dropped, because those before them were not taken.
    Dropped(u64),
    /// Host: the plugin wants a successor.
    Draining(Draining),
    /// Plugin: the host ends it.
    Shutdown(Shutdown),
    /// Something that is not known here, told once per kind.
    Unknown(String),
}

impl Incoming {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The next thing; `None` when the connection has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<IncomingEvent> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next thing; `None` when the connection has ended.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<IncomingEvent>> {
        loop {
            let taken = ready!(self.shared.lock().poll_incoming(cx));
            let event = match taken {
                None => return Poll::Ready(None),
                Some(Taken::Dropped(records)) => IncomingEvent::Dropped(records),
                Some(Taken::Started(event, key)) => {
                    let stream = key.map(|key| Stream::adopt(self.shared.clone(), key));
                    let Some(event) = hand_over(event, stream) else { continue };
                    event
                }
            };
            return Poll::Ready(Some(event));
        }
    }
}

/// Gives an event its handles. `None` for what concerns one stream alone: it was told to who holds it.
fn hand_over(event: Event, stream: Option<Stream>) -> Option<IncomingEvent> {
    Some(match event {
        Event::Init(init) => IncomingEvent::Init(init),
        Event::Ready(ready) => IncomingEvent::Ready(ready),
        Event::Failed(failed) => IncomingEvent::Failed(failed),
        Event::Request { head, body, .. } => {
            let stream = stream?;
            let offers_upgrade = body == Framing::Tunnel;
            let body = RecvBody::new(body, || stream.clone());
            let responder = Responder { stream, offers_upgrade, is_used: false };
            IncomingEvent::Request(IncomingRequest { head, body, responder })
        }
        Event::KvCall { call, .. } => IncomingEvent::Kv(IncomingKv {
            call,
            responder: KvResponder { stream: stream?, is_answered: false },
        }),
        Event::PingsMissed(missed) => IncomingEvent::PingsMissed(missed),
        Event::Pong(pong) => IncomingEvent::Pong(pong),
        Event::Log(log) => IncomingEvent::Log(log),
        Event::Plugin(event) => IncomingEvent::Event(event),
        Event::Draining(draining) => IncomingEvent::Draining(draining),
        Event::Shutdown(shutdown) => IncomingEvent::Shutdown(shutdown),
        Event::Unknown { what } => IncomingEvent::Unknown(what),
        Event::Response { .. }
        | Event::KvAnswer { .. }
        | Event::Readable(_)
        | Event::Writable(_)
        | Event::Reset { .. }
        | Event::StopSending(_) => return None,
    })
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.shared.command(State::abandon_inbox);
    }
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
pub struct Responder {
    stream: Stream,
    offers_upgrade: bool,
    is_used: bool,
}

impl Responder {
    /// Whether the client offers to go on with the protocol that the header `upgrade` names. Any other answer refuses it.
    #[must_use]
    pub fn offers_upgrade(&self) -> bool {
        self.offers_upgrade
    }

    /// Takes the upgrade: sends a 101 with these headers, which should name the protocol. `None`: the host has cancelled the request, or the
    /// link has ended; also, as a fault of the caller's that the host answers with 502, when none was offered.
    ///
    /// Dropping the future before it resolves resets the stream (`INTERNAL`).
    pub async fn upgrade(mut self, headers: HeaderMap) -> Option<Tunnel> {
        self.is_used = true;
        let guard = ResetOnDrop::new(&self.stream, ResetCode::INTERNAL);
        wait_for_room(&self.stream).await;
        let head = ResponseHead { status: StatusCode::SWITCHING_PROTOCOLS, headers };
        let is_taken = begin(&self.stream, head, OutgoingBody::Tunnel);
        guard.disarm();
        is_taken.then(|| Tunnel::new(self.stream.clone()))
    }

    /// Sends the answer and pumps its body; resolves when the body's last byte is queued, or the stream is over. A body that
    /// fails resets the stream (`INTERNAL`). Dropping the future does too.
    ///
    /// A body that is there at once and whole goes in the same frame as the head, if it fits. For a host without `streams` a
    /// body is collected first, up to 512 KiB; a larger one fails (protocol section 4).
    pub async fn respond<B>(mut self, head: ResponseHead, body: B)
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        self.is_used = true;
        if self.offers_upgrade {
            // It is refused by this: all that still comes of the request is the host's END, which nobody reads.
            let key = self.stream.key;
            self.stream.shared.command(|state| {
                if state.is_live(key) {
                    state.connection.discard(key.id, now());
                }
            });
        }
        let guard = ResetOnDrop::new(&self.stream, ResetCode::INTERNAL);
        if send_answer(&self.stream, head, pin!(body)).await.is_ok() {
            guard.disarm();
        }
    }

    /// Resolves when the peer cancelled the request or the link ended. One caller at a time is woken.
    pub async fn cancelled(&self) {
        poll_fn(|cx| self.stream.shared.lock().poll_over(self.stream.key, cx)).await;
    }

    /// Ends the stream with this code.
    pub fn reset(mut self, code: ResetCode) {
        self.is_used = true;
        self.stream.reset(code);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.is_used {
            self.stream.reset(ResetCode::INTERNAL);
        }
    }
}

/// The answer cannot be finished: its body failed.
struct BodyFailed;

async fn send_answer<B>(stream: &Stream, head: ResponseHead, mut body: Pin<&mut B>) -> Result<(), BodyFailed>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    wait_for_room(stream).await;
    let first = if body.is_end_stream() {
        Poll::Ready(Chunk::End)
    } else {
        poll_fn(|cx| Poll::Ready(poll_source(body.as_mut(), cx))).await
    };
    match first {
        Poll::Ready(Chunk::End) => {
            begin(stream, head, OutgoingBody::Empty);
            Ok(())
        }
        Poll::Ready(Chunk::Data(bytes)) if body.is_end_stream() => {
            begin(stream, head, OutgoingBody::Full(bytes));
            Ok(())
        }
        Poll::Ready(Chunk::Failed(_)) => Err(BodyFailed),
        first if !takes_streams(stream) => {
            let whole = collect(stream, first, body).await?;
            begin(stream, head, OutgoingBody::Full(whole));
            Ok(())
        }
        first => {
            begin(stream, head, OutgoingBody::Stream);
            if let Poll::Ready(Chunk::Data(bytes)) = first {
                pump::send(stream, bytes, false);
            }
            pump(stream, body).await.map_err(|_| BodyFailed)
        }
    }
}

fn takes_streams(stream: &Stream) -> bool {
    stream.shared.lock().connection.features().has(feature::STREAMS)
}

/// All of a body whose first chunk is known, for a host that takes no streamed ones.
async fn collect<B>(stream: &Stream, first: Poll<Chunk>, mut body: Pin<&mut B>) -> Result<Bytes, BodyFailed>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut whole = BytesMut::new();
    let mut next = first;
    loop {
        match next {
            Poll::Ready(Chunk::Data(bytes)) if whole.len() + bytes.len() <= MAX_INLINE => {
                whole.extend_from_slice(&bytes);
            }
            Poll::Ready(Chunk::Data(_) | Chunk::Failed(_)) => return Err(BodyFailed),
            Poll::Ready(Chunk::End | Chunk::Unwanted) => return Ok(whole.freeze()),
            Poll::Pending => {}
        }
        next = Poll::Ready(poll_fn(|cx| poll_wanted(stream, body.as_mut(), cx)).await);
    }
}

/// The next chunk, or that the stream is over.
fn poll_wanted<B>(stream: &Stream, body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Chunk>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    if stream.shared.lock().poll_over(stream.key, cx).is_ready() {
        return Poll::Ready(Chunk::Unwanted);
    }
    poll_source(body, cx)
}

/// Answers wait at their source while the link is full.
async fn wait_for_room(stream: &Stream) {
    loop {
        // Made before the look: a change after it is not missed.
        let room = stream.shared.room.notified();
        {
            let mut state = stream.shared.lock();
            if !state.is_live(stream.key) || state.finds_room() {
                return;
            }
        }
        room.await;
    }
}

/// Whether the answer has begun.
fn begin(stream: &Stream, head: ResponseHead, body: OutgoingBody) -> bool {
    let key = stream.key;
    stream.shared.command(|state| {
        // A stream that ended meanwhile has nobody to answer. One that this answer cannot be sent on has been reset, and
        // who sends or reads on it is told.
        if !state.is_live(key) {
            return false;
        }
        let has_begun = state.connection.respond(key.id, head, body, now()).is_ok();
        if !has_begun {
            state.reset(key, ResetCode::INTERNAL);
        }
        has_begun
    })
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
pub struct KvResponder {
    stream: Stream,
    is_answered: bool,
}

impl KvResponder {
    /// Sends the answer; while the link has no room it is kept until there is.
    pub fn answer(mut self, answer: Result<KvAnswer, KvError>) {
        self.send(answer);
    }

    /// Resolves when the link has room for an answer, or nobody waits for it any more. A store that awaits this
    /// before it reads a value holds no more values than it has readers.
    pub async fn room(&self) {
        wait_for_room(&self.stream).await;
    }

    fn send(&mut self, answer: Result<KvAnswer, KvError>) {
        self.is_answered = true;
        let key = self.stream.key;
        self.stream.shared.command(|state| state.answer_kv(key, answer));
    }
}

impl Drop for KvResponder {
    fn drop(&mut self) {
        if !self.is_answered {
            self.send(Err(KvError::new(KvErrorCode::Unavailable, "the call was not answered")));
        }
    }
}
