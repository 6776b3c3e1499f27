//! Frames to bytes.

use bytes::Bytes;

use super::{ResetCode, StreamId, head::HeadFlags};

/// What is to be written next: small frames joined in one buffer, large DATA referenced where it
/// lies. Implements [`bytes::Buf`] with `chunks_vectored`, so one `writev` takes it all.
#[derive(Debug, Default)]
pub struct TransmitBuf {
    // the codec's owner fills this in
}

/// Appends a JSON message frame; `json` begins with `{`.
pub fn encode_message(out: &mut TransmitBuf, json: &[u8]) {
    let _ = (out, json);
    todo!("codec")
}

/// Appends a DATA frame; large `bytes` are referenced, not copied.
pub fn encode_data(out: &mut TransmitBuf, stream: StreamId, bytes: Bytes, end: bool) {
    let _ = (out, stream, bytes, end);
    todo!("codec")
}

/// Appends a CREDIT frame.
pub fn encode_credit(out: &mut TransmitBuf, stream: StreamId, n: u32) {
    let _ = (out, stream, n);
    todo!("codec")
}

/// Appends a RESET frame.
pub fn encode_reset(out: &mut TransmitBuf, stream: StreamId, code: ResetCode) {
    let _ = (out, stream, code);
    todo!("codec")
}

/// Appends a HEAD frame whose head part (and inline body) is `bytes`.
pub fn encode_head(out: &mut TransmitBuf, stream: StreamId, flags: HeadFlags, bytes: &[u8]) {
    let _ = (out, stream, flags, bytes);
    todo!("codec")
}
