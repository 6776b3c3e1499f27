//! One end of a link.
//!
//! This file holds the state and its getters; the folder has one file for each family of methods, and for what they share.

mod commands;
mod heads;
mod input;
mod messages;
mod opening;
mod output;
mod streams;
mod timeouts;

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;

use super::{
    ConnectionError, Event, Health, Settings,
    handshake::{Handshake, PROTOCOL},
    health::Pings,
    ids::Ids,
    pieces::Pieces,
    queue::Queue,
    streams::Streams,
    timer::Timers,
    window::Raises,
    work::InWork,
};
use crate::{
    frame::{Decoder, Limits, ResetCode, StreamId},
    message::{
        KnownNames,
        lifecycle::{Features, Init, Pong, feature},
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
    /// No new streams (draining, shutdown, `failed`); those open go on.
    Draining,
    /// Ended, by an error or the peer's end of stream.
    Closed,
}

/// What `handle_input` left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The budget of this turn is used up and whole frames may be left: call again after others had their turn.
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

/// How far one direction of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Its head, or the message that is all of it, is still to come.
    AwaitsHead,
    /// DATA may follow.
    Open,
    /// It has ended.
    Ended,
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// What this side sends.
    pub sending: Direction,
    /// What the peer sends.
    pub receiving: Direction,
}

/// One end of a link of version 2.
///
/// After any call, drain [`poll_event`](Self::poll_event), [`poll_transmit`](Self::poll_transmit) and
/// [`next_timeout`](Self::next_timeout).
///
/// When the connection is [`Phase::Closed`], requests and calls without an outcome get none any more: whoever
/// drives the connection tells them that the link is lost. Bodies that had not ended read as reset.
#[derive(Debug)]
pub struct Connection {
    side: Side,
    settings: Settings,
    handshake: Handshake,
    draining: bool,
    /// `shutdown` was said: a plugin refuses new streams.
    shutdown: bool,
    closed: bool,
    decoder: Decoder,
    /// Of the header fields that the peer has sent.
    names: KnownNames,
    /// Plugin: messages up to the default size are still on their way, though it accepts less.
    early_messages: bool,
    peer: Limits,
    peer_features: Features,
    features: Features,
    /// The feature `streams` is in force.
    bodies: bool,
    /// The feature `heads` is in force.
    heads: bool,
    /// The feature `http-out` is in force: the plugin may send requests too.
    http_out: bool,
    ids: Ids,
    streams: Streams,
    raises: Raises,
    pieces: Pieces,
    timers: Timers,
    pings: Pings,
    queue: Queue,
    /// KV calls of the peer.
    calls: InWork,
    /// Requests of the plugin.
    requests: InWork,
    pong: Pong,
    /// The first link of its process: the one that is pinged.
    first_link: bool,
    unknown: Vec<String>,
    offending: Vec<u8>,
    events: VecDeque<Event>,
}

impl Connection {
    /// The host's end; `init` is queued. What it says of limits and features are those of the settings.
    #[must_use]
    pub fn host(settings: Settings, init: Init, _now: Instant) -> Self {
        let mut connection = Self::new(Side::Host, settings);
        connection.first_link = init.link.is_none();
        let init = Init {
            protocol: PROTOCOL,
            features: connection.settings.features.clone(),
            limits: connection.settings.limits,
            ..init
        };
        init.encode(connection.queue.draft());
        connection.queue.message();
        connection
    }

    /// The plugin's end; waits for `init`.
    #[must_use]
    pub fn plugin(settings: Settings, _now: Instant) -> Self {
        Self::new(Side::Plugin, settings)
    }

    fn new(side: Side, settings: Settings) -> Self {
        let own = settings.limits;
        let accepts = match side {
            // What `init` says holds for all that the plugin sends.
            Side::Host => own.max_message,
            // The host does not know this side's limits before `ready`.
            Side::Plugin => Limits::DEFAULT.max_message,
        };
        Self {
            side,
            handshake: Handshake::start(side),
            draining: false,
            shutdown: false,
            closed: false,
            decoder: Decoder::new(accepts, own.max_data),
            names: KnownNames::default(),
            early_messages: false,
            peer: Limits::DEFAULT,
            peer_features: Features::default(),
            features: Features::default(),
            bodies: false,
            heads: false,
            http_out: false,
            ids: Ids::new(side),
            streams: Streams::default(),
            raises: Raises::new(),
            pieces: Pieces::default(),
            timers: Timers::new(settings.response_timeout, settings.body_idle_timeout, settings.kv_timeout),
            pings: Pings::new(settings.ping_interval, settings.ping_unhealthy, settings.ping_dead),
            queue: Queue::default(),
            calls: InWork::default(),
            requests: InWork::default(),
            pong: Pong::default(),
            first_link: true,
            unknown: Vec::new(),
            offending: Vec::new(),
            events: VecDeque::new(),
            settings,
        }
    }

    // --- getters

    /// Which end this is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.handshake {
            _ if self.closed => Phase::Closed,
            Handshake::AwaitReady | Handshake::AwaitInit | Handshake::Deciding => Phase::Handshake,
            Handshake::Done if !self.draining => Phase::Open,
            Handshake::Done | Handshake::Refused => Phase::Draining,
        }
    }

    /// What the peer accepts; the defaults before it said so.
    #[must_use]
    pub fn peer_limits(&self) -> Limits {
        self.peer
    }

    /// The features in force: those that both sides named.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Streams that are open, whoever opened them.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.own() + self.streams.peer()
    }

    /// Whether less than 1 MiB of messages is queued, so that requests and answers may be given (protocol section 3,
    /// no deadlock).
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to write.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        self.queue.is_waiting()
    }

    /// Whether the stream has no bytes queued in its sending direction: the next chunk may be taken from its
    /// source.
    #[must_use]
    pub fn can_send(&self, id: StreamId) -> bool {
        self.streams.get(id).is_some_and(|stream| stream.send.has_room())
    }

    /// Whether streams of this number are opened by this side, and not by its peer.
    #[must_use]
    pub fn is_own(&self, id: StreamId) -> bool {
        self.ids.is_own(id)
    }

    /// How the peer is, by its answers to pings.
    #[must_use]
    pub fn health(&self) -> Health {
        self.pings.health()
    }

    /// The beginning of the frame that broke the protocol, after its length: of a message or of bytes that are no frame
    /// at most 200 bytes (the latter with their length), of another frame its first 6. Empty while none did.
    #[must_use]
    pub fn offending(&self) -> &[u8] {
        &self.offending
    }

    /// How far both directions of a stream are; `None`: it is not open, so the wire knows it no more or not yet.
    #[must_use]
    pub fn stream(&self, id: StreamId) -> Option<StreamState> {
        let stream = self.streams.get(id).filter(|stream| !stream.closed)?;
        Some(StreamState { sending: stream.send.direction(), receiving: stream.recv.direction() })
    }

    /// Whether all that the peer sends on the stream is here, up to its end, and can still be read.
    #[must_use]
    pub fn has_arrived(&self, id: StreamId) -> bool {
        self.streams.get(id).is_some_and(|stream| stream.recv.is_ended() && stream.recv.is_read())
    }

    // --- what comes out; `poll_transmit` is in output.rs

    /// The next thing to tell the application.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When `handle_timeout` is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        [self.timers.next(), self.pings.next()].into_iter().flatten().min()
    }

    // --- what all files of this folder need

    fn negotiated(&mut self, limits: Limits) {
        self.peer = limits;
        self.features = self.settings.features.common(&self.peer_features);
        self.bodies = self.features.has(feature::STREAMS);
        self.heads = self.features.has(feature::HEADS);
        self.http_out = self.features.has(feature::HTTP_OUT);
    }

    /// Plugin: the host knows this side's limits.
    fn accept_own_limits(&mut self) {
        let Limits { max_message, max_data, .. } = self.settings.limits;
        self.decoder.set_limits(max_message, max_data);
    }

    /// The connection has ended. What was not whole is lost; what was can still be read.
    fn close(&mut self) {
        self.closed = true;
        self.queue.clear();
        self.pings.stop();
        for id in self.streams.ids() {
            self.lose_stream(id);
        }
    }

    /// Streams that the wire or the application still knows.
    #[cfg(test)]
    pub(super) fn known_streams(&self) -> usize {
        self.streams.ids().len()
    }

    /// Goes on after these stream numbers, as if all before them had been used; after the next one, where the parity is not that of the
    /// side. `None`: the first number is still to come. Tests drive the wrap with it.
    #[doc(hidden)]
    pub fn continue_numbers_after(&mut self, own_last: Option<u32>, peer_last: Option<u32>) {
        self.ids.jump(own_last, peer_last);
    }
}

/// What handling a frame gives: most often nothing.
type Handled<T = ()> = Result<T, ConnectionError>;
