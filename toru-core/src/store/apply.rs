//! What a write means (protocol section 5), said once for all backends that can look before they write.

use bytes::Bytes;
use toru_plugin_api::message::kv::{KvAnswer, KvCall, KvError, KvErrorCode, KvWrite};

use super::limits::{KvLimits, Usage};

/// A row, expired or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The bytes of its value.
    pub(super) len: usize,
    /// Milliseconds since 1970.
    pub(super) expires_at: Option<i64>,
}

impl Row {
    fn is_live(&self, now_ms: i64) -> bool {
        self.expires_at.is_none_or(|expires_at| expires_at > now_ms)
    }
}

/// The rows of one namespace, within one transaction.
pub(super) trait Rows {
    /// What fails below.
    type Error;
    fn find(&mut self, key: &str) -> Result<Option<Row>, Self::Error>;
    fn value_is(&mut self, key: &str, expected: &[u8]) -> Result<bool, Self::Error>;
    fn put(&mut self, key: &str, value: &Bytes, expires_at: Option<i64>) -> Result<(), Self::Error>;
    fn remove(&mut self, key: &str) -> Result<(), Self::Error>;
    /// Removes the rows that have expired.
    fn sweep(&mut self, now_ms: i64) -> Result<(), Self::Error>;
    fn usage(&mut self) -> Result<Usage, Self::Error>;
    fn set_usage(&mut self, usage: Usage);
}

/// Why a write was not done.
#[derive(Debug)]
pub(super) enum Failure<E> {
    /// The call breaks a rule or a bound; nothing was written, and its neighbours in a transaction are not concerned.
    Refused(KvError),
    /// The backend failed; its transaction is lost.
    Backend(E),
}

impl<E> From<E> for Failure<E> {
    fn from(error: E) -> Self {
        Self::Backend(error)
    }
}

/// A row that is to be written, or to go.
struct Change<'a> {
    key: &'a str,
    new: Option<(&'a Bytes, Option<u64>)>,
}

/// Does a write that [`KvLimits::check`] let pass. All of it or nothing.
pub(super) fn apply<R: Rows>(
    rows: &mut R,
    limits: &KvLimits,
    call: &KvCall,
    now_ms: i64,
) -> Result<KvAnswer, Failure<R::Error>> {
    match call {
        KvCall::Set { key, value, ttl_ms } => {
            write(rows, limits, now_ms, &[Change { key, new: Some((value, *ttl_ms)) }])?;
            Ok(KvAnswer::Ok)
        }
        KvCall::Delete { key } => {
            let Some(row) = rows.find(key)? else { return Ok(KvAnswer::Deleted(false)) };
            write(rows, limits, now_ms, &[Change { key, new: None }])?;
            Ok(KvAnswer::Deleted(row.is_live(now_ms)))
        }
        KvCall::CompareAndSet { key, expected, value, ttl_ms } => {
            let is_there = rows.find(key)?.is_some_and(|row| row.is_live(now_ms));
            let as_expected = match expected {
                Some(expected) => is_there && rows.value_is(key, expected)?,
                None => !is_there,
            };
            if as_expected {
                let new = value.as_ref().map(|value| (value, *ttl_ms));
                write(rows, limits, now_ms, &[Change { key, new }])?;
            }
            Ok(KvAnswer::Swapped(as_expected))
        }
        KvCall::Batch { ops } => {
            let changes: Vec<Change<'_>> = ops.iter().map(Change::from).collect();
            write(rows, limits, now_ms, &changes)?;
            Ok(KvAnswer::Ok)
        }
        _ => {
            let error = KvError::new(KvErrorCode::UnknownAction, "this store does not know this action");
            Err(Failure::Refused(error))
        }
    }
}

impl<'a> From<&'a KvWrite> for Change<'a> {
    fn from(op: &'a KvWrite) -> Self {
        match op {
            KvWrite::Set { key, value, ttl_ms } => Self { key, new: Some((value, *ttl_ms)) },
            KvWrite::Delete { key } => Self { key, new: None },
        }
    }
}

fn write<R: Rows>(
    rows: &mut R,
    limits: &KvLimits,
    now_ms: i64,
    changes: &[Change<'_>],
) -> Result<(), Failure<R::Error>> {
    let usage = match usage_after(rows, limits, changes)? {
        Ok(usage) => usage,
        // What has expired takes room until it is swept; it must not cost a plugin its quota.
        Err(_) => {
            rows.sweep(now_ms)?;
            usage_after(rows, limits, changes)?.map_err(Failure::Refused)?
        }
    };
    for change in changes {
        match change.new {
            Some((value, ttl_ms)) => {
                let expires_at = ttl_ms.map(|ttl_ms| now_ms.saturating_add_unsigned(ttl_ms));
                rows.put(change.key, value, expires_at)?;
            }
            None => rows.remove(change.key)?,
        }
    }
    rows.set_usage(usage);
    Ok(())
}

/// What the namespace will hold, if it may.
fn usage_after<R: Rows>(
    rows: &mut R,
    limits: &KvLimits,
    changes: &[Change<'_>],
) -> Result<Result<Usage, KvError>, R::Error> {
    let before = rows.usage()?;
    let mut after = before;
    for change in changes {
        let old = rows.find(change.key)?.map(|row| row.len);
        after = after.replaced(change.key, old, change.new.map(|(value, _)| value.len()));
    }
    Ok(limits.check_growth(before, after).map(|()| after))
}
