//! Frames to bytes.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{ResetCode, StreamId, decode::END, head::HeadFlags, kind, limits::DATA_PREFIX};

/// DATA of at least so many bytes is referenced where it lies: copying less is cheaper than one more entry
/// of `writev`.
const MIN_REFERENCED: usize = 4 << 10;

/// What is to be written next: small frames joined in one buffer, large DATA referenced where it
/// lies. Implements [`bytes::Buf`] with `chunks_vectored`, so one `writev` takes it all.
///
/// The buffer of small frames is used again once it has been written.
#[derive(Debug, Default)]
pub struct TransmitBuf {
    /// What comes before `tail`, never empty pieces.
    pieces: VecDeque<Bytes>,
    /// Where small frames are joined.
    tail: BytesMut,
    /// The bytes in `pieces`.
    piece_bytes: usize,
}

impl TransmitBuf {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes that are to be written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.piece_bytes + self.tail.len()
    }

    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn reference(&mut self, bytes: Bytes) {
        let joined = self.tail.split().freeze();
        for piece in [joined, bytes] {
            if !piece.is_empty() {
                self.piece_bytes += piece.len();
                self.pieces.push_back(piece);
            }
        }
    }

    fn put_length(&mut self, payload: usize) {
        self.tail.put_u32(u32::try_from(payload).expect("a frame fits the peer's limits, which are 32 bits"));
    }
}

impl Buf for TransmitBuf {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&self.tail[..], |piece| &piece[..])
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len(), "cannot advance past what is to be written");
        while let Some(front) = self.pieces.front_mut() {
            let step = count.min(front.len());
            front.advance(step);
            self.piece_bytes -= step;
            count -= step;
            if !front.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
        self.tail.advance(count);
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let chunks = self.pieces.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(chunks.filter(|chunk| !chunk.is_empty())) {
            *slice = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }
}

/// Appends a JSON message frame; `json` begins with `{`.
pub fn encode_message(out: &mut TransmitBuf, json: &[u8]) {
    out.put_length(json.len());
    out.tail.put_slice(json);
}

/// Appends a DATA frame; large `bytes` are referenced, not copied.
pub fn encode_data(out: &mut TransmitBuf, stream: StreamId, bytes: Bytes, end: bool) {
    debug_assert!(end || !bytes.is_empty(), "an empty DATA without END is a protocol error");
    out.put_length(DATA_PREFIX + bytes.len());
    put_prefix(out, kind::DATA, if end { END } else { 0 }, stream);
    if bytes.len() < MIN_REFERENCED {
        out.tail.put_slice(&bytes);
    } else {
        out.reference(bytes);
    }
}

/// Appends a CREDIT frame.
pub fn encode_credit(out: &mut TransmitBuf, stream: StreamId, n: u32) {
    out.put_length(DATA_PREFIX + size_of::<u32>());
    put_prefix(out, kind::CREDIT, 0, stream);
    out.tail.put_u32(n);
}

/// Appends a RESET frame.
pub fn encode_reset(out: &mut TransmitBuf, stream: StreamId, code: ResetCode) {
    out.put_length(DATA_PREFIX);
    put_prefix(out, kind::RESET, code.0, stream);
}

/// Appends a HEAD frame whose head part (and inline body) is `bytes`.
pub fn encode_head(out: &mut TransmitBuf, stream: StreamId, flags: HeadFlags, bytes: &[u8]) {
    out.put_length(DATA_PREFIX + bytes.len());
    put_prefix(out, kind::HEAD, flags.0, stream);
    out.tail.put_slice(bytes);
}

/// Appends any frame as it was decoded.
pub fn encode_frame(out: &mut TransmitBuf, frame: super::Frame) {
    use super::Frame;
    match frame {
        Frame::Message(json) => encode_message(out, &json),
        Frame::Data { stream, end, bytes } => encode_data(out, stream, bytes, end),
        Frame::Credit { stream, n } => encode_credit(out, stream, n),
        Frame::Reset { stream, code } => encode_reset(out, stream, code),
        Frame::Head { stream, flags, bytes } => encode_head(out, stream, flags, &bytes),
    }
}

fn put_prefix(out: &mut TransmitBuf, kind: u8, flags: u8, stream: StreamId) {
    let [a, b, c, d] = stream.0.to_be_bytes();
    out.tail.put_slice(&[kind, flags, a, b, c, d]);
}
