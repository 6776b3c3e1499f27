//! Header fields as they come off the wire.
//!
//! They are most of what a request is, so they are not copied: a value is a piece of the frame that it came in, and a name that came
//! before is the one that was kept then.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use super::http::HeadError;

/// How many names are kept: several times as many as a browser and a host together send, so that few share a place.
const PLACES: usize = 256;
/// The longest name that is kept; a peer can fill no more memory than this in each place.
const MAX_KEPT: usize = 64;

/// The header names that a peer has sent: one that comes again is neither checked nor allocated again.
#[derive(Debug, Default)]
pub struct KnownNames {
    /// Empty until the first name comes. Each name has two places, side by side, the later one first.
    places: Vec<Option<HeaderName>>,
}

impl KnownNames {
    /// The name that is written so; `None`: it is no lower-case token.
    fn get(&mut self, name: &[u8]) -> Option<HeaderName> {
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        let first = place(name);
        let second = first ^ 1;
        for at in [first, second] {
            if let Some(known) = self.places[at].as_ref().filter(|known| known.as_str().as_bytes() == name) {
                return Some(known.clone());
            }
        }
        let new = lower_case(name)?;
        if name.len() <= MAX_KEPT {
            self.places.swap(first, second);
            self.places[first] = Some(new.clone());
        }
        Some(new)
    }
}

/// Names of one length differ at their ends as a rule (`x-forwarded-for`, `x-forwarded-host`).
fn place(name: &[u8]) -> usize {
    let end = match name.last_chunk() {
        Some(end) => u64::from_le_bytes(*end),
        None => name.iter().fold(0, |end, byte| end << 8 | u64::from(*byte)),
    };
    // 2^64 divided by the golden ratio; the highest bits depend on all others.
    let spread = (end ^ name.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (spread >> (u64::BITS - PLACES.ilog2())) as usize
}

fn lower_case(name: &[u8]) -> Option<HeaderName> {
    if name.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    HeaderName::from_bytes(name).ok()
}

/// Adds one field; its name is looked up among those that the peer has sent.
pub(crate) fn append(
    headers: &mut HeaderMap,
    index: usize,
    name: &[u8],
    value: Bytes,
    names: &mut KnownNames,
) -> Result<(), HeadError> {
    let name = names.get(name).ok_or(HeadError::HeaderName(index))?;
    let value = HeaderValue::from_maybe_shared(value).map_err(|_| HeadError::HeaderValue(index))?;
    headers.try_append(name, value).map_err(|_| HeadError::TooManyHeaders)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_known_is_the_one_that_was_checked() {
        let mut names = KnownNames::default();
        for _ in 0..2 {
            for name in
                ["x-forwarded-for", "host", "x-forwarded-host", "a", "sec-fetch-mode", "sec-fetch-site"]
            {
                assert_eq!(names.get(name.as_bytes()).unwrap().as_str(), name);
            }
            for name in ["Host", "X", "", "a b", "é"] {
                assert_eq!(names.get(name.as_bytes()), None, "{name}");
            }
        }
    }

    #[test]
    fn endless_new_names_take_a_bounded_place() {
        let mut names = KnownNames::default();
        for n in 0..10_000 {
            let name = format!("x-{n}");
            assert_eq!(names.get(name.as_bytes()).unwrap().as_str(), name);
        }
        let long = "x".repeat(MAX_KEPT + 1);
        assert_eq!(names.get(long.as_bytes()).unwrap().as_str(), long);
        assert_eq!(names.places.len(), PLACES);
        assert!(names.places.iter().flatten().all(|name| name.as_str().len() <= MAX_KEPT));
    }
}
