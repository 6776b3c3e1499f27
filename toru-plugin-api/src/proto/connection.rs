//! One end of a link.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::{ConnectionError, Event, OpenError, Settings, StreamGone};
use crate::{
    frame::{Limits, ResetCode, StreamId, TransmitBuf},
    message::{
        event::EventMessage,
        http::{RequestHead, ResponseHead},
        kv::{KvAnswer, KvCall, KvError},
        lifecycle::{Failed, Features, Init, Pong},
        log::LogMessage,
    },
};

/// Which end this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Opens odd streams, sends `init`.
    Host,
    /// Opens even streams, answers `ready`.
    Plugin,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Until `ready`.
    Handshake,
    /// Streams may be opened.
    Open,
    /// No new streams (draining, shutdown); those open go on.
    Draining,
    /// Ended, by an error or the peer's end of stream.
    Closed,
}

/// What `handle_input` left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The budget of this turn is used up and whole frames are left: call again after others had their turn.
    More,
    /// All whole frames are handled.
    NeedInput,
}

/// How the body of a head that this side sends comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutgoingBody {
    /// None.
    Empty,
    /// All of it. Sent inline when it fits (protocol section 4), else as DATA.
    Full(Bytes),
    /// By `send` and `finish`.
    Stream,
    /// An upgrade: raw bytes by `send` and `finish`.
    Tunnel,
}

/// What `read` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Bytes, now counted as consumed: credit goes back by itself.
    Data(Bytes),
    /// Nothing yet; `Event::Readable` will tell.
    Pending,
    /// The direction has ended, whole.
    End,
    /// The stream was reset: what was read is not whole.
    Reset(ResetCode),
}

/// One end of a link of version 2.
///
/// After any call, drain [`poll_event`](Self::poll_event), [`poll_transmit`](Self::poll_transmit) and
/// [`next_timeout`](Self::next_timeout).
#[derive(Debug)]
pub struct Connection {}

#[allow(unused_variables, clippy::todo, missing_docs)]
impl Connection {
    /// The host's end; `init` is queued.
    #[must_use]
    pub fn host(settings: Settings, init: Init, now: Instant) -> Self {
        todo!("proto")
    }

    /// The plugin's end; waits for `init`.
    #[must_use]
    pub fn plugin(settings: Settings, now: Instant) -> Self {
        todo!("proto")
    }

    // --- getters

    pub fn side(&self) -> Side {
        todo!("proto")
    }
    pub fn phase(&self) -> Phase {
        todo!("proto")
    }
    /// What the peer accepts; the defaults before it said so.
    pub fn peer_limits(&self) -> Limits {
        todo!("proto")
    }
    /// The features in force: those that both sides named.
    pub fn features(&self) -> &Features {
        todo!("proto")
    }
    /// Streams that are open, whoever opened them.
    pub fn open_streams(&self) -> usize {
        todo!("proto")
    }
    /// Whether less than 1 MiB of messages is queued, so that requests and answers may be given (protocol section 3, no deadlock).
    pub fn has_room(&self) -> bool {
        todo!("proto")
    }
    /// Whether the stream has no bytes queued in its sending direction: the next chunk may be taken from its source.
    pub fn can_send(&self, id: StreamId) -> bool {
        todo!("proto")
    }

    // --- something arrived

    /// Takes whole frames off the front of `input` and handles them, at most one turn's budget.
    ///
    /// # Errors
    /// The peer broke the protocol: the connection is closed; nothing after the offending frame was handled.
    pub fn handle_input(&mut self, input: &mut BytesMut, now: Instant) -> Result<Progress, ConnectionError> {
        todo!("proto")
    }
    /// The peer closed the socket; `rest` is what `handle_input` left.
    ///
    /// # Errors
    /// The end came inside a frame.
    pub fn handle_eof(&mut self, rest: &[u8], now: Instant) -> Result<(), ConnectionError> {
        todo!("proto")
    }
    /// `next_timeout` has come.
    ///
    /// # Errors
    /// The handshake or the protocol demands the end.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ConnectionError> {
        todo!("proto")
    }

    // --- the application wants

    /// Plugin: answers `init`; streams are served from now on.
    pub fn ready(&mut self, now: Instant) {
        todo!("proto")
    }
    /// Plugin: answers `init` with a refusal.
    pub fn fail(&mut self, failed: Failed, now: Instant) {
        todo!("proto")
    }
    /// Opens a stream with a request. Errors: see [`OpenError`]; nothing was sent then.
    pub fn request(
        &mut self,
        head: RequestHead,
        body: OutgoingBody,
        now: Instant,
    ) -> Result<StreamId, OpenError> {
        todo!("proto")
    }
    /// Answers a request.
    pub fn respond(
        &mut self,
        id: StreamId,
        head: ResponseHead,
        body: OutgoingBody,
        now: Instant,
    ) -> Result<(), StreamGone> {
        todo!("proto")
    }
    /// Opens a stream with a KV call.
    pub fn call_kv(&mut self, call: KvCall, now: Instant) -> Result<StreamId, OpenError> {
        todo!("proto")
    }
    /// Answers a KV call.
    pub fn answer_kv(
        &mut self,
        id: StreamId,
        answer: Result<KvAnswer, KvError>,
        now: Instant,
    ) -> Result<(), StreamGone> {
        todo!("proto")
    }
    /// Queues one chunk of a streamed body; take the next from its source when `can_send` is true again (`Event::Writable`).
    pub fn send(&mut self, id: StreamId, bytes: Bytes, now: Instant) -> Result<(), StreamGone> {
        todo!("proto")
    }
    /// The sending direction ends after what is queued.
    pub fn finish(&mut self, id: StreamId, now: Instant) -> Result<(), StreamGone> {
        todo!("proto")
    }
    /// Takes what arrived; taking it is consuming it: credit goes back.
    pub fn read(&mut self, id: StreamId, now: Instant) -> ReadOutcome {
        todo!("proto")
    }
    /// Ends the stream at once; nothing of it is told any more. Ignored for a stream that has ended.
    pub fn reset(&mut self, id: StreamId, code: ResetCode, now: Instant) {
        todo!("proto")
    }
    /// Drops interest in reading the rest of this direction: the host's reader of an answer, or the plugin's of a request body, was dropped.
    /// For a request body the plugin's answer goes on; the rest is discarded under credit.
    pub fn discard(&mut self, id: StreamId, now: Instant) {
        todo!("proto")
    }
    /// Plugin: sends a record. Dropped (false) when no room is left: logs never block.
    pub fn log(&mut self, log: &LogMessage) -> bool {
        todo!("proto")
    }
    /// Plugin: sends an event. Dropped (false) when no room is left.
    pub fn event(&mut self, event: &EventMessage) -> bool {
        todo!("proto")
    }
    /// Plugin: what pongs say from now on.
    pub fn set_pong(&mut self, pong: Pong) {
        todo!("proto")
    }
    /// Plugin: no new streams from now on, a successor is wanted.
    pub fn drain(&mut self, reason: &str) {
        todo!("proto")
    }
    /// Host: asks the plugin to finish and exit; no new streams.
    pub fn shutdown(&mut self, grace: Duration) {
        todo!("proto")
    }

    // --- what comes out

    /// The next thing to tell the application.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!("proto")
    }
    /// Appends what is ready, until about `budget` bytes are in `out`; frames in the order of section 3. False: nothing was ready.
    #[must_use]
    pub fn poll_transmit(&mut self, out: &mut TransmitBuf, budget: usize, now: Instant) -> bool {
        todo!("proto")
    }
    /// When `handle_timeout` is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        todo!("proto")
    }
}
