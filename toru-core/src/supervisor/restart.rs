//! How failures are retried: the policy, and the record of failures that it judges. Backoff arithmetic lives only here.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The longest time that a policy may count with. Far beyond any use, and small enough that no instant overflows.
const MAX_TIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The wait until an attached plugin is looked for again: long enough to be seen, too short to be waited for.
const ATTACHED_DELAY: Duration = Duration::from_millis(250);

/// The most failures that a windowed limit may count: one instant is remembered for each.
const MAX_COUNTED: u32 = 10_000;

/// The numbers of a [`RestartPolicy`], to be checked by [`RestartPolicy::try_new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartSettings {
    /// The wait after the first failure; each further one in a row doubles it. More than zero. Default: 1 s.
    pub first_delay: Duration,
    /// The longest wait. At least `first_delay`. Default: 16 s.
    pub max_delay: Duration,
    /// The failure in a row that disables the plugin. At least 1. Default: 10.
    pub max_in_a_row: u32,
    /// How long a plugin must have been ready until its failures in a row are forgotten. Default: 60 s.
    pub stable_after: Duration,
    /// The span of the windowed limit. More than zero. Default: 1 h.
    pub window: Duration,
    /// The failure within `window` that disables the plugin as flapping, however stable it was in between. 1 to
    /// 10,000. Default: 30.
    pub max_in_window: u32,
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(16),
            max_in_a_row: 10,
            stable_after: Duration::from_secs(60),
            window: Duration::from_secs(60 * 60),
            max_in_window: 30,
        }
    }
}

/// Why settings are no policy. The operator's (or embedder's) doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestartPolicyError {
    /// A plugin that fails at once would be started in a busy loop.
    #[error("the first delay is zero: set it to 1 ms or more")]
    NoDelay,
    /// The longest wait is shorter than the first.
    #[error("the longest delay is shorter than the first: raise max_delay or lower first_delay")]
    DelaysCrossed,
    /// Zero failures would disable a plugin that never failed.
    #[error("the number of failures until a plugin is disabled must be 1 or more")]
    NoAttempt,
    /// More failures than are remembered.
    #[error("the windowed limit must be {MAX_COUNTED} or less")]
    TooManyCounted,
    /// A window of no length holds no failure.
    #[error("the window of the windowed limit is zero: set it to 1 s or more")]
    NoWindow,
    /// A time beyond 30 days.
    #[error("the times of a restart policy must be 30 days or less")]
    TooLong,
}

/// How failures are retried: a value, validated once. By default the waits are 1, 2, 4, 8, 16, 16, … s, the 10th failure in
/// a row disables the plugin, 60 s of being ready forgive, and 30 failures within an hour disable it as flapping.
///
/// ```
/// use std::time::Duration;
/// use toru_core::{RestartPolicy, RestartSettings};
///
/// let policy = RestartPolicy::try_new(RestartSettings {
///     first_delay: Duration::from_millis(10),
///     max_in_a_row: 3,
///     ..RestartSettings::default()
/// })?;
/// assert_eq!(policy.settings().max_in_a_row, 3);
/// # Ok::<(), toru_core::RestartPolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestartPolicy {
    settings: RestartSettings,
}

impl RestartPolicy {
    /// Makes a policy of these numbers.
    ///
    /// # Errors
    /// A number is out of its bounds; see [`RestartPolicyError`].
    pub fn try_new(settings: RestartSettings) -> Result<Self, RestartPolicyError> {
        let RestartSettings { first_delay, max_delay, max_in_a_row, stable_after, window, max_in_window } =
            settings;
        if first_delay.is_zero() {
            return Err(RestartPolicyError::NoDelay);
        }
        if max_delay < first_delay {
            return Err(RestartPolicyError::DelaysCrossed);
        }
        if max_in_a_row == 0 || max_in_window == 0 {
            return Err(RestartPolicyError::NoAttempt);
        }
        if max_in_window > MAX_COUNTED {
            return Err(RestartPolicyError::TooManyCounted);
        }
        if window.is_zero() {
            return Err(RestartPolicyError::NoWindow);
        }
        if [max_delay, stable_after, window].iter().any(|time| *time > MAX_TIME) {
            return Err(RestartPolicyError::TooLong);
        }
        Ok(Self { settings })
    }

    /// For a plugin that a developer starts by hand: it is waited for again after a moment, which keeps what fails at once from
    /// busying the host, and it is never given up.
    pub(super) fn of_attached() -> Self {
        let settings = RestartSettings {
            first_delay: ATTACHED_DELAY,
            max_delay: ATTACHED_DELAY,
            max_in_a_row: u32::MAX,
            // So short that the limit is never met.
            window: ATTACHED_DELAY,
            max_in_window: MAX_COUNTED,
            ..RestartSettings::default()
        };
        Self::try_new(settings).expect("these numbers are within their bounds")
    }

    /// Its numbers.
    #[must_use]
    pub fn settings(&self) -> &RestartSettings {
        &self.settings
    }

    /// The wait after the failure that is the `in_a_row`th, from 1.
    fn delay(&self, in_a_row: u32) -> Duration {
        let doublings = in_a_row.saturating_sub(1).min(31);
        self.settings.first_delay.saturating_mul(1 << doublings).min(self.settings.max_delay)
    }
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start again after the delay; `attempt` counts the failures in a row.
    Retry { attempt: u32, delay: Duration },
    /// Do not start again.
    GiveUp(GaveUp),
}

/// Which limit was met, and with how many failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GaveUp {
    InARow(u32),
    Flapping(u32),
}

/// The failures of one plugin, as far as the policy looks back.
#[derive(Debug, Default)]
pub(super) struct Failures {
    in_a_row: u32,
    /// Ascending; never more than `max_in_window`.
    in_window: VecDeque<Instant>,
}

impl Failures {
    /// Counts a failure and judges it.
    pub(super) fn record(&mut self, policy: &RestartPolicy, now: Instant) -> Verdict {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let flapping = self.count_in_window(policy, now);
        if self.in_a_row >= policy.settings.max_in_a_row {
            return Verdict::GiveUp(GaveUp::InARow(self.in_a_row));
        }
        match flapping {
            Some(gave_up) => Verdict::GiveUp(gave_up),
            None => Verdict::Retry { attempt: self.in_a_row, delay: policy.delay(self.in_a_row) },
        }
    }

    /// Counts an exit that the plugin had announced: no failure, but it may not flap either.
    pub(super) fn record_handover(&mut self, policy: &RestartPolicy, now: Instant) -> Result<(), GaveUp> {
        self.count_in_window(policy, now).map_or(Ok(()), Err)
    }

    /// The plugin was stable: its failures in a row are forgiven, the window is not.
    pub(super) fn forgive(&mut self) {
        self.in_a_row = 0;
    }

    fn count_in_window(&mut self, policy: &RestartPolicy, now: Instant) -> Option<GaveUp> {
        let limit = policy.settings.max_in_window as usize;
        self.in_window.push_back(now);
        while self.in_window.len() > limit
            || self
                .in_window
                .front()
                .is_some_and(|at| now.saturating_duration_since(*at) >= policy.settings.window)
        {
            self.in_window.pop_front();
        }
        (self.in_window.len() == limit).then_some(GaveUp::Flapping(policy.settings.max_in_window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn delays_double_to_16_s_and_the_tenth_failure_gives_up() {
        let policy = RestartPolicy::default();
        let mut failures = Failures::default();
        let now = Instant::now();
        let mut waits = Vec::new();
        let verdict = loop {
            match failures.record(&policy, now) {
                Verdict::Retry { delay, .. } if waits.len() < 20 => waits.push(delay.as_secs()),
                verdict => break verdict,
            }
        };
        assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16, 16, 16]);
        assert_eq!(verdict, Verdict::GiveUp(GaveUp::InARow(10)));
    }

    #[test]
    fn being_stable_forgives_the_row_but_not_the_window() {
        let policy =
            RestartPolicy::try_new(RestartSettings { max_in_window: 3, ..RestartSettings::default() })
                .unwrap();
        let mut failures = Failures::default();
        let now = Instant::now();
        for minute in 0..2 {
            let verdict = failures.record(&policy, now + seconds(60 * minute));
            assert_eq!(verdict, Verdict::Retry { attempt: 1, delay: seconds(1) });
            failures.forgive();
        }
        assert_eq!(failures.record(&policy, now + seconds(180)), Verdict::GiveUp(GaveUp::Flapping(3)));
    }

    #[test]
    fn the_window_forgets_what_is_an_hour_old() {
        let policy =
            RestartPolicy::try_new(RestartSettings { max_in_window: 2, ..RestartSettings::default() })
                .unwrap();
        let mut failures = Failures::default();
        let now = Instant::now();
        assert_eq!(failures.record_handover(&policy, now), Ok(()));
        assert_eq!(failures.record_handover(&policy, now + seconds(3_600)), Ok(()));
        assert_eq!(failures.record_handover(&policy, now + seconds(3_601)), Err(GaveUp::Flapping(2)));
    }

    #[test]
    fn a_policy_is_refused_at_each_bound_and_taken_just_inside() {
        let refused = |change: fn(&mut RestartSettings)| {
            let mut settings = RestartSettings::default();
            change(&mut settings);
            RestartPolicy::try_new(settings).err()
        };
        assert_eq!(refused(|s| s.first_delay = Duration::ZERO), Some(RestartPolicyError::NoDelay));
        assert_eq!(refused(|s| s.first_delay = Duration::from_nanos(1)), None);
        assert_eq!(
            refused(|s| s.max_delay = Duration::from_millis(999)),
            Some(RestartPolicyError::DelaysCrossed)
        );
        assert_eq!(refused(|s| s.max_delay = seconds(1)), None);
        assert_eq!(refused(|s| s.max_in_a_row = 0), Some(RestartPolicyError::NoAttempt));
        assert_eq!(refused(|s| s.max_in_window = 0), Some(RestartPolicyError::NoAttempt));
        assert_eq!(refused(|s| s.max_in_window = MAX_COUNTED), None);
        assert_eq!(refused(|s| s.max_in_window = MAX_COUNTED + 1), Some(RestartPolicyError::TooManyCounted));
        assert_eq!(refused(|s| s.window = Duration::ZERO), Some(RestartPolicyError::NoWindow));
        assert_eq!(refused(|s| s.window = MAX_TIME), None);
        assert_eq!(refused(|s| s.window = MAX_TIME + seconds(1)), Some(RestartPolicyError::TooLong));
    }

    #[test]
    fn the_delay_never_overflows() {
        let policy = RestartPolicy::default();
        assert_eq!(policy.delay(u32::MAX), seconds(16));
    }
}
