//! How fast wrong tokens are answered.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// One wrong token in so long, in the mean.
const INTERVAL: Duration = Duration::from_millis(100);
/// Wrong tokens that are answered at once: a person who pastes wrongly, a client with a stale token.
const BURST: u32 = 20;
/// The longest that an answer is held up. With the bound on connections it bounds the attempts too: 1,024 connections
/// that try one token in five seconds each need a hundred years for 40 bits.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Holds the answers to wrong tokens up, over the whole host, by virtual scheduling (GCRA, ITU-T I.371). Who shows
/// the right one is never held up, however many wrong ones are tried at the same time.
#[derive(Default)]
pub(crate) struct Pace {
    /// When the turns that were taken will have been earned.
    earned_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// Takes a turn for a wrong token: how long to wait before it is answered.
    pub(crate) fn take_turn(&self, now: Instant) -> Duration {
        let mut earned_at = self.earned_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = earned_at.map_or(now, |at| at.max(now)) + INTERVAL;
        let wait = next.duration_since(now).saturating_sub(INTERVAL * BURST);
        if wait > LONGEST_WAIT {
            return LONGEST_WAIT;
        }
        *earned_at = Some(next);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_then_wrong_tokens_wait_and_never_longer_than_the_longest() {
        let pace = Pace::default();
        let now = Instant::now();
        for _ in 0..BURST {
            assert_eq!(pace.take_turn(now), Duration::ZERO);
        }
        assert_eq!(pace.take_turn(now), INTERVAL);
        assert_eq!(pace.take_turn(now), 2 * INTERVAL);
        let longest = (0..1_000).map(|_| pace.take_turn(now)).max();
        assert_eq!(longest, Some(LONGEST_WAIT));
        assert_eq!(
            pace.take_turn(now + BURST * INTERVAL + LONGEST_WAIT),
            Duration::ZERO,
            "it is earned again"
        );
    }
}
