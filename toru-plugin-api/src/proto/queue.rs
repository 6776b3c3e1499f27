//! What is to be sent, in its order (protocol section 3): frames other than DATA first, as they were queued; then
//! DATA, the streams that have some in turns.

use std::collections::VecDeque;

use crate::frame::{ResetCode, StreamId, head::HeadFlags};

/// Requests and answers wait at their source while so many bytes of them are queued.
const MAX_QUEUED_MESSAGES: usize = 1 << 20;
/// The room for queued messages that is kept when the queue is empty.
const KEPT_ROOM: usize = 64 << 10;
/// Frames that the peer may force for each stream: a RESET and a CREDIT for each, twice over for streams that replace
/// those that have just ended.
const FORCED_PER_STREAM: usize = 4;
/// Forced frames that no stream pays for.
const FORCED_BESIDES: usize = 64;

/// A frame other than DATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    /// A JSON message of `length` bytes, next in the text.
    Message { length: usize, forced: bool },
    /// A HEAD of `length` bytes, next in the text.
    Head { id: StreamId, flags: HeadFlags, length: usize },
    /// Whatever credit the stream is owed when it is written.
    Credit(StreamId),
    /// The end of a stream.
    Reset(StreamId, ResetCode),
    /// The answer to a ping, as it is when it is written.
    Pong,
}

impl Control {
    /// Whether the peer can make this side queue more of these by what it sends.
    fn is_forced(self) -> bool {
        match self {
            Self::Message { forced, .. } => forced,
            Self::Head { .. } => false,
            Self::Credit(_) | Self::Reset(..) | Self::Pong => true,
        }
    }

    fn text(self) -> usize {
        match self {
            Self::Message { length, .. } | Self::Head { length, .. } => length,
            Self::Credit(_) | Self::Reset(..) | Self::Pong => 0,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    control: VecDeque<Control>,
    forced: usize,
    pong: bool,
    text: Text,
    turns: VecDeque<StreamId>,
}

impl Queue {
    /// Whether a frame or a turn waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.control.is_empty() || !self.turns.is_empty()
    }

    /// Whether messages may be added.
    pub(super) fn has_room(&self) -> bool {
        self.text.len() < MAX_QUEUED_MESSAGES
    }

    /// Whether more frames are queued than the peer can force while it reads.
    pub(super) fn is_flooded(&self, max_streams: usize) -> bool {
        self.forced > max_streams.saturating_mul(FORCED_PER_STREAM).saturating_add(FORCED_BESIDES)
    }

    /// Where the text of the next message is appended. It counts once `message` or `head` is called.
    pub(super) fn draft(&mut self) -> &mut Vec<u8> {
        self.text.draft()
    }

    /// The bytes that were appended to the draft.
    pub(super) fn draft_length(&self) -> usize {
        self.text.draft_length()
    }

    /// Drops the draft.
    pub(super) fn discard_draft(&mut self) {
        self.text.discard_draft();
    }

    /// Passes the draft to `write` instead of queueing it.
    pub(super) fn write_draft(&mut self, write: impl FnOnce(&[u8])) {
        write(self.text.drafted());
        self.discard_draft();
    }

    /// Queues the draft as a message.
    pub(super) fn message(&mut self) {
        let length = self.text.keep_draft();
        self.push(Control::Message { length, forced: false });
    }

    /// Queues the draft as a message that the peer forced.
    pub(super) fn forced_message(&mut self) {
        let length = self.text.keep_draft();
        self.push(Control::Message { length, forced: true });
    }

    /// Queues the draft as a HEAD.
    pub(super) fn head(&mut self, id: StreamId, flags: HeadFlags) {
        let length = self.text.keep_draft();
        self.push(Control::Head { id, flags, length });
    }

    pub(super) fn credit(&mut self, id: StreamId) {
        self.push(Control::Credit(id));
    }

    pub(super) fn reset(&mut self, id: StreamId, code: ResetCode) {
        self.push(Control::Reset(id, code));
    }

    /// Queues a pong, unless one is queued: one frame answers any number of pings.
    pub(super) fn pong(&mut self) {
        if !std::mem::replace(&mut self.pong, true) {
            self.push(Control::Pong);
        }
    }

    fn push(&mut self, control: Control) {
        self.forced += usize::from(control.is_forced());
        self.control.push_back(control);
    }

    /// The next frame other than DATA, with its text.
    pub(super) fn pop(&mut self) -> Option<(Control, &[u8])> {
        let control = self.control.pop_front()?;
        self.forced -= usize::from(control.is_forced());
        if control == Control::Pong {
            self.pong = false;
        }
        Some((control, self.text.take(control.text())))
    }

    /// Gives the stream a turn after all others that have one.
    pub(super) fn push_turn(&mut self, id: StreamId) {
        self.turns.push_back(id);
    }

    /// The stream whose turn it is, and whether others wait.
    pub(super) fn pop_turn(&mut self) -> Option<(StreamId, bool)> {
        let id = self.turns.pop_front()?;
        Some((id, !self.turns.is_empty()))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The text of all queued messages in one buffer that is used again and again.
#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    taken: usize,
    kept: usize,
}

impl Text {
    fn len(&self) -> usize {
        self.kept - self.taken
    }

    fn draft(&mut self) -> &mut Vec<u8> {
        if self.taken == self.kept {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_ROOM);
            (self.taken, self.kept) = (0, 0);
        } else if self.taken > KEPT_ROOM && self.taken > self.len() {
            self.bytes.drain(..self.taken);
            (self.taken, self.kept) = (0, self.kept - self.taken);
        }
        self.discard_draft();
        &mut self.bytes
    }

    fn draft_length(&self) -> usize {
        self.bytes.len() - self.kept
    }

    fn drafted(&self) -> &[u8] {
        &self.bytes[self.kept..]
    }

    fn discard_draft(&mut self) {
        self.bytes.truncate(self.kept);
    }

    fn keep_draft(&mut self) -> usize {
        let length = self.draft_length();
        self.kept = self.bytes.len();
        length
    }

    fn take(&mut self, length: usize) -> &[u8] {
        let start = self.taken;
        self.taken += length;
        &self.bytes[start..self.taken]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_order_and_text() {
        let mut queue = Queue::default();
        for n in 0..100_u8 {
            queue.draft().extend(vec![n; 2_000]);
            queue.message();
            if n % 3 == 0 {
                queue.draft().extend(b"dropped");
                queue.discard_draft();
            }
        }
        for n in 0..100_u8 {
            let (_, text) = queue.pop().unwrap();
            assert_eq!(text, vec![n; 2_000]);
            queue.draft().extend(vec![n + 100; 2_000]);
            queue.message();
        }
        for n in 100..200_u8 {
            assert_eq!(queue.pop().unwrap().1, vec![n; 2_000]);
        }
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn one_mebibyte_of_messages_leaves_no_room() {
        let mut queue = Queue::default();
        for _ in 0..15 {
            queue.draft().extend(vec![0; 64 << 10]);
            queue.message();
            assert!(queue.has_room());
        }
        queue.draft().extend(vec![0; 64 << 10]);
        queue.message();
        assert!(!queue.has_room());
        assert!(queue.pop().is_some());
        assert!(queue.has_room());
    }

    #[test]
    fn forced_frames_are_bounded_by_the_streams_of_both_sides() {
        let mut queue = Queue::default();
        for _ in 0..4 * 3 + 64 {
            queue.reset(StreamId(1), ResetCode::DONE);
        }
        assert!(!queue.is_flooded(3));
        queue.credit(StreamId(1));
        assert!(queue.is_flooded(3));
        assert!(queue.pop().is_some());
        assert!(!queue.is_flooded(3));
    }

    #[test]
    fn one_pong_answers_any_number_of_pings() {
        let mut queue = Queue::default();
        queue.pong();
        queue.pong();
        assert_eq!(queue.pop().map(|(control, _)| control), Some(Control::Pong));
        assert_eq!(queue.pop(), None);
        queue.pong();
        assert!(queue.pop().is_some());
    }
}
