//! What goes out, in the order of protocol section 3.

use std::time::Instant;

use super::Connection;
use crate::{
    frame::{StreamId, TransmitBuf, encode_credit, encode_data, encode_head, encode_message, encode_reset},
    proto::{Event, queue::Control},
};

/// The most DATA of one turn while other streams wait for theirs.
const SHARED_TURN: usize = 64 << 10;

impl Connection {
    /// Appends what is ready, until about `budget` bytes are in `out`; frames in the order of section 3. False:
    /// nothing was ready.
    #[must_use]
    pub fn poll_transmit(&mut self, out: &mut TransmitBuf, budget: usize, now: Instant) -> bool {
        let before = out.len();
        while !self.closed && out.len() < budget {
            if !self.write_control(out) && !self.write_turn(out, now) {
                break;
            }
        }
        out.len() > before
    }

    /// Writes the next frame other than DATA. False: there is none.
    fn write_control(&mut self, out: &mut TransmitBuf) -> bool {
        let Some((control, text)) = self.queue.pop() else { return false };
        match control {
            Control::Message { .. } => encode_message(out, text),
            Control::Head { id, flags, .. } => encode_head(out, id, flags, text),
            Control::Reset(id, code) => encode_reset(out, id, code),
            Control::Credit(id) => {
                let stream = self.streams.open_mut(id).filter(|stream| !stream.reset_sent);
                if let Some(credit) = stream.and_then(|stream| stream.recv.take_credit()) {
                    encode_credit(out, id, credit);
                }
            }
            Control::Pong => {
                self.pong.encode(self.queue.draft());
                self.queue.write_draft(|text| encode_message(out, text));
            }
        }
        true
    }

    /// Writes one DATA frame of the stream whose turn it is. False: no stream has a turn.
    fn write_turn(&mut self, out: &mut TransmitBuf, now: Instant) -> bool {
        let Some((id, others_wait)) = self.queue.pop_turn() else { return false };
        let most = usize::try_from(self.peer.max_data).unwrap_or(usize::MAX);
        let limit = if others_wait { most.min(SHARED_TURN) } else { most };
        let Some(stream) = self.streams.open_mut(id) else { return true };
        stream.send.leave_turns();
        let Some((bytes, end)) = stream.send.next_frame(limit) else { return true };
        encode_data(out, id, bytes, end);
        if end {
            self.retime(id, true, now);
            self.stop_if_hung_up(id);
            self.settle(id);
        } else {
            self.after_frame(id, now);
        }
        true
    }

    fn after_frame(&mut self, id: StreamId, now: Instant) {
        self.schedule(id);
        if self.can_send(id) {
            self.events.push_back(Event::Writable(id));
            self.retime(id, false, now);
        }
    }
}
