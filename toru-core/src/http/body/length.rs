//! A body's length against its content-length.

use http::{HeaderMap, header};

/// Counts a body's bytes against the length that its head named.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpectedLength(Option<u64>);

/// The body is longer or shorter than its head said, or its head said nothing that can be held against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body does not match its content-length")]
pub(in crate::http) struct LengthMismatch;

/// The length that a head names; an error where it is no number or there are several (RFC 9112, 6.3).
pub(in crate::http) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, LengthMismatch> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(only) = values.next() else { return Ok(None) };
    let digits = only.as_bytes();
    // `parse` would take a sign.
    if values.next().is_some() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(LengthMismatch);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| LengthMismatch)?;
    digits.parse().map(Some).map_err(|_| LengthMismatch)
}

impl ExpectedLength {
    pub(super) fn new(content_length: Option<u64>) -> Self {
        Self(content_length)
    }

    /// How many bytes are still to come, where that is known.
    pub(super) fn left(self) -> Option<u64> {
        self.0
    }

    pub(super) fn take(&mut self, len: usize) -> Result<(), LengthMismatch> {
        let Some(left) = &mut self.0 else { return Ok(()) };
        *left = left.checked_sub(len as u64).ok_or(LengthMismatch)?;
        Ok(())
    }

    pub(super) fn end(self) -> Result<(), LengthMismatch> {
        match self.0 {
            None | Some(0) => Ok(()),
            Some(_) => Err(LengthMismatch),
        }
    }
}
