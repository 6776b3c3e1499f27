//! Frames arrive.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::{Connection, Handled, Progress, Side};
use crate::{
    frame::{
        Frame, ResetCode, StreamId, head,
        limits::{DATA_PREFIX, LENGTH_PREFIX},
    },
    message::{self, RequestMemory, lifecycle::feature},
    proto::{
        ConnectionError, Event,
        handshake::Handshake,
        recv::{Arrival, DataFault},
        stream::{Exchange, Upgrade},
    },
};

/// The frames of one turn, so that no link keeps its thread from the others.
const TURN_FRAMES: usize = 256;
/// The bytes of one turn: a few of the largest frames.
const TURN_BYTES: usize = 1 << 20;
/// How much of the frame that broke the protocol is kept for the event that tells of it.
const KEPT_OFFENDING: usize = 200;

impl Connection {
    /// Takes whole frames off the front of `input` and handles them, at most one turn's budget.
    ///
    /// # Errors
    /// The peer broke the protocol: the connection is closed; nothing after the offending frame was handled.
    pub fn handle_input(&mut self, input: &mut BytesMut, now: Instant) -> Handled<Progress> {
        let begin = input.len();
        for _ in 0..TURN_FRAMES {
            if self.closed {
                input.clear();
                return Ok(Progress::NeedInput);
            }
            let front = input.get(LENGTH_PREFIX..).and_then(<[u8]>::first_chunk::<DATA_PREFIX>).copied();
            let frame = match self.decoder.decode(input) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(Progress::NeedInput),
                Err(error) => {
                    self.keep_offending(input);
                    self.close();
                    return Err(error.into());
                }
            };
            if let Err(error) = self.handle_frame(frame, now) {
                if let (true, Some(front)) = (self.offending.is_empty(), front) {
                    self.keep_offending(&front);
                }
                self.close();
                return Err(error);
            }
            if begin - input.len() >= TURN_BYTES {
                break;
            }
        }
        Ok(Progress::More)
    }

    /// The peer closed the socket; `rest` is what `handle_input` left.
    ///
    /// # Errors
    /// The end came inside a frame.
    pub fn handle_eof(&mut self, rest: &[u8], _now: Instant) -> Handled {
        if self.closed {
            return Ok(());
        }
        self.close();
        self.decoder.finish(rest).map_err(|error| {
            self.keep_offending(rest);
            error.into()
        })
    }

    fn handle_frame(&mut self, frame: Frame, now: Instant) -> Handled {
        if self.pings.heard(now) {
            self.events.push_back(Event::PingsMissed(0));
        }
        if self.handshake == Handshake::Refused {
            return Ok(());
        }
        self.handshake.check_frame(&frame)?;
        match frame {
            Frame::Message(text) => {
                let handled = match message::parse_frame(&text, self.request_memory(), &mut self.names) {
                    Ok(message) => self.handle_message(message, text.len(), now),
                    Err(error) => Err(error.into()),
                };
                handled.inspect_err(|_| self.keep_offending(&text))?;
            }
            Frame::Data { stream, end, bytes } => self.handle_data(stream, bytes, end, now)?,
            Frame::Credit { stream, n } => self.handle_credit(stream, n, now)?,
            Frame::Reset { stream, code } => self.handle_reset(stream, code)?,
            Frame::Head { stream, flags, bytes } => self.handle_head(stream, flags, bytes, now)?,
        }
        if self.queue.is_flooded(self.streams_that_force()) {
            return Err(ConnectionError::PeerDoesNotRead);
        }
        Ok(())
    }

    /// The sum of both `max_streams`. The peer's counts only as far as this side takes it at its word: naming a huge
    /// number must not buy room in this side's memory.
    fn streams_that_force(&self) -> usize {
        let [own, peer] = [self.settings.limits.max_streams, self.peer.max_streams]
            .map(|max_streams| usize::try_from(max_streams).unwrap_or(usize::MAX));
        own.saturating_add(peer.min(own.max(self.streams.most_own())))
    }

    fn keep_offending(&mut self, bytes: &[u8]) {
        self.offending = bytes[..bytes.len().min(KEPT_OFFENDING)].to_vec();
    }

    fn handle_data(&mut self, id: StreamId, bytes: Bytes, end: bool, now: Instant) -> Handled {
        let Some(stream) = self.streams.open_mut(id) else { return Err(self.absent(id, "DATA")) };
        let arrival = stream.recv.data(bytes, end, &mut self.raises).map_err(|fault| match fault {
            DataFault::BeforeHead => ConnectionError::DataBeforeHead(id),
            DataFault::AfterEnd => ConnectionError::DataAfterEnd(id),
            DataFault::CreditPassed => ConnectionError::CreditPassed(id),
        })?;
        match arrival {
            Arrival::Quiet => {}
            Arrival::Stored { tell, is_piece } => {
                if tell {
                    self.events.push_back(Event::Readable(id));
                }
                if is_piece && self.pieces.kept(id) {
                    self.let_go_of_input();
                }
            }
            Arrival::Credit(credit) => self.return_credit(id, Some(credit)),
            Arrival::LengthMismatch => self.fail_stream(id),
        }
        if end {
            self.peer_ended(id, now);
        }
        Ok(())
    }

    /// Another buffer than before will be given to [`handle_input`](Self::handle_input), because pieces of that are still in use. What
    /// still waits of the one before that one is copied: so what nobody reads keeps two read buffers alive at most, whatever their size,
    /// and not one for each few KiB.
    pub fn let_go_of_input(&mut self) {
        for id in self.pieces.next_buffer() {
            if let Some(stream) = self.streams.get_mut(id) {
                stream.recv.let_go_of_pieces();
            }
        }
    }

    /// The peer's direction has ended, by what ends it whole.
    pub(super) fn peer_ended(&mut self, id: StreamId, now: Instant) {
        if self.ids.is_own(id) {
            self.answer_ended(id);
            self.retime(id, false, now);
        }
        self.settle(id);
    }

    fn handle_credit(&mut self, id: StreamId, credit: u32, now: Instant) -> Handled {
        let Some(stream) = self.streams.open_mut(id) else { return self.after_the_end(id, "CREDIT") };
        if !matches!(stream.exchange, Exchange::Http { .. }) || stream.send.is_ended() {
            return Ok(());
        }
        stream.send.grant(credit).map_err(|_| ConnectionError::CreditOverflow(id))?;
        self.schedule(id);
        // Only what waits for credit is timed anew; a client that owes bytes is none the better for it.
        let restart = self.streams.get(id).is_some_and(|stream| !stream.send.has_room());
        self.retime(id, restart, now);
        Ok(())
    }

    fn handle_reset(&mut self, id: StreamId, code: ResetCode) -> Handled {
        let Some(stream) = self.streams.open_mut(id) else { return self.after_the_end(id, "RESET") };
        let peer_was_done = stream.recv.is_ended();
        let unfinished = !stream.send.is_ended();
        // What had ended before is whole: an answer, and either direction of a tunnel.
        let is_whole = peer_was_done && (self.ids.is_own(id) || stream.upgrade() == Upgrade::Taken);
        if is_whole {
            if unfinished && !stream.muted {
                self.events.push_back(Event::StopSending(id));
            }
        } else if self.ids.is_own(id) || unfinished || stream.upgrade() == Upgrade::Taken {
            self.tell_reset(id, code, true);
        } else if stream.recv.cut(code) {
            self.events.push_back(Event::Readable(id));
        }
        let Some(stream) = self.streams.open_mut(id) else { return Ok(()) };
        if unfinished {
            stream.send.abort();
            self.queue.reset(id, ResetCode::DONE);
        }
        stream.recv.end();
        self.settle(id);
        Ok(())
    }

    /// CREDIT and RESET for a stream that has ended crossed its end: they are ignored.
    fn after_the_end(&self, id: StreamId, what: &'static str) -> Handled {
        if self.is_forgotten(id) { Ok(()) } else { Err(ConnectionError::NotOpened { id, what }) }
    }

    fn handle_head(&mut self, id: StreamId, flags: head::HeadFlags, bytes: Bytes, now: Instant) -> Handled {
        if !self.heads {
            return Err(ConnectionError::FeatureNotInForce(feature::HEADS));
        }
        // Whose stream it is says whether this has to be an answer; the parser checks that the flags agree.
        if self.ids.is_own(id) {
            let (head, body) = head::parse_response(flags, bytes, &mut self.names)?;
            return self.handle_response(id, head, body, now);
        }
        let bytes = match self.request_memory() {
            RequestMemory::Own => Bytes::copy_from_slice(&bytes),
            RequestMemory::Shared => bytes,
        };
        let frame_length = bytes.len();
        let (head, body) = head::parse_request(flags, bytes, &mut self.names)?;
        self.handle_request(id, head, body, frame_length)
    }

    /// A request of the plugin has memory of its own, which is as large as its frame. Its fields would keep alive the buffer that the
    /// link was read into, many times as large, outside of the bound on requests in work.
    fn request_memory(&self) -> RequestMemory {
        if self.side == Side::Host && self.http_out { RequestMemory::Own } else { RequestMemory::Shared }
    }
}
