//! Numbers for requests: `x-toru-request-id` and, for a request that belongs to no trace yet, `traceparent`.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::HeaderValue;

/// The length of a request id, and of a trace id (W3C Trace Context, 3.2.2.3), in hex digits.
const ID_LEN: usize = 32;
/// The length of a version 00 `traceparent`: `00-`, trace id, `-`, parent id, `-`, flags.
const TRACEPARENT_LEN: usize = 55;

/// Gives each request of a service an id that no other request has: a random half and a counted one.
#[derive(Debug)]
pub(super) struct RequestIds {
    seed: u64,
    next: AtomicU64,
}

/// An id and a `traceparent` whose trace id it is.
#[derive(Debug)]
pub(super) struct NewTrace {
    pub(super) request_id: HeaderValue,
    pub(super) traceparent: HeaderValue,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        let (seed, start) = uuid::Uuid::new_v4().as_u64_pair();
        Self { seed, next: AtomicU64::new(start) }
    }

    /// An id, and a new trace of that id.
    pub(super) fn trace(&self) -> NewTrace {
        let low = scatter(self.next.fetch_add(1, Ordering::Relaxed));
        // The parent is never all zeros, which would make the header invalid.
        let parent = scatter(low ^ self.seed) | 1;
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..19], self.seed);
        write_hex(&mut text[19..35], low);
        write_hex(&mut text[36..52], parent);
        let text = Bytes::copy_from_slice(&text);
        NewTrace { request_id: header(text.slice(3..3 + ID_LEN)), traceparent: header(text) }
    }
}

/// Sixteen digits. Each request pays for this, and the formatting of the standard library costs several times as much.
fn write_hex(digits: &mut [u8], number: u64) {
    for (at, digit) in digits.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * at)) as usize & 0xf];
    }
}

fn header(hex: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(hex).expect("hex digits and hyphens are printable")
}

/// SplitMix64's finaliser: one to one, so that counted numbers stay distinct, and without a visible order.
fn scatter(mut n: u64) -> u64 {
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Whether a client's `traceparent` is one, so that its trace goes on (W3C Trace Context, 3.2 and 4.3: what is not valid is started anew).
pub(super) fn is_traceparent(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    // A later version may append `-` and more.
    let well_sized = match bytes.len().cmp(&TRACEPARENT_LEN) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => true,
        std::cmp::Ordering::Greater => !bytes.starts_with(b"00") && bytes[TRACEPARENT_LEN] == b'-',
    };
    if !well_sized || bytes[2] != b'-' || bytes[35] != b'-' || bytes[52] != b'-' {
        return false;
    }
    let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = |part: &[u8]| is_hex(part) && part.iter().any(|byte| *byte != b'0');
    is_hex(&bytes[..2])
        && &bytes[..2] != b"ff"
        && is_id(&bytes[3..35])
        && is_id(&bytes[36..52])
        && is_hex(&bytes[53..55])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_distinct_and_traceparents_valid() {
        let ids = RequestIds::new();
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            let trace = ids.trace();
            assert!(is_traceparent(&trace.traceparent), "{:?}", trace.traceparent);
            assert_eq!(&trace.traceparent.as_bytes()[3..35], trace.request_id.as_bytes());
            assert!(seen.insert(trace.request_id.to_str().unwrap().to_owned()));
        }
    }

    #[test]
    fn a_traceparent_is_checked_as_w3c_says() {
        let is = |text: &str| is_traceparent(&HeaderValue::from_str(text).unwrap());
        assert!(is("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(is("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later"));
        assert!(!is("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later"));
        assert!(!is("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x"));
        assert!(!is("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!is("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
        assert!(!is("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"));
        assert!(!is("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"));
        assert!(!is("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"));
        assert!(!is(""));
    }
}
