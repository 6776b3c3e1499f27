//! Pings (protocol section 6): is the peer still reading and answering?
//!
//! ```text
//!            tick: ping                    tick: missed + 1
//!   Quiet ───────────────► Asked ──────────────────┐
//!     ▲                     │  ▲                   │
//!     └─────────────────────┘  └───────────────────┘
//!       any frame: missed = 0
//! ```

use std::time::{Duration, Instant};

use super::timer::after;

/// How the peer is, by its answers to pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Healthy,
    /// It has missed `ping_unhealthy` pings in a row.
    Unhealthy,
    /// It has missed `ping_dead` pings in a row, and is not asked again.
    Dead,
}

/// What a tick leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tick {
    /// Send a ping.
    Ping,
    /// The outstanding ping was missed, so many times by now.
    Missed(u32),
    /// Nothing: the peer cannot answer now.
    Skip,
}

#[derive(Debug)]
pub(super) struct Pings {
    interval: Option<Duration>,
    unhealthy: u32,
    dead: u32,
    next: Option<Instant>,
    asked: bool,
    missed: u32,
}

impl Pings {
    pub(super) fn new(interval: Option<Duration>, unhealthy: u32, dead: u32) -> Self {
        Self { interval, unhealthy, dead, next: None, asked: false, missed: 0 }
    }

    /// From now on the peer is pinged.
    pub(super) fn start(&mut self, now: Instant) {
        self.next = self.interval.map(|interval| after(now, interval));
    }

    pub(super) fn stop(&mut self) {
        self.next = None;
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn health(&self) -> Health {
        match self.missed {
            missed if missed >= self.dead => Health::Dead,
            missed if missed >= self.unhealthy => Health::Unhealthy,
            _ => Health::Healthy,
        }
    }

    /// A frame came, and any frame answers a ping. True: the peer had missed some before.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        self.asked = false;
        let recovered = self.missed > 0;
        if recovered {
            self.missed = 0;
            self.start(now);
        }
        recovered
    }

    /// An interval has passed. Only one ping is outstanding: it stays the question until it is answered.
    pub(super) fn tick(&mut self, now: Instant, can_answer: bool) -> Option<Tick> {
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        self.start(now);
        if self.asked {
            self.missed += 1;
            if self.missed >= self.dead {
                self.stop();
            }
            return Some(Tick::Missed(self.missed));
        }
        self.asked = can_answer;
        Some(if can_answer { Tick::Ping } else { Tick::Skip })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_silent_peer_is_unhealthy_after_three_misses_and_dead_after_six() {
        let now = Instant::now();
        let mut pings = Pings::new(Some(10 * SECOND), 3, 6);
        pings.start(now);
        assert_eq!(pings.tick(now + 9 * SECOND, true), None);
        assert_eq!(pings.tick(now + 10 * SECOND, true), Some(Tick::Ping));
        for missed in 1..=6 {
            assert_eq!(pings.tick(now + (missed + 1) * 10 * SECOND, true), Some(Tick::Missed(missed)));
            let health = match missed {
                1..=2 => Health::Healthy,
                3..=5 => Health::Unhealthy,
                _ => Health::Dead,
            };
            assert_eq!(pings.health(), health);
        }
        assert_eq!(pings.next(), None);
        assert!(pings.heard(now + 71 * SECOND));
        assert_eq!(pings.health(), Health::Healthy);
        assert_eq!(pings.next(), Some(now + 81 * SECOND));
    }

    #[test]
    fn any_frame_answers_a_ping() {
        let now = Instant::now();
        let mut pings = Pings::new(Some(SECOND), 3, 6);
        pings.start(now);
        assert_eq!(pings.tick(now + SECOND, true), Some(Tick::Ping));
        assert!(!pings.heard(now + SECOND));
        assert_eq!(pings.tick(now + 2 * SECOND, true), Some(Tick::Ping));
    }

    #[test]
    fn a_peer_that_cannot_answer_is_not_asked() {
        let now = Instant::now();
        let mut pings = Pings::new(Some(SECOND), 3, 6);
        pings.start(now);
        assert_eq!(pings.tick(now + SECOND, false), Some(Tick::Skip));
        assert_eq!(pings.tick(now + 2 * SECOND, true), Some(Tick::Ping));
    }
}
