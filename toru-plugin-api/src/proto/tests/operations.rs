//! Random lists of operations on the pair. Both ends keep the protocol, so whatever the applications do and however the
//! bytes are cut, neither may find the other at fault, every stream has exactly one outcome, and nothing stays behind.

use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;

use super::{
    Pair,
    pair::{get, head, ok, post, settings, status},
};
use crate::{
    frame::{Limits, ResetCode, StreamId},
    message::{
        http::{Framing, RequestHead},
        kv::{KvAnswer, KvCall},
    },
    proto::{Event, OpenError, OutgoingBody, ReadOutcome, Settings, Side},
};

const MAX_STREAMS: u32 = 4;
const WINDOW: u32 = 3_000;

/// Which of the streams that a side has seen an operation means.
type Pick = prop::sample::Index;

#[derive(Debug, Clone)]
enum Operation {
    Request { side: Side, kind: u8, size: usize },
    Respond { side: Side, pick: Pick, kind: u8, size: usize },
    CallKv { side: Side, size: usize },
    AnswerKv { side: Side, pick: Pick },
    Send { side: Side, pick: Pick, size: usize },
    Finish { side: Side, pick: Pick },
    Read { side: Side, pick: Pick },
    Discard { side: Side, pick: Pick },
    Reset { side: Side, pick: Pick },
    TakeUpgrade { pick: Pick },
    HangUp { side: Side, pick: Pick },
    Transmit { side: Side, budget: usize },
    Arrive { side: Side, bytes: usize },
    Pass { millis: u64 },
    Drain,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Host), Just(Side::Plugin)]
}

fn operation() -> impl Strategy<Value = Operation> {
    let pick = any::<Pick>;
    prop_oneof![
        8 => (side(), any::<u8>(), 0..10_000_usize)
            .prop_map(|(side, kind, size)| Operation::Request { side, kind, size }),
        8 => (side(), pick(), any::<u8>(), 0..10_000_usize)
            .prop_map(|(side, pick, kind, size)| Operation::Respond { side, pick, kind, size }),
        2 => (side(), 0..5_000_usize).prop_map(|(side, size)| Operation::CallKv { side, size }),
        2 => (side(), pick()).prop_map(|(side, pick)| Operation::AnswerKv { side, pick }),
        6 => (side(), pick(), 0..10_000_usize)
            .prop_map(|(side, pick, size)| Operation::Send { side, pick, size }),
        3 => (side(), pick()).prop_map(|(side, pick)| Operation::Finish { side, pick }),
        8 => (side(), pick()).prop_map(|(side, pick)| Operation::Read { side, pick }),
        1 => (side(), pick()).prop_map(|(side, pick)| Operation::Discard { side, pick }),
        2 => (side(), pick()).prop_map(|(side, pick)| Operation::Reset { side, pick }),
        4 => pick().prop_map(|pick| Operation::TakeUpgrade { pick }),
        2 => (side(), pick()).prop_map(|(side, pick)| Operation::HangUp { side, pick }),
        10 => (side(), 1..5_000_usize).prop_map(|(side, budget)| Operation::Transmit { side, budget }),
        10 => (side(), 1..5_000_usize).prop_map(|(side, bytes)| Operation::Arrive { side, bytes }),
        1 => (0..20_000_u64).prop_map(|millis| Operation::Pass { millis }),
        3 => Just(Operation::Drain),
    ]
}

fn picked(pick: &Pick, streams: &[StreamId]) -> Option<StreamId> {
    (!streams.is_empty()).then(|| streams[pick.index(streams.len())])
}

/// What the applications of both sides know.
struct World {
    pair: Pair,
    host: Known,
    plugin: Known,
}

/// What the application of one side knows.
#[derive(Debug, Default)]
struct Known {
    streams: Vec<StreamId>,
    /// Those of them whose request offers an upgrade, and those that are tunnels.
    offered: Vec<StreamId>,
    tunnels: Vec<StreamId>,
    /// Calls that it has to answer.
    calls: Vec<StreamId>,
    /// Outcomes of what it asked: `None` while there is none.
    asked: HashMap<StreamId, Option<&'static str>>,
}

impl Known {
    fn outcome(&mut self, id: StreamId, outcome: &'static str) {
        let slot = self.asked.get_mut(&id).expect("an outcome of what was asked");
        assert_eq!(slot.replace(outcome), None, "a second outcome of {id:?}");
    }

    fn outcome_unless_known(&mut self, id: StreamId, outcome: &'static str) {
        self.asked.entry(id).and_modify(|known| {
            known.get_or_insert(outcome);
        });
    }

    fn told(&mut self, event: Event) {
        match event {
            Event::Request { id, body, .. } => {
                assert!(!matches!(&body, Framing::Inline(body) if body.len() > WINDOW as usize));
                if body == Framing::Tunnel {
                    self.offered.push(id);
                }
                self.streams.push(id);
            }
            Event::Response { id, body, .. } => {
                if body == Framing::Tunnel {
                    self.tunnels.push(id);
                }
                self.outcome(id, "response");
            }
            // After the answer's head it cuts the body; before it, it is the outcome.
            Event::Reset { id, .. } => self.outcome_unless_known(id, "reset"),
            Event::KvAnswer { id, .. } => self.outcome(id, "answer"),
            Event::KvCall { id, .. } => self.calls.push(id),
            _ => {}
        }
    }
}

impl World {
    fn new(features: &[&str]) -> Self {
        let limits =
            Limits { window: WINDOW, max_streams: MAX_STREAMS, max_message: 65_536, max_data: 1_024 };
        let settings = Settings { limits, ..settings(features) };
        let pair = Pair::with(settings.clone(), settings);
        Self { pair, host: Known::default(), plugin: Known::default() }
    }

    fn end(&mut self, side: Side) -> (&mut crate::proto::Connection, &mut Known) {
        match side {
            Side::Host => (&mut self.pair.host, &mut self.host),
            Side::Plugin => (&mut self.pair.plugin, &mut self.plugin),
        }
    }

    fn apply(&mut self, operation: Operation) {
        let now = self.pair.now;
        match operation {
            Operation::Request { side, kind, size } => self.request(side, kind, size),
            Operation::Respond { side, pick, kind, size } => self.respond(side, &pick, kind, size),
            Operation::CallKv { side, size } => {
                let call = KvCall::Set { key: "k".to_owned(), value: vec![0xFF; size].into(), ttl_ms: None };
                let (end, known) = self.end(side);
                match end.call_kv(call, now) {
                    Ok(id) => assert_eq!(known.asked.insert(id, None), None),
                    Err(error) => assert_eq!(error, OpenError::Full),
                }
            }
            Operation::AnswerKv { side, pick } => {
                let (end, known) = self.end(side);
                if !known.calls.is_empty() {
                    let id = known.calls.swap_remove(pick.index(known.calls.len()));
                    let _ = end.answer_kv(id, Ok(KvAnswer::Ok), now);
                }
            }
            Operation::Send { side, pick, size } => self.on_stream(side, &pick, |end, id| {
                if end.can_send(id) {
                    end.send(id, vec![0; size].into(), now).unwrap();
                }
            }),
            Operation::Finish { side, pick } => self.on_stream(side, &pick, |end, id| {
                let _ = end.finish(id, now);
            }),
            Operation::Read { side, pick } => self.on_stream(side, &pick, |end, id| {
                let _ = end.read(id, now);
            }),
            Operation::Discard { side, pick } => {
                self.give_up(side, &pick, |end, id| end.discard(id, now));
            }
            Operation::Reset { side, pick } => {
                self.give_up(side, &pick, |end, id| end.reset(id, ResetCode::CANCELLED, now));
            }
            Operation::TakeUpgrade { pick } => self.take_upgrade(&pick),
            Operation::HangUp { side, pick } => {
                let (end, known) = self.end(side);
                if let Some(id) = picked(&pick, &known.tunnels) {
                    end.hang_up(id, now);
                }
            }
            Operation::Transmit { side, budget } => self.pair.transmit(side, budget),
            Operation::Arrive { side, bytes } => self.pair.arrive(side, bytes),
            Operation::Pass { millis } => self.pair.pass(Duration::from_millis(millis)),
            Operation::Drain => self.pair.drive(),
        }
        self.events();
        assert_eq!(self.pair.error, None);
        assert!(self.pair.host.open_streams() <= 2 * MAX_STREAMS as usize);
        assert!(self.pair.plugin.open_streams() <= 2 * MAX_STREAMS as usize);
    }

    fn request(&mut self, side: Side, kind: u8, size: usize) {
        let (head, body): (RequestHead, _) = match kind % 5 {
            0 => (get("/"), OutgoingBody::Empty),
            1 => (head(http::Method::HEAD, "/"), OutgoingBody::Empty),
            2 => (post("/"), OutgoingBody::Full(vec![0xFF; size].into())),
            4 if side == Side::Host => {
                let mut head = get("/");
                head.headers.insert("upgrade", "x".parse().unwrap());
                (head, OutgoingBody::Tunnel)
            }
            _ => (post("/"), OutgoingBody::Stream),
        };
        let now = self.pair.now;
        let (end, known) = self.end(side);
        match end.request(head, body, now) {
            Ok(id) => {
                known.streams.push(id);
                assert_eq!(known.asked.insert(id, None), None);
            }
            Err(error) => assert_eq!(error, OpenError::Full),
        }
    }

    fn respond(&mut self, side: Side, pick: &Pick, kind: u8, size: usize) {
        let now = self.pair.now;
        self.on_stream(side, pick, |end, id| {
            let mut declared = ok();
            declared.headers.insert("content-length", size.into());
            let (head, body) = match kind % 7 {
                0 => (ok(), OutgoingBody::Empty),
                1 => (ok(), OutgoingBody::Full(vec![0xFF; size].into())),
                2 => (ok(), OutgoingBody::Stream),
                // Most often the wrong length.
                3 => (declared, OutgoingBody::Stream),
                4 => (status(204), OutgoingBody::Stream),
                // Most often not offered.
                5 => (status(101), OutgoingBody::Tunnel),
                _ => (status(103), OutgoingBody::Empty),
            };
            let _ = end.respond(id, head, body, now);
        });
    }

    fn take_upgrade(&mut self, pick: &Pick) {
        let Some(id) = picked(pick, &self.plugin.offered) else { return };
        if self.pair.plugin.respond(id, status(101), OutgoingBody::Tunnel, self.pair.now).is_ok() {
            self.plugin.tunnels.push(id);
        }
    }

    fn on_stream(
        &mut self,
        side: Side,
        pick: &Pick,
        act: impl FnOnce(&mut crate::proto::Connection, StreamId),
    ) {
        let (end, known) = self.end(side);
        if let Some(id) = picked(pick, &known.streams) {
            act(end, id);
        }
    }

    /// What a side gives up itself has that for its outcome, unless it had one.
    fn give_up(
        &mut self,
        side: Side,
        pick: &Pick,
        act: impl FnOnce(&mut crate::proto::Connection, StreamId),
    ) {
        let mut given_up = None;
        self.on_stream(side, pick, |end, id| {
            act(end, id);
            given_up = Some(id);
        });
        self.events();
        if let Some(id) = given_up {
            self.end(side).1.outcome_unless_known(id, "given up");
        }
    }

    fn events(&mut self) {
        while let Some(event) = self.pair.host_event() {
            self.host.told(event);
        }
        while let Some(event) = self.pair.plugin_event() {
            self.plugin.told(event);
        }
    }

    /// What lies unread is never more than the window.
    fn read_all(&mut self, side: Side) {
        let now = self.pair.now;
        let (end, known) = self.end(side);
        for &id in &known.streams {
            let mut unread = 0;
            while let ReadOutcome::Data(bytes) = end.read(id, now) {
                unread += bytes.len();
            }
            assert!(unread <= 256 << 10, "no more than the raised window lay unread");
        }
    }

    /// Everyone loses interest: all ends, and nothing stays behind.
    fn finish(mut self) {
        for side in [Side::Host, Side::Plugin] {
            self.read_all(side);
            let now = self.pair.now;
            let (end, known) = self.end(side);
            for id in std::mem::take(&mut known.calls) {
                let _ = end.answer_kv(id, Ok(KvAnswer::Ok), now);
            }
        }
        self.pair.drive();
        self.events();
        for (end, known) in [(&mut self.pair.host, &self.host), (&mut self.pair.plugin, &self.plugin)] {
            for &id in &known.streams {
                end.reset(id, ResetCode::CANCELLED, self.pair.now);
            }
        }
        for _ in 0..3 {
            self.pair.pass(Duration::from_secs(60));
            self.events();
            for side in [Side::Host, Side::Plugin] {
                let now = self.pair.now;
                let (end, known) = self.end(side);
                for id in std::mem::take(&mut known.calls) {
                    let _ = end.answer_kv(id, Ok(KvAnswer::Ok), now);
                }
                // Requests that arrived meanwhile.
                for &id in &known.streams {
                    end.reset(id, ResetCode::CANCELLED, now);
                }
            }
        }
        self.pair.drive();
        assert_eq!(self.pair.error, None);
        let known = (self.pair.host.known_streams(), self.pair.plugin.known_streams());
        assert_eq!((known, self.pair.host.open_streams(), self.pair.plugin.open_streams()), ((0, 0), 0, 0));
        assert_eq!((self.pair.host.next_timeout(), self.pair.plugin.next_timeout()), (None, None));
        for known in [&self.host, &self.plugin] {
            for (id, outcome) in &known.asked {
                // What a side gave up at the end itself has no other outcome.
                assert!(outcome.is_some() || known.streams.contains(id), "{id:?} has no outcome");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn whatever_the_applications_do_neither_end_is_at_fault_and_nothing_stays(
        operations in prop::collection::vec(operation(), 1..150),
        binary: bool,
    ) {
        let features: &[&str] = if binary { &["heads", "http-out", "streams"] } else { &["http-out", "streams"] };
        let mut world = World::new(features);
        for operation in operations {
            world.apply(operation);
        }
        world.finish();
    }
}
