//! A plugin's KV calls: answered by the host's store, in the namespace of the connection.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use toru_plugin_api::{
    driver::IncomingKv,
    message::kv::{KvAnswer, KvError, KvErrorCode},
};

use crate::store::KvStore;

/// Serves the KV calls of one link. How many are in work, and how large their values, the connection bounds (protocol section 3).
#[derive(Debug)]
pub(super) struct KvService {
    namespace: Arc<str>,
    store: Arc<dyn KvStore>,
    timeout: Duration,
}

impl KvService {
    pub(super) fn new(namespace: Arc<str>, store: Arc<dyn KvStore>, timeout: Duration) -> Self {
        Self { namespace, store, timeout }
    }

    /// Answers a call: at once when the store does, else from a task of its own, so that no call waits for another.
    pub(super) async fn serve(&self, incoming: IncomingKv) {
        let IncomingKv { call, responder } = incoming;
        let (store, namespace, timeout) = (self.store.clone(), self.namespace.clone(), self.timeout);
        let mut work: Pin<Box<dyn Future<Output = Result<KvAnswer, KvError>> + Send>> =
            Box::pin(async move {
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
