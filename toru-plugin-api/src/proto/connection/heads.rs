//! How a head of this side goes out: as a HEAD or as JSON, and with how much of its body.

use bytes::Bytes;

use super::{Connection, OutgoingBody};
use crate::{
    frame::{
        StreamId, head,
        limits::{DATA_PREFIX, MAX_INLINE},
    },
    message::http::{self, Framing, RequestHead, ResponseHead},
    proto::OpenError,
};

/// A head of either direction.
#[derive(Debug, Clone, Copy)]
pub(super) enum Head<'a> {
    Request(&'a RequestHead),
    Response(&'a ResponseHead),
}

/// How a direction goes on after the head that was queued.
#[derive(Debug)]
pub(super) enum Rest {
    /// It has ended.
    Nothing,
    /// All that follows.
    Known(Bytes),
    /// Bytes that the application will send.
    Open,
}

impl Connection {
    /// Queues a head, with its body if that goes inline.
    pub(super) fn queue_head(
        &mut self,
        id: StreamId,
        head: Head<'_>,
        body: OutgoingBody,
    ) -> Result<Rest, OpenError> {
        match body {
            OutgoingBody::Empty => self.queue_framed(id, head, &Framing::Empty).map(|()| Rest::Nothing),
            OutgoingBody::Full(bytes) => self.queue_full(id, head, bytes),
            OutgoingBody::Stream | OutgoingBody::Tunnel if !self.bodies => Err(OpenError::NoStreams),
            OutgoingBody::Stream => self.queue_framed(id, head, &Framing::Stream).map(|()| Rest::Open),
            OutgoingBody::Tunnel => self.queue_framed(id, head, &Framing::Tunnel).map(|()| Rest::Open),
        }
    }

    fn queue_full(&mut self, id: StreamId, head: Head<'_>, bytes: Bytes) -> Result<Rest, OpenError> {
        if bytes.is_empty() {
            return self.queue_framed(id, head, &Framing::Empty).map(|()| Rest::Nothing);
        }
        let window = usize::try_from(self.peer.window).unwrap_or(usize::MAX);
        if bytes.len() <= MAX_INLINE && (!self.bodies || bytes.len() <= window) {
            let inline = self.queue_framed(id, head, &Framing::Inline(bytes.clone()));
            if inline.is_ok() {
                return Ok(Rest::Nothing);
            }
        }
        if !self.bodies {
            return Err(OpenError::TooLarge);
        }
        self.queue_framed(id, head, &Framing::Stream).map(|()| Rest::Known(bytes))
    }

    /// Queues a head in the form that is in force; one that does not fit a HEAD goes as JSON.
    fn queue_framed(&mut self, id: StreamId, head: Head<'_>, framing: &Framing) -> Result<(), OpenError> {
        if self.heads && self.queue_binary(id, head, framing) {
            return Ok(());
        }
        let draft = self.queue.draft();
        match head {
            Head::Request(head) => http::encode_request(draft, id, head, framing),
            Head::Response(head) => http::encode_response(draft, id, head, framing),
        }
        if !self.draft_fits(0) {
            self.queue.discard_draft();
            return Err(OpenError::TooLarge);
        }
        self.queue.message();
        Ok(())
    }

    fn queue_binary(&mut self, id: StreamId, head: Head<'_>, framing: &Framing) -> bool {
        let draft = self.queue.draft();
        let flags = match head {
            Head::Request(head) => head::encode_request(draft, head, framing),
            Head::Response(head) => head::encode_response(draft, head, framing),
        };
        match flags {
            Ok(flags) if self.draft_fits(DATA_PREFIX) => {
                self.queue.head(id, flags);
                true
            }
            _ => {
                self.queue.discard_draft();
                false
            }
        }
    }

    /// Whether the draft, after a prefix of so many bytes, is within what the peer accepts.
    pub(super) fn draft_fits(&self, prefix: usize) -> bool {
        let limit = usize::try_from(self.peer.max_message).unwrap_or(usize::MAX);
        self.queue.draft_length() + prefix <= limit
    }
}
