//! What a host asks of a plugin's own store.

use bytes::Bytes;

use super::{KvCall, KvError, KvErrorCode};

/// A KV operation that the host asks of the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvOp {
    /// Reads a value; answered by [`KvAnswer::Value`](super::KvAnswer::Value).
    Get {
        /// The key.
        key: String,
    },
    /// Writes a value; answered by [`KvAnswer::Ok`](super::KvAnswer::Ok).
    Set {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
    },
    /// Deletes a key; answered by [`KvAnswer::Deleted`](super::KvAnswer::Deleted).
    Delete {
        /// The key.
        key: String,
    },
}

impl TryFrom<KvCall> for KvOp {
    type Error = KvError;

    fn try_from(call: KvCall) -> Result<Self, KvError> {
        match call {
            KvCall::Get { key } => Ok(Self::Get { key }),
            KvCall::Set { key, value, ttl_ms: None } => Ok(Self::Set { key, value }),
            KvCall::Delete { key } => Ok(Self::Delete { key }),
            _ => Err(KvError::new(
                KvErrorCode::UnknownAction,
                "a plugin answers get, set (without ttl_ms) and delete only",
            )),
        }
    }
}

impl From<KvOp> for KvCall {
    fn from(op: KvOp) -> Self {
        match op {
            KvOp::Get { key } => Self::Get { key },
            KvOp::Set { key, value } => Self::Set { key, value, ttl_ms: None },
            KvOp::Delete { key } => Self::Delete { key },
        }
    }
}
