//! How long a write has waited.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// Runs from the first poll behind a write that made progress.
#[derive(Debug)]
pub(super) struct Stall {
    limit: Duration,
    since_progress: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since_progress: None }
    }

    /// Something was written.
    pub(super) fn clear(&mut self) {
        self.since_progress = None;
    }

    /// Nothing can be written. Ready once that has been so for the limit.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        self.since_progress.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx)
    }
}
