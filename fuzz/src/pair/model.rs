//! What must have happened: what was given to one end, and what the other may say of it.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use toru_plugin_api::{
    frame::StreamId,
    message::kv::{KvAnswer, KvCall},
    proto::Side,
};

/// The end at the other end.
pub(super) fn peer_of(side: Side) -> Side {
    match side {
        Side::Host => Side::Plugin,
        Side::Plugin => Side::Host,
    }
}

/// How long a KV call is awaited, by default.
const KV_TIMER: Duration = Duration::from_secs(5);

/// The bytes of a flow are told apart by their place, so that none can be lost, doubled or moved unseen.
fn byte_at(seed: u32, at: u64) -> u8 {
    let mixed =
        (at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(seed).wrapping_mul(0xD134_2543_DE82_EF95);
    (mixed >> 32) as u8
}

/// One direction of a stream: what its application gave, and what the other one got.
#[derive(Debug)]
pub(super) struct Flow {
    seed: u32,
    /// The bytes that were given.
    pub(super) given: u64,
    /// No more will be given.
    pub(super) finished: bool,
    /// No more may be given: it is not wanted.
    pub(super) stopped: bool,
    /// The bytes that were read.
    pub(super) taken: u64,
    /// The reader saw the end.
    pub(super) ended: bool,
    /// What its head says the body has.
    pub(super) declared: Option<u64>,
    /// Its receiver discards it: nobody reads, and nothing ends.
    pub(super) discarded: bool,
    /// The sender was told, or must expect, that it may give more.
    pub(super) may_send: bool,
    /// The reader was told that there is something.
    pub(super) readable: bool,
    /// DATA may be given and read: the head announced it.
    pub(super) open: bool,
    /// Something justifies that it is not whole: a reset, a timer, an early answer.
    pub(super) disturbed: bool,
    /// The offered upgrade was not taken: it ends without a byte, whatever was given.
    pub(super) refused: bool,
}

impl Flow {
    pub(super) fn new(seed: u32) -> Self {
        Self {
            seed,
            given: 0,
            finished: false,
            stopped: false,
            taken: 0,
            ended: false,
            declared: None,
            discarded: false,
            may_send: false,
            readable: false,
            open: false,
            disturbed: false,
            refused: false,
        }
    }

    /// The next bytes of the flow.
    pub(super) fn give(&mut self, size: usize) -> Bytes {
        let end = self.given + size as u64;
        let bytes = (self.given..end).map(|at| byte_at(self.seed, at)).collect();
        self.given = end;
        bytes
    }

    /// The reader got these: they must be the next ones.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        assert!(self.taken + bytes.len() as u64 <= self.given, "more arrived than was sent");
        for &byte in bytes {
            assert_eq!(
                byte,
                byte_at(self.seed, self.taken),
                "lost, doubled or out of order at {}",
                self.taken
            );
            self.taken += 1;
        }
    }

    /// The reader was told that this is all.
    pub(super) fn end(&mut self) {
        assert!(!std::mem::replace(&mut self.ended, true), "a second end");
        self.readable = false;
        if self.refused {
            assert_eq!(self.taken, 0, "a byte of an upgrade that was not taken");
            return;
        }
        assert!(self.finished, "an end that nobody gave");
        assert_eq!(self.taken, self.given, "the end came before all bytes");
        assert!(
            self.declared.is_none_or(|declared| declared == self.taken),
            "a body of another length looks whole"
        );
    }

    /// Whether what was given is at odds with what was declared, so that the receiver cuts it.
    pub(super) fn is_mismatch(&self) -> bool {
        self.declared
            .is_some_and(|declared| self.given > declared || (self.finished && self.given < declared))
    }

    /// Whether the application may still give something.
    pub(super) fn takes_more(&self) -> bool {
        self.open && !self.finished && !self.stopped
    }
}

/// A request and its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) id: StreamId,
    /// Whose request it is.
    pub(super) by: Side,
    pub(super) serial: u32,
    pub(super) head_only: bool,
    pub(super) offered: bool,
    /// The callee got the request.
    pub(super) arrived: bool,
    /// The status that the callee gave.
    pub(super) answered: Option<u16>,
    /// The caller got the answer's head.
    pub(super) answer_arrived: bool,
    /// The body of the request; the caller's half of a tunnel.
    pub(super) up: Flow,
    /// The body of the answer; the callee's half of a tunnel.
    pub(super) down: Flow,
    /// The application has no part in it any more: it gave it up, or was told that it is over.
    pub(super) caller_left: bool,
    pub(super) callee_left: bool,
}

impl Exchange {
    pub(super) fn new(by: Side, id: StreamId, serial: u32) -> Self {
        Self {
            id,
            by,
            serial,
            head_only: false,
            offered: false,
            arrived: false,
            answered: None,
            answer_arrived: false,
            up: Flow::new(2 * serial),
            down: Flow::new(2 * serial + 1),
            caller_left: false,
            callee_left: false,
        }
    }

    /// What `side` sends.
    pub(super) fn sending(&mut self, side: Side) -> &mut Flow {
        if side == self.by { &mut self.up } else { &mut self.down }
    }

    /// What `side` receives.
    pub(super) fn receiving(&mut self, side: Side) -> &mut Flow {
        if side == self.by { &mut self.down } else { &mut self.up }
    }

    /// Whether the application of `side` may have a part in it.
    pub(super) fn is_known_to(&self, side: Side) -> bool {
        if side == self.by { !self.caller_left } else { self.arrived && !self.callee_left }
    }

    /// The application of `side` has no part in it any more.
    pub(super) fn leave(&mut self, side: Side) {
        if side == self.by {
            self.caller_left = true;
        } else {
            self.callee_left = true;
        }
    }

    /// The application of `side` gives it up, or was told that it is over: nothing need be whole.
    pub(super) fn give_up(&mut self, side: Side) {
        self.leave(side);
        self.disturb();
    }

    /// The application of `side` closes a tunnel: what it sent is still to arrive, and it wants no more.
    pub(super) fn hang_up(&mut self, side: Side) {
        self.leave(side);
        self.sending(side).finished = true;
        let unwanted = self.receiving(side);
        unwanted.discarded = true;
        unwanted.disturbed = true;
    }

    /// From now on neither direction need be whole.
    pub(super) fn disturb(&mut self) {
        self.up.disturbed = true;
        self.down.disturbed = true;
    }

    /// Whether a direction may be cut, by what the applications and the clock did.
    pub(super) fn may_be_cut(&self) -> bool {
        self.up.is_mismatch() || self.down.is_mismatch() || self.up.disturbed && self.down.disturbed
    }

    /// The answer is given to its end: what has not arrived of the request by then is not wanted.
    pub(super) fn answer_is_whole(&mut self) {
        if !self.up.ended && !self.is_tunnel() {
            self.up.disturbed = true;
        }
    }

    /// Whether the status or the method says that the answer has no body.
    pub(super) fn is_bodiless(&self) -> bool {
        self.head_only || self.answered == Some(204)
    }

    /// Whether both directions are raw bytes, as the callee sees it.
    pub(super) fn is_tunnel(&self) -> bool {
        self.answered == Some(101)
    }

    /// Whether `side` may read.
    pub(super) fn is_readable_by(&self, side: Side) -> bool {
        let is_caller = side == self.by;
        let flow = if is_caller { &self.down } else { &self.up };
        let has_head = !is_caller || self.answer_arrived;
        self.is_known_to(side) && has_head && flow.open && !flow.ended && !flow.discarded
    }
}

/// A KV call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: StreamId,
    pub(super) by: Side,
    pub(super) call: KvCall,
    /// The callee was told.
    pub(super) arrived: bool,
    pub(super) answer: Option<KvAnswer>,
    /// The caller was told the outcome.
    pub(super) told: bool,
}

/// All that was asked.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) calls: Vec<Call>,
    /// Log records under way, by number.
    pub(super) notices: VecDeque<u32>,
    pub(super) serial: u32,
    /// The plugin will be told to end, or was.
    pub(super) shutdown: bool,
    /// How much time has passed.
    pub(super) waited: Duration,
}

impl Model {
    pub(super) fn next_serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// The exchange on this stream, which must be there.
    pub(super) fn exchange(&mut self, id: StreamId) -> &mut Exchange {
        let found = self.exchanges.iter_mut().rev().find(|exchange| exchange.id == id);
        found.expect("what is told is of a request that was made")
    }

    /// The next request by `by` that has not arrived: they arrive in the order in which they were made.
    pub(super) fn next_request(&mut self, by: Side) -> &mut Exchange {
        let next = self.exchanges.iter_mut().find(|exchange| exchange.by == by && !exchange.arrived);
        next.expect("no request arrives that was not made")
    }

    /// The next call by `by` that has not arrived.
    pub(super) fn next_call(&mut self, by: Side) -> &mut Call {
        let next = self.calls.iter_mut().find(|call| call.by == by && !call.arrived);
        next.expect("no call arrives that was not made")
    }

    /// Whether a timer of this length may have expired.
    pub(super) fn may_expire(&self, timer: Duration) -> bool {
        self.waited >= timer
    }

    /// Whether a KV call may have timed out.
    pub(super) fn calls_may_expire(&self) -> bool {
        self.may_expire(KV_TIMER)
    }

    /// The streams whose exchange is like this.
    pub(super) fn streams(&self, test: impl Fn(&Exchange) -> bool) -> Vec<StreamId> {
        self.exchanges.iter().filter(|exchange| test(exchange)).map(|exchange| exchange.id).collect()
    }
}
