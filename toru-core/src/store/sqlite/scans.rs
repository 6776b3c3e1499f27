//! Turns of what may look at many rows: lists of keys and of events. A namespace has one question in work at a time, and all together
//! have a few. So a plugin that floods waits for itself, and its neighbours wait for one question of each of the others at most.
//! Who waits holds neither a thread nor a connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Questions in work at once: a connection and a thread each. A second one, so that a slow disk holds up one plugin's lists and not
/// those of all.
pub(super) const SCANS: usize = 2;

/// Who may ask next, in the order of their coming.
#[derive(Debug)]
pub(super) struct Turns {
    all: Arc<Semaphore>,
    namespaces: Mutex<HashMap<String, Namespace>>,
}

#[derive(Debug)]
struct Namespace {
    one: Arc<Semaphore>,
    /// Those that ask or wait; the namespace is forgotten with the last one.
    asking: usize,
}

/// Somebody's turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    // Given back before the namespace may be forgotten: fields are dropped in this order.
    _one_of_all: OwnedSemaphorePermit,
    _one: OwnedSemaphorePermit,
    _asking: Asking,
}

/// Keeps a namespace known.
#[derive(Debug)]
struct Asking {
    turns: Arc<Turns>,
    namespace: String,
}

impl Default for Turns {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(SCANS)), namespaces: Mutex::default() }
    }
}

impl Turns {
    /// Waits for a turn of this namespace. Dropping the future gives the place in the line up.
    pub(super) async fn wait(self: &Arc<Self>, namespace: &str) -> Turn {
        let (asking, one) = self.ask(namespace);
        let one = one.acquire_owned().await.expect("it is never closed");
        let one_of_all = self.all.clone().acquire_owned().await.expect("it is never closed");
        Turn { _one_of_all: one_of_all, _one: one, _asking: asking }
    }

    fn ask(self: &Arc<Self>, namespace: &str) -> (Asking, Arc<Semaphore>) {
        let mut namespaces = self.lock();
        let known = namespaces
            .entry(namespace.to_owned())
            .or_insert_with(|| Namespace { one: Arc::new(Semaphore::new(1)), asking: 0 });
        known.asking += 1;
        let one = known.one.clone();
        (Asking { turns: self.clone(), namespace: namespace.to_owned() }, one)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Namespace>> {
        // Nothing panics while it is held.
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut namespaces = self.turns.lock();
        let known = namespaces.get_mut(&self.namespace).expect("it is known while somebody asks");
        known.asking -= 1;
        if known.asking == 0 {
            namespaces.remove(&self.namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use tokio::task::JoinSet;
    use toru_plugin_api::message::kv::{KvAnswer, KvCall};

    use super::{super::Database, *};
    use crate::store::KvStore;

    #[tokio::test]
    async fn a_flood_of_lists_holds_up_no_get_and_one_list_of_each_neighbour() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("toru.db")).unwrap();
        let store = database.kv_store();
        let set = KvCall::Set { key: "k".into(), value: "v".into(), ttl_ms: None };
        store.call("calm", set).await.unwrap();
        // Each stays in the database until it is let go.
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let mut lists = JoinSet::new();
        for (n, namespace) in ["flood"; 20].into_iter().chain(["calm", "third"]).enumerate() {
            let (database, begun) = (database.clone(), begun.clone());
            lists.spawn(async move {
                let (go, gone) = mpsc::channel::<()>();
                let list = move |_: &rusqlite::Connection| {
                    begun.send((n, namespace, go)).expect("the test waits for it");
                    gone.recv().expect_err("only the end of the other side comes");
                    Ok(())
                };
                database.scan(namespace, list).await.unwrap();
            });
        }
        // Two threads say that they have begun, in any order.
        let mut in_work = [begins.recv().await.unwrap(), begins.recv().await.unwrap()];
        in_work.sort_by_key(|(_, namespace, _)| *namespace);
        assert_eq!(in_work.each_ref().map(|(_, namespace, _)| *namespace), ["calm", "flood"]);
        let [calm, flood] = in_work;
        let (tell, told) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = tell.send(runtime.block_on(store.call("calm", KvCall::Get { key: "k".into() })));
        });
        let got =
            tokio::time::timeout(Duration::from_secs(10), told).await.expect("the get waits for a list");
        assert_eq!(got.unwrap(), Ok(KvAnswer::Value(Some("v".into()))));
        assert!(begins.try_recv().is_err(), "more than {SCANS} are in work");
        drop(flood);
        assert_eq!(begins.recv().await.unwrap().1, "third", "it waits for one of the others at most");
        drop(calm);
        drop(begun);
        while let Some(next) = begins.recv().await {
            drop(next);
        }
        lists.join_all().await;
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_line_and_nothing_behind() {
        let turns = Arc::new(Turns::default());
        let held = turns.wait("a").await;
        let mut waits = Box::pin(turns.wait("a"));
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(waits.as_mut().poll(cx))).await.is_pending()
        );
        drop(waits);
        drop(held);
        assert!(turns.lock().is_empty());
        assert_eq!(turns.all.available_permits(), SCANS);
    }
}
