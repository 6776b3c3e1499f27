//! A plugin's KV calls: answered by the host's store, in the namespace of the connection.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use toru_plugin_api::{
    driver::{Handle, IncomingKv},
    message::kv::{KvAnswer, KvCall, KvError, KvErrorCode},
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

    /// Answers a call: at once when the store does, else from a task of its own, so that no call waits for another. The
    /// store is asked only once the link has room for its answer, so that a plugin which asks and never reads has no values
    /// wait here.
    pub(super) async fn serve(&self, incoming: IncomingKv, peer: &Handle) {
        let IncomingKv { call, responder } = incoming;
        let page = matches!(call, KvCall::List { .. }).then(|| page_bytes(peer));
        let (store, namespace, timeout) = (self.store.clone(), self.namespace.clone(), self.timeout);
        let mut work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            responder.room().await;
            let answer = tokio::time::timeout(timeout, store.call(&namespace, call)).await;
            let answer = answer.unwrap_or_else(|_| {
                let message = "the store took too long; a write may or may not have happened";
                Err(KvError::new(KvErrorCode::Timeout, message))
            });
            responder.answer(match (answer, page) {
                (Ok(KvAnswer::Keys { keys, next }), Some(bytes)) => Ok(cut(keys, next, bytes)),
                (answer, _) => answer,
            });
        });
        // A store that has the answer at hand costs no task.
        if poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await.is_pending() {
            tokio::spawn(work);
        }
    }
}

/// What the keys of one page may hold for this peer: half of its `max_message`, even when each byte is escaped as six (protocol section 6).
fn page_bytes(peer: &Handle) -> usize {
    usize::try_from(peer.peer_limits().max_message).unwrap_or(usize::MAX) / 2 / 6
}

/// The page as far as it fits, with at least one key.
fn cut(mut keys: Vec<String>, mut next: Option<String>, bytes: usize) -> KvAnswer {
    let mut held = 0;
    let fits = |key: &&String| {
        held += key.len();
        held <= bytes
    };
    let fitting = keys.iter().take_while(fits).count().max(1);
    if fitting < keys.len() {
        keys.truncate(fitting);
        next = keys.last().cloned();
    }
    KvAnswer::Keys { keys, next }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use bytes::Buf;
    use tokio::io::AsyncWriteExt;
    use toru_plugin_api::{
        driver::{IncomingEvent, drive},
        frame::{Limits, TransmitBuf, encode_message},
        message::lifecycle::{Features, Init},
        proto::{Connection, Settings},
    };

    use super::*;

    /// Has half a mebibyte under each key, and counts who asks.
    #[derive(Debug, Default)]
    struct Large(AtomicUsize);

    #[async_trait]
    impl KvStore for Large {
        async fn call(&self, _: &str, _: KvCall) -> Result<KvAnswer, KvError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(KvAnswer::Value(Some(vec![b'v'; 512 << 10].into())))
        }
    }

    fn init() -> Init {
        Init {
            protocol: 2,
            instance_id: String::new(),
            plugin_id: "greedy".to_owned(),
            plugin_socket: String::new(),
            log_path: String::new(),
            data_dir: String::new(),
            config: serde_json::Map::new(),
            link: None,
            features: Features::default(),
            limits: Limits::DEFAULT,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_plugin_that_asks_and_never_reads_has_few_values_read() {
        let (host_io, mut plugin_io) = tokio::io::duplex(64 << 10);
        let mut settings = Settings::default();
        settings.ping_interval = None;
        let connection = Connection::host(settings, init(), tokio::time::Instant::now().into_std());
        let (handle, mut incoming, driver) = drive(host_io, connection);
        tokio::spawn(driver);
        let mut calls = TransmitBuf::new();
        encode_message(&mut calls, br#"{"type":"lifecycle","payload":{"action":"ready","protocol":2}}"#);
        for n in 1..=100 {
            let call =
                format!(r#"{{"type":"kv","request_id":"{}","payload":{{"action":"get","key":"k"}}}}"#, 2 * n);
            encode_message(&mut calls, call.as_bytes());
        }
        let calls = calls.copy_to_bytes(calls.remaining());
        plugin_io.write_all(&calls).await.unwrap();
        let store = Arc::new(Large::default());
        let service = KvService::new("greedy".into(), store.clone(), Duration::from_secs(5));
        let mut taken = 0;
        while let Ok(event) = tokio::time::timeout(Duration::from_secs(1), incoming.next()).await {
            if let Some(IncomingEvent::Kv(call)) = event {
                service.serve(call, &handle).await;
                taken += 1;
            }
        }
        assert_eq!(taken, 100);
        let read = store.0.load(Ordering::Relaxed);
        assert!(read <= 8, "{read} values of half a mebibyte were read for a plugin that reads none");
    }
}
