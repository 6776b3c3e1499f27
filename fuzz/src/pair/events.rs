//! What an end tells its application, held against the model.

use std::time::Duration;

use toru_plugin_api::{
    frame::StreamId,
    message::http::{Framing, RequestHead, ResponseHead},
    proto::{Event, ReadOutcome, Side},
};

use super::{
    Pair,
    model::{Flow, peer_of},
};

/// The shorter of the two timers of requests, both by default.
const REQUEST_TIMER: Duration = Duration::from_secs(30);

impl Pair {
    pub(super) fn events(&mut self) {
        for side in [Side::Host, Side::Plugin] {
            while let Some(event) = self.end(side).poll_event() {
                self.told(side, event);
            }
        }
    }

    fn told(&mut self, side: Side, event: Event) {
        match event {
            Event::Request { id, head, body } => self.request_arrived(peer_of(side), id, &head, &body),
            Event::Response { id, head, body } => {
                let head = head.expect("the plugin's connection sends no head that is none");
                self.answer_arrived(id, &head, &body);
            }
            Event::Readable(id) => self.model.exchange(id).receiving(side).readable = true,
            Event::Writable(id) => self.model.exchange(id).sending(side).may_send = true,
            Event::Reset { id, by_peer, .. } => {
                let expired = self.model.may_expire(REQUEST_TIMER);
                let exchange = self.model.exchange(id);
                assert!(exchange.is_known_to(side), "an outcome for who has left");
                assert!(
                    if by_peer { exchange.may_be_cut() } else { expired },
                    "nothing justifies that this was reset: {exchange:?}"
                );
                exchange.give_up(side);
            }
            Event::StopSending(id) => {
                let flow = self.model.exchange(id).sending(side);
                assert!(flow.disturbed || flow.refused, "nothing justifies that the rest is not wanted");
                flow.stopped = true;
            }
            Event::KvCall { id, call } => {
                let expected = self.model.next_call(peer_of(side));
                assert_eq!((expected.id, &expected.call), (id, &call), "calls arrive in order");
                expected.arrived = true;
            }
            Event::KvAnswer { id, answer } => {
                let may_expire = self.model.calls_may_expire();
                let call = self.model.calls.iter_mut().rev().find(|call| call.id == id && call.by == side);
                let call = call.expect("an answer to a call that was made");
                assert!(!std::mem::replace(&mut call.told, true), "a second outcome");
                match answer {
                    Ok(answer) => assert_eq!(Some(answer), call.answer),
                    Err(error) => assert!(may_expire, "nothing justifies {error:?}"),
                }
            }
            Event::Log(log) => {
                let expected = self.model.notices.pop_front().map(|number| number.to_string());
                assert_eq!(Some(log.message), expected, "records arrive in order and once");
            }
            Event::Init(_) | Event::Ready(_) | Event::Shutdown(_) => {}
            other => panic!("nobody did what led to {other:?}"),
        }
    }

    fn request_arrived(&mut self, by: Side, id: StreamId, head: &RequestHead, body: &Framing) {
        let exchange = self.model.next_request(by);
        assert_eq!(
            (exchange.id, format!("/{}", exchange.serial)),
            (id, head.path.to_string()),
            "requests arrive in order"
        );
        exchange.arrived = true;
        match body {
            Framing::Stream => assert!(exchange.up.open && !exchange.offered),
            Framing::Tunnel => assert!(exchange.offered),
            Framing::Empty | Framing::Inline(_) => arrived_whole(&mut exchange.up, body),
        }
    }

    fn answer_arrived(&mut self, id: StreamId, head: &ResponseHead, body: &Framing) {
        let exchange = self.model.exchange(id);
        assert!(!exchange.caller_left, "an answer for who has left");
        assert!(!std::mem::replace(&mut exchange.answer_arrived, true), "a second answer");
        assert_eq!(exchange.answered, Some(head.status.as_u16()), "the answer that was given");
        exchange.up.stopped |= exchange.up.refused;
        match body {
            Framing::Empty if exchange.is_bodiless() => {}
            Framing::Stream => assert!(exchange.down.open),
            Framing::Tunnel => assert!(exchange.offered),
            Framing::Empty | Framing::Inline(_) => arrived_whole(&mut exchange.down, body),
        }
    }

    /// The application of `side` reads once.
    pub(super) fn read(&mut self, side: Side, id: StreamId) {
        let now = self.now;
        let outcome = self.end(side).read(id, now);
        let exchange = self.model.exchange(id);
        match outcome {
            ReadOutcome::Data(bytes) => {
                assert!(exchange.receiving(side).readable, "bytes that were not told of");
                assert!(!bytes.is_empty());
                exchange.receiving(side).take(&bytes);
            }
            ReadOutcome::Pending => exchange.receiving(side).readable = false,
            ReadOutcome::End => exchange.receiving(side).end(),
            ReadOutcome::Reset(_) => {
                let excused = exchange.may_be_cut() || exchange.receiving(side).disturbed;
                assert!(excused, "nothing justifies that this was cut: {exchange:?}");
                exchange.receiving(side).discarded = true;
            }
        }
    }

    /// What must hold after every operation.
    pub(super) fn check(&mut self) {
        for exchange in &mut self.model.exchanges {
            for (side, end, wire) in
                [(Side::Host, &self.host, &self.to_host), (Side::Plugin, &self.plugin, &self.to_plugin)]
            {
                let (id, known) = (exchange.id, exchange.is_known_to(side));
                let sending = exchange.sending(side);
                if known && sending.takes_more() {
                    assert_eq!(sending.may_send, end.can_send(id), "who may send was told so");
                }
                let receiving = exchange.receiving(side);
                if !receiving.discarded && !receiving.disturbed {
                    let granted = wire.granted.get(&id).copied().unwrap_or_default();
                    let raised = granted.saturating_sub(receiving.taken);
                    assert!(raised <= wire.most_raised(), "credit for what nobody has read");
                }
            }
        }
        for (end, other) in [(&self.host, &self.plugin), (&self.plugin, &self.host)] {
            let most = u64::from(end.peer_limits().max_streams) + u64::from(other.peer_limits().max_streams);
            assert!(end.open_streams() as u64 <= most, "more streams are open than both sides accept");
        }
    }
}

/// A body that came with its head.
fn arrived_whole(flow: &mut Flow, body: &Framing) {
    if let Framing::Inline(bytes) = body {
        flow.take(bytes);
    }
    flow.end();
}
