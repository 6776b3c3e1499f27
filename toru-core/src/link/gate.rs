//! How many events of its own a plugin may tell.

use std::time::Duration;

use tokio::time::Instant;

/// Events of one plugin that are stored per second (protocol section 6); a plugin has the log for more.
const EVENTS_PER_SECOND: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// Lets so many events a second pass, and counts the rest.
#[derive(Debug)]
pub(super) struct EventGate {
    second_began: Instant,
    passed: u32,
    dropped: u64,
}

impl EventGate {
    pub(super) fn new(now: Instant) -> Self {
        Self { second_began: now, passed: 0, dropped: 0 }
    }

    /// Whether an event passes now.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second_began) >= SECOND {
            self.second_began = now;
            self.passed = 0;
        }
        let passes = self.passed < EVENTS_PER_SECOND;
        if passes {
            self.passed += 1;
        } else {
            self.dropped += 1;
        }
        passes
    }

    /// How many were dropped since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_events_a_second_pass_and_the_rest_is_counted() {
        let began = Instant::now();
        let mut gate = EventGate::new(began);
        let admitted = (0..25).filter(|_| gate.admit(began)).count();
        assert_eq!(admitted, 10);
        assert_eq!(gate.take_dropped(), 15);
        assert!(!gate.admit(began + SECOND - Duration::from_millis(1)));
        assert!(gate.admit(began + SECOND));
        assert_eq!(gate.take_dropped(), 1);
        assert_eq!(gate.take_dropped(), 0);
    }
}
