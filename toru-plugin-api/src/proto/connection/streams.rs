//! How streams end, from whichever side, and what timer runs for each.

use std::time::Instant;

use super::{Connection, Side};
use crate::{
    frame::{ResetCode, StreamId},
    message::kv::{KvError, KvErrorCode},
    proto::{
        ConnectionError, Event,
        handshake::Handshake,
        ids::Absent,
        stream::{Exchange, Stream, Upgrade},
        timer::{Running, Timer},
    },
};

impl Connection {
    /// The protocol error of DATA, a HEAD or a message for a stream that is not open.
    pub(super) fn absent(&self, id: StreamId, what: &'static str) -> ConnectionError {
        if self.is_forgotten(id) {
            ConnectionError::Forgotten { id, what }
        } else {
            ConnectionError::NotOpened { id, what }
        }
    }

    /// Whether a stream that is not open was open once.
    pub(super) fn is_forgotten(&self, id: StreamId) -> bool {
        self.streams.contains(id) || self.ids.absent(id) == Absent::Forgotten
    }

    /// Ends this side's direction by RESET. The stream keeps its place until the peer's end comes.
    pub(super) fn reset_stream(&mut self, id: StreamId, code: ResetCode) {
        let Some(stream) = self.streams.open_mut(id) else { return };
        if let Some(timer) = stream.timer.take() {
            self.timers.stop(timer);
        }
        // With `seeded_bug` a second RESET is sent: the fuzzer's prey.
        if stream.reset_sent && !cfg!(seeded_bug) {
            return;
        }
        stream.recv.stop_discarding();
        // Between `init` and `ready` a plugin sends no RESET (section 2): the call is left to its answer.
        if self.handshake != Handshake::Deciding {
            stream.reset_sent = true;
            stream.send.abort();
            self.queue.reset(id, code);
        }
        self.settle(id);
    }

    /// Ends a stream whose time is up, and tells the application.
    pub(super) fn expire_stream(&mut self, id: StreamId, code: ResetCode) {
        self.tell_reset(id, code, false);
        self.reset_stream(id, code);
    }

    /// Ends a stream on which the peer sent what cannot be used, and tells the application.
    pub(super) fn fail_stream(&mut self, id: StreamId) {
        self.tell_reset(id, ResetCode::INTERNAL, true);
        self.reset_stream(id, ResetCode::INTERNAL);
    }

    /// Tells the application that a stream is over before its end, once. Of a KV call that it works on it hears
    /// nothing: its answer is awaited, so that what the call holds is counted until it is done.
    pub(super) fn tell_reset(&mut self, id: StreamId, code: ResetCode, by_peer: bool) {
        let Some(stream) = self.streams.open_mut(id) else { return };
        stream.recv.cut(code);
        if std::mem::replace(&mut stream.muted, true) {
            return;
        }
        let own = self.ids.is_own(id);
        self.events.push_back(match stream.exchange {
            Exchange::Kv if own => Event::KvAnswer { id, answer: Err(reset_call(code)) },
            Exchange::Kv => return,
            Exchange::Http { .. } | Exchange::Unknown => Event::Reset { id, code, by_peer },
        });
    }

    /// An answer has ended: the rest of its request is not wanted any more (section 3, RESET 0). A tunnel's half goes on,
    /// and so does the END that a refused upgrade is answered with.
    pub(super) fn answer_ended(&mut self, id: StreamId) {
        let Some(stream) = self.streams.open_mut(id) else { return };
        let unfinished = !stream.send.is_ended() && !stream.send.only_end_is_left();
        if unfinished && stream.upgrade() != Upgrade::Taken {
            if stream.send.is_open() && !stream.muted {
                self.events.push_back(Event::StopSending(id));
            }
            stream.reset_sent = true;
            stream.send.abort();
            self.queue.reset(id, ResetCode::DONE);
        }
    }

    /// This side has sent its END on a tunnel that it has closed: the peer need not go on.
    pub(super) fn stop_if_hung_up(&mut self, id: StreamId) {
        let stops =
            |stream: &mut Stream| stream.hangs_up && stream.send.is_ended() && !stream.recv.is_ended();
        if self.streams.open_mut(id).is_some_and(stops) {
            self.reset_stream(id, ResetCode::DONE);
        }
    }

    /// Forgets the stream if both directions have ended.
    pub(super) fn settle(&mut self, id: StreamId) {
        let Some(stream) = self.streams.open_mut(id) else { return };
        if !stream.is_over() {
            return;
        }
        if let Some(timer) = stream.timer.take() {
            self.timers.stop(timer);
        }
        // Of a KV call what it holds counts until the application has answered it.
        if stream.exchange != Exchange::Kv {
            self.work_done(id);
        }
        self.streams.close(id, self.ids.is_own(id));
        if self.early_messages && self.streams.own() == 0 {
            self.early_messages = false;
            self.accept_own_limits();
        }
        self.release(id);
    }

    /// What the peer opened by this stream holds nothing of this side's any more.
    pub(super) fn work_done(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let Some(held) = stream.in_work.take() else { return };
        match stream.exchange {
            Exchange::Kv => self.calls.done(held),
            Exchange::Http { .. } | Exchange::Unknown => self.requests.done(held),
        }
    }

    /// Drops what the wire has forgotten, if the application has no part in it any more.
    pub(super) fn release(&mut self, id: StreamId) {
        if self.streams.get(id).is_none_or(|stream| !stream.closed || stream.is_held()) {
            return;
        }
        if let Some(mut stream) = self.streams.remove(id) {
            stream.recv.close(&mut self.raises);
        }
    }

    /// The connection has ended under the stream.
    pub(super) fn lose_stream(&mut self, id: StreamId) {
        let Some(stream) = self.streams.open_mut(id) else { return };
        stream.muted = true;
        stream.send.abort();
        if !stream.recv.is_ended() {
            stream.recv.cut(ResetCode::INTERNAL);
            stream.recv.end();
        }
        self.settle(id);
    }

    /// Starts, stops or changes the stream's timer to what it waits for now. `restart`: something happened that begins
    /// the wait anew.
    pub(super) fn retime(&mut self, id: StreamId, restart: bool, now: Instant) {
        let own = self.ids.is_own(id);
        let is_host = self.side == Side::Host;
        let Some(stream) = self.streams.open_mut(id) else { return };
        // The body of a plugin's own request comes from no client that might have gone.
        let wanted = stream.timer_wanted().filter(|timer| own && (is_host || *timer != Timer::BodyIdle));
        let running = stream.timer.as_ref().map(Running::timer);
        if running == wanted && !(restart && wanted.is_some()) {
            return;
        }
        if let Some(timer) = stream.timer.take() {
            self.timers.stop(timer);
        }
        stream.timer = wanted.map(|timer| self.timers.start(timer, id, now));
    }

    /// Gives the stream a turn if it has DATA that may go.
    pub(super) fn schedule(&mut self, id: StreamId) {
        if self.streams.open_mut(id).is_some_and(|stream| stream.send.enter_turns()) {
            self.queue.push_turn(id);
        }
    }

    /// Returns credit to the peer; frames for one stream that wait are one frame.
    pub(super) fn return_credit(&mut self, id: StreamId, credit: Option<u32>) {
        let Some(credit) = credit else { return };
        if self.streams.open_mut(id).is_some_and(|stream| stream.recv.owe_credit(credit)) {
            self.queue.credit(id);
        }
    }
}

/// What a KV call is told whose stream was reset.
fn reset_call(code: ResetCode) -> KvError {
    let (kind, why) = match code {
        ResetCode::TIMED_OUT => (KvErrorCode::Timeout, "no answer came in time"),
        ResetCode::TOO_LARGE => (KvErrorCode::TooLarge, "the call or its answer is too large"),
        ResetCode::REFUSED => {
            return KvError::new(KvErrorCode::Unavailable, "the call was refused; nothing was done");
        }
        _ => (KvErrorCode::Unavailable, "the call came to no answer that can be used"),
    };
    KvError::new(kind, format!("{why}; a write may or may not have happened"))
}
