//! Random schedules: whatever happens in whatever order, what must always hold holds. `TORU_SCHEDULES` makes the run longer
//! than the default of 500 schedules of 400 steps.

use super::{
    super::schedule::{Choices, Schedule},
    *,
};

/// Deterministic numbers (xorshift64*), so that a schedule that fails can be run again by its seed.
struct Numbers(u64);

impl Choices for Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

#[test]
fn random_schedules_have_one_process_at_most_exact_waits_and_obey_the_last_wish() {
    let schedules: u64 = std::env::var("TORU_SCHEDULES").map_or(500, |number| number.parse().unwrap());
    let steps = 400;
    let mut spawns = 0;
    for seed in 1..=schedules {
        let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut schedule = Schedule::new(Instant::now());
        for _ in 0..steps {
            schedule.happen(&mut numbers);
        }
        let wish = if seed % 2 == 0 { Wish::Up } else { Wish::Down };
        spawns += schedule.finish(wish);
    }
    assert!(spawns as u64 > 10 * schedules, "the schedules hardly started anything: {spawns}");
}
