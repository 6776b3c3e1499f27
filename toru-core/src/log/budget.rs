//! How many lines a plugin may log a second.

use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(1);

/// Counts the lines of one plugin, whatever way they come, in windows of a second.
#[derive(Debug)]
pub(super) struct Budget {
    per_window: u32,
    /// The window under way, which began with its first line.
    ends: Option<Instant>,
    used: u32,
    dropped: u64,
}

impl Budget {
    pub(super) fn new(per_window: u32) -> Self {
        Self { per_window, ends: None, used: 0, dropped: 0 }
    }

    /// Whether a line is kept; one that is not is counted.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        if self.ends.is_none_or(|ends| now >= ends) {
            self.ends = Some(now + WINDOW);
            self.used = 0;
        }
        if self.used == self.per_window {
            self.dropped += 1;
            return false;
        }
        self.used += 1;
        true
    }

    /// When [`Budget::settle`] has something to say.
    pub(super) fn due(&self) -> Option<Instant> {
        self.ends.filter(|_| self.dropped > 0)
    }

    /// The lines dropped in a window that has ended, told once.
    pub(super) fn settle(&mut self, now: Instant) -> u64 {
        match self.due() {
            Some(due) if now >= due => self.settle_early(),
            _ => 0,
        }
    }

    /// The lines dropped and not told yet: no further line may come to tell them.
    pub(super) fn settle_early(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_past_the_rate_are_dropped_until_the_second_is_over() {
        let start = Instant::now();
        let mut budget = Budget::new(3);
        let kept = (0..10).filter(|_| budget.admit(start)).count();
        assert_eq!(kept, 3);
        assert_eq!(budget.settle(start + WINDOW / 2), 0, "not before the window has ended");
        assert!(!budget.admit(start + WINDOW / 2));
        assert_eq!(budget.settle(start + WINDOW), 8);
        assert_eq!(budget.settle(start + WINDOW), 0, "told once");
        assert!(budget.admit(start + WINDOW));
    }
}
