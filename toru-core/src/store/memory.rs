//! Stores that forget when they are dropped: for tests, and for embedders that keep nothing.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    convert::Infallible,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use toru_plugin_api::message::kv::{KvAnswer, KvCall, KvError};

use super::{
    Clock, EventStore, KvLimits, KvStore, StateStore, StoreError, StoredEvent,
    apply::{Failure, Row, Rows, apply},
    limits::{MAX_LIST_BYTES, MAX_LIST_ROWS, Usage},
};
use crate::event::Event;

/// The events that are kept in memory; the oldest go first.
const MAX_EVENTS: usize = 10_000;

/// Locks; a panic elsewhere cannot leave these maps half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A [`KvStore`] in memory.
#[derive(Debug, Default)]
pub struct MemoryKvStore {
    limits: KvLimits,
    clock: Clock,
    namespaces: Mutex<HashMap<String, Namespace>>,
}

impl MemoryKvStore {
    /// An empty store with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with these limits.
    #[must_use]
    pub fn with_limits(limits: KvLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    #[doc(hidden)]
    #[must_use]
    pub fn with_clock(limits: KvLimits, clock: Clock) -> Self {
        Self { limits, clock, namespaces: Mutex::default() }
    }
}

#[async_trait]
impl KvStore for MemoryKvStore {
    async fn call(&self, namespace: &str, call: KvCall) -> Result<KvAnswer, KvError> {
        self.limits.check(&call)?;
        let now_ms = self.clock.now_ms();
        let mut namespaces = lock(&self.namespaces);
        match &call {
            KvCall::Get { key } => {
                let found = namespaces.get(namespace).and_then(|rows| rows.live(key, now_ms));
                Ok(KvAnswer::Value(found.map(|entry| entry.value.clone())))
            }
            KvCall::List { prefix, after, limit } => {
                let Some(rows) = namespaces.get(namespace) else {
                    return Ok(KvAnswer::Keys { keys: Vec::new(), next: None });
                };
                Ok(rows.list(prefix, after.as_deref(), *limit as usize, now_ms))
            }
            write => {
                if !namespaces.contains_key(namespace) {
                    namespaces.insert(namespace.to_owned(), Namespace::default());
                }
                let rows = namespaces.get_mut(namespace).expect("the namespace was just made");
                match apply(rows, &self.limits, write, now_ms) {
                    Ok(answer) => Ok(answer),
                    Err(Failure::Refused(error)) => Err(error),
                    Err(Failure::Backend(never)) => match never {},
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Namespace {
    rows: BTreeMap<String, Entry>,
    usage: Usage,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    expires_at: Option<i64>,
}

impl Entry {
    fn is_live(&self, now_ms: i64) -> bool {
        self.expires_at.is_none_or(|expires_at| expires_at > now_ms)
    }
}

impl Namespace {
    fn live(&self, key: &str, now_ms: i64) -> Option<&Entry> {
        self.rows.get(key).filter(|entry| entry.is_live(now_ms))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize, now_ms: i64) -> KvAnswer {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut page = KeyPage::new(limit);
        self.rows
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .all(|(key, entry)| page.look_at(key, entry.is_live(now_ms)));
        page.into_answer()
    }
}

impl Rows for Namespace {
    type Error = Infallible;

    fn find(&mut self, key: &str) -> Result<Option<Row>, Infallible> {
        let found = self.rows.get(key);
        Ok(found.map(|entry| Row { len: entry.value.len(), expires_at: entry.expires_at }))
    }

    fn value_is(&mut self, key: &str, expected: &[u8]) -> Result<bool, Infallible> {
        Ok(self.rows.get(key).is_some_and(|entry| entry.value == expected))
    }

    fn put(&mut self, key: &str, value: &Bytes, expires_at: Option<i64>) -> Result<(), Infallible> {
        self.rows.insert(key.to_owned(), Entry { value: value.clone(), expires_at });
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<(), Infallible> {
        self.rows.remove(key);
        Ok(())
    }

    fn sweep(&mut self, now_ms: i64) -> Result<(), Infallible> {
        let usage = &mut self.usage;
        self.rows.retain(|key, entry| {
            let live = entry.is_live(now_ms);
            if !live {
                *usage = usage.replaced(key, Some(entry.value.len()), None);
            }
            live
        });
        Ok(())
    }

    fn usage(&mut self) -> Result<Usage, Infallible> {
        Ok(self.usage)
    }

    fn set_usage(&mut self, usage: Usage) {
        self.usage = usage;
    }
}

/// One answer to a list: filled until it holds enough keys or bytes, or enough rows were looked at.
pub(in crate::store) struct KeyPage {
    keys: Vec<String>,
    bytes: usize,
    limit: usize,
    rows: usize,
    next: Option<String>,
}

impl KeyPage {
    pub(super) fn new(limit: usize) -> Self {
        Self { keys: Vec::new(), bytes: 0, limit, rows: 0, next: None }
    }

    /// Takes the key of a row, unless it has expired; `false` once no further row is to be looked at.
    pub(super) fn look_at(&mut self, key: &str, is_live: bool) -> bool {
        if is_live {
            let bytes = self.bytes + key.len();
            if self.keys.len() == self.limit || (bytes > MAX_LIST_BYTES && !self.keys.is_empty()) {
                self.next = self.keys.last().cloned();
                return false;
            }
            self.bytes = bytes;
            self.keys.push(key.to_owned());
        }
        self.rows += 1;
        if self.rows == MAX_LIST_ROWS {
            self.next = Some(key.to_owned());
        }
        self.rows < MAX_LIST_ROWS
    }

    pub(super) fn into_answer(self) -> KvAnswer {
        KvAnswer::Keys { keys: self.keys, next: self.next }
    }
}

/// An [`EventStore`] in memory: the newest 10,000.
#[derive(Debug, Default)]
pub struct MemoryEventStore {
    clock: Clock,
    events: Mutex<Events>,
}

#[derive(Debug, Default)]
struct Events {
    last_id: i64,
    stored: VecDeque<StoredEvent>,
}

impl MemoryEventStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[doc(hidden)]
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self { clock, events: Mutex::default() }
    }
}

#[async_trait]
impl EventStore for MemoryEventStore {
    async fn append(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let mut all = lock(&self.events);
        for event in events {
            all.last_id += 1;
            let id = all.last_id;
            all.stored.push_back(StoredEvent { id, event });
            if all.stored.len() > MAX_EVENTS {
                all.stored.pop_front();
            }
        }
        Ok(())
    }

    async fn recent(&self, plugin_id: &str, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let all = lock(&self.events);
        let newest_first = all.stored.iter().rev();
        Ok(newest_first.filter(|stored| stored.event.plugin_id == plugin_id).take(limit).cloned().collect())
    }

    async fn prune(&self, older_than: Duration) -> Result<usize, StoreError> {
        let oldest = self.clock.before(older_than);
        let mut all = lock(&self.events);
        let before = all.stored.len();
        all.stored.retain(|stored| stored.event.timestamp >= oldest);
        Ok(before - all.stored.len())
    }
}

/// A [`StateStore`] in memory. Cheap to clone; the clones are one store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStateStore {
    enabled: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl MemoryStateStore {
    /// A store that knows of no plugin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl StateStore for MemoryStateStore {
    async fn load(&self) -> Result<BTreeMap<String, bool>, StoreError> {
        Ok(lock(&self.enabled).clone())
    }

    async fn set_enabled(&self, plugin_id: &str, enabled: bool) -> Result<(), StoreError> {
        lock(&self.enabled).insert(plugin_id.to_owned(), enabled);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[tokio::test]
    async fn memory_passes_the_conformance_suite() {
        conformance::kv_values(&MemoryKvStore::new()).await;
        conformance::kv_bounds(&MemoryKvStore::new()).await;
        conformance::kv_list(&MemoryKvStore::new()).await;
        conformance::kv_swaps_and_batches(&MemoryKvStore::new()).await;
        let clock = Clock::manual();
        conformance::kv_expiry(&MemoryKvStore::with_clock(KvLimits::default(), clock.clone()), &clock).await;
        let store = MemoryKvStore::with_clock(KvLimits::default(), clock.clone());
        conformance::kv_list_over_expired(&store, &clock).await;
        let small = || MemoryKvStore::with_clock(conformance::small_limits(), clock.clone());
        conformance::kv_quota(&small(), &clock).await;
        conformance::kv_quota_raced(Arc::new(small())).await;
        conformance::kv_swaps_raced(Arc::new(MemoryKvStore::new())).await;
        conformance::events(&MemoryEventStore::new()).await;
        conformance::event_pruning(&MemoryEventStore::with_clock(clock.clone()), &clock).await;
        conformance::state_store(&MemoryStateStore::new()).await;
    }

    #[tokio::test]
    async fn the_oldest_events_go_first() {
        let store = MemoryEventStore::new();
        let event = Event {
            plugin_id: "a".into(),
            event_type: crate::event::EventType::Started,
            timestamp: jiff::Timestamp::now(),
            details: serde_json::Map::new(),
        };
        store.append(vec![event; MAX_EVENTS + 3]).await.unwrap();
        let kept = store.recent("a", usize::MAX).await.unwrap();
        assert_eq!((kept.len(), kept.last().unwrap().id), (MAX_EVENTS, 4));
    }
}
