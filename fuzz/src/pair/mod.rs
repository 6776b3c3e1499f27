//! Both ends of a link and a model of what their applications did: what was sent arrives, in order and once; what looks whole
//! is whole; nobody waits for a word that never comes; nothing stays behind.

mod apply;
mod events;
mod model;
mod plan;
mod settle;
mod wire;

use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use toru_plugin_api::{
    frame::TransmitBuf,
    proto::{Connection, Phase, Progress, Side},
};

use self::{model::Model, plan::Plan, wire::Wire};
use crate::ends::{init, start};

/// What moves may be needed to bring both ends to rest.
const MOST_MOVES: usize = 100_000;
/// What one write takes.
const WRITE: usize = 1 << 16;

/// The input is a list of operations, in the form of the crate `arbitrary`.
pub fn pair(input: &[u8]) {
    let Ok(plan) = Plan::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let mut pair = Pair::after_handshake(&plan);
    for operation in &plan.operations {
        pair.apply(operation);
    }
    pair.settle();
}

struct Pair {
    host: Connection,
    plugin: Connection,
    to_host: Wire,
    to_plugin: Wire,
    now: Instant,
    model: Model,
    http_out: bool,
}

impl Pair {
    fn after_handshake(plan: &Plan) -> Self {
        let now = start();
        let [host, plugin] = [Side::Host, Side::Plugin].map(|side| plan.settings(side));
        let wire = |limits: toru_plugin_api::frame::Limits| {
            Wire::new(limits.window, limits.max_message, limits.max_data)
        };
        let mut pair = Self {
            to_host: wire(host.limits),
            to_plugin: wire(plugin.limits),
            host: Connection::host(host.clone(), init(&host), now),
            plugin: Connection::plugin(plugin, now),
            now,
            model: Model::default(),
            http_out: plan.http_out,
        };
        pair.rest();
        pair.plugin.ready(now);
        pair.rest();
        assert_eq!((pair.host.phase(), pair.plugin.phase()), (Phase::Open, Phase::Open));
        if plan.wrap {
            let (odd, even) = (u32::MAX - 4, u32::MAX - 5);
            pair.host.continue_numbers_after(Some(odd), Some(even));
            pair.plugin.continue_numbers_after(Some(even), Some(odd));
        }
        pair
    }

    fn end(&mut self, side: Side) -> &mut Connection {
        match side {
            Side::Host => &mut self.host,
            Side::Plugin => &mut self.plugin,
        }
    }

    /// One side writes about `budget` bytes. False: it had nothing to write.
    fn transmit(&mut self, side: Side, budget: usize) -> bool {
        let mut out = TransmitBuf::new();
        let (from, wire, other) = match side {
            Side::Host => (&mut self.host, &mut self.to_plugin, &mut self.to_host),
            Side::Plugin => (&mut self.plugin, &mut self.to_host, &mut self.to_plugin),
        };
        let wrote = from.poll_transmit(&mut out, budget, self.now);
        for (stream, n) in wire.send(&mut out) {
            other.grant(stream, n);
        }
        wrote
    }

    /// At most `bytes` arrive at one side. False: none were under way.
    fn arrive(&mut self, side: Side, bytes: usize) -> bool {
        let (to, wire, other) = match side {
            Side::Host => (&mut self.host, &mut self.to_host, &mut self.to_plugin),
            Side::Plugin => (&mut self.plugin, &mut self.to_plugin, &mut self.to_host),
        };
        if wire.is_empty() {
            return false;
        }
        for (stream, n) in wire.arrive(bytes) {
            other.credit(stream, n);
        }
        while to.handle_input(&mut wire.input, self.now).expect("the peer keeps the protocol")
            == Progress::More
        {}
        true
    }

    /// Bytes move until there are none under way; no time passes.
    fn rest(&mut self) {
        for _ in 0..MOST_MOVES {
            let mut moved = false;
            for side in [Side::Host, Side::Plugin] {
                moved |= self.transmit(side, WRITE);
                moved |= self.arrive(side, usize::MAX);
            }
            self.events();
            if !moved {
                return;
            }
        }
        panic!("the pair never comes to rest");
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for side in [Side::Host, Side::Plugin] {
            let now = self.now;
            self.end(side).handle_timeout(now).expect("time is no error");
        }
    }
}
