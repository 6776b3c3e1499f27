//! KV calls and answers (protocol section 5).

mod answer;
mod call;
mod op;

use bytes::Bytes;

pub(super) use answer::read_error;
pub use answer::{encode_answer, encode_error};
pub use call::encode_call;
pub use op::KvOp;

use super::{
    MessageError, Parsed,
    envelope::{RequestId, is_action},
    json::Reader,
};

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1_024;
/// The most writes of one batch.
pub const MAX_BATCH: usize = 100;
/// The most keys of one list.
pub const MAX_LIST: u32 = 1_000;
/// The longest time to live in milliseconds: the largest whole number that every JSON library holds.
pub const MAX_TTL_MS: u64 = (1 << 53) - 1;

/// One write of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvWrite {
    /// Sets a key.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
        /// Milliseconds from the commit to the expiry; none: it does not expire.
        ttl_ms: Option<u64>,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: String,
    },
}

/// A call, of the plugin to the host or (get, set, delete) of the host to the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvCall {
    /// Reads a value.
    Get {
        /// The key, 1 to 1,024 bytes.
        key: String,
    },
    /// Writes a value; without `ttl_ms` it clears an expiry.
    Set {
        /// The key, 1 to 1,024 bytes.
        key: String,
        /// The value, at most 512 KiB.
        value: Bytes,
        /// Milliseconds from the commit to the expiry, 1 to 2^53 - 1.
        ttl_ms: Option<u64>,
    },
    /// Deletes a key.
    Delete {
        /// The key, 1 to 1,024 bytes.
        key: String,
    },
    /// Lists keys in byte order.
    List {
        /// Only keys that begin with it.
        prefix: String,
        /// Only keys after it.
        after: Option<String>,
        /// At most so many, 1 to 1,000.
        limit: u32,
    },
    /// Writes only when the value is the expected one.
    CompareAndSet {
        /// The key, 1 to 1,024 bytes.
        key: String,
        /// `None`: the key must be absent.
        expected: Option<Bytes>,
        /// `None`: delete.
        value: Option<Bytes>,
        /// As in `Set`.
        ttl_ms: Option<u64>,
    },
    /// All of the writes or none.
    Batch {
        /// At most 100, each key once.
        ops: Vec<KvWrite>,
    },
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvAnswer {
    /// To get.
    Value(Option<Bytes>),
    /// To set and batch.
    Ok,
    /// To delete: whether the key was there.
    Deleted(bool),
    /// To list.
    Keys {
        /// The keys, in byte order.
        keys: Vec<String>,
        /// Pass it as `after` for the rest.
        next: Option<String>,
    },
    /// To compare-and-set: whether it was written.
    Swapped(bool),
}

/// The kinds of failure of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KvErrorCode {
    /// The call breaks a rule.
    Invalid,
    /// A key, value or answer is too large.
    TooLarge,
    /// The namespace is full.
    QuotaExceeded,
    /// The disk is full.
    StorageFull,
    /// The store cannot answer now; an unknown code counts as this.
    Unavailable,
    /// The store took too long; a write may or may not have happened.
    Timeout,
    /// No such action.
    UnknownAction,
    /// Not allowed.
    Denied,
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KvError {
    /// The kind.
    pub code: KvErrorCode,
    /// One sentence: what was wrong and what to do.
    pub message: String,
}

impl KvError {
    /// An error of this kind.
    pub fn new(code: KvErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl KvErrorCode {
    const ALL: [Self; 8] = [
        Self::Invalid,
        Self::TooLarge,
        Self::QuotaExceeded,
        Self::StorageFull,
        Self::Unavailable,
        Self::Timeout,
        Self::UnknownAction,
        Self::Denied,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::QuotaExceeded => "quota_exceeded",
            Self::StorageFull => "storage_full",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::UnknownAction => "unknown_action",
            Self::Denied => "denied",
        }
    }

    /// The code of this name; one that is not known here counts as [`Unavailable`](Self::Unavailable)
    /// (protocol section 5).
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|code| code.as_str() == name).unwrap_or(Self::Unavailable)
    }
}

impl KvCall {
    /// Checks every bound of protocol section 5, as the receiver of the call does.
    ///
    /// # Errors
    /// The error that the call would be answered with: `invalid` or `too_large`.
    pub fn check(&self) -> Result<(), KvError> {
        call::check(self)
    }
}

/// Reads a payload of type `kv`: a call has an action, an answer has none or `error`.
pub(super) fn read(
    action: Option<&str>,
    id: RequestId,
    reader: &mut Reader<'_>,
) -> Result<Option<Parsed>, MessageError> {
    match action {
        Some(name) if !is_action(action, "error") => {
            let id = id.required()?;
            Ok(Some(Parsed::KvCall { id, call: call::read(name, reader)? }))
        }
        _ => answer::read_answer(id, reader),
    }
}
