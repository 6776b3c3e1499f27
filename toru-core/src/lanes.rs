//! The lanes: runtimes that drive links, so that a request stays on the thread that it came in on.
//!
//! Every process has a link that the supervisor's own runtime drives: its life line. Beside it, it has one for each
//! lane that there was when it was spawned. A lane ends when nobody can send on it any more.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use tokio::{runtime::Handle, sync::watch};

/// The most lanes at once: a plugin inherits a descriptor for each, and more serving threads than this gain nothing on
/// one machine.
pub const MAX_LANES: usize = 64;

/// Which lane. A place that is free again is given to another lane under another serial number, so that a late sender
/// never takes the link of another lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaneId {
    /// Its place among the lanes: below [`MAX_LANES`].
    pub(crate) slot: usize,
    serial: u64,
}

/// A lane as a process sees it that is being spawned.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) id: LaneId,
    pub(crate) runtime: Handle,
    alive: watch::Receiver<()>,
}

impl Lane {
    /// Resolves when nobody can send on it any more.
    pub(crate) async fn ended(mut self) {
        // Nothing is ever sent: an error says that the last lease was dropped.
        while self.alive.changed().await.is_ok() {}
    }
}

/// The right to send on a lane. The lane ends with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct Lease(Option<Arc<Place>>);

impl Lease {
    /// The right to send on the links of the supervisor's own runtime, which never end by themselves.
    pub(crate) fn own() -> Self {
        Self(None)
    }

    /// `None`: the supervisor's own.
    pub(crate) fn id(&self) -> Option<LaneId> {
        self.0.as_ref().map(|place| place.id)
    }
}

/// A lane's place, given back when it is dropped.
#[derive(Debug)]
struct Place {
    id: LaneId,
    slots: Arc<ArcSwap<Slots>>,
    _alive: watch::Sender<()>,
}

type Slots = Vec<Option<Lane>>;

impl Drop for Place {
    fn drop(&mut self) {
        self.slots.rcu(|slots| {
            let mut slots = Slots::clone(slots);
            slots[self.id.slot] = None;
            slots
        });
    }
}

/// All lanes of a supervisor.
#[derive(Debug)]
pub(crate) struct Lanes {
    own: Handle,
    slots: Arc<ArcSwap<Slots>>,
    serial: AtomicU64,
}

impl Lanes {
    /// None but the supervisor's own runtime.
    pub(crate) fn new(own: Handle) -> Self {
        Self { own, slots: Arc::default(), serial: AtomicU64::new(0) }
    }

    /// The supervisor's own runtime.
    pub(crate) fn own(&self) -> &Handle {
        &self.own
    }

    /// Adds a lane: processes that are spawned from now on have a link for it. `None`: there are [`MAX_LANES`] already.
    pub(crate) fn add(&self, runtime: Handle) -> Option<Lease> {
        let (sender, alive) = watch::channel(());
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let mut given = None;
        self.slots.rcu(|slots| {
            let slot = slots.iter().position(Option::is_none).unwrap_or(slots.len());
            let mut slots = Slots::clone(slots);
            if slot == MAX_LANES {
                given = None;
                return slots;
            }
            slots.resize(slots.len().max(slot + 1), None);
            let id = LaneId { slot, serial };
            slots[slot] = Some(Lane { id, runtime: runtime.clone(), alive: alive.clone() });
            given = Some(id);
            slots
        });
        let id = given?;
        Some(Lease(Some(Arc::new(Place { id, slots: self.slots.clone(), _alive: sender }))))
    }

    /// The lanes that there are now.
    pub(crate) fn snapshot(&self) -> Vec<Lane> {
        self.slots.load().iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(lanes: &Lanes) -> Vec<usize> {
        lanes.snapshot().iter().map(|lane| lane.id.slot).collect()
    }

    #[tokio::test]
    async fn a_lane_ends_with_its_last_lease_and_its_place_is_given_to_another() {
        let lanes = Lanes::new(Handle::current());
        let first = lanes.add(Handle::current()).unwrap();
        let second = lanes.add(Handle::current()).unwrap();
        assert_eq!(slots(&lanes), [0, 1]);
        let ended = lanes.snapshot().swap_remove(0).ended();
        let clone = first.clone();
        let first_id = first.id();
        drop(first);
        assert_eq!(slots(&lanes), [0, 1]);
        drop(clone);
        ended.await;
        assert_eq!(slots(&lanes), [1]);
        let third = lanes.add(Handle::current()).unwrap();
        assert_eq!(slots(&lanes), [0, 1]);
        assert_ne!(third.id(), first_id);
        drop(second);
    }

    #[tokio::test]
    async fn lanes_are_bounded() {
        let lanes = Lanes::new(Handle::current());
        let mut leases: Vec<Lease> = (0..MAX_LANES).map(|_| lanes.add(Handle::current()).unwrap()).collect();
        assert!(lanes.add(Handle::current()).is_none());
        leases.swap_remove(5);
        assert_eq!(lanes.add(Handle::current()).unwrap().id().unwrap().slot, 5);
    }
}
