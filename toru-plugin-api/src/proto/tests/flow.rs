//! Flow control, whatever the windows, the pieces, the latency and the order of reads and writes: no byte is lost, doubled
//! or moved, no credit is passed, and nobody waits for ever. Both directions of several streams run at once.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Pair,
    pair::{ok, post, settings},
};
use crate::{
    frame::{Limits, StreamId},
    proto::{Connection, Event, OutgoingBody, ReadOutcome, Settings, Side},
};

/// The longest body: some of the largest windows.
const MAX_BODY: usize = 600_000;
/// What may be done after the schedule before it counts as a deadlock.
const MOST_ROUNDS: usize = 20_000;

/// The bytes of all bodies: each begins at another place, so a byte says where it belongs.
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let bytes = (0..2 * MAX_BODY as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8);
    bytes.collect()
});

#[derive(Debug, Clone)]
struct Plan {
    host: Limits,
    plugin: Limits,
    features: &'static [&'static str],
    latency: Duration,
    split: usize,
    /// The stream numbers begin so many streams before their end.
    before_the_wrap: Option<u32>,
    /// Of each stream the bodies of the request and of the answer.
    bodies: Vec<(usize, usize)>,
    steps: Vec<Step>,
}

/// One thing that happens while the bodies are under way.
#[derive(Debug, Clone)]
enum Step {
    Open,
    Give { side: Side, stream: prop::sample::Index, size: usize },
    Read { side: Side, stream: prop::sample::Index },
    Transmit { side: Side, budget: usize },
    Arrive { side: Side, bytes: usize },
    Drive,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Host), Just(Side::Plugin)]
}

/// Small and large alike.
fn size(max: usize) -> impl Strategy<Value = usize> {
    prop_oneof![1..=16_usize, 1..=2_000_usize, 1..=max]
}

fn limits() -> impl Strategy<Value = Limits> {
    (size(300_000), 1..=8_u32, 1_024..=300_000_u32).prop_map(|(window, max_streams, max_data)| Limits {
        window: u32::try_from(window).unwrap(),
        max_streams,
        max_message: 65_536,
        max_data,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let stream = any::<prop::sample::Index>;
    prop_oneof![
        2 => Just(Step::Open),
        6 => (side(), stream(), size(100_000)).prop_map(|(side, stream, size)| Step::Give { side, stream, size }),
        6 => (side(), stream()).prop_map(|(side, stream)| Step::Read { side, stream }),
        6 => (side(), size(100_000)).prop_map(|(side, budget)| Step::Transmit { side, budget }),
        6 => (side(), size(100_000)).prop_map(|(side, bytes)| Step::Arrive { side, bytes }),
        1 => Just(Step::Drive),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let features: [&[&str]; 2] = [&["streams"], &["heads", "streams"]];
    let length = || prop_oneof![Just(0), size(5_000), size(MAX_BODY)];
    (
        (limits(), limits(), prop::sample::select(features.to_vec())),
        (0..2_000_u64).prop_map(Duration::from_micros),
        prop_oneof![size(64), Just(usize::MAX)],
        prop::option::of(0..4_u32),
        prop::collection::vec((length(), length()), 1..6),
        prop::collection::vec(step(), 0..120),
    )
        .prop_map(|((host, plugin, features), latency, split, before_the_wrap, bodies, steps)| Plan {
            host,
            plugin,
            features,
            latency,
            split,
            before_the_wrap,
            bodies,
            steps,
        })
}

/// One body on its way.
#[derive(Debug)]
struct Body {
    /// Where it begins in the pattern.
    start: usize,
    length: usize,
    given: usize,
    finished: bool,
    taken: usize,
    ended: bool,
    /// The reader was told that there is something.
    readable: bool,
    /// The writer may give a chunk: at first, and when it was told so.
    writable: bool,
}

impl Body {
    fn new(start: usize, length: usize) -> Self {
        Self {
            start,
            length,
            given: 0,
            finished: false,
            taken: 0,
            ended: false,
            readable: false,
            writable: true,
        }
    }
}

/// A stream: what the host sends on it, and what the plugin does.
#[derive(Debug)]
struct Stream {
    id: StreamId,
    request: Body,
    answer: Option<Body>,
    answer_arrived: bool,
    answer_length: usize,
}

struct World {
    pair: Pair,
    to_open: Vec<(usize, usize)>,
    streams: Vec<Stream>,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let host = Settings { limits: plan.host, ..settings(plan.features) };
        let plugin = Settings { limits: plan.plugin, ..settings(plan.features) };
        let mut pair = Pair::with(host, plugin).split(plan.split).latency(plan.latency);
        let before_the_wrap = plan.before_the_wrap.map(|streams| u32::MAX - 2 * streams);
        pair.host.continue_numbers_after(before_the_wrap, None);
        Self { pair, to_open: plan.bodies.clone(), streams: Vec::new() }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Open => self.open(),
            Step::Give { side, stream, size } if !self.streams.is_empty() => {
                self.give(*side, stream.index(self.streams.len()), *size);
            }
            Step::Read { side, stream } if !self.streams.is_empty() => {
                self.read(*side, stream.index(self.streams.len()));
            }
            Step::Give { .. } | Step::Read { .. } => {}
            Step::Transmit { side, budget } => self.pair.transmit(*side, *budget),
            Step::Arrive { side, bytes } => self.pair.arrive(*side, *bytes),
            Step::Drive => self.pair.drive(),
        }
        self.events();
    }

    fn open(&mut self) {
        let Some(&(request, answer_length)) = self.to_open.last() else { return };
        let Ok(id) = self.pair.host.request(post("/"), OutgoingBody::Stream, self.pair.now) else { return };
        self.to_open.pop();
        let request = Body::new(1_009 * self.streams.len(), request);
        self.streams.push(Stream { id, request, answer: None, answer_arrived: false, answer_length });
    }

    fn end(&mut self, side: Side) -> &mut Connection {
        match side {
            Side::Host => &mut self.pair.host,
            Side::Plugin => &mut self.pair.plugin,
        }
    }

    /// The writer of `side` gives its next chunk, or the end when all is given; the plugin ends its answer only when it
    /// has read the whole request, so that nothing of that is unwanted.
    fn give(&mut self, side: Side, stream: usize, size: usize) {
        let Stream { id, request, answer, .. } = &mut self.streams[stream];
        let (id, may_end) = (*id, side == Side::Host || request.ended);
        let body = if side == Side::Host { Some(request) } else { answer.as_mut() };
        let Some(body) = body.filter(|body| !body.finished && body.writable) else { return };
        let left = body.length - body.given;
        let (chunk, now) = (left.min(size), self.pair.now);
        if chunk > 0 {
            let start = body.start + body.given;
            body.given += chunk;
            body.writable = false;
            self.end(side).send(id, PATTERN.slice(start..start + chunk), now).unwrap();
        } else if may_end {
            body.finished = true;
            self.end(side).finish(id, now).unwrap();
        }
    }

    /// The reader of `side` reads once, if it was told that there is something.
    fn read(&mut self, side: Side, stream: usize) {
        let Stream { id, request, answer, answer_arrived, .. } = &mut self.streams[stream];
        let id = *id;
        let body = match side {
            Side::Plugin => Some(request),
            Side::Host if *answer_arrived => answer.as_mut(),
            Side::Host => None,
        };
        let Some(body) = body.filter(|body| body.readable) else { return };
        let connection = match side {
            Side::Host => &mut self.pair.host,
            Side::Plugin => &mut self.pair.plugin,
        };
        match connection.read(id, self.pair.now) {
            ReadOutcome::Data(bytes) => {
                let from = body.start + body.taken;
                body.taken += bytes.len();
                assert!(body.taken <= body.given, "more arrived than was given");
                assert!(PATTERN[from..from + bytes.len()] == bytes, "lost, doubled or moved");
            }
            ReadOutcome::Pending => body.readable = false,
            ReadOutcome::End => {
                assert!(body.finished && body.taken == body.length, "the end came early: {body:?}");
                (body.ended, body.readable) = (true, false);
            }
            ReadOutcome::Reset(code) => panic!("nobody reset stream {}: {code:?}", id.0),
        }
    }

    fn events(&mut self) {
        assert_eq!(self.pair.error, None, "neither end passes the other's credit");
        let at: HashMap<StreamId, usize> =
            self.streams.iter().enumerate().map(|(at, stream)| (stream.id, at)).collect();
        while let Some(event) = self.pair.plugin_event() {
            match event {
                Event::Request { id, .. } => {
                    self.pair.plugin.respond(id, ok(), OutgoingBody::Stream, self.pair.now).unwrap();
                    let stream = &mut self.streams[at[&id]];
                    assert!(stream.answer.is_none(), "a request that arrives twice");
                    stream.answer = Some(Body::new(7 + 1_013 * at[&id], stream.answer_length));
                }
                Event::Readable(id) => self.streams[at[&id]].request.readable = true,
                Event::Writable(id) => self.streams[at[&id]].answer.as_mut().unwrap().writable = true,
                other => panic!("{other:?}"),
            }
        }
        while let Some(event) = self.pair.host_event() {
            match event {
                Event::Response { id, .. } => self.streams[at[&id]].answer_arrived = true,
                Event::Readable(id) => self.streams[at[&id]].answer.as_mut().unwrap().readable = true,
                Event::Writable(id) => self.streams[at[&id]].request.writable = true,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Everyone goes on as far as they were told that they can: all that is left arrives.
    fn finish(mut self) {
        for _ in 0..MOST_ROUNDS {
            self.pair.drive();
            self.events();
            self.open();
            for stream in 0..self.streams.len() {
                for side in [Side::Host, Side::Plugin] {
                    self.give(side, stream, 40_000);
                    self.read(side, stream);
                }
            }
            let is_done = |stream: &Stream| {
                stream.request.ended && stream.answer.as_ref().is_some_and(|answer| answer.ended)
            };
            if self.to_open.is_empty() && self.streams.iter().all(is_done) {
                self.pair.drive();
                let known = (self.pair.host.known_streams(), self.pair.plugin.known_streams());
                assert_eq!(known, (0, 0), "nothing stays behind");
                return;
            }
        }
        panic!("a deadlock: {:?}", self.streams);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn no_byte_is_lost_doubled_or_stuck_whatever_the_order_of_reads_and_writes(plan in plan()) {
        let mut world = World::new(&plan);
        for step in &plan.steps {
            world.step(step);
        }
        world.finish();
    }
}
