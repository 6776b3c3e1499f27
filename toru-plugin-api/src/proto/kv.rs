//! What KV calls may hold while the application works on them.

use crate::message::kv::{KvCall, KvWrite};

/// The most bytes of values that KV calls in work hold, decoded, per link (protocol section 3).
const MAX_IN_WORK: usize = 4 << 20;

/// The calls of the peer that the application has not answered.
#[derive(Debug, Default)]
pub(super) struct InWork {
    calls: usize,
    bytes: usize,
}

impl InWork {
    /// Takes one more call on, unless it is one too many. A call counts until it is answered, even if its stream was reset
    /// meanwhile: else opening and resetting would pass the bound.
    pub(super) fn admit(&mut self, bytes: usize, max_calls: usize) -> bool {
        let admitted = self.calls < max_calls && self.bytes + bytes <= MAX_IN_WORK;
        if admitted {
            self.calls += 1;
            self.bytes += bytes;
        }
        admitted
    }

    /// A call was answered.
    pub(super) fn done(&mut self, bytes: usize) {
        self.calls -= 1;
        self.bytes -= bytes;
    }
}

/// The bytes that a call holds. Of keys only those of a batch: the one or two of any other call are bounded by the number
/// of calls.
pub(super) fn size(call: &KvCall) -> usize {
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
