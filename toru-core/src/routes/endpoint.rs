//! One plugin as the router sees it: whether it answers, through what, and who waits for it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::{Notify, Semaphore, TryAcquireError};

use super::room::{Collecting, Room};
use crate::{
    lanes::LaneId,
    link::{Link, Permit},
};

/// Whether a plugin's route answers, and through what.
#[derive(Debug, Clone)]
pub(crate) enum Availability {
    /// Disabled or auto-disabled: 404.
    Disabled,
    /// Starting, in backoff or draining: requests wait in the queue, then 503.
    Waiting,
    /// Requests go through these links.
    Ready(ReadyLinks),
    /// Failed for good: 503.
    Failed,
}

/// The links of a process that take requests.
#[derive(Debug, Clone)]
pub(crate) struct ReadyLinks {
    /// For who sends on no lane, or on one that has no link of its own here.
    pub(crate) first: Link,
    /// Those of the lanes.
    pub(crate) by_lane: Vec<(LaneId, Link)>,
}

/// What an endpoint is made of.
#[derive(Debug, Clone)]
pub(crate) struct EndpointSettings {
    /// The plugin.
    pub(crate) id: Arc<str>,
    /// Its route: begins with `/`, no trailing `/`.
    pub(crate) route: Arc<str>,
    /// `%2f` and `//` pass.
    pub(crate) raw_paths: bool,
    /// Its answers are waited for only so long, which it is told.
    pub(crate) is_timed: bool,
    /// Requests without an answer's head per link.
    pub(crate) max_in_flight: usize,
    /// Requests that wait.
    pub(crate) queue_len: usize,
    /// How long each waits.
    pub(crate) queue_wait: Duration,
}

impl ReadyLinks {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        1 + self.by_lane.len()
    }
}

/// One plugin as the router sees it. Lives as long as the plugin is known; its availability changes.
#[derive(Debug)]
pub(crate) struct Endpoint {
    settings: EndpointSettings,
    state: ArcSwap<State>,
    changed: Notify,
    waiting: AtomicUsize,
    /// Room for bodies that are collected.
    collecting: Collecting,
    /// The mount that the service uses, and the whole prefix as a header.
    prefix: OnceLock<(Arc<str>, HeaderValue)>,
}

#[derive(Debug)]
enum State {
    Disabled,
    Waiting,
    Ready(Ready),
    Failed,
}

#[derive(Debug)]
struct Ready {
    first: Way,
    /// By the slots of their lanes.
    by_slot: Box<[Option<(LaneId, Way)>]>,
}

/// A link and the places of the requests on it that have no answer's head yet.
#[derive(Debug, Clone)]
struct Way {
    link: Link,
    places: Arc<Semaphore>,
}

/// Why a request cannot be sent to a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The operator has disabled it.
    Disabled,
    /// It will not come back by itself.
    Failed,
    /// As many wait already as may.
    QueueFull,
    /// It waited as long as it may.
    WaitedTooLong,
}

/// What a look at the state says.
enum Look {
    Go(Link, Permit),
    Stop(Refusal),
    /// Nothing to send on: the state must change first.
    AwaitChange,
    /// The link is full.
    AwaitPlace(Way),
}

impl Endpoint {
    /// An endpoint that is `Waiting`.
    pub(crate) fn new(settings: EndpointSettings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            state: ArcSwap::from_pointee(State::Waiting),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            collecting: Collecting::new(),
            prefix: OnceLock::new(),
        })
    }

    /// The plugin.
    pub(crate) fn id(&self) -> &Arc<str> {
        &self.settings.id
    }

    /// Its route.
    pub(crate) fn route(&self) -> &str {
        &self.settings.route
    }

    /// Whether `%2f` and `//` pass in its paths.
    pub(crate) fn raw_paths(&self) -> bool {
        self.settings.raw_paths
    }

    /// Whether its answers are waited for only so long.
    pub(crate) fn is_timed(&self) -> bool {
        self.settings.is_timed
    }

    /// The path under which a client reaches it, for `x-forwarded-prefix`. All services of a host have one mount as a rule, so the
    /// first one's is kept.
    pub(crate) fn prefix_under(&self, mount: &Arc<str>) -> HeaderValue {
        let build = || {
            // A route or mount that is no header value is told as none.
            HeaderValue::from_str(&format!("{mount}{}", self.route())).unwrap_or(HeaderValue::from_static(""))
        };
        let (kept_for, prefix) = self.prefix.get_or_init(|| (mount.clone(), build()));
        if kept_for == mount { prefix.clone() } else { build() }
    }

    /// How long a request may wait for it.
    pub(crate) fn queue_wait(&self) -> Duration {
        self.settings.queue_wait
    }

    /// Changes what requests find; wakes those that wait. Called by the plugin's owner alone: two calls at once may lose one.
    ///
    /// A link that stays keeps its requests' places; those that wait for a link that has gone look again.
    pub(crate) fn set(&self, availability: Availability) {
        let next = match availability {
            Availability::Disabled => State::Disabled,
            Availability::Waiting => State::Waiting,
            Availability::Failed => State::Failed,
            Availability::Ready(links) => self.state.load().ready(links, self.settings.max_in_flight),
        };
        let next = Arc::new(next);
        let previous = self.state.swap(next.clone());
        for way in previous.ways().filter(|old| !next.ways().any(|new| Arc::ptr_eq(&new.places, &old.places)))
        {
            way.places.close();
        }
        self.changed.notify_waiters();
    }

    /// A link to send on and a place on it. Waits while the plugin is not there or its link is full: at most
    /// `queue_len` requests for at most `queue_wait`. Where nobody waits this is two atomic loads and a semaphore, without an allocation.
    ///
    /// Dropping the future leaves the queue.
    pub(crate) async fn acquire(&self, lane: Option<LaneId>) -> Result<(Link, Permit), Refusal> {
        match self.look(lane, None) {
            Look::Go(link, permit) => Ok((link, permit)),
            Look::Stop(refusal) => Err(refusal),
            Look::AwaitChange | Look::AwaitPlace(_) => self.queue(lane, None).await,
        }
    }

    /// As `acquire`, once `refused` is none of the links any more: it takes no requests, whether or not its owner knows yet, and what ends
    /// one link of a process most often ends them all.
    pub(crate) async fn acquire_other(
        &self,
        lane: Option<LaneId>,
        refused: &Link,
    ) -> Result<(Link, Permit), Refusal> {
        self.queue(lane, Some(refused)).await
    }

    /// Room to begin to collect a body. Waited for as a place is, and beside those that wait for one: as many may, for as long.
    pub(crate) async fn room_to_collect(&self) -> Result<Room<'_>, Refusal> {
        let Collecting { pieces, waiting } = &self.collecting;
        let first = match pieces.try_acquire() {
            Ok(first) => first,
            Err(_) => {
                self.within_queue(waiting, pieces.acquire()).await?.expect("the semaphore is never closed")
            }
        };
        Ok(Room::new(&self.collecting, first))
    }

    /// What a request would be refused with right now, without waiting.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match &**self.state.load() {
            State::Disabled => Some(Refusal::Disabled),
            State::Failed => Some(Refusal::Failed),
            State::Waiting | State::Ready(_) => None,
        }
    }

    fn look(&self, lane: Option<LaneId>, refused: Option<&Link>) -> Look {
        let state = self.state.load();
        let ready = match &**state {
            State::Disabled => return Look::Stop(Refusal::Disabled),
            State::Failed => return Look::Stop(Refusal::Failed),
            State::Waiting => return Look::AwaitChange,
            State::Ready(ready) => ready,
        };
        if refused.is_some_and(|refused| state.ways().any(|way| way.link.is_same(refused))) {
            return Look::AwaitChange;
        }
        let way = ready.of_lane(lane).unwrap_or(&ready.first);
        match way.places.clone().try_acquire_owned() {
            Ok(place) => Look::Go(way.link.clone(), Permit::new(place)),
            Err(TryAcquireError::NoPermits) => Look::AwaitPlace(way.clone()),
            Err(TryAcquireError::Closed) => Look::AwaitChange,
        }
    }

    async fn queue(&self, lane: Option<LaneId>, refused: Option<&Link>) -> Result<(Link, Permit), Refusal> {
        self.within_queue(&self.waiting, self.wait(lane, refused)).await?
    }

    /// Awaits this as one of the requests that wait, as this counts them.
    async fn within_queue<T>(
        &self,
        waiting: &AtomicUsize,
        awaited: impl Future<Output = T>,
    ) -> Result<T, Refusal> {
        let _waiter = Waiter::enter(waiting, self.settings.queue_len).ok_or(Refusal::QueueFull)?;
        let waited = tokio::time::timeout(self.settings.queue_wait, awaited).await;
        waited.map_err(|_| Refusal::WaitedTooLong)
    }

    async fn wait(&self, lane: Option<LaneId>, refused: Option<&Link>) -> Result<(Link, Permit), Refusal> {
        loop {
            // Registered before the look, so that no change between the two is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.look(lane, refused) {
                Look::Go(link, permit) => return Ok((link, permit)),
                Look::Stop(refusal) => return Err(refusal),
                Look::AwaitChange => changed.await,
                // The semaphore serves in order, and is closed when its link goes.
                Look::AwaitPlace(way) => {
                    if let Ok(place) = way.places.acquire_owned().await {
                        return Ok((way.link, Permit::new(place)));
                    }
                }
            }
        }
    }
}

impl State {
    fn ways(&self) -> impl Iterator<Item = &Way> {
        let ready = match self {
            Self::Ready(ready) => Some(ready),
            Self::Disabled | Self::Waiting | Self::Failed => None,
        };
        ready.into_iter().flat_map(|ready| {
            let by_lane = ready.by_slot.iter().flatten().map(|(_, way)| way);
            std::iter::once(&ready.first).chain(by_lane)
        })
    }

    /// The state with these links. Those that stay keep their places.
    fn ready(&self, links: ReadyLinks, max_in_flight: usize) -> Self {
        let way = |link: Link| {
            let kept = self.ways().find(|way| way.link.is_same(&link)).cloned();
            kept.unwrap_or_else(|| {
                let places = Arc::new(Semaphore::new(max_in_flight.min(link.max_concurrent())));
                Way { link, places }
            })
        };
        let slots = links.by_lane.iter().map(|(lane, _)| lane.slot + 1).max().unwrap_or(0);
        let mut by_slot = vec![None; slots];
        for (lane, link) in links.by_lane {
            by_slot[lane.slot] = Some((lane, way(link)));
        }
        Self::Ready(Ready { first: way(links.first), by_slot: by_slot.into() })
    }
}

impl Ready {
    fn of_lane(&self, lane: Option<LaneId>) -> Option<&Way> {
        let lane = lane?;
        let (id, way) = self.by_slot.get(lane.slot)?.as_ref()?;
        (*id == lane).then_some(way)
    }
}

/// Counts one request in the queue for as long as it lives.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn enter(waiting: &'a AtomicUsize, bound: usize) -> Option<Self> {
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < bound).then_some(count + 1))
            .ok()
            .map(|_| Self(waiting))
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
