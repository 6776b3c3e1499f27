//! What the peer's KV calls and requests may hold while the application works on them.

use crate::message::{
    http::RequestHead,
    kv::{KvCall, KvWrite},
};

/// The most bytes of values that KV calls in work hold, decoded, per link (protocol section 3); the same for the frames
/// of a plugin's requests, heads and inline bodies, which no credit bounds.
const MAX_IN_WORK: usize = 4 << 20;

/// What a header counts beside its text: about its entry in the map. A header of one letter is six bytes of a frame, so that
/// without it 4 MiB of frames would hold twenty times as much.
const FIELD: usize = 128;

/// The calls, or the requests, of the peer that the application has not answered.
#[derive(Debug, Default)]
pub(super) struct InWork {
    count: usize,
    bytes: usize,
}

impl InWork {
    /// Takes one more on, unless it is one too many. A call counts until it is answered, even if its stream was reset
    /// meanwhile: else opening and resetting would pass the bound. A request counts until its stream has ended, which is when
    /// who works on it is dropped.
    pub(super) fn admit(&mut self, bytes: usize, most: usize) -> bool {
        let admitted = self.count < most && self.bytes + bytes <= MAX_IN_WORK;
        if admitted {
            self.count += 1;
            self.bytes += bytes;
        }
        admitted
    }

    /// One was answered, or has ended.
    pub(super) fn done(&mut self, bytes: usize) {
        self.count -= 1;
        self.bytes -= bytes;
    }
}

/// The bytes that a call holds. Of keys only those of a batch: the one or two of any other call are bounded by the number
/// of calls.
pub(super) fn call_size(call: &KvCall) -> usize {
    match call {
        KvCall::Get { .. } | KvCall::Delete { .. } | KvCall::List { .. } => 0,
        KvCall::Set { value, .. } => value.len(),
        KvCall::CompareAndSet { expected, value, .. } => {
            expected.as_ref().map_or(0, bytes::Bytes::len) + value.as_ref().map_or(0, bytes::Bytes::len)
        }
        KvCall::Batch { ops } => ops
            .iter()
            .map(|op| match op {
                KvWrite::Set { key, value, .. } => key.len() + value.len(),
                KvWrite::Delete { key } => key.len(),
            })
            .sum(),
    }
}

/// The bytes that a request holds beside its streamed body, which the window bounds: its frame, of which its fields are pieces,
/// and the map of its headers.
pub(super) fn request_size(frame_length: usize, head: &RequestHead) -> usize {
    frame_length + head.headers.len() * FIELD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_mebibytes_may_be_in_work_and_not_one_byte_more() {
        let mut work = InWork::default();
        for _ in 0..8 {
            assert!(work.admit(512 << 10, 1024));
        }
        assert!(!work.admit(1, 1024));
        assert!(work.admit(0, 1024));
        work.done(512 << 10);
        assert!(work.admit(1, 1024));
    }

    #[test]
    fn calls_in_work_are_no_more_than_streams() {
        let mut work = InWork::default();
        assert!(work.admit(0, 2));
        assert!(work.admit(0, 2));
        assert!(!work.admit(0, 2));
    }
}
