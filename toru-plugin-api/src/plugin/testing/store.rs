//! A store in memory, with the rules of protocol section 5 that a plugin can see.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::lock;
use crate::message::kv::{KvAnswer, KvCall, KvWrite};

/// A plugin's namespace in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryKv {
    entries: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    value: Bytes,
    expires: Option<Instant>,
}

impl MemoryKv {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Bytes> {
        lock(&self.entries).get(key)
    }

    /// Writes a value.
    pub fn set(&self, key: &str, value: impl Into<Bytes>) {
        lock(&self.entries).set(key.to_owned(), value.into(), None);
    }

    /// The keys that are there, in byte order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        lock(&self.entries).list("", None).map(str::to_owned).collect()
    }

    /// Makes any call.
    pub fn call(&self, call: KvCall) -> KvAnswer {
        let mut entries = lock(&self.entries);
        match call {
            KvCall::Get { key } => KvAnswer::Value(entries.get(&key)),
            KvCall::Set { key, value, ttl_ms } => {
                entries.set(key, value, ttl_ms);
                KvAnswer::Ok
            }
            KvCall::Delete { key } => KvAnswer::Deleted(entries.delete(&key)),
            KvCall::List { prefix, after, limit } => {
                let limit = limit as usize;
                let mut keys: Vec<_> =
                    entries.list(&prefix, after.as_deref()).take(limit + 1).map(str::to_owned).collect();
                let is_cut = keys.len() > limit;
                keys.truncate(limit);
                let next = keys.last().filter(|_| is_cut).cloned();
                KvAnswer::Keys { keys, next }
            }
            KvCall::CompareAndSet { key, expected, value, ttl_ms } => {
                let is_expected = entries.get(&key) == expected;
                match value {
                    _ if !is_expected => {}
                    Some(value) => entries.set(key, value, ttl_ms),
                    None => {
                        entries.delete(&key);
                    }
                }
                KvAnswer::Swapped(is_expected)
            }
            KvCall::Batch { ops } => {
                for op in ops {
                    match op {
                        KvWrite::Set { key, value, ttl_ms } => entries.set(key, value, ttl_ms),
                        KvWrite::Delete { key } => {
                            entries.delete(&key);
                        }
                    }
                }
                KvAnswer::Ok
            }
        }
    }
}

impl Entries {
    fn get(&self, key: &str) -> Option<Bytes> {
        self.0.get(key).filter(|entry| entry.is_live()).map(|entry| entry.value.clone())
    }

    fn set(&mut self, key: String, value: Bytes, ttl_ms: Option<u64>) {
        // An expiry past the end of the clock is none.
        let expires = ttl_ms.and_then(|ttl| Instant::now().checked_add(Duration::from_millis(ttl)));
        self.0.insert(key, Entry { value, expires });
    }

    fn delete(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some_and(|entry| entry.is_live())
    }

    fn list<'e>(&'e self, prefix: &'e str, after: Option<&'e str>) -> impl Iterator<Item = &'e str> {
        self.0
            .iter()
            .filter(move |(key, entry)| {
                key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after) && entry.is_live()
            })
            .map(|(key, _)| key.as_str())
    }
}

impl Entry {
    fn is_live(&self) -> bool {
        self.expires.is_none_or(|expires| expires > Instant::now())
    }
}
