//! Both ends: they keep the protocol, so neither finds the other at fault, and nothing stays behind.

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use toru_plugin_api::{
    frame::{ResetCode, StreamId, TransmitBuf},
    message::kv::KvAnswer,
    proto::{Connection, Event, Phase, Progress, Side},
};

use super::{Input, acts, init, settings, start};

/// What moves may be needed to bring both ends to rest.
const MOST_MOVES: usize = 100_000;

struct Pair {
    host: Connection,
    plugin: Connection,
    to_host: BytesMut,
    to_plugin: BytesMut,
    /// Part of the bytes under way have arrived, and wait for the rest of their frame.
    host_has: BytesMut,
    plugin_has: BytesMut,
    now: Instant,
    calls: Vec<(Side, StreamId)>,
    streams: Vec<(Side, StreamId)>,
}

pub(super) fn run(features: &[&str], mut input: Input<'_>) {
    let mut pair = Pair::after_handshake(features);
    while pair.operation(&mut input).is_some() {}
    pair.finish();
}

impl Pair {
    fn after_handshake(features: &[&str]) -> Self {
        let now = start();
        let mut pair = Self {
            host: Connection::host(settings(features), init(features), now),
            plugin: Connection::plugin(settings(features), now),
            to_host: BytesMut::new(),
            to_plugin: BytesMut::new(),
            host_has: BytesMut::new(),
            plugin_has: BytesMut::new(),
            now,
            calls: Vec::new(),
            streams: Vec::new(),
        };
        pair.rest();
        pair.plugin.ready(now);
        pair.rest();
        assert_eq!((pair.host.phase(), pair.plugin.phase()), (Phase::Open, Phase::Open));
        pair
    }

    fn end(&mut self, side: Side) -> &mut Connection {
        match side {
            Side::Host => &mut self.host,
            Side::Plugin => &mut self.plugin,
        }
    }

    fn operation(&mut self, input: &mut Input<'_>) -> Option<()> {
        let kind = input.byte()?;
        let side = if kind >= 128 { Side::Host } else { Side::Plugin };
        match kind % 8 {
            0 => {
                self.transmit(side, input.short()?.into());
            }
            1 | 2 => {
                self.arrive(side, input.short()?.into());
            }
            3 => {
                self.now += Duration::from_millis(u64::from(input.short()?) / 4);
                self.expire();
            }
            _ => {
                let now = self.now;
                acts::act(self.end(side), input, now)?;
            }
        }
        self.events();
        Some(())
    }

    fn transmit(&mut self, side: Side, budget: usize) -> bool {
        let mut out = TransmitBuf::new();
        let (from, wire) = match side {
            Side::Host => (&mut self.host, &mut self.to_plugin),
            Side::Plugin => (&mut self.plugin, &mut self.to_host),
        };
        let wrote = from.poll_transmit(&mut out, budget, self.now);
        wire.extend_from_slice(&out.copy_to_bytes(out.remaining()));
        wrote
    }

    fn arrive(&mut self, side: Side, bytes: usize) -> bool {
        let (to, wire, has) = match side {
            Side::Host => (&mut self.host, &mut self.to_host, &mut self.host_has),
            Side::Plugin => (&mut self.plugin, &mut self.to_plugin, &mut self.plugin_has),
        };
        let arrived = wire.split_to(bytes.min(wire.len()));
        has.extend_from_slice(&arrived);
        while to.handle_input(has, self.now).expect("the peer keeps the protocol") == Progress::More {}
        !arrived.is_empty()
    }

    fn expire(&mut self) {
        self.host.handle_timeout(self.now).expect("time is no error");
        self.plugin.handle_timeout(self.now).expect("time is no error");
    }

    fn events(&mut self) {
        for side in [Side::Host, Side::Plugin] {
            while let Some(event) = self.end(side).poll_event() {
                match event {
                    Event::KvCall { id, .. } => self.calls.push((side, id)),
                    Event::Request { id, .. } | Event::Response { id, .. } => self.streams.push((side, id)),
                    _ => {}
                }
            }
        }
    }

    fn rest(&mut self) {
        for _ in 0..MOST_MOVES {
            let mut moved = false;
            for side in [Side::Host, Side::Plugin] {
                moved |= self.transmit(side, 1 << 16);
                moved |= self.arrive(side, usize::MAX);
            }
            self.events();
            if !moved {
                return;
            }
        }
        panic!("the pair never comes to rest");
    }

    /// Both applications give up what they have, and the timers end the rest.
    fn finish(mut self) {
        for _ in 0..4 {
            self.rest();
            let now = self.now;
            for (side, id) in std::mem::take(&mut self.calls) {
                let _ = self.end(side).answer_kv(id, Ok(KvAnswer::Ok), now);
            }
            for (side, id) in self.streams.clone() {
                self.end(side).reset(id, ResetCode::CANCELLED, now);
            }
            self.rest();
            self.now += Duration::from_secs(61);
            self.expire();
        }
        self.rest();
        assert_eq!((self.host.open_streams(), self.plugin.open_streams()), (0, 0), "streams stay behind");
    }
}
