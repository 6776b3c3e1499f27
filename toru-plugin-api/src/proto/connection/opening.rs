//! Streams are opened: by this side, if it may, and by the peer, which may or breaks the protocol.

use std::{borrow::Borrow, time::Instant};

use http::Method;

use super::{
    Connection, Handled, OutgoingBody, Phase, Side,
    heads::{Head, Rest},
};
use crate::{
    frame::StreamId,
    message::{
        http::RequestHead,
        kv::{self, KvCall, KvErrorCode},
    },
    proto::{
        ConnectionError, OpenError,
        handshake::Handshake,
        ids::Absent,
        recv::RecvHalf,
        send::{AfterHead, SendHalf},
        stream::{Exchange, Stream, Upgrade},
    },
};

impl Connection {
    /// Opens a stream with a request: the host at any time, the plugin where the feature `http-out` is in force, and without
    /// [`OutgoingBody::Tunnel`]. Give it only while [`has_room`](Self::has_room).
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was sent then.
    pub fn request(
        &mut self,
        head: impl Borrow<RequestHead>,
        body: OutgoingBody,
        now: Instant,
    ) -> Result<StreamId, OpenError> {
        let head = head.borrow();
        self.check_request_open()?;
        if self.side == Side::Plugin && body == OutgoingBody::Tunnel {
            return Err(OpenError::NoUpgrade);
        }
        let id = self.ids.next(|id| self.streams.contains(id));
        let offered = body == OutgoingBody::Tunnel;
        let rest = self.queue_head(id, Head::Request(head), body)?;
        self.ids.opened(id);
        let after = match rest {
            Rest::Nothing => AfterHead::Nothing,
            Rest::Open if offered => AfterHead::Held,
            Rest::Known(_) | Rest::Open => AfterHead::Body,
        };
        let exchange = Exchange::Http {
            head_only: head.method == Method::HEAD,
            upgrade: if offered { Upgrade::Offered } else { Upgrade::No },
        };
        let send = SendHalf::with_head(self.peer.window, after);
        let recv = RecvHalf::awaiting_head(self.settings.limits.window);
        let stream = self.streams.insert(id, true, Stream::new(exchange, send, recv));
        if let Rest::Known(bytes) = rest {
            stream.send.push_all(bytes);
        }
        self.schedule(id);
        self.retime(id, true, now);
        Ok(id)
    }

    /// Opens a stream with a KV call. Give it only while [`has_room`](Self::has_room).
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was sent then.
    pub fn call_kv(&mut self, call: KvCall, now: Instant) -> Result<StreamId, OpenError> {
        self.check_call_open()?;
        if call.check().is_err_and(|error| error.code == KvErrorCode::TooLarge) {
            return Err(OpenError::TooLarge);
        }
        let id = self.ids.next(|id| self.streams.contains(id));
        kv::encode_call(self.queue.draft(), id, &call);
        if !self.draft_fits(0) {
            self.queue.discard_draft();
            return Err(OpenError::TooLarge);
        }
        self.queue.message();
        self.ids.opened(id);
        let send = SendHalf::with_head(self.peer.window, AfterHead::Nothing);
        let recv = RecvHalf::awaiting_head(self.settings.limits.window);
        self.streams.insert(id, true, Stream::new(Exchange::Kv, send, recv));
        self.retime(id, true, now);
        Ok(id)
    }

    /// Whether all that keeps this side from opening a stream is that the peer's `max_streams` are open: one more may be
    /// opened when one of them has ended.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.check_call_open() == Err(OpenError::Full)
    }

    /// Whether this side may send requests; a plugin's are served until the link closes.
    fn check_request_open(&self) -> Result<(), OpenError> {
        match self.side {
            Side::Host => self.check_host_open(),
            Side::Plugin if self.closed || self.handshake != Handshake::Done => Err(OpenError::NotOpen),
            Side::Plugin if !self.http_out => Err(OpenError::NotOffered),
            Side::Plugin => self.check_places(),
        }
    }

    /// Whether the host may open streams.
    fn check_host_open(&self) -> Result<(), OpenError> {
        match self.phase() {
            Phase::Open if self.side == Side::Host => self.check_places(),
            Phase::Draining if self.side == Side::Host => Err(OpenError::Draining),
            _ => Err(OpenError::NotOpen),
        }
    }

    /// Whether this side may make KV calls; a plugin's are served until the link closes.
    fn check_call_open(&self) -> Result<(), OpenError> {
        match self.side {
            Side::Host => self.check_host_open(),
            Side::Plugin if self.closed || !self.handshake.allows_calls() => Err(OpenError::NotOpen),
            Side::Plugin => self.check_places(),
        }
    }

    fn check_places(&self) -> Result<(), OpenError> {
        let places = usize::try_from(self.peer.max_streams).unwrap_or(usize::MAX);
        if self.streams.own() < places { Ok(()) } else { Err(OpenError::Full) }
    }

    /// Admits a stream that the peer opens.
    pub(super) fn admit(&mut self, id: StreamId, what: &'static str) -> Handled {
        if self.ids.is_own(id) {
            return Err(ConnectionError::Parity(id));
        }
        if self.streams.contains(id) {
            return Err(ConnectionError::InUse(id));
        }
        if self.ids.absent(id) == Absent::Forgotten {
            return Err(ConnectionError::Forgotten { id, what });
        }
        let limit = self.settings.limits.max_streams;
        if self.streams.peer() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            return Err(ConnectionError::TooManyStreams(limit));
        }
        self.ids.opened(id);
        Ok(())
    }
}
