//! Messages arrive, and heads in either form.

use std::time::Instant;

use http::StatusCode;

use super::{Connection, Handled, Side, commands::has_no_body};
use crate::{
    frame::{ResetCode, StreamId},
    message::{
        Parsed,
        http::{Framing, HeadError, RequestHead, ResponseHead},
        kv::{self, KvAnswer, KvCall, KvError, KvErrorCode},
        lifecycle::{Init, Ready, feature},
    },
    proto::{
        ConnectionError, Event,
        handshake::{Handshake, check_version, message_name},
        recv::{Body, RecvHalf},
        send::{AfterHead, SendHalf},
        stream::{Exchange, Stream, Upgrade},
        work::{call_size, request_size},
    },
};

/// How many kinds of unknown things are told of: each once, and no endless list of a peer's inventions.
const TOLD_UNKNOWN: usize = 64;

impl Connection {
    pub(super) fn handle_message(&mut self, message: Parsed, frame_length: usize, now: Instant) -> Handled {
        self.handshake.check_message(&message)?;
        match (self.side, message) {
            (_, Parsed::Request { id, head, body }) => self.handle_request(id, head, body, frame_length),
            (_, Parsed::Response { id, head, body }) => self.handle_response(id, head, body, now),
            (_, Parsed::KvCall { id, call }) => self.handle_call(id, call),
            (_, Parsed::KvAnswer { id, answer }) => self.handle_answer(id, answer),
            (_, Parsed::Unknown { id, what }) => self.handle_unknown(id, &what),
            (Side::Plugin, Parsed::Init(init)) if self.handshake == Handshake::AwaitInit => {
                self.handle_init(init)
            }
            (Side::Host, Parsed::Ready(ready)) if self.handshake == Handshake::AwaitReady => {
                self.handle_ready(ready, now)
            }
            (Side::Host, Parsed::Failed(failed)) if self.handshake == Handshake::AwaitReady => {
                self.handshake = Handshake::Refused;
                self.tell(Event::Failed(failed))
            }
            (Side::Plugin, Parsed::Ping) => {
                self.queue.pong();
                Ok(())
            }
            (Side::Host, Parsed::Pong(pong)) => self.tell(Event::Pong(pong)),
            (Side::Host, Parsed::Log(log)) => self.tell(Event::Log(log)),
            (Side::Host, Parsed::Event(event)) => self.tell(Event::Plugin(event)),
            (Side::Host, Parsed::Draining(draining)) => {
                if !std::mem::replace(&mut self.draining, true) {
                    self.events.push_back(Event::Draining(draining));
                }
                Ok(())
            }
            (Side::Plugin, Parsed::Shutdown(shutdown)) => {
                (self.draining, self.shutdown) = (true, true);
                self.tell(Event::Shutdown(shutdown))
            }
            (_, misplaced) => {
                self.tell_unknown(message_name(&misplaced));
                Ok(())
            }
        }
    }

    fn tell(&mut self, event: Event) -> Handled {
        self.events.push_back(event);
        Ok(())
    }

    fn tell_unknown(&mut self, what: &str) {
        if self.unknown.len() < TOLD_UNKNOWN && self.unknown.iter().all(|told| told != what) {
            self.unknown.push(what.to_owned());
            self.events.push_back(Event::Unknown { what: what.to_owned() });
        }
    }

    fn handle_init(&mut self, init: Box<Init>) -> Handled {
        check_version(init.protocol)?;
        self.handshake = Handshake::Deciding;
        self.peer_features = init.features.clone();
        self.negotiated(init.limits);
        self.tell(Event::Init(init))
    }

    fn handle_ready(&mut self, ready: Ready, now: Instant) -> Handled {
        check_version(ready.protocol)?;
        self.handshake = Handshake::Done;
        self.peer_features = ready.features.clone();
        self.negotiated(ready.limits);
        if self.first_link {
            self.pings.start(now);
        }
        self.tell(Event::Ready(ready))
    }

    /// Checks that a body of this form may come.
    fn check_form(&self, body: &Framing) -> Handled {
        if *body == Framing::Stream && !self.bodies {
            return Err(ConnectionError::FeatureNotInForce(feature::STREAMS));
        }
        Ok(())
    }

    /// How a body is received that nobody wants. Without `streams` nothing follows a head, whatever its status says.
    fn unwanted(&self, body: &Framing) -> Body {
        match body {
            Framing::Stream | Framing::Tunnel if self.bodies => Body::Discard,
            _ => Body::None,
        }
    }

    pub(super) fn handle_request(
        &mut self,
        id: StreamId,
        head: Result<RequestHead, HeadError>,
        body: Framing,
        frame_length: usize,
    ) -> Handled {
        self.admit(id, "a request")?;
        self.check_form(&body)?;
        if body == Framing::Tunnel && !self.bodies {
            return Err(ConnectionError::FeatureNotInForce(feature::STREAMS));
        }
        if self.side == Side::Host && !self.http_out {
            self.refuse_request(id, &body);
            return Ok(());
        }
        let head = match head {
            // A host has served what a plugin asks until the link closes (section 6).
            Ok(head) if self.side == Side::Host || !self.shutdown => head,
            // Nothing of it was processed (section 6).
            Ok(_) => return self.reject_request(id, &body, ResetCode::REFUSED),
            Err(_) => return self.reject_request(id, &body, ResetCode::INTERNAL),
        };
        match self.side {
            Side::Host => self.accept_from_plugin(id, head, body, frame_length),
            Side::Plugin => self.accept_from_host(id, head, body),
        }
    }

    fn accept_from_host(&mut self, id: StreamId, head: RequestHead, body: Framing) -> Handled {
        let exchange = Exchange::Http {
            head_only: head.method == http::Method::HEAD,
            upgrade: if body == Framing::Tunnel { Upgrade::Offered } else { Upgrade::No },
        };
        let recv = match body {
            Framing::Empty | Framing::Inline(_) => Body::None,
            Framing::Stream => Body::Read { length: content_length(&head.headers) },
            Framing::Tunnel => Body::Read { length: None },
        };
        self.open_for_peer(id, exchange, recv);
        self.tell(Event::Request { id, head, body })
    }

    /// Takes a request of the plugin, unless those in work hold too much. An upgrade that it offers is not seen: the request
    /// is answered without it (RFC 9110, 7.8).
    fn accept_from_plugin(
        &mut self,
        id: StreamId,
        head: RequestHead,
        body: Framing,
        frame_length: usize,
    ) -> Handled {
        let size = request_size(frame_length, &head);
        let max_requests = usize::try_from(self.settings.limits.max_streams).unwrap_or(usize::MAX);
        if !self.requests.admit(size, max_requests) {
            return self.reject_request(id, &body, ResetCode::REFUSED);
        }
        let head_only = head.method == http::Method::HEAD;
        let exchange = Exchange::Http { head_only, upgrade: Upgrade::No };
        let (recv, body) = match body {
            Framing::Empty | Framing::Inline(_) => (Body::None, body),
            Framing::Stream => (Body::Read { length: content_length(&head.headers) }, body),
            Framing::Tunnel => (Body::Discard, Framing::Empty),
        };
        self.open_for_peer(id, exchange, recv).in_work = Some(size);
        self.tell(Event::Request { id, head, body })
    }

    /// Resets a request that the application never sees.
    fn reject_request(&mut self, id: StreamId, body: &Framing, code: ResetCode) -> Handled {
        let exchange = Exchange::Http { head_only: false, upgrade: Upgrade::No };
        self.open_for_peer(id, exchange, self.unwanted(body)).muted = true;
        self.reset_stream(id, code);
        Ok(())
    }

    /// Host: a plugin opens requests only with the feature `http-out`.
    fn refuse_request(&mut self, id: StreamId, body: &Framing) {
        let stream = self.open_for_peer(id, Exchange::Unknown, self.unwanted(body));
        stream.muted = true;
        stream.send.head(AfterHead::Nothing);
        let error = KvError::new(KvErrorCode::UnknownAction, "this host takes no requests from plugins");
        self.answer_with_error(id, &error);
        self.settle(id);
        self.tell_unknown("http request");
    }

    fn open_for_peer(&mut self, id: StreamId, exchange: Exchange, body: Body) -> &mut Stream {
        let send = SendHalf::awaiting_head(self.peer.window);
        let recv = RecvHalf::with_head(self.settings.limits.window, body);
        self.streams.insert(id, false, Stream::new(exchange, send, recv))
    }

    fn answer_with_error(&mut self, id: StreamId, error: &KvError) {
        kv::encode_error(self.queue.draft(), id, error);
        self.queue.forced_message();
    }

    pub(super) fn handle_response(
        &mut self,
        id: StreamId,
        head: Result<ResponseHead, HeadError>,
        body: Framing,
        now: Instant,
    ) -> Handled {
        self.check_form(&body)?;
        let unwanted = self.unwanted(&body);
        let stream = self.awaiting_answer(id, "an answer")?;
        let (exchange, muted) = (stream.exchange, stream.muted);
        let Exchange::Http { head_only, upgrade } = exchange else {
            stream.recv.head(unwanted);
            self.fail_stream(id);
            return Ok(());
        };
        if muted {
            stream.recv.head(unwanted);
            self.peer_ended_if_done(id, now);
            return Ok(());
        }
        match head.and_then(|head| check_status(head, upgrade, &body)) {
            Ok(head) => {
                self.accept_response(id, head, body, head_only, upgrade);
                self.retime(id, false, now);
                self.peer_ended_if_done(id, now);
            }
            Err(error) => {
                stream.recv.head(unwanted);
                stream.muted = true;
                self.events.push_back(Event::Response { id, head: Err(error), body: Framing::Empty });
                self.reset_stream(id, ResetCode::INTERNAL);
            }
        }
        Ok(())
    }

    fn accept_response(
        &mut self,
        id: StreamId,
        head: ResponseHead,
        body: Framing,
        head_only: bool,
        upgrade: Upgrade,
    ) {
        let Some(stream) = self.streams.open_mut(id) else { return };
        let bodiless = has_no_body(head_only, head.status);
        stream.recv.head(match &body {
            Framing::Empty | Framing::Inline(_) => Body::None,
            Framing::Stream if bodiless => Body::Discard,
            Framing::Stream => Body::Read { length: content_length(&head.headers) },
            Framing::Tunnel => Body::Read { length: None },
        });
        if body == Framing::Tunnel {
            stream.set_upgraded();
        } else if upgrade == Upgrade::Offered {
            stream.send.not_upgraded();
        }
        let body = if bodiless { Framing::Empty } else { body };
        self.events.push_back(Event::Response { id, head: Ok(head), body });
        self.schedule(id);
    }

    fn peer_ended_if_done(&mut self, id: StreamId, now: Instant) {
        if self.streams.open_mut(id).is_some_and(|stream| stream.recv.is_ended()) {
            self.peer_ended(id, now);
        }
    }

    /// The stream of this side that an answer belongs to.
    fn awaiting_answer(&mut self, id: StreamId, what: &'static str) -> Handled<&mut Stream> {
        let own = self.ids.is_own(id);
        if self.streams.open_mut(id).is_none() {
            return Err(self.absent(id, what));
        }
        self.streams
            .open_mut(id)
            .filter(|stream| own && stream.recv.awaits_head())
            .ok_or(ConnectionError::SecondHead(id))
    }

    fn handle_call(&mut self, id: StreamId, call: Result<KvCall, KvError>) -> Handled {
        self.admit(id, "a KV call")?;
        if self.side == Side::Plugin && self.shutdown {
            self.queue.reset(id, ResetCode::REFUSED);
            return Ok(());
        }
        let max_calls = usize::try_from(self.settings.limits.max_streams).unwrap_or(usize::MAX);
        let admitted = call.and_then(|call| {
            if self.side == Side::Plugin && !is_for_plugins(&call) {
                return Err(KvError::new(KvErrorCode::UnknownAction, "plugins know get, set and delete"));
            }
            if !self.calls.admit(call_size(&call), max_calls) {
                return Err(KvError::new(
                    KvErrorCode::Unavailable,
                    "the calls in work on this link hold all they may: call again once some are answered",
                ));
            }
            Ok(call)
        });
        match admitted {
            Ok(call) => {
                self.open_for_peer(id, Exchange::Kv, Body::None).in_work = Some(call_size(&call));
                self.events.push_back(Event::KvCall { id, call });
            }
            Err(error) => self.answer_with_error(id, &error),
        }
        Ok(())
    }

    fn handle_answer(&mut self, id: StreamId, answer: Result<KvAnswer, KvError>) -> Handled {
        let stream = self.awaiting_answer(id, "a KV answer")?;
        stream.recv.head(Body::None);
        if stream.exchange != Exchange::Kv {
            self.fail_stream(id);
            return Ok(());
        }
        if !stream.muted {
            self.events.push_back(Event::KvAnswer { id, answer });
        }
        self.settle(id);
        Ok(())
    }

    fn handle_unknown(&mut self, id: Option<StreamId>, what: &str) -> Handled {
        self.tell_unknown(what);
        let Some(id) = id else { return Ok(()) };
        if self.ids.is_own(id) {
            // An answer that is not understood. It has no body that is known here, so it ended its direction.
            self.awaiting_answer(id, "an unknown answer")?.recv.head(Body::None);
            self.fail_stream(id);
            return Ok(());
        }
        self.admit(id, "an unknown message")?;
        if self.side == Side::Plugin && self.shutdown {
            self.queue.reset(id, ResetCode::REFUSED);
            return Ok(());
        }
        let error = KvError::new(KvErrorCode::UnknownAction, format!("{what} is not known here"));
        self.answer_with_error(id, &error);
        Ok(())
    }
}

/// A 101 must have been offered, and no other 1xx is an answer (section 4).
fn check_status(head: ResponseHead, upgrade: Upgrade, body: &Framing) -> Result<ResponseHead, HeadError> {
    let taken = head.status == StatusCode::SWITCHING_PROTOCOLS
        && upgrade == Upgrade::Offered
        && *body == Framing::Tunnel;
    if head.status.is_informational() && !taken {
        return Err(HeadError::Status(head.status.as_u16().into()));
    }
    Ok(head)
}

/// The bytes that a streamed body must have. A field that is no number is left to who reads the headers.
fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What a host may call on a plugin (section 5).
fn is_for_plugins(call: &KvCall) -> bool {
    matches!(call, KvCall::Get { .. } | KvCall::Set { .. } | KvCall::Delete { .. })
}
