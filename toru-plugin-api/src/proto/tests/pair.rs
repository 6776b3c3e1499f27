//! The simulated pair: two connections, a clock, latency and a size that the bytes are split into.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};

use crate::{
    frame::{Decoder, Frame, Limits, StreamId, TransmitBuf, encode_frame},
    message::{
        http::{RequestHead, ResponseHead},
        lifecycle::{Features, Init, Ready},
    },
    proto::{Connection, ConnectionError, Event, OutgoingBody, Phase, Progress, ReadOutcome, Settings, Side},
};

/// What a test may move before it counts as endless.
const MOST_STEPS: usize = 1_000_000;
/// What one write takes.
const WRITE: usize = 64 << 10;

/// Settings with these features.
pub(super) fn settings(features: &[&str]) -> Settings {
    Settings { features: Features::new(features.iter().copied()), ping_interval: None, ..Settings::default() }
}

pub(super) fn init() -> Init {
    Init {
        protocol: 2,
        instance_id: "7a0c1f5e-0000-4000-8000-000000000000".to_owned(),
        plugin_id: "example".to_owned(),
        plugin_socket: String::new(),
        log_path: "example.log".to_owned(),
        data_dir: "example".to_owned(),
        config: serde_json::Map::new(),
        link: None,
        features: Features::default(),
        limits: Limits::DEFAULT,
    }
}

pub(super) fn get(path: &'static str) -> RequestHead {
    head(Method::GET, path)
}

pub(super) fn post(path: &'static str) -> RequestHead {
    head(Method::POST, path)
}

pub(super) fn head(method: Method, path: &'static str) -> RequestHead {
    RequestHead { method, path: http::uri::PathAndQuery::from_static(path), headers: HeaderMap::new() }
}

pub(super) fn ok() -> ResponseHead {
    status(200)
}

pub(super) fn status(status: u16) -> ResponseHead {
    ResponseHead { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new() }
}

/// Bytes on their way to one side.
#[derive(Debug, Default)]
struct Wire {
    flight: VecDeque<(Instant, BytesMut)>,
    arrived: BytesMut,
}

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) host: Connection,
    pub(super) plugin: Connection,
    pub(super) now: Instant,
    latency: Duration,
    split: usize,
    to_host: Wire,
    to_plugin: Wire,
    host_events: VecDeque<Event>,
    plugin_events: VecDeque<Event>,
    /// The protocol error that one of them met.
    pub(super) error: Option<ConnectionError>,
}

impl Pair {
    /// Two ends with `streams` in force, after the handshake.
    pub(super) fn new() -> Self {
        Self::with(settings(&["streams"]), settings(&["streams"]))
    }

    /// Two ends with `streams` and `heads` in force, after the handshake.
    pub(super) fn binary() -> Self {
        Self::with(settings(&["heads", "streams"]), settings(&["heads", "streams"]))
    }

    pub(super) fn with(host: Settings, plugin: Settings) -> Self {
        let mut pair = Self::before_ready(host, plugin);
        pair.drive();
        assert!(matches!(pair.plugin_event(), Some(Event::Init(_))));
        pair.plugin.ready(pair.now);
        pair.drive();
        assert!(matches!(pair.host_event(), Some(Event::Ready(_))));
        assert_eq!((pair.host.phase(), pair.plugin.phase()), (Phase::Open, Phase::Open));
        pair
    }

    pub(super) fn before_ready(host: Settings, plugin: Settings) -> Self {
        let now = Instant::now();
        Self {
            host: Connection::host(host, init(), now),
            plugin: Connection::plugin(plugin, now),
            now,
            latency: Duration::from_micros(50),
            split: usize::MAX,
            to_host: Wire::default(),
            to_plugin: Wire::default(),
            host_events: VecDeque::new(),
            plugin_events: VecDeque::new(),
            error: None,
        }
    }

    /// From now on the bytes arrive in pieces of this size.
    pub(super) fn split(mut self, size: usize) -> Self {
        self.split = size;
        self
    }

    /// From now on the bytes are under way for so long.
    pub(super) fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Moves bytes until both ends have nothing to say. No timer expires but by `pass`.
    pub(super) fn drive(&mut self) {
        for _ in 0..MOST_STEPS {
            let wrote = write(&mut self.host, &mut self.to_plugin, self.now, self.latency)
                | write(&mut self.plugin, &mut self.to_host, self.now, self.latency);
            let read = self.deliver();
            self.collect();
            if !wrote && !read {
                let flights = [&self.to_host, &self.to_plugin];
                match flights.iter().filter_map(|wire| wire.flight.front()).map(|(at, _)| *at).min() {
                    Some(at) => self.now = self.now.max(at),
                    None => return,
                }
            }
        }
        panic!("the pair never comes to rest");
    }

    /// One side writes at most about `budget` bytes; nothing arrives.
    pub(super) fn transmit(&mut self, side: Side, budget: usize) {
        let (from, wire) = match side {
            Side::Host => (&mut self.host, &mut self.to_plugin),
            Side::Plugin => (&mut self.plugin, &mut self.to_host),
        };
        write_some(from, wire, budget, self.now, self.latency);
    }

    /// At most `bytes` of what is under way arrive at one side.
    pub(super) fn arrive(&mut self, side: Side, mut bytes: usize) {
        let (to, wire) = match side {
            Side::Host => (&mut self.host, &mut self.to_host),
            Side::Plugin => (&mut self.plugin, &mut self.to_plugin),
        };
        while let Some((_, flight)) = wire.flight.front_mut().filter(|_| bytes > 0) {
            let part = flight.split_to(bytes.min(flight.len()));
            if flight.is_empty() {
                wire.flight.pop_front();
            }
            bytes -= part.len();
            wire.arrived.unsplit(part);
            match handle(to, wire, self.now) {
                Ok(()) => {}
                Err(error) => self.error = Some(error),
            }
        }
    }

    fn deliver(&mut self) -> bool {
        let (now, split) = (self.now, self.split);
        let (host, plugin) = (&mut self.host, &mut self.plugin);
        let to_plugin = read(plugin, &mut self.to_plugin, split, now);
        let to_host = read(host, &mut self.to_host, split, now);
        for read in [&to_plugin, &to_host] {
            if let Err(error) = read {
                self.error = Some(error.clone());
            }
        }
        to_plugin.unwrap_or(false) | to_host.unwrap_or(false)
    }

    fn collect(&mut self) {
        self.host_events.extend(std::iter::from_fn(|| self.host.poll_event()));
        self.plugin_events.extend(std::iter::from_fn(|| self.plugin.poll_event()));
    }

    /// Lets time pass; every timer in between expires at its moment.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..MOST_STEPS {
            self.drive();
            let next = [self.host.next_timeout(), self.plugin.next_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= end) else {
                self.now = self.now.max(end);
                return;
            };
            self.now = self.now.max(next);
            self.host.handle_timeout(self.now).unwrap();
            self.plugin.handle_timeout(self.now).unwrap();
        }
        panic!("the timers never come to rest");
    }

    pub(super) fn host_event(&mut self) -> Option<Event> {
        self.collect();
        self.host_events.pop_front()
    }

    pub(super) fn plugin_event(&mut self) -> Option<Event> {
        self.collect();
        self.plugin_events.pop_front()
    }

    /// The host sends a request, which arrives.
    pub(super) fn request(&mut self, head: RequestHead, body: OutgoingBody) -> StreamId {
        let id = self.host.request(head, body, self.now).unwrap();
        self.drive();
        id
    }

    /// The plugin answers, which arrives.
    pub(super) fn respond(&mut self, id: StreamId, head: ResponseHead, body: OutgoingBody) {
        self.plugin.respond(id, head, body, self.now).unwrap();
        self.drive();
    }

    /// The host's reader takes all that comes while nothing else happens.
    pub(super) fn host_reads(&mut self, id: StreamId) -> (usize, ReadOutcome) {
        self.reads(|pair| drain(&mut pair.host, id, pair.now))
    }

    /// The plugin's reader takes all that comes while nothing else happens.
    pub(super) fn plugin_reads(&mut self, id: StreamId) -> (usize, ReadOutcome) {
        self.reads(|pair| drain(&mut pair.plugin, id, pair.now))
    }

    fn reads(&mut self, drain: impl Fn(&mut Self) -> (usize, ReadOutcome)) -> (usize, ReadOutcome) {
        let mut read = 0;
        for _ in 0..MOST_STEPS {
            let (bytes, outcome) = drain(self);
            read += bytes;
            self.drive();
            if bytes == 0 || outcome != ReadOutcome::Pending {
                return (read, outcome);
            }
        }
        panic!("a body without an end");
    }
}

fn drain(connection: &mut Connection, id: StreamId, now: Instant) -> (usize, ReadOutcome) {
    let mut bytes = 0;
    for _ in 0..MOST_STEPS {
        match connection.read(id, now) {
            ReadOutcome::Data(chunk) => bytes += chunk.len(),
            outcome => return (bytes, outcome),
        }
    }
    panic!("a body without an end");
}

fn write(from: &mut Connection, wire: &mut Wire, now: Instant, latency: Duration) -> bool {
    write_some(from, wire, WRITE, now, latency)
}

fn write_some(
    from: &mut Connection,
    wire: &mut Wire,
    budget: usize,
    now: Instant,
    latency: Duration,
) -> bool {
    let mut out = TransmitBuf::default();
    let wrote = from.poll_transmit(&mut out, budget, now);
    assert_eq!(wrote, out.has_remaining());
    if wrote {
        let mut bytes = BytesMut::with_capacity(out.remaining());
        bytes.extend_from_slice(&out.copy_to_bytes(out.remaining()));
        wire.flight.push_back((now + latency, bytes));
    }
    wrote
}

fn read(to: &mut Connection, wire: &mut Wire, split: usize, now: Instant) -> Result<bool, ConnectionError> {
    let mut read = false;
    while wire.flight.front().is_some_and(|(at, _)| *at <= now) {
        let (_, mut bytes) = wire.flight.pop_front().unwrap();
        while !bytes.is_empty() {
            wire.arrived.unsplit(bytes.split_to(split.min(bytes.len())));
            handle(to, wire, now)?;
        }
        read = true;
    }
    Ok(read)
}

fn handle(to: &mut Connection, wire: &mut Wire, now: Instant) -> Result<(), ConnectionError> {
    while to.handle_input(&mut wire.arrived, now)? == Progress::More {}
    Ok(())
}

/// One end against frames made by hand.
#[derive(Debug)]
pub(super) struct Lone {
    pub(super) end: Connection,
    pub(super) now: Instant,
}

impl Lone {
    /// A host after the handshake with a plugin of these limits and features.
    pub(super) fn host(settings: Settings, features: &[&str], limits: Limits) -> Self {
        let now = Instant::now();
        let mut lone = Self { end: Connection::host(settings, init(), now), now };
        lone.frames();
        let ready = Ready { protocol: 2, features: Features::new(features.iter().copied()), limits };
        lone.message(|out| ready.encode(out)).unwrap();
        assert!(matches!(lone.end.poll_event(), Some(Event::Ready(_))));
        lone
    }

    /// A plugin after the handshake with a host of these limits and features.
    pub(super) fn plugin(settings: Settings, features: &[&str], limits: Limits) -> Self {
        let now = Instant::now();
        let mut lone = Self { end: Connection::plugin(settings, now), now };
        let init = Init { features: Features::new(features.iter().copied()), limits, ..init() };
        lone.message(|out| init.encode(out)).unwrap();
        assert!(matches!(lone.end.poll_event(), Some(Event::Init(_))));
        lone.end.ready(now);
        lone.frames();
        lone
    }

    /// The frame arrives.
    pub(super) fn frame(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        let mut out = TransmitBuf::default();
        encode_frame(&mut out, frame);
        let mut input = BytesMut::from(&out.copy_to_bytes(out.remaining())[..]);
        self.end.handle_input(&mut input, self.now).map(drop)
    }

    /// The message arrives.
    pub(super) fn message(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), ConnectionError> {
        let mut text = Vec::new();
        encode(&mut text);
        self.frame(Frame::Message(text.into()))
    }

    /// The text arrives as a message.
    pub(super) fn text(&mut self, text: &str) -> Result<(), ConnectionError> {
        self.frame(Frame::Message(Bytes::copy_from_slice(text.as_bytes())))
    }

    pub(super) fn data(&mut self, id: u32, bytes: usize, end: bool) -> Result<(), ConnectionError> {
        self.frame(Frame::Data { stream: StreamId(id), end, bytes: vec![b'x'; bytes].into() })
    }

    /// All frames that the end has to send.
    pub(super) fn frames(&mut self) -> Vec<Frame> {
        let mut out = TransmitBuf::default();
        while self.end.poll_transmit(&mut out, usize::MAX, self.now) {}
        let mut bytes = BytesMut::from(&out.copy_to_bytes(out.remaining())[..]);
        let mut decoder = Decoder::new(u32::MAX, u32::MAX);
        let frames = std::iter::from_fn(|| decoder.decode(&mut bytes).unwrap()).collect();
        assert!(bytes.is_empty());
        frames
    }

    pub(super) fn event(&mut self) -> Option<Event> {
        self.end.poll_event()
    }
}
