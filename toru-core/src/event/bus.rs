//! One task that stores events in batches and tells the hooks, in the order in which they were emitted.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::MissedTickBehavior,
};

use super::{Event, EventType};
use crate::store::{EventStore, StoreError};

/// Events that wait for the store. A plugin reports at most 10 a second, and the host a handful for each restart, so
/// this is minutes of a store that hangs; what comes past it is counted as dropped.
const QUEUE_LEN: usize = 4_096;

/// Events stored by one call: a backlog shares a commit, and no call grows without bound.
const BATCH: usize = 256;

/// How long the store may take for a batch before its events are told without having been stored.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long events are kept unless the host says otherwise.
const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Between two prunings; the first is at the start.
const PRUNE_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Told of every event, in order, on the bus's own task. Must not block.
pub trait EventHook: Send + Sync + 'static {
    /// An event happened; it has been stored, or could not be (then the log says so).
    fn on_event(&self, event: &Event);
}

/// Takes events from anywhere without waiting, stores them and tells the hooks. Cheap to clone. Bounded; past the bound
/// events are counted as dropped and that is logged. Its task ends, after the last event was told, when the last clone is dropped.
#[derive(Clone)]
pub struct EventBus {
    queue: mpsc::Sender<Item>,
    dropped: Arc<AtomicU64>,
}

enum Item {
    Event(Event),
    Flush(oneshot::Sender<()>),
}

impl EventBus {
    /// A bus over this store, with a task on the current runtime. Events are pruned after 7 days, at the start and daily.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, hooks: Vec<Box<dyn EventHook>>) -> Self {
        Self::with_retention(store, hooks, DEFAULT_RETENTION)
    }

    /// As [`EventBus::new`], with events kept for this long.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn with_retention(
        store: Arc<dyn EventStore>,
        hooks: Vec<Box<dyn EventHook>>,
        retention: Duration,
    ) -> Self {
        let (queue, items) = mpsc::channel(QUEUE_LEN);
        let dropped = Arc::new(AtomicU64::new(0));
        let worker = Worker { items, store, hooks, dropped: Arc::clone(&dropped) };
        tokio::spawn(worker.run(retention));
        Self { queue, dropped }
    }

    /// Emits an event, stamped now. Never waits: when the queue is full the event is counted as dropped.
    pub fn emit(&self, plugin_id: &str, event_type: EventType, details: Map<String, Value>) {
        let timestamp = jiff::Timestamp::now();
        let event = Event { plugin_id: plugin_id.to_owned(), event_type, timestamp, details };
        if self.queue.try_send(Item::Event(event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Resolves when all that was emitted before is stored and told. Cancel safe.
    pub async fn flush(&self) {
        let (done, told) = oneshot::channel();
        // Either end is gone only when the runtime is being torn down: nothing is left to wait for.
        if self.queue.send(Item::Flush(done)).await.is_ok() {
            let _ = told.await;
        }
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus").field("free", &self.queue.capacity()).finish_non_exhaustive()
    }
}

/// Why events were not stored.
#[derive(Debug, thiserror::Error)]
enum NotStored {
    #[error(transparent)]
    Refused(StoreError),
    #[error("the event store took more than {} s", STORE_TIMEOUT.as_secs())]
    TimedOut,
}

struct Worker {
    items: mpsc::Receiver<Item>,
    store: Arc<dyn EventStore>,
    hooks: Vec<Box<dyn EventHook>>,
    dropped: Arc<AtomicU64>,
}

impl Worker {
    async fn run(mut self, retention: Duration) {
        // A task of its own, since a long pruning must keep no event waiting; it ends with this one.
        let mut pruning = JoinSet::new();
        pruning.spawn(prune_daily(Arc::clone(&self.store), retention));
        let mut items = Vec::with_capacity(BATCH);
        while self.items.recv_many(&mut items, BATCH).await > 0 {
            self.handle(items.drain(..)).await;
        }
    }

    async fn handle(&self, items: impl Iterator<Item = Item>) {
        let mut events = Vec::new();
        let mut flushed = Vec::new();
        for item in items {
            match item {
                Item::Event(event) => events.push(event),
                Item::Flush(done) => flushed.push(done),
            }
        }
        if !events.is_empty() {
            self.store(&events).await;
            for event in &events {
                self.tell(event);
            }
        }
        self.report_dropped();
        for done in flushed {
            // Whoever flushed may have stopped waiting.
            let _ = done.send(());
        }
    }

    async fn store(&self, events: &[Event]) {
        let Err(cause) = self.append(events.to_vec()).await else { return };
        tracing::error!(events = events.len(), %cause, "events could not be stored together");
        // A store that hangs would hang for each of them.
        if events.len() == 1 || matches!(cause, NotStored::TimedOut) {
            return;
        }
        // One event that the store refuses must not take its neighbours with it.
        let mut lost = 0_usize;
        for event in events {
            if self.append(vec![event.clone()]).await.is_err() {
                lost += 1;
            }
        }
        if lost > 0 {
            tracing::error!(lost, "events were not stored");
        }
    }

    async fn append(&self, events: Vec<Event>) -> Result<(), NotStored> {
        match tokio::time::timeout(STORE_TIMEOUT, self.store.append(events)).await {
            Ok(stored) => stored.map_err(NotStored::Refused),
            Err(_) => Err(NotStored::TimedOut),
        }
    }

    fn tell(&self, event: &Event) {
        for hook in &self.hooks {
            if catch_unwind(AssertUnwindSafe(|| hook.on_event(event))).is_err() {
                tracing::error!(plugin = %event.plugin_id, event = %event.event_type, "an event hook panicked");
            }
        }
    }

    fn report_dropped(&self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, bound = QUEUE_LEN, "events were dropped: the event store is too slow");
        }
    }
}

/// Prunes at once and then daily; never resolves.
async fn prune_daily(store: Arc<dyn EventStore>, retention: Duration) {
    let mut due = tokio::time::interval(PRUNE_INTERVAL);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        match store.prune(retention).await {
            Ok(0) => {}
            Ok(pruned) => tracing::info!(pruned, "old events were deleted"),
            Err(error) => tracing::error!(%error, "old events could not be deleted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::sync::{Semaphore, watch};

    use super::*;
    use crate::store::{MemoryEventStore, StoredEvent};

    /// Tells the names of the events in order.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl EventHook for Told {
        fn on_event(&self, event: &Event) {
            self.0.lock().unwrap().push(event.event_type.to_string());
        }
    }

    struct Panics;

    impl EventHook for Panics {
        fn on_event(&self, _: &Event) {
            panic!("a broken hook");
        }
    }

    /// A store that appends only as permitted, refuses what it is told to, and counts.
    #[derive(Debug)]
    struct Fake {
        permits: Semaphore,
        refuses: &'static str,
        batches: Mutex<Vec<usize>>,
        prunings: watch::Sender<usize>,
    }

    impl Fake {
        fn new(permits: usize, refuses: &'static str) -> Arc<Self> {
            Arc::new(Self {
                permits: Semaphore::new(permits),
                refuses,
                batches: Mutex::default(),
                prunings: watch::channel(0).0,
            })
        }
    }

    #[async_trait]
    impl EventStore for Fake {
        async fn append(&self, events: Vec<Event>) -> Result<(), StoreError> {
            self.permits.acquire().await.unwrap().forget();
            if events.iter().any(|event| event.event_type.as_str() == self.refuses) {
                return Err(StoreError { message: "refused".into() });
            }
            self.batches.lock().unwrap().push(events.len());
            Ok(())
        }
        async fn recent(&self, _: &str, _: usize) -> Result<Vec<StoredEvent>, StoreError> {
            Ok(Vec::new())
        }
        async fn prune(&self, _: Duration) -> Result<usize, StoreError> {
            self.prunings.send_modify(|prunings| *prunings += 1);
            Ok(0)
        }
    }

    fn emit(bus: &EventBus, name: &str) {
        bus.emit("a", EventType::Plugin(name.into()), Map::new());
    }

    #[tokio::test]
    async fn an_emitted_event_is_stored_and_told_before_flush_resolves() {
        let store = Arc::new(MemoryEventStore::new());
        let told = Told::default();
        let bus = EventBus::new(store.clone(), vec![Box::new(told.clone())]);
        bus.emit("a", EventType::Started, Map::new());
        bus.emit("a", EventType::Ready, Map::new());
        bus.flush().await;
        let stored = store.recent("a", 10).await.unwrap();
        assert_eq!(
            stored.iter().map(|s| s.event.event_type.to_string()).collect::<Vec<_>>(),
            ["ready", "started"]
        );
        assert_eq!(*told.0.lock().unwrap(), ["started", "ready"]);
    }

    #[tokio::test]
    async fn events_that_wait_are_stored_by_one_call() {
        let store = Fake::new(0, "");
        let bus = EventBus::new(store.clone(), Vec::new());
        for _ in 0..100 {
            emit(&bus, "tick");
        }
        store.permits.add_permits(1_000);
        bus.flush().await;
        assert_eq!(*store.batches.lock().unwrap(), [100]);
    }

    #[tokio::test]
    async fn an_event_that_the_store_refuses_does_not_take_its_neighbours_with_it() {
        let store = Fake::new(1_000, "plugin.bad");
        let told = Told::default();
        let bus = EventBus::new(store.clone(), vec![Box::new(told.clone())]);
        for name in ["one", "bad", "two"] {
            emit(&bus, name);
        }
        bus.flush().await;
        assert_eq!(*store.batches.lock().unwrap(), [1, 1]);
        assert_eq!(*told.0.lock().unwrap(), ["plugin.one", "plugin.bad", "plugin.two"]);
    }

    #[tokio::test]
    async fn past_the_bound_events_are_counted_as_dropped() {
        let store = Fake::new(0, "");
        let bus = EventBus::new(store.clone(), Vec::new());
        for _ in 0..QUEUE_LEN + 7 {
            emit(&bus, "flood");
        }
        assert_eq!(bus.dropped.load(Ordering::Relaxed), 7);
        store.permits.add_permits(10_000);
        bus.flush().await;
        assert_eq!(bus.dropped.load(Ordering::Relaxed), 0, "the loss was reported");
        assert_eq!(store.batches.lock().unwrap().iter().sum::<usize>(), QUEUE_LEN);
    }

    #[tokio::test]
    async fn a_hook_that_panics_stops_neither_the_bus_nor_the_other_hooks() {
        let told = Told::default();
        let hooks: Vec<Box<dyn EventHook>> = vec![Box::new(Panics), Box::new(told.clone())];
        let bus = EventBus::new(Arc::new(MemoryEventStore::new()), hooks);
        emit(&bus, "one");
        bus.flush().await;
        emit(&bus, "two");
        bus.flush().await;
        assert_eq!(*told.0.lock().unwrap(), ["plugin.one", "plugin.two"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_does_not_keep_the_hooks_waiting() {
        let told = Told::default();
        let bus = EventBus::new(Fake::new(0, ""), vec![Box::new(told.clone())]);
        let start = tokio::time::Instant::now();
        for name in ["one", "two", "three"] {
            emit(&bus, name);
        }
        bus.flush().await;
        assert_eq!(*told.0.lock().unwrap(), ["plugin.one", "plugin.two", "plugin.three"]);
        assert_eq!(start.elapsed(), STORE_TIMEOUT, "it hangs once, not once for each event");
    }

    #[tokio::test(start_paused = true)]
    async fn old_events_are_pruned_at_the_start_and_daily() {
        let store = Fake::new(0, "");
        let mut prunings = store.prunings.subscribe();
        let start = tokio::time::Instant::now();
        let _bus = EventBus::new(store.clone(), Vec::new());
        prunings.wait_for(|prunings| *prunings == 1).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        prunings.wait_for(|prunings| *prunings == 3).await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(2 * 24 * 60 * 60));
    }
}
