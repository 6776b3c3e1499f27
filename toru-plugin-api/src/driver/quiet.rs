//! When a link that has streams gives its large buffers back.

use std::time::{Duration, Instant};

/// How long such a link is quiet at least: an idle tunnel needs no large buffers, and a transfer that goes on would want them again.
const QUIET: Duration = Duration::from_secs(10);

/// Whether much is moved over a link. It is looked at from time to time, so that what is moved costs no look at the clock.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    /// Much was moved since the last look.
    stirred: bool,
    next_look: Option<Instant>,
}

impl Quiet {
    /// Much was moved at once: the buffers are large.
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    /// When to look next; `None` while no buffer is large.
    pub(super) fn next_look(&mut self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        if self.stirred && self.next_look.is_none() {
            self.stirred = false;
            self.next_look = Some(now() + QUIET);
        }
        self.next_look
    }

    /// Looks, if it is time to: whether nothing much was moved since the last look, so that the large buffers are to go.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let is_time = self.next_look.take_if(|at| *at <= now).is_some();
        is_time && !self.stirred
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_quiet_once_nothing_much_was_moved_between_two_looks() {
        let begin = Instant::now();
        let mut quiet = Quiet::default();
        assert_eq!(quiet.next_look(|| begin), None);
        assert!(!quiet.look(begin + 2 * QUIET), "no buffer is large");
        quiet.stir();
        assert_eq!(quiet.next_look(|| begin), Some(begin + QUIET));
        quiet.stir();
        assert!(!quiet.look(begin + QUIET / 2));
        assert!(!quiet.look(begin + QUIET), "it was stirred since");
        assert_eq!(quiet.next_look(|| begin + QUIET), Some(begin + 2 * QUIET));
        assert!(quiet.look(begin + 2 * QUIET));
        assert_eq!(quiet.next_look(|| begin + 2 * QUIET), None);
    }
}
