//! The bytes under way to one end, and an observer who knows only the protocol: credit is never passed, no window grows
//! past its bound, and nothing follows an end.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::{Buf, BytesMut};
use toru_plugin_api::{
    frame::{Decoder, Frame, StreamId, TransmitBuf, limits::MAX_WINDOW},
    message,
};

/// A receiver may raise a window to this (protocol section 3, credit).
const RAISED_WINDOW: u64 = 256 << 10;

/// From one end to the other.
pub(super) struct Wire {
    bytes: BytesMut,
    /// Bytes that were ever sent, and that ever arrived.
    sent: u64,
    arrived: u64,
    /// Credit under way: where its frame ends, and what it says.
    credit: VecDeque<(u64, StreamId, u32)>,
    /// Part of a frame has arrived, and waits for the rest.
    pub(super) input: BytesMut,
    decoder: Decoder,
    /// What the receiver accepts at first.
    window: u64,
    /// What may still be sent, as the sender knows it.
    sender: HashMap<StreamId, u64>,
    /// The same as the receiver knows it: what it has granted and did not come.
    receiver: HashMap<StreamId, u64>,
    /// The sender has ended its direction.
    ended: HashSet<StreamId>,
    /// The sender has sent RESET.
    reset: HashSet<StreamId>,
    /// What was granted on each stream beyond the first window.
    pub(super) granted: HashMap<StreamId, u64>,
}

impl Wire {
    /// A wire to a receiver of this window.
    pub(super) fn new(window: u32, max_message: u32, max_data: u32) -> Self {
        Self {
            bytes: BytesMut::new(),
            sent: 0,
            arrived: 0,
            credit: VecDeque::new(),
            input: BytesMut::new(),
            decoder: Decoder::new(max_message, max_data),
            window: window.into(),
            sender: HashMap::new(),
            receiver: HashMap::new(),
            ended: HashSet::new(),
            reset: HashSet::new(),
            granted: HashMap::new(),
        }
    }

    /// What the receiver may grant beyond what was read.
    pub(super) fn most_raised(&self) -> u64 {
        RAISED_WINDOW.saturating_sub(self.window)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what an end has written. Gives the credit in it, which is for the other direction.
    pub(super) fn send(&mut self, out: &mut TransmitBuf) -> Vec<(StreamId, u32)> {
        let mut written = BytesMut::from(&out.copy_to_bytes(out.remaining())[..]);
        self.bytes.extend_from_slice(&written);
        let mut credit = Vec::new();
        loop {
            let before = written.len();
            let frame = self.decoder.decode(&mut written).expect("an end sends what its peer accepts");
            let Some(frame) = frame else { break };
            self.sent += (before - written.len()) as u64;
            self.check(&frame);
            if let Frame::Credit { stream, n } = frame {
                self.credit.push_back((self.sent, stream, n));
                credit.push((stream, n));
            }
        }
        assert!(written.is_empty(), "whole frames are sent");
        credit
    }

    /// The receiver has granted this much more on this wire.
    pub(super) fn grant(&mut self, stream: StreamId, n: u32) {
        let open = self.receiver.entry(stream).or_insert(self.window);
        *open += u64::from(n);
        assert!(*open <= self.window.max(RAISED_WINDOW), "a window was raised beyond its bound");
        *self.granted.entry(stream).or_default() += u64::from(n);
    }

    /// Credit for this wire has arrived at its sender.
    pub(super) fn credit(&mut self, stream: StreamId, n: u32) {
        let open = self.sender.entry(stream).or_insert(self.window);
        *open += u64::from(n);
        assert!(*open <= u64::from(MAX_WINDOW), "the credit overflows");
    }

    /// At most `bytes` arrive in `input`. Gives the credit that has arrived with them.
    pub(super) fn arrive(&mut self, bytes: usize) -> Vec<(StreamId, u32)> {
        let part = self.bytes.split_to(bytes.min(self.bytes.len()));
        self.arrived += part.len() as u64;
        self.input.extend_from_slice(&part);
        let mut credit = Vec::new();
        while let Some((_, stream, n)) = self.credit.pop_front_if(|(end, ..)| *end <= self.arrived) {
            credit.push((stream, n));
        }
        credit
    }

    fn check(&mut self, frame: &Frame) {
        match frame {
            Frame::Message(text) => {
                message::parse(text).expect("an end sends messages that can be read");
            }
            Frame::Data { stream, end, bytes } => {
                let size = bytes.len() as u64;
                for open in [&mut self.sender, &mut self.receiver] {
                    let open = open.entry(*stream).or_insert(self.window);
                    *open = open.checked_sub(size).expect("more was sent than the credit allows");
                }
                assert!(!self.ended.contains(stream), "DATA after the end");
                if *end {
                    self.ended.insert(*stream);
                }
                self.check_reset(*stream);
            }
            Frame::Credit { stream, .. } | Frame::Head { stream, .. } => self.check_reset(*stream),
            Frame::Reset { stream, .. } => {
                assert!(self.reset.insert(*stream), "a second RESET");
            }
        }
    }

    fn check_reset(&self, stream: StreamId) {
        assert!(!self.reset.contains(&stream), "something follows a RESET");
    }
}
