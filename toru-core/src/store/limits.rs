//! The bounds of a namespace, and the rules that a call must keep (protocol section 5).

use std::collections::HashSet;

use toru_plugin_api::message::kv::{KvCall, KvError, KvErrorCode, KvWrite};

/// The longest key, in bytes: it stands in an index, of which a page should hold several.
const MAX_KEY_BYTES: usize = 1 << 10;

/// What the values of one call may hold together, in bytes: as base64 they still fit the smallest common `max_message` of 1 MiB.
const MAX_VALUE_BYTES: usize = 512 << 10;

/// The keys and values of one namespace, in bytes: a plugin that fills its store must not fill the disk.
const MAX_NAMESPACE_BYTES: u64 = 64 << 20;

/// The keys of one namespace: small values cost a row each.
const MAX_NAMESPACE_KEYS: u64 = 100_000;

/// The longest time to live, in milliseconds: the largest integer that every JSON reader keeps exact.
const MAX_TTL_MS: u64 = (1 << 53) - 1;

/// The writes of one batch.
const MAX_BATCH_OPS: usize = 100;

/// The keys of one answer to a list.
const MAX_LIST_LIMIT: u32 = 1_000;

/// The bytes of the keys of one answer to a list: half of the usual `max_message` even when each byte is escaped as six. A link whose plugin
/// accepts less cuts it further.
pub(super) const MAX_LIST_BYTES: usize = (512 << 10) / 6;

/// The rows that one list looks at, those that have expired and are not swept yet among them: some three milliseconds of work, which is
/// what the next list and the writer may have to wait for.
pub(super) const MAX_LIST_ROWS: usize = 4_096;

/// How much a namespace may hold. What meets a bound exactly is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvLimits {
    /// A key, in bytes; 1,024 by default.
    pub key_bytes: usize,
    /// The values of one call together, in bytes; 512 KiB by default.
    pub value_bytes: usize,
    /// All keys and values of a namespace, in bytes; 64 MiB by default.
    pub namespace_bytes: u64,
    /// All keys of a namespace; 100,000 by default.
    pub namespace_keys: u64,
}

impl Default for KvLimits {
    fn default() -> Self {
        Self {
            key_bytes: MAX_KEY_BYTES,
            value_bytes: MAX_VALUE_BYTES,
            namespace_bytes: MAX_NAMESPACE_BYTES,
            namespace_keys: MAX_NAMESPACE_KEYS,
        }
    }
}

impl KvLimits {
    /// Whether a call keeps the rules that need no look into the store.
    pub(super) fn check(&self, call: &KvCall) -> Result<(), KvError> {
        match call {
            KvCall::Get { key } | KvCall::Delete { key } => self.check_key(key),
            KvCall::Set { key, value, ttl_ms } => {
                self.check_key(key)?;
                check_ttl(*ttl_ms)?;
                self.check_values(value.len())
            }
            KvCall::List { prefix, after, limit } => {
                self.check_length(prefix)?;
                self.check_length(after.as_deref().unwrap_or_default())?;
                if (1..=MAX_LIST_LIMIT).contains(limit) {
                    return Ok(());
                }
                Err(invalid(format!("limit is {limit}; it must be 1 to {MAX_LIST_LIMIT}")))
            }
            KvCall::CompareAndSet { key, expected, value, ttl_ms } => {
                self.check_key(key)?;
                check_ttl(*ttl_ms)?;
                if value.is_none() && ttl_ms.is_some() {
                    return Err(invalid("ttl_ms stands beside a null value: what is deleted cannot expire"));
                }
                let expected = expected.as_ref().map_or(0, |expected| expected.len());
                self.check_values(expected + value.as_ref().map_or(0, |value| value.len()))
            }
            KvCall::Batch { ops } => self.check_batch(ops),
            _ => Err(KvError::new(KvErrorCode::UnknownAction, "this store does not know this action")),
        }
    }

    fn check_batch(&self, ops: &[KvWrite]) -> Result<(), KvError> {
        if ops.len() > MAX_BATCH_OPS {
            return Err(invalid(format!("a batch of {} writes; at most {MAX_BATCH_OPS}", ops.len())));
        }
        let mut keys = HashSet::with_capacity(ops.len());
        let mut bytes = 0;
        for op in ops {
            let key = match op {
                KvWrite::Set { key, value, ttl_ms } => {
                    check_ttl(*ttl_ms)?;
                    bytes += value.len();
                    key
                }
                KvWrite::Delete { key } => key,
            };
            self.check_key(key)?;
            if !keys.insert(key) {
                return Err(invalid(format!("the batch names the key {key:?} twice")));
            }
        }
        self.check_values(bytes)
    }

    fn check_key(&self, key: &str) -> Result<(), KvError> {
        if key.is_empty() {
            return Err(invalid(format!("the key is empty; it must hold 1 to {} bytes", self.key_bytes)));
        }
        self.check_length(key)
    }

    fn check_length(&self, key: &str) -> Result<(), KvError> {
        if key.len() <= self.key_bytes {
            return Ok(());
        }
        let message = format!("the key holds {} bytes; at most {}", key.len(), self.key_bytes);
        Err(KvError::new(KvErrorCode::TooLarge, message))
    }

    fn check_values(&self, bytes: usize) -> Result<(), KvError> {
        if bytes <= self.value_bytes {
            return Ok(());
        }
        let message = format!("the values of the call hold {bytes} bytes; at most {}", self.value_bytes);
        Err(KvError::new(KvErrorCode::TooLarge, message))
    }

    /// Whether a namespace may grow from the one to the other. Shrinking is always allowed: a bound that was lowered
    /// must not keep a plugin from tidying up.
    pub(super) fn check_growth(&self, from: Usage, to: Usage) -> Result<(), KvError> {
        if to.bytes > from.bytes && to.bytes > self.namespace_bytes {
            let message = format!(
                "the namespace would hold {} bytes; at most {}: delete what is not needed",
                to.bytes, self.namespace_bytes
            );
            return Err(KvError::new(KvErrorCode::QuotaExceeded, message));
        }
        if to.keys > from.keys && to.keys > self.namespace_keys {
            let message = format!(
                "the namespace would hold {} keys; at most {}: delete what is not needed",
                to.keys, self.namespace_keys
            );
            return Err(KvError::new(KvErrorCode::QuotaExceeded, message));
        }
        Ok(())
    }
}

fn check_ttl(ttl_ms: Option<u64>) -> Result<(), KvError> {
    match ttl_ms {
        Some(ttl_ms) if !(1..=MAX_TTL_MS).contains(&ttl_ms) => {
            Err(invalid(format!("ttl_ms is {ttl_ms}; it must be 1 to {MAX_TTL_MS}")))
        }
        _ => Ok(()),
    }
}

fn invalid(message: impl Into<String>) -> KvError {
    KvError::new(KvErrorCode::Invalid, message)
}

/// What a namespace holds: its rows, those that have expired and are not swept yet among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) keys: u64,
    pub(super) bytes: u64,
}

impl Usage {
    /// The usage after a row of this key came, went or changed; lengths of values in bytes, `None` for no row.
    pub(super) fn replaced(self, key: &str, old: Option<usize>, new: Option<usize>) -> Self {
        let row = |value: usize| (key.len() + value) as u64;
        Self {
            keys: self.keys + u64::from(new.is_some()) - u64::from(old.is_some()),
            bytes: self.bytes + new.map_or(0, row) - old.map_or(0, row),
        }
    }
}
