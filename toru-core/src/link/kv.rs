//! A plugin's KV calls: answered by the host's store, in the namespace of the connection.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use toru_plugin_api::{
    driver::IncomingKv,
    message::kv::{KvAnswer, KvCall, KvError, KvErrorCode, KvWrite},
};

use crate::store::KvStore;

/// The values of the calls in work on one link, decoded (protocol section 3): a plugin that writes faster than the disk is told so.
const MAX_VALUES_IN_WORK: usize = 4 << 20;

/// Serves the KV calls of one link.
#[derive(Debug)]
pub(super) struct KvService {
    namespace: Arc<str>,
    store: Arc<dyn KvStore>,
    timeout: Duration,
    in_work: Arc<AtomicUsize>,
}

impl KvService {
    pub(super) fn new(namespace: Arc<str>, store: Arc<dyn KvStore>, timeout: Duration) -> Self {
        Self { namespace, store, timeout, in_work: Arc::default() }
    }

    /// Answers a call: at once when the store does, else from a task of its own, so that no call waits for another.
    pub(super) async fn serve(&self, incoming: IncomingKv) {
        let IncomingKv { call, responder } = incoming;
        let Some(held) = Held::take(&self.in_work, value_bytes(&call)) else {
            let message = "too many values are being written: wait for answers before sending more";
            return responder.answer(Err(KvError::new(KvErrorCode::Unavailable, message)));
        };
        let (store, namespace, timeout) = (self.store.clone(), self.namespace.clone(), self.timeout);
        let mut work: Pin<Box<dyn Future<Output = Result<KvAnswer, KvError>> + Send>> =
            Box::pin(async move {
                let _held = held;
                tokio::time::timeout(timeout, store.call(&namespace, call)).await.unwrap_or_else(|_| {
                    let message = "the store took too long; a write may or may not have happened";
                    Err(KvError::new(KvErrorCode::Timeout, message))
                })
            });
        // A store that has the answer at hand costs no task.
        match poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            Poll::Ready(answer) => responder.answer(answer),
            Poll::Pending => {
                tokio::spawn(async move { responder.answer(work.await) });
            }
        }
    }
}

/// Bytes of values in work, given back when dropped.
#[derive(Debug)]
struct Held {
    in_work: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    fn take(in_work: &Arc<AtomicUsize>, bytes: usize) -> Option<Self> {
        in_work
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| {
                sum.checked_add(bytes).filter(|sum| *sum <= MAX_VALUES_IN_WORK)
            })
            .ok()?;
        Some(Self { in_work: in_work.clone(), bytes })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.in_work.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn value_bytes(call: &KvCall) -> usize {
    let len = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
    match call {
        KvCall::Set { value, .. } => value.len(),
        KvCall::CompareAndSet { expected, value, .. } => len(expected) + len(value),
        KvCall::Batch { ops } => ops
            .iter()
            .map(|op| match op {
                KvWrite::Set { value, .. } => value.len(),
                KvWrite::Delete { .. } => 0,
            })
            .sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_work_are_bounded_and_given_back() {
        let in_work = Arc::default();
        let held: Vec<_> = (0..8).map(|_| Held::take(&in_work, 512 << 10).unwrap()).collect();
        assert!(Held::take(&in_work, 1).is_none());
        assert!(Held::take(&in_work, 0).is_some(), "a read holds nothing");
        drop(held);
        assert!(Held::take(&in_work, 4 << 20).is_some());
    }

    #[test]
    fn all_values_of_a_call_count() {
        let value = Bytes::from_static(b"12345");
        let key = || "k".to_owned();
        assert_eq!(value_bytes(&KvCall::Get { key: key() }), 0);
        assert_eq!(value_bytes(&KvCall::Set { key: key(), value: value.clone(), ttl_ms: None }), 5);
        let swap = KvCall::CompareAndSet {
            key: key(),
            expected: Some(value.clone()),
            value: Some(value.clone()),
            ttl_ms: None,
        };
        assert_eq!(value_bytes(&swap), 10);
        let set = KvWrite::Set { key: key(), value, ttl_ms: None };
        assert_eq!(
            value_bytes(&KvCall::Batch { ops: vec![set, KvWrite::Delete { key: "d".to_owned() }] }),
            5
        );
    }
}
