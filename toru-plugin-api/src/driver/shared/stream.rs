//! Handles of one stream that clean up when they are dropped.

use std::sync::Arc;

use super::{Shared, StreamKey};
use crate::frame::ResetCode;

/// One more holder of a stream's slot; the last one that is dropped frees it.
#[derive(Debug)]
pub(in crate::driver) struct Stream {
    pub(in crate::driver) shared: Arc<Shared>,
    pub(in crate::driver) key: StreamKey,
}

impl Stream {
    /// Takes over a hold that was counted already.
    pub(in crate::driver) fn adopt(shared: Arc<Shared>, key: StreamKey) -> Self {
        Self { shared, key }
    }

    pub(in crate::driver) fn reset(&self, code: ResetCode) {
        let key = self.key;
        self.shared.command(|state| state.reset(key, code));
    }
}

impl Clone for Stream {
    fn clone(&self) -> Self {
        self.shared.lock().hold(self.key);
        Self { shared: self.shared.clone(), key: self.key }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.lock().release(self.key);
    }
}

/// Resets a stream, unless it is disarmed before it is dropped.
#[derive(Debug)]
pub(in crate::driver) struct ResetOnDrop<'s> {
    stream: &'s Stream,
    code: ResetCode,
    is_armed: bool,
}

impl<'s> ResetOnDrop<'s> {
    pub(in crate::driver) fn new(stream: &'s Stream, code: ResetCode) -> Self {
        Self { stream, code, is_armed: true }
    }

    pub(in crate::driver) fn disarm(mut self) {
        self.is_armed = false;
    }
}

impl Drop for ResetOnDrop<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.stream.reset(self.code);
        }
    }
}
