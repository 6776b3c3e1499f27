//! What is told of connections that are one too many.

use std::time::Duration;

use tokio::time::Instant;

/// A flood of connections is told of so often at most: each line is written by the thread that serves, and stderr may be slow.
const INTERVAL: Duration = Duration::from_secs(1);

/// Counts refusals between two lines of the log.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    untold: u64,
    told_at: Option<Instant>,
}

impl Refusals {
    /// Notes one; how many to tell of now, this one among them.
    pub(super) fn note(&mut self) -> Option<u64> {
        let now = Instant::now();
        self.untold += 1;
        if self.told_at.is_some_and(|at| now.duration_since(at) < INTERVAL) {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_told_once_a_second_and_none_of_it_is_left_out() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.note(), Some(1));
        for _ in 0..1_000 {
            assert_eq!(refusals.note(), None);
        }
        tokio::time::advance(INTERVAL).await;
        assert_eq!(refusals.note(), Some(1_001));
        assert_eq!(refusals.note(), None);
    }
}
