//! The store of a plugin, on its host.

use bytes::Bytes;

use crate::{
    driver::Handle,
    message::kv::{KvAnswer, KvCall, KvError, KvErrorCode},
};

/// The store of a plugin, on its host: a namespace of its own that survives restarts.
///
/// Calls may run side by side; only an answer that came orders one before another. When a call fails with `timeout` or `unavailable`,
/// or its future is dropped, a write may or may not have happened.
#[derive(Debug, Clone)]
pub struct PluginKvStore {
    handle: Handle,
}

impl PluginKvStore {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The host's error, or `unavailable` when the link has ended.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        match self.call(KvCall::Get { key: key.to_owned() }).await? {
            KvAnswer::Value(value) => Ok(value),
            other => Err(misfit(&other)),
        }
    }

    /// The value of a key as text.
    ///
    /// # Errors
    /// As [`get`](Self::get), and `invalid` when the value is not UTF-8.
    pub async fn get_text(&self, key: &str) -> Result<Option<String>, KvError> {
        let Some(value) = self.get(key).await? else { return Ok(None) };
        match String::from_utf8(value.into()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(KvError::new(KvErrorCode::Invalid, format!("the value of `{key}` is not UTF-8"))),
        }
    }

    /// Writes a value, of at most 512 KiB. It is on disk once this has returned.
    ///
    /// # Errors
    /// The host's error, or `unavailable` when the link has ended.
    pub async fn set(&self, key: &str, value: impl Into<Bytes>) -> Result<(), KvError> {
        match self.call(KvCall::Set { key: key.to_owned(), value: value.into(), ttl_ms: None }).await? {
            KvAnswer::Ok => Ok(()),
            other => Err(misfit(&other)),
        }
    }

    /// Writes a text.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn set_text(&self, key: &str, text: impl Into<String>) -> Result<(), KvError> {
        self.set(key, text.into()).await
    }

    /// Deletes a key; gives back whether it was there.
    ///
    /// # Errors
    /// The host's error, or `unavailable` when the link has ended.
    pub async fn delete(&self, key: &str) -> Result<bool, KvError> {
        match self.call(KvCall::Delete { key: key.to_owned() }).await? {
            KvAnswer::Deleted(was_there) => Ok(was_there),
            other => Err(misfit(&other)),
        }
    }

    /// Makes any call, also those that have no method here: list, compare-and-set, batch.
    ///
    /// # Errors
    /// The host's error, or `unavailable` when the link has ended.
    pub async fn call(&self, call: KvCall) -> Result<KvAnswer, KvError> {
        self.handle.call_kv(call).await
    }
}

fn misfit(answer: &KvAnswer) -> KvError {
    KvError::new(KvErrorCode::Unavailable, format!("the host's answer does not fit the call: {answer:?}"))
}
