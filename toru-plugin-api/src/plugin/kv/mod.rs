//! The store of a plugin, on its host.

mod batch;
mod keys;

use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

pub use batch::KvBatch;
pub use keys::{KvKeys, KvPage};

use crate::{
    driver::Handle,
    message::kv::{KvAnswer, KvCall, KvError, KvErrorCode},
};

/// The store of a plugin, on its host: a namespace of its own that survives restarts. Cheap to clone.
///
/// Keys are 1 to 1,024 bytes of UTF-8, in the order of their bytes; the values of one call hold at most 512 KiB. A host keeps at most
/// 64 MiB and 100,000 keys for a plugin unless its operator says otherwise. What is written is on disk once the call has
/// returned, and every get that begins then sees it.
///
/// Calls may run side by side; only an answer that came orders one before another. When a call fails with `timeout` or `unavailable`,
/// or its future is dropped, a write may or may not have happened.
///
/// ```
/// # use std::time::Duration;
/// # use toru_plugin_api::{PluginContext, PluginResult};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Todo { text: String, done: bool }
/// # async fn example(context: &PluginContext) -> PluginResult<()> {
/// let kv = context.kv();
/// kv.set_json("todo/1", &Todo { text: "buy milk".into(), done: false }).await?;
/// let todo: Option<Todo> = kv.get_json("todo/1").await?;
///
/// // A lease of ten seconds, which one caller gets.
/// if kv.insert_with_ttl("lease/report", "me", Duration::from_secs(10)).await? {
///     // All or nothing.
///     kv.batch().set("report/last", "…").delete("report/draft").commit().await?;
/// }
///
/// let mut keys = kv.keys("todo/");
/// while let Some(key) = keys.next().await? {
///     println!("{key}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PluginKvStore {
    handle: Handle,
}

impl PluginKvStore {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// The value of a key; `None`: it is not there, or has expired.
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

    /// The value of a key, read as JSON of this type.
    ///
    /// # Errors
    /// As [`get`](Self::get), and `invalid` when the value is no JSON of this type.
    pub async fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, KvError> {
        let Some(value) = self.get(key).await? else { return Ok(None) };
        serde_json::from_slice(&value).map(Some).map_err(|error| {
            let message = format!("the value of `{key}` is not the JSON that is expected: {error}");
            KvError::new(KvErrorCode::Invalid, message)
        })
    }

    /// Writes a value, which does not expire. It is on disk once this has returned.
    ///
    /// # Errors
    /// The host's error, or `unavailable` when the link has ended.
    pub async fn set(&self, key: &str, value: impl Into<Bytes>) -> Result<(), KvError> {
        self.write(key, value.into(), None).await
    }

    /// Writes a value that is gone after this time, counted from the commit in whole milliseconds, 1 to 2^53 - 1. A later
    /// [`set`](Self::set) makes it stay.
    ///
    /// # Errors
    /// As [`set`](Self::set); `invalid` for a time outside of those bounds.
    pub async fn set_with_ttl(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        ttl: Duration,
    ) -> Result<(), KvError> {
        self.write(key, value.into(), Some(millis(ttl))).await
    }

    /// Writes a text.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn set_text(&self, key: &str, text: impl Into<String>) -> Result<(), KvError> {
        self.set(key, text.into()).await
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// As [`set`](Self::set), and `invalid` when the value has no JSON form, such as a map whose keys are no strings.
    pub async fn set_json<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), KvError> {
        self.set(key, to_json(key, value)?).await
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

    /// Writes a value where there is none; false: there is one, and it was left.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn insert(&self, key: &str, value: impl Into<Bytes>) -> Result<bool, KvError> {
        self.swap(key, None, Some(value.into()), None).await
    }

    /// As [`insert`](Self::insert), with a time to live as [`set_with_ttl`](Self::set_with_ttl) has it: a lease, which one
    /// caller gets until it expires.
    ///
    /// # Errors
    /// As [`set_with_ttl`](Self::set_with_ttl).
    pub async fn insert_with_ttl(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        ttl: Duration,
    ) -> Result<bool, KvError> {
        self.swap(key, None, Some(value.into()), Some(millis(ttl))).await
    }

    /// Writes a value where the one that is there is `expected`; false: it is another one, or none, and was left. What is written
    /// does not expire.
    ///
    /// # Errors
    /// As [`set`](Self::set); both values together hold at most 512 KiB.
    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<bool, KvError> {
        self.swap(key, Some(expected.into()), Some(value.into()), None).await
    }

    /// As [`compare_and_set`](Self::compare_and_set), with a time to live as [`set_with_ttl`](Self::set_with_ttl) has it.
    ///
    /// # Errors
    /// As [`compare_and_set`](Self::compare_and_set) and [`set_with_ttl`](Self::set_with_ttl).
    pub async fn compare_and_set_with_ttl(
        &self,
        key: &str,
        expected: impl Into<Bytes>,
        value: impl Into<Bytes>,
        ttl: Duration,
    ) -> Result<bool, KvError> {
        self.swap(key, Some(expected.into()), Some(value.into()), Some(millis(ttl))).await
    }

    /// Deletes a key whose value is `expected`; false: it has another one, or none, and was left.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub async fn compare_and_delete(&self, key: &str, expected: impl Into<Bytes>) -> Result<bool, KvError> {
        self.swap(key, Some(expected.into()), None, None).await
    }

    /// Begins a batch of writes, of which [`commit`](KvBatch::commit) does all or none.
    pub fn batch(&self) -> KvBatch {
        KvBatch::new(self.clone())
    }

    /// All keys that begin with `prefix` (all of the namespace for `""`), in the order of their bytes, page by page.
    #[must_use]
    pub fn keys(&self, prefix: impl Into<String>) -> KvKeys {
        KvKeys::new(self.clone(), prefix.into())
    }

    /// One page of keys: those that begin with `prefix` and come after `after`, at most `limit` (1 to 1,000) of them. The host may give
    /// fewer, and says where to go on.
    ///
    /// # Errors
    /// The host's error, or `unavailable` when the link has ended.
    pub async fn list(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<KvPage, KvError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        match self.call(KvCall::List { prefix, after, limit }).await? {
            KvAnswer::Keys { keys, next } => Ok(KvPage { keys, next }),
            other => Err(misfit(&other)),
        }
    }

    /// Makes any call.
    ///
    /// # Errors
    /// The host's error, or `unavailable` when the link has ended.
    pub async fn call(&self, call: KvCall) -> Result<KvAnswer, KvError> {
        self.handle.call_kv(call).await
    }

    async fn write(&self, key: &str, value: Bytes, ttl_ms: Option<u64>) -> Result<(), KvError> {
        match self.call(KvCall::Set { key: key.to_owned(), value, ttl_ms }).await? {
            KvAnswer::Ok => Ok(()),
            other => Err(misfit(&other)),
        }
    }

    async fn swap(
        &self,
        key: &str,
        expected: Option<Bytes>,
        value: Option<Bytes>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, KvError> {
        match self.call(KvCall::CompareAndSet { key: key.to_owned(), expected, value, ttl_ms }).await? {
            KvAnswer::Swapped(swapped) => Ok(swapped),
            other => Err(misfit(&other)),
        }
    }
}

/// Whole milliseconds, rounded up, so that nothing expires early. A time that is out of bounds is the host's to refuse.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn to_json<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Vec<u8>, KvError> {
    serde_json::to_vec(value).map_err(|error| {
        KvError::new(KvErrorCode::Invalid, format!("the value for `{key}` has no JSON form: {error}"))
    })
}

fn misfit(answer: &KvAnswer) -> KvError {
    KvError::new(KvErrorCode::Unavailable, format!("the host's answer does not fit the call: {answer:?}"))
}
