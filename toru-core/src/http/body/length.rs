//! A body's length against its content-length.

/// Counts a body's bytes against the length that its head named.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpectedLength(Option<u64>);

/// The body is longer or shorter than its head said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body does not match its content-length")]
pub(super) struct LengthMismatch;

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
