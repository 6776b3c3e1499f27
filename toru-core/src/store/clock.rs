//! The time of day that expiry and pruning go by.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

/// The system's clock, or one that a test moves by hand.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    manual: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// A clock that begins at the system's time and then stands still until it is moved.
    #[must_use]
    pub fn manual() -> Self {
        Self { manual: Some(Arc::new(AtomicI64::new(Timestamp::now().as_millisecond()))) }
    }

    /// Moves a manual clock; the system's clock does not move for anyone.
    pub fn advance(&self, by: Duration) {
        if let Some(now) = &self.manual {
            now.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        match &self.manual {
            Some(now) => now.load(Ordering::SeqCst),
            None => Timestamp::now().as_millisecond(),
        }
    }

    /// The moment that lies so far back; the earliest there is when it would lie before that.
    pub(super) fn before(&self, age: Duration) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms().saturating_sub(millis(age))).unwrap_or(Timestamp::MIN)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
