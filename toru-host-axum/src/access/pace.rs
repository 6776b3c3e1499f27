//! How fast tokens can be tried.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// One attempt in so long, in the mean: a token of 40 bits holds for over a thousand years.
const INTERVAL: Duration = Duration::from_millis(100);
/// Attempts that are not held up: a person who pastes wrongly, a client with a stale token.
const BURST: u32 = 20;
/// The longest that an attempt is held up; one that would wait longer is refused unseen.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Paces attempts with tokens over the whole host by virtual scheduling (GCRA, ITU-T I.371). Every attempt takes a
/// turn before its token is looked at, and gives it back when the token was right.
///
/// Who has shown the right token on a connection, or has a session, takes no turns: so wrong tokens slow down
/// newcomers, by five seconds at most, and nobody else.
#[derive(Default)]
pub(crate) struct Pace {
    /// When the turns that were taken will have been earned.
    earned_at: Mutex<Option<Instant>>,
}

/// Too many turns are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowded;

impl Pace {
    /// Takes a turn: how long to wait before the token is looked at.
    pub(crate) fn take_turn(&self, now: Instant) -> Result<Duration, Crowded> {
        let mut earned_at = self.lock();
        let next = earned_at.map_or(now, |at| at.max(now)) + INTERVAL;
        let wait = next.duration_since(now).saturating_sub(INTERVAL * BURST);
        if wait > LONGEST_WAIT {
            return Err(Crowded);
        }
        *earned_at = Some(next);
        Ok(wait)
    }

    /// Gives a turn back.
    pub(crate) fn give_back(&self) {
        let mut earned_at = self.lock();
        *earned_at = earned_at.and_then(|at| at.checked_sub(INTERVAL));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.earned_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_then_attempts_wait_then_they_are_refused() {
        let pace = Pace::default();
        let now = Instant::now();
        for _ in 0..BURST {
            assert_eq!(pace.take_turn(now), Ok(Duration::ZERO));
        }
        assert_eq!(pace.take_turn(now), Ok(INTERVAL));
        assert_eq!(pace.take_turn(now), Ok(2 * INTERVAL));
        let refused = (0..1_000).filter(|_| pace.take_turn(now) == Err(Crowded)).count();
        assert_eq!(refused, 1_000 - 48, "fifty wait, two of which did already");
        assert_eq!(pace.take_turn(now + INTERVAL), Ok(LONGEST_WAIT), "a refused attempt took no turn");
    }

    #[tokio::test(start_paused = true)]
    async fn right_tokens_never_use_the_pace_up() {
        let pace = Pace::default();
        let now = Instant::now();
        for _ in 0..10_000 {
            assert_eq!(pace.take_turn(now), Ok(Duration::ZERO));
            pace.give_back();
        }
    }
}
