//! How many connections there are, over all threads.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{front::Place, limits::Limits};

/// Counts the connections that are open.
#[derive(Debug)]
pub(super) struct Places {
    open: AtomicUsize,
    /// Of them, those that are open to all requests.
    common: usize,
    all: usize,
}

/// One connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) place: Place,
    places: Arc<Places>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.places.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let common = limits.connections.saturating_sub(limits.reserved_connections);
        Arc::new(Self { open: AtomicUsize::new(0), common, all: limits.connections })
    }

    /// A place, unless all are taken.
    pub(super) fn take(self: &Arc<Self>) -> Option<Taken> {
        let open = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < self.all).then_some(open + 1))
            .ok()?;
        let place = if open < self.common { Place::Common } else { Place::Reserved };
        Some(Taken { place, places: self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_places_are_reserved_and_a_place_given_back_is_free() {
        let mut limits = Limits::default();
        (limits.connections, limits.reserved_connections) = (3, 1);
        let places = Places::new(&limits);
        let mut taken: Vec<Taken> = (0..3).map(|_| places.take().unwrap()).collect();
        let kinds: Vec<Place> = taken.iter().map(|taken| taken.place).collect();
        assert_eq!(kinds, [Place::Common, Place::Common, Place::Reserved]);
        assert!(places.take().is_none());
        taken.truncate(1);
        assert_eq!(places.take().unwrap().place, Place::Common);
    }
}
