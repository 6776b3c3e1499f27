//! Schedules of the fuzzer.

use std::time::Instant;

use super::state::{
    Wish,
    schedule::{Choices, Schedule},
};

/// Choices by bytes; they are over with the bytes.
struct Bytes<'a>(&'a [u8]);

impl Choices for Bytes<'_> {
    fn below(&mut self, limit: u64) -> u64 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        // A byte alone would leave the upper part of a larger range untried.
        let spread = limit.div_ceil(256).max(1);
        u64::from(*first) * spread % limit
    }
}

/// Runs the schedule that these bytes choose on a plugin's state machine. The first says how it ends: wanted up or down, or
/// with the host; each of the others is about one thing that happens.
///
/// # Panics
/// What must always hold of a machine did not.
pub fn run_schedule(input: &[u8], now: Instant) {
    let Some((end, choices)) = input.split_first() else { return };
    let mut choices = Bytes(choices);
    let mut schedule = Schedule::new(now);
    while !choices.0.is_empty() {
        schedule.happen(&mut choices);
    }
    if end & 2 != 0 {
        schedule.shut_down();
    }
    schedule.finish(if end & 1 == 0 { Wish::Up } else { Wish::Down });
}
