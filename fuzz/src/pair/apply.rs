//! Operations: what the applications do, and what they may be told at once.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use toru_plugin_api::{
    frame::{ResetCode, StreamId},
    message::{
        http::{RequestHead, ResponseHead},
        kv::{KvAnswer, KvCall},
        log::{Level, LogMessage},
    },
    proto::{OpenError, OutgoingBody, Side},
};

use super::{
    Pair,
    model::{Call, Exchange, peer_of},
    plan::{AnswerForm, Operation, RequestForm},
};

impl Pair {
    pub(super) fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Request(end, form, size) => self.request(end.into(), form, size.get()),
            Operation::Respond(end, pick, form, size) => {
                let side = end.into();
                let waiting = self.model.streams(|exchange| {
                    exchange.by != side && exchange.is_known_to(side) && exchange.answered.is_none()
                });
                if let Some(at) = pick.of(&waiting) {
                    self.respond(waiting[at], form, size.get());
                }
            }
            Operation::Call(by, size) => self.call(by.into(), size.get()),
            Operation::AnswerCall(end, pick, size) => {
                let side: Side = end.into();
                let calls = self.unanswered_calls(side);
                if let Some(at) = pick.of(&calls) {
                    self.answer_call(calls[at], size.get());
                }
            }
            Operation::Send(end, pick, size) => {
                let side = end.into();
                let open = self.open_flows(side);
                if let Some(at) = pick.of(&open) {
                    self.send(side, open[at], size.get());
                }
            }
            Operation::Finish(end, pick) => {
                let side = end.into();
                let open = self.open_flows(side);
                if let Some(at) = pick.of(&open) {
                    self.finish(side, open[at]);
                }
            }
            Operation::Read(end, pick) => {
                let side = end.into();
                let readable = self.model.streams(|exchange| exchange.is_readable_by(side));
                if let Some(at) = pick.of(&readable) {
                    self.read(side, readable[at]);
                }
            }
            Operation::Discard(end, pick) => {
                let side = end.into();
                let readable = self.model.streams(|exchange| exchange.is_readable_by(side));
                if let Some(at) = pick.of(&readable) {
                    self.discard(side, readable[at]);
                }
            }
            Operation::Reset(end, pick) => {
                let side = end.into();
                let known = self.model.streams(|exchange| exchange.is_known_to(side));
                if let Some(at) = pick.of(&known) {
                    let now = self.now;
                    self.end(side).reset(known[at], ResetCode::CANCELLED, now);
                    self.model.exchange(known[at]).give_up(side);
                }
            }
            Operation::HangUp(end, pick) => {
                let side = end.into();
                let tunnels = self.model.streams(|exchange| {
                    let knows = exchange.by != side || exchange.answer_arrived;
                    exchange.is_tunnel() && knows && exchange.is_known_to(side)
                });
                if let Some(at) = pick.of(&tunnels) {
                    let now = self.now;
                    self.end(side).hang_up(tunnels[at], now);
                    self.model.exchange(tunnels[at]).hang_up(side);
                }
            }
            Operation::Transmit(end, size) => {
                self.transmit(end.into(), size.get());
            }
            Operation::Arrive(end, size) => {
                self.arrive(end.into(), size.get());
            }
            Operation::Rest => self.rest(),
            Operation::Wait { millis } => {
                let time = Duration::from_millis(millis.into());
                self.model.waited += time;
                self.pass(time);
            }
            Operation::Notice => self.notice(),
            Operation::Shutdown => {
                self.model.shutdown = true;
                self.host.shutdown(Duration::from_secs(5));
            }
        }
        self.events();
        self.check();
    }

    /// Streams of this side that are open, as that side sees it.
    fn own_open(&self, side: Side) -> usize {
        let end = match side {
            Side::Host => &self.host,
            Side::Plugin => &self.plugin,
        };
        let exchanges = self.model.exchanges.iter().filter(|exchange| exchange.by == side);
        let exchanges = exchanges.map(|exchange| exchange.id);
        let calls = self.model.calls.iter().filter(|call| call.by == side).map(|call| call.id);
        exchanges.chain(calls).filter(|&id| end.stream(id).is_some()).count()
    }

    /// An open is refused when it must be, and only then.
    fn check_open(
        &mut self,
        side: Side,
        open: usize,
        opened: Result<StreamId, OpenError>,
    ) -> Option<StreamId> {
        let places = usize::try_from(self.end(side).peer_limits().max_streams).unwrap_or(usize::MAX);
        match opened {
            Ok(id) => {
                assert!(open < places, "more streams than the peer accepts");
                assert_eq!(id.0 % 2 == 1, side == Side::Host, "a number of the other side");
                assert_ne!(id.0, 0);
                return Some(id);
            }
            Err(OpenError::Draining) => assert!(side == Side::Host && self.model.shutdown),
            Err(error) => assert_eq!((error, open), (OpenError::Full, places)),
        }
        None
    }

    fn request(&mut self, side: Side, form: RequestForm, size: usize) {
        let form = match form {
            RequestForm::Tunnel if side == Side::Plugin => RequestForm::Stream,
            form => form,
        };
        let serial = self.model.next_serial();
        let mut exchange = Exchange::new(side, StreamId(0), serial);
        let path = format!("/{serial}").parse::<PathAndQuery>().expect("a number is a path");
        let mut head = RequestHead { method: Method::POST, path, headers: HeaderMap::new() };
        let up = &mut exchange.up;
        let body = match form {
            RequestForm::Empty | RequestForm::Head => {
                if matches!(form, RequestForm::Head) {
                    head.method = Method::HEAD;
                    exchange.head_only = true;
                }
                up.finished = true;
                OutgoingBody::Empty
            }
            RequestForm::Full => {
                (up.finished, up.open) = (true, true);
                OutgoingBody::Full(up.give(size))
            }
            RequestForm::Stream | RequestForm::Declared => {
                if matches!(form, RequestForm::Declared) {
                    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
                    up.declared = Some(size as u64);
                }
                (up.open, up.may_send) = (true, true);
                OutgoingBody::Stream
            }
            RequestForm::Tunnel => {
                head.headers.insert(header::UPGRADE, HeaderValue::from_static("x"));
                exchange.offered = true;
                (up.open, up.may_send) = (true, true);
                OutgoingBody::Tunnel
            }
        };
        let open = self.own_open(side);
        let now = self.now;
        let opened = self.end(side).request(&head, body, now);
        if side == Side::Plugin && !self.http_out {
            assert_eq!(opened, Err(OpenError::NotOffered));
        } else if let Some(id) = self.check_open(side, open, opened) {
            exchange.id = id;
            self.model.exchanges.push(exchange);
        }
    }

    pub(super) fn respond(&mut self, id: StreamId, form: AnswerForm, size: usize) {
        let exchange = self.model.exchange(id);
        let mut head = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
        let bodiless = exchange.head_only;
        let down = &mut exchange.down;
        let body = match form {
            AnswerForm::Empty | AnswerForm::Interim => {
                if matches!(form, AnswerForm::Interim) {
                    head.status = StatusCode::EARLY_HINTS;
                }
                down.finished = true;
                OutgoingBody::Empty
            }
            AnswerForm::Full => {
                (down.finished, down.open) = (true, true);
                OutgoingBody::Full(down.give(size))
            }
            AnswerForm::Stream | AnswerForm::Declared | AnswerForm::NoContent => {
                match form {
                    AnswerForm::Declared => {
                        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
                        down.declared = Some(size as u64).filter(|_| !bodiless);
                    }
                    AnswerForm::NoContent => head.status = StatusCode::NO_CONTENT,
                    _ => {}
                }
                (down.open, down.may_send) = (true, true);
                OutgoingBody::Stream
            }
            AnswerForm::Tunnel => {
                head.status = StatusCode::SWITCHING_PROTOCOLS;
                (down.open, down.may_send) = (true, true);
                OutgoingBody::Tunnel
            }
        };
        let callee = peer_of(exchange.by);
        exchange.answered = Some(head.status.as_u16());
        let taken = matches!(form, AnswerForm::Tunnel) && exchange.offered;
        let has_form = taken || !head.status.is_informational();
        exchange.down.discarded = exchange.is_bodiless();
        exchange.up.refused = exchange.offered && !taken;
        if exchange.down.finished {
            exchange.answer_is_whole();
        }
        let now = self.now;
        let answered = self.end(callee).respond(id, head, body, now);
        assert_eq!(answered.is_ok(), has_form, "an answer in a form that the protocol has is taken");
        if !has_form {
            self.model.exchange(id).give_up(callee);
        }
    }

    fn call(&mut self, side: Side, size: usize) {
        let key = self.model.next_serial().to_string();
        let call = match size % 2 {
            0 => KvCall::Get { key },
            _ => KvCall::Set { key, value: vec![0xFF; size].into(), ttl_ms: None },
        };
        let open = self.own_open(side);
        let now = self.now;
        let opened = self.end(side).call_kv(call.clone(), now);
        if let Some(id) = self.check_open(side, open, opened) {
            self.model.calls.push(Call {
                id,
                by: side,
                call,
                arrived: false,
                refused: false,
                answer: None,
                told: false,
            });
        }
    }

    /// Where the calls stand that this side has to answer.
    pub(super) fn unanswered_calls(&self, side: Side) -> Vec<usize> {
        let calls = self.model.calls.iter().enumerate();
        calls
            .filter(|(_, call)| call.by != side && call.arrived && !call.refused && call.answer.is_none())
            .map(|(at, _)| at)
            .collect()
    }

    pub(super) fn answer_call(&mut self, at: usize, size: usize) {
        let call = &mut self.model.calls[at];
        let answer = match call.call {
            KvCall::Get { .. } => KvAnswer::Value(Some(vec![0xFE; size].into())),
            _ => KvAnswer::Ok,
        };
        call.answer = Some(answer.clone());
        let (id, callee) = (call.id, peer_of(call.by));
        let now = self.now;
        let answered = self.end(callee).answer_kv(id, Ok(answer), now);
        assert!(answered.is_ok() || self.model.calls_may_expire(), "an answer that was awaited is taken");
    }

    /// The streams on which this side may send.
    pub(super) fn open_flows(&self, side: Side) -> Vec<StreamId> {
        self.model.streams(|exchange| {
            let flow = if side == exchange.by { &exchange.up } else { &exchange.down };
            exchange.is_known_to(side) && flow.takes_more()
        })
    }

    fn send(&mut self, side: Side, id: StreamId, size: usize) {
        let flow = self.model.exchange(id).sending(side);
        if flow.may_send {
            let bytes = flow.give(size);
            flow.may_send = bytes.is_empty();
            let now = self.now;
            self.end(side).send(id, bytes, now).expect("a stream that can send takes bytes");
        }
    }

    pub(super) fn finish(&mut self, side: Side, id: StreamId) {
        let exchange = self.model.exchange(id);
        exchange.sending(side).finished = true;
        if side != exchange.by {
            exchange.answer_is_whole();
        }
        let now = self.now;
        self.end(side).finish(id, now).expect("a stream that is open can be finished");
    }

    fn discard(&mut self, side: Side, id: StreamId) {
        let now = self.now;
        self.end(side).discard(id, now);
        let exchange = self.model.exchange(id);
        exchange.receiving(side).discarded = true;
        if side == exchange.by && !exchange.is_tunnel() {
            exchange.give_up(side);
        }
    }

    fn notice(&mut self) {
        let number = self.model.next_serial();
        let log =
            LogMessage { level: Level::Info, message: number.to_string(), fields: serde_json::Map::new() };
        assert!(self.plugin.log(&log), "there is room for a record");
        self.model.notices.push_back(number);
    }
}
