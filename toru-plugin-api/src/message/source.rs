//! Where the fields of a head lie in memory.

use std::borrow::Cow;

use bytes::Bytes;

use super::KnownNames;

/// What the fields of a request are pieces of. Those of anything else are pieces of its frame, or copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestMemory {
    /// The frame, and so all of the memory that it lies in: the buffer that the link was read into.
    Shared,
    /// A copy of the frame, which keeps alive as much as it says.
    Own,
}

/// The frame that a message came in, of which what is read of it is made without a copy of its own.
#[derive(Debug)]
pub(super) struct Source<'a> {
    frame: &'a Bytes,
    /// A copy of all of it, which takes its place.
    own: Option<Bytes>,
    requests: RequestMemory,
    pub(super) names: &'a mut KnownNames,
}

impl<'a> Source<'a> {
    pub(super) fn new(frame: &'a Bytes, requests: RequestMemory, names: &'a mut KnownNames) -> Self {
        Self { frame, own: None, requests, names }
    }
}

impl Source<'_> {
    /// It is a request that is read from now on.
    pub(super) fn is_request(&mut self) {
        if self.requests == RequestMemory::Own {
            self.own = Some(Bytes::copy_from_slice(self.frame));
        }
    }

    /// The bytes of a text that was read from this frame.
    pub(super) fn bytes_of(&self, text: Cow<'_, str>) -> Bytes {
        match (text, &self.own) {
            (Cow::Owned(text), _) => text.into(),
            (Cow::Borrowed(text), None) => self.frame.slice_ref(text.as_bytes()),
            (Cow::Borrowed(""), Some(_)) => Bytes::new(),
            (Cow::Borrowed(text), Some(own)) => {
                let at = text.as_ptr() as usize - self.frame.as_ptr() as usize;
                own.slice(at..at + text.len())
            }
        }
    }

    /// Each code point up to U+00FF as the byte of the same number; `None`: there is one above it.
    pub(super) fn latin1(&self, text: Cow<'_, str>) -> Option<Bytes> {
        if text.is_ascii() {
            return Some(self.bytes_of(text));
        }
        narrowed(&text).map(Bytes::from)
    }
}

/// Each code point up to U+00FF as the byte of the same number; `None`: there is one above it.
pub(super) fn latin1(text: &str) -> Option<Cow<'_, [u8]>> {
    if text.is_ascii() {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    narrowed(text).map(Cow::Owned)
}

fn narrowed(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|char| u8::try_from(char).ok()).collect()
}
