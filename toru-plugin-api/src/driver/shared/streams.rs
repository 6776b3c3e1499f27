//! What handles do with their streams.

use std::{
    collections::hash_map::Entry,
    task::{Context, Poll},
};

use super::{Answer, SendState, Slot, State, StreamKey, now, slot::register};
use crate::{
    driver::RequestError,
    frame::{ResetCode, StreamId},
    message::kv::{KvAnswer, KvError},
};

impl State {
    /// Keeps a place for a stream that this side opened and asked something on.
    pub(in crate::driver) fn opened(&mut self, id: StreamId) -> StreamKey {
        self.generation += 1;
        let generation = self.generation;
        self.slots.insert(id, Slot { asking: true, holders: 1, ..Slot::new(generation) });
        StreamKey { id, generation }
    }

    fn slot(&mut self, key: StreamKey) -> Option<&mut Slot> {
        self.slots.get_mut(&key.id).filter(|slot| slot.generation == key.generation)
    }

    pub(in crate::driver) fn hold(&mut self, key: StreamKey) {
        if let Some(slot) = self.slot(key) {
            slot.holders += 1;
        }
    }

    pub(in crate::driver) fn release(&mut self, key: StreamKey) {
        let Entry::Occupied(mut entry) = self.slots.entry(key.id) else { return };
        let slot = entry.get_mut();
        if slot.generation != key.generation {
            return;
        }
        slot.holders -= 1;
        if slot.holders == 0 {
            entry.remove();
        }
    }

    /// Whether commands for the stream still reach it.
    pub(in crate::driver) fn is_live(&mut self, key: StreamKey) -> bool {
        !self.is_over() && self.slot(key).is_some_and(|slot| slot.over.is_none())
    }

    pub(in crate::driver) fn poll_answer(&mut self, key: StreamKey, cx: &Context<'_>) -> Poll<Answer> {
        let is_over = self.is_over();
        let Some(slot) = self.slot(key) else { return Poll::Ready(Answer::Failed(RequestError::LinkLost)) };
        if let Some(answer) = slot.answer.take() {
            slot.asking = false;
            return Poll::Ready(answer);
        }
        if is_over {
            return Poll::Ready(Answer::Failed(RequestError::LinkLost));
        }
        register(&mut slot.asker, cx);
        Poll::Pending
    }

    /// Ready when the stream has ended before its end, or the link has.
    pub(in crate::driver) fn poll_over(&mut self, key: StreamKey, cx: &Context<'_>) -> Poll<()> {
        if !self.is_live(key) {
            return Poll::Ready(());
        }
        if let Some(slot) = self.slot(key) {
            register(&mut slot.asker, cx);
        }
        Poll::Pending
    }

    /// How far the stream is for who sends on it, who is woken when that changes.
    pub(in crate::driver) fn poll_send(&mut self, key: StreamKey, cx: &Context<'_>) -> SendState {
        if !self.is_live(key) {
            return SendState::Over;
        }
        let can_send = self.connection.can_send(key.id);
        match self.slot(key) {
            Some(slot) if !slot.unwanted => {
                register(&mut slot.writer, cx);
                if can_send { SendState::Ready } else { SendState::Queued }
            }
            _ => SendState::Over,
        }
    }

    /// Ready when what the peer sends on the stream will not arrive whole any more.
    pub(in crate::driver) fn poll_cut(&mut self, key: StreamKey, cx: &Context<'_>) -> Poll<()> {
        let is_lost = self.is_over() && !self.connection.has_arrived(key.id);
        match self.slot(key) {
            Some(slot) if slot.over.is_none() && !is_lost => {
                register(&mut slot.asker, cx);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// The code with which the stream ended before its end.
    pub(in crate::driver) fn over(&mut self, key: StreamKey) -> Option<ResetCode> {
        match self.slot(key) {
            Some(slot) => slot.over,
            None => Some(ResetCode::CANCELLED),
        }
    }

    pub(in crate::driver) fn register_reader(&mut self, key: StreamKey, cx: &Context<'_>) {
        if let Some(slot) = self.slot(key) {
            register(&mut slot.reader, cx);
        }
    }

    /// Ends the stream from this side.
    pub(in crate::driver) fn reset(&mut self, key: StreamKey, code: ResetCode) {
        self.fail(key, code, RequestError::Reset(code));
    }

    /// Ends the stream from this side; who asked gets `error`.
    pub(in crate::driver) fn fail(&mut self, key: StreamKey, code: ResetCode, error: RequestError) {
        if !self.is_live(key) {
            return;
        }
        self.connection.reset(key.id, code, now());
        if let Some(slot) = self.slots.get_mut(&key.id) {
            slot.end(code, error, &mut self.wakes);
        }
    }

    /// Answers a KV call, or keeps the answer until there is room. Also of a stream that was reset: the connection
    /// counts the call as in work until then.
    pub(in crate::driver) fn answer_kv(&mut self, key: StreamKey, answer: Result<KvAnswer, KvError>) {
        if self.connection.has_room() {
            self.answer_kv_now(key.id, answer);
        } else if !self.is_over() {
            self.hold(key);
            self.kv_answers.push_back((key, answer));
        }
    }

    pub(super) fn answer_kv_now(&mut self, id: StreamId, answer: Result<KvAnswer, KvError>) {
        // A stream that ended meanwhile has nobody who waits for the answer.
        let _ = self.connection.answer_kv(id, answer, now());
    }
}
