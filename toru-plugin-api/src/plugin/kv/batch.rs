//! Writes that are done together.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::{PluginKvStore, millis, misfit, to_json};
use crate::message::kv::{KvAnswer, KvCall, KvError, KvWrite};

/// Writes that are done together, all or none: at most 100, each key once, their values together at most 512 KiB. Made by
/// [`PluginKvStore::batch`]; nothing is sent before [`commit`](Self::commit).
#[derive(Debug, Clone)]
#[must_use = "nothing is written before `commit`"]
pub struct KvBatch {
    store: PluginKvStore,
    ops: Vec<KvWrite>,
}

impl KvBatch {
    pub(super) fn new(store: PluginKvStore) -> Self {
        Self { store, ops: Vec::new() }
    }

    /// Writes a value, which does not expire.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.ops.push(KvWrite::Set { key: key.into(), value: value.into(), ttl_ms: None });
        self
    }

    /// Writes a value that is gone after this time, as [`PluginKvStore::set_with_ttl`] has it.
    pub fn set_with_ttl(mut self, key: impl Into<String>, value: impl Into<Bytes>, ttl: Duration) -> Self {
        let ttl_ms = Some(millis(ttl));
        self.ops.push(KvWrite::Set { key: key.into(), value: value.into(), ttl_ms });
        self
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// `invalid` when the value has no JSON form.
    pub fn set_json<T: Serialize + ?Sized>(self, key: impl Into<String>, value: &T) -> Result<Self, KvError> {
        let key = key.into();
        let value = to_json(&key, value)?;
        Ok(self.set(key, value))
    }

    /// Deletes a key.
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push(KvWrite::Delete { key: key.into() });
        self
    }

    /// How many writes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Does all of the writes, or none. They are on disk once this has returned.
    ///
    /// # Errors
    /// The host's error (`invalid` for too many writes or a key that stands twice), or `unavailable` when the link has ended.
    pub async fn commit(self) -> Result<(), KvError> {
        match self.store.call(KvCall::Batch { ops: self.ops }).await? {
            KvAnswer::Ok => Ok(()),
            other => Err(misfit(&other)),
        }
    }
}
