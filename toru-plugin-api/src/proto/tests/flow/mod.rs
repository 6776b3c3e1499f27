//! Flow control, whatever the windows, the pieces, the latency and the order of reads and writes: no byte is lost, doubled
//! or moved, no credit is passed, and nobody waits for ever. Both directions of several streams run at once: requests of either side,
//! and tunnels, which one end may close while the other still writes.

mod plan;

use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Pair,
    http::upgrade,
    pair::{ok, post, settings, status},
};
use crate::{
    frame::StreamId,
    proto::{Connection, Event, OutgoingBody, ReadOutcome, Settings, Side},
};
use plan::{Kind, Plan, Step, StreamPlan, plan};

/// The longest body: some of the largest windows.
const MAX_BODY: usize = 600_000;
/// What may be done after the schedule before it counts as a deadlock.
const MOST_ROUNDS: usize = 20_000;

/// The bytes of all bodies: each begins at another place, so a byte says where it belongs.
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let bytes = (0..2 * MAX_BODY as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8);
    bytes.collect()
});

/// One body on its way.
#[derive(Debug)]
struct Body {
    /// Where it begins in the pattern.
    start: usize,
    length: usize,
    given: usize,
    /// The writer has given all, or was told that nothing more is wanted.
    finished: bool,
    taken: usize,
    /// The reader has come to the end, or wants no more.
    done: bool,
    /// The reader has closed the tunnel.
    unwanted: bool,
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
            done: false,
            unwanted: false,
            readable: false,
            writable: true,
        }
    }
}

/// A stream: what its opener sends on it, and what the other side does.
#[derive(Debug)]
struct Stream {
    id: StreamId,
    kind: Kind,
    up: Body,
    down: Body,
    /// The request has arrived, and was answered.
    answered: bool,
    /// The answer's head has arrived.
    answer_arrived: bool,
}

impl Stream {
    fn sent_by(&mut self, side: Side) -> &mut Body {
        if side == self.kind.opener() { &mut self.up } else { &mut self.down }
    }

    fn read_by(&mut self, side: Side) -> &mut Body {
        if side == self.kind.opener() { &mut self.down } else { &mut self.up }
    }

    /// Whether the side knows of the answer.
    fn knows_answer(&self, side: Side) -> bool {
        if side == self.kind.opener() { self.answer_arrived } else { self.answered }
    }

    fn may_send(&self, side: Side) -> bool {
        side == self.kind.opener() || self.answered
    }

    /// Who answers ends that only when it has read the whole request, so that nothing of it is unwanted.
    fn may_end(&self, side: Side) -> bool {
        side == self.kind.opener() || self.kind.is_tunnel() || self.up.done
    }

    /// Whether the side has closed it.
    fn is_hung_up(&mut self, side: Side) -> bool {
        self.kind.hangs_up(side) && self.sent_by(side).finished
    }
}

struct World {
    pair: Pair,
    to_open: Vec<StreamPlan>,
    streams: Vec<Stream>,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let host = Settings { limits: plan.host, ..settings(plan.features) };
        let plugin = Settings { limits: plan.plugin, ..settings(plan.features) };
        let mut pair = Pair::with(host, plugin).split(plan.split).latency(plan.latency);
        let before_the_wrap = plan.before_the_wrap.map(|streams| u32::MAX - 2 * streams);
        pair.host.continue_numbers_after(before_the_wrap, None);
        pair.plugin.continue_numbers_after(before_the_wrap, None);
        Self { pair, to_open: plan.streams.clone(), streams: Vec::new() }
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
            Step::NextBuffer { side } => self.end(*side).let_go_of_input(),
            Step::Drive => self.pair.drive(),
        }
        self.events();
    }

    fn open(&mut self) {
        let Some(&StreamPlan { kind, up, down }) = self.to_open.last() else { return };
        let (head, body) = match kind {
            Kind::Request(_) => (post("/"), OutgoingBody::Stream),
            Kind::Tunnel { .. } => (upgrade(), OutgoingBody::Tunnel),
        };
        let now = self.pair.now;
        let Ok(id) = self.end(kind.opener()).request(head, body, now) else { return };
        self.to_open.pop();
        let at = self.streams.len();
        let (up, down) = (Body::new(1_009 * at, up), Body::new(7 + 1_013 * at, down));
        self.streams.push(Stream { id, kind, up, down, answered: false, answer_arrived: false });
    }

    fn end(&mut self, side: Side) -> &mut Connection {
        match side {
            Side::Host => &mut self.pair.host,
            Side::Plugin => &mut self.pair.plugin,
        }
    }

    fn stream(&mut self, id: StreamId) -> &mut Stream {
        self.streams
            .iter_mut()
            .find(|stream| stream.id == id)
            .expect("what is told is of a stream that was opened")
    }

    /// The writer of `side` gives its next chunk, or the end when all is given.
    fn give(&mut self, side: Side, at: usize, size: usize) {
        let now = self.pair.now;
        let stream = &mut self.streams[at];
        let (id, kind, may_send, may_end) =
            (stream.id, stream.kind, stream.may_send(side), stream.may_end(side));
        let may_hang_up = stream.knows_answer(side);
        let body = stream.sent_by(side);
        let chunk = (body.length - body.given).min(size);
        // The end need not wait until the chunk before it is on its way.
        if !may_send || body.finished || chunk > 0 && !body.writable {
            return;
        }
        if chunk > 0 {
            let start = body.start + body.given;
            body.given += chunk;
            body.writable = false;
            self.end(side).send(id, PATTERN.slice(start..start + chunk), now).unwrap();
        } else if kind.hangs_up(side) {
            if may_hang_up {
                body.finished = true;
                let unwanted = stream.read_by(side);
                (unwanted.unwanted, unwanted.done) = (true, true);
                self.end(side).hang_up(id, now);
            }
        } else if may_end {
            body.finished = true;
            self.end(side).finish(id, now).unwrap();
        }
    }

    /// The reader of `side` reads once, if it was told that there is something.
    fn read(&mut self, side: Side, at: usize) {
        let stream = &mut self.streams[at];
        let waits = stream.kind.writes_first(side) && !stream.sent_by(side).finished;
        let (id, knows_head) = (stream.id, side != stream.kind.opener() || stream.answer_arrived);
        let body = stream.read_by(side);
        if waits || !knows_head || !body.readable || body.done {
            return;
        }
        let end = match side {
            Side::Host => &mut self.pair.host,
            Side::Plugin => &mut self.pair.plugin,
        };
        match end.read(id, self.pair.now) {
            ReadOutcome::Data(bytes) => {
                let from = body.start + body.taken;
                body.taken += bytes.len();
                assert!(body.taken <= body.given, "more arrived than was given");
                assert!(PATTERN[from..from + bytes.len()] == bytes, "lost, doubled or moved");
            }
            ReadOutcome::Pending => body.readable = false,
            ReadOutcome::End => {
                assert!(body.finished && body.taken == body.length, "the end came early: {body:?}");
                (body.done, body.readable) = (true, false);
            }
            ReadOutcome::Reset(code) => panic!("nobody reset stream {}: {code:?}", id.0),
        }
    }

    fn events(&mut self) {
        assert_eq!(self.pair.error, None, "neither end passes the other's credit");
        while let Some(event) = self.pair.host_event() {
            self.told(Side::Host, event);
        }
        while let Some(event) = self.pair.plugin_event() {
            self.told(Side::Plugin, event);
        }
    }

    fn told(&mut self, side: Side, event: Event) {
        match event {
            Event::Request { id, .. } => {
                let stream = self.stream(id);
                assert!(!std::mem::replace(&mut stream.answered, true), "a request that arrives twice");
                let (head, body) = match stream.kind {
                    Kind::Request(_) => (ok(), OutgoingBody::Stream),
                    Kind::Tunnel { .. } => (status(101), OutgoingBody::Tunnel),
                };
                let now = self.pair.now;
                self.end(side).respond(id, head, body, now).unwrap();
            }
            Event::Response { id, .. } => self.stream(id).answer_arrived = true,
            Event::Readable(id) => self.stream_known_to(side, id).read_by(side).readable = true,
            Event::Writable(id) => self.stream_known_to(side, id).sent_by(side).writable = true,
            Event::StopSending(id) => {
                let body = self.stream_known_to(side, id).sent_by(side);
                assert!(body.unwanted, "the rest of a body that is wanted is sent");
                body.finished = true;
            }
            other => panic!("{other:?}"),
        }
    }

    /// The stream of which a side is told something.
    fn stream_known_to(&mut self, side: Side, id: StreamId) -> &mut Stream {
        let stream = self.stream(id);
        assert!(!stream.is_hung_up(side), "nothing is told of a tunnel that was closed");
        stream
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
            if self.to_open.is_empty() && self.streams.iter().all(|stream| stream.up.done && stream.down.done)
            {
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
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_byte_is_lost_doubled_or_stuck_whatever_the_order_of_reads_and_writes(plan in plan()) {
        let mut world = World::new(&plan);
        for step in &plan.steps {
            world.step(step);
        }
        world.finish();
    }
}
