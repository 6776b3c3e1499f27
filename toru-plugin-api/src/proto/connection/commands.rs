//! What the application wants.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;

use super::{
    Connection, OutgoingBody, ReadOutcome, Side,
    heads::{Head, Rest},
};
use crate::{
    frame::{ResetCode, StreamId},
    message::{
        event::EventMessage,
        http::ResponseHead,
        kv::{self, KvAnswer, KvError, KvErrorCode},
        lifecycle::{Draining, Failed, Pong, Ready, Shutdown},
        log::LogMessage,
    },
    proto::{
        StreamGone,
        handshake::{Handshake, PROTOCOL},
        send::AfterHead,
        stream::{Exchange, Upgrade},
    },
};

impl Connection {
    /// Plugin: answers `init`; streams are served from now on. Ignored unless `init` waits for its answer.
    pub fn ready(&mut self, _now: Instant) {
        if self.closed || self.handshake != Handshake::Deciding {
            return;
        }
        self.handshake = Handshake::Done;
        let ready = Ready {
            protocol: PROTOCOL,
            features: self.settings.features.clone(),
            limits: self.settings.limits,
        };
        ready.encode(self.queue.draft());
        self.queue.message();
        // Answers to earlier calls may be on their way that were made under the defaults.
        self.early_messages = self.streams.own() > 0;
        if !self.early_messages {
            self.accept_own_limits();
        }
    }

    /// Plugin: answers `init` with a refusal. Ignored unless `init` waits for its answer.
    pub fn fail(&mut self, failed: Failed, _now: Instant) {
        if self.closed || self.handshake != Handshake::Deciding {
            return;
        }
        self.handshake = Handshake::Refused;
        failed.encode(self.queue.draft());
        self.queue.message();
    }

    /// Answers a request. Give it only while [`has_room`](Self::has_room).
    ///
    /// An answer that the protocol has no form for (a 101 that was not offered, any other 1xx, a head larger than
    /// the peer accepts, a streamed body for a peer without `streams`) resets the stream with `INTERNAL`.
    ///
    /// # Errors
    /// The stream has ended or is answered already, or has been reset as said above.
    pub fn respond(
        &mut self,
        id: StreamId,
        head: ResponseHead,
        body: OutgoingBody,
        now: Instant,
    ) -> Result<(), StreamGone> {
        let stream = self.streams.open_mut(id).ok_or(StreamGone)?;
        let Exchange::Http { head_only, upgrade } = stream.exchange else { return Err(StreamGone) };
        if !stream.send.awaits_head() {
            return Err(StreamGone);
        }
        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let tunnel = body == OutgoingBody::Tunnel;
        let may_switch = upgrade == Upgrade::Offered && tunnel;
        if tunnel != switches || (head.status.is_informational() && !may_switch) {
            self.reset(id, ResetCode::INTERNAL, now);
            return Err(StreamGone);
        }
        let body = match body {
            OutgoingBody::Full(_) if has_no_body(head_only, head.status) => OutgoingBody::Empty,
            body => body,
        };
        let Ok(rest) = self.queue_head(id, Head::Response(&head), body) else {
            self.reset(id, ResetCode::INTERNAL, now);
            return Err(StreamGone);
        };
        let stream = self.streams.open_mut(id).expect("looked up above");
        stream.send.head(if matches!(rest, Rest::Nothing) { AfterHead::Nothing } else { AfterHead::Body });
        if let Rest::Known(bytes) = rest {
            stream.send.push_all(bytes);
        }
        if tunnel {
            stream.set_upgraded();
        }
        self.schedule(id);
        self.settle(id);
        Ok(())
    }

    /// Answers a KV call. To be called for every [`Event::KvCall`](super::super::Event::KvCall), even after its stream was
    /// reset: until then what the call holds counts against the 4 MiB of calls in work. An answer that is larger than
    /// the peer accepts goes out as `too_large`.
    ///
    /// # Errors
    /// The stream has ended, or is no call's.
    pub fn answer_kv(
        &mut self,
        id: StreamId,
        answer: Result<KvAnswer, KvError>,
        _now: Instant,
    ) -> Result<(), StreamGone> {
        let stream = self.streams.get_mut(id).ok_or(StreamGone)?;
        if !matches!(stream.exchange, Exchange::Kv) {
            return Err(StreamGone);
        }
        let held = stream.in_work.take().ok_or(StreamGone)?;
        self.calls.done(held);
        if stream.closed || stream.send.is_ended() {
            self.release(id);
            return Err(StreamGone);
        }
        stream.send.head(AfterHead::Nothing);
        let draft = self.queue.draft();
        match &answer {
            Ok(answer) => kv::encode_answer(draft, id, answer),
            Err(error) => kv::encode_error(draft, id, error),
        }
        if !self.draft_fits(0) {
            let error = KvError::new(
                KvErrorCode::TooLarge,
                format!(
                    "the answer is larger than the {} bytes that the caller accepts",
                    self.peer.max_message
                ),
            );
            kv::encode_error(self.queue.draft(), id, &error);
        }
        self.queue.message();
        self.settle(id);
        Ok(())
    }

    /// Queues one chunk of a streamed body; take the next from its source when [`can_send`](Self::can_send) is true again
    /// (`Event::Writable`).
    ///
    /// # Errors
    /// The direction has ended.
    pub fn send(&mut self, id: StreamId, bytes: Bytes, now: Instant) -> Result<(), StreamGone> {
        self.streams.open_mut(id).ok_or(StreamGone)?.send.push(bytes)?;
        self.schedule(id);
        self.retime(id, false, now);
        Ok(())
    }

    /// The sending direction ends after what is queued.
    ///
    /// # Errors
    /// The direction has ended.
    pub fn finish(&mut self, id: StreamId, now: Instant) -> Result<(), StreamGone> {
        self.streams.open_mut(id).ok_or(StreamGone)?.send.finish()?;
        self.schedule(id);
        self.retime(id, false, now);
        Ok(())
    }

    /// Takes what arrived; taking it is consuming it: credit goes back. Of a stream that is not known (any more) it
    /// says that it was reset.
    pub fn read(&mut self, id: StreamId, _now: Instant) -> ReadOutcome {
        let Some(stream) = self.streams.get_mut(id) else {
            return ReadOutcome::Reset(ResetCode::CANCELLED);
        };
        let (outcome, credit) = stream.recv.read(&mut self.raises);
        self.return_credit(id, credit);
        self.release(id);
        outcome
    }

    /// Ends the stream at once; nothing of it is told any more. Ignored for a stream that has ended.
    pub fn reset(&mut self, id: StreamId, code: ResetCode, _now: Instant) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.muted = true;
        stream.recv.deafen();
        self.work_done(id);
        self.reset_stream(id, code);
        self.release(id);
    }

    /// Drops interest in reading the rest of this direction: the reader of an answer, or of a request's body, was dropped. For a request body the plugin's answer goes on, and so does the other half of a tunnel;
    /// the rest is discarded under credit. An answer that has not ended is reset.
    pub fn discard(&mut self, id: StreamId, now: Instant) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let answer = self.ids.is_own(id) && stream.upgrade() != Upgrade::Taken;
        if answer && !stream.recv.is_ended() {
            self.reset(id, ResetCode::CANCELLED, now);
            return;
        }
        let credit = stream.recv.discard(&mut self.raises);
        self.return_credit(id, credit);
        self.release(id);
    }

    /// Closes a tunnel: what was sent goes out, then its END; the rest of what the peer sends is not wanted, which RESET 0 says after the
    /// END unless the peer's has come by then. Until the END is out it is discarded under credit: a peer that writes before it reads would
    /// else wait for credit, and this side for its. Nothing of the stream is told any more. Ignored for what is no tunnel.
    pub fn hang_up(&mut self, id: StreamId, _now: Instant) {
        let Some(stream) = self.streams.get_mut(id).filter(|stream| stream.upgrade() == Upgrade::Taken)
        else {
            return;
        };
        stream.muted = true;
        stream.hangs_up = true;
        let credit = stream.recv.discard(&mut self.raises);
        // It may have been finished, or ended, before.
        let _ = stream.send.finish();
        self.return_credit(id, credit);
        self.schedule(id);
        self.stop_if_hung_up(id);
        self.release(id);
    }

    /// Plugin: sends a record. Dropped (false) when no room is left: logs never block.
    pub fn log(&mut self, log: &LogMessage) -> bool {
        self.queue_notice(|draft| log.encode(draft))
    }

    /// Plugin: sends an event. Dropped (false) when no room is left.
    pub fn event(&mut self, event: &EventMessage) -> bool {
        self.queue_notice(|draft| event.encode(draft))
    }

    fn queue_notice(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let may = self.side == Side::Plugin && !self.closed && self.handshake.allows_calls();
        if !may || !self.has_room() {
            return false;
        }
        encode(self.queue.draft());
        if !self.draft_fits(0) {
            self.queue.discard_draft();
            return false;
        }
        self.queue.message();
        true
    }

    /// Plugin: what pongs say from now on.
    pub fn set_pong(&mut self, pong: Pong) {
        self.pong = pong;
    }

    /// Plugin: a successor is wanted, and no new streams; those that the host had already sent are served. Ignored before
    /// `ready`.
    pub fn drain(&mut self, reason: &str) {
        let may = self.side == Side::Plugin && !self.closed && self.handshake == Handshake::Done;
        if may && !std::mem::replace(&mut self.draining, true) {
            Draining { reason: reason.to_owned() }.encode(self.queue.draft());
            self.queue.message();
        }
    }

    /// Plugin: refuses new streams from now on. A further link needs it, because `shutdown` comes on the first for all.
    pub fn refuse_streams(&mut self) {
        if self.side == Side::Plugin {
            (self.draining, self.shutdown) = (true, true);
        }
    }

    /// Host: asks the plugin to finish and exit; no new streams.
    pub fn shutdown(&mut self, grace: Duration) {
        if self.side == Side::Host && !self.closed && !std::mem::replace(&mut self.shutdown, true) {
            self.draining = true;
            Shutdown { grace }.encode(self.queue.draft());
            self.queue.message();
        }
    }
}

/// Whether an answer has no body, whatever it says (RFC 9110, 6.4.1).
pub(super) fn has_no_body(head_only: bool, status: StatusCode) -> bool {
    head_only || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}
