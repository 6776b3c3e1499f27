//! KV and events in one SQLite file.
//!
//! One thread writes: all writes that wait when it is free share a transaction, so that they share its sync to disk, and each is
//! acknowledged after the commit. No timer is involved: while one commit syncs, the next one fills. Reads go by connections of
//! their own, which the write-ahead log keeps from waiting for the writer. The writer folds the log into the file between two commits,
//! when nobody waits for an answer of the last one any more.

mod events;
mod fault;
mod namespace;
mod open;
mod queue;
mod readers;
mod scans;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use toru_plugin_api::message::kv::{KvAnswer, KvCall, KvError, KvErrorCode};

use super::{Clock, EventStore, KvLimits, KvStore, StoreError, StoredEvent};
use crate::event::Event;
use fault::{Fault, FaultLog, WriteError};
use queue::{Queue, Work};
use readers::Readers;
use scans::Turns;
use writer::{Done, Writer};

/// The most events that one question answers.
const MAX_RECENT: usize = 10_000;

/// The namespace of the host's own work: no plugin can have it, since an id is never empty.
const HOST: &str = "";

/// Events deleted by one transaction, so that a first pruning of many does not hold up the writes of plugins.
const PRUNE_CHUNK: usize = 5_000;

/// An open database, shared by its stores; cheap to clone. When the last clone and the last store are dropped, what was
/// queued is written, the write-ahead log is folded into the file, and the writer's thread is joined.
#[derive(Debug, Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    limits: KvLimits,
    clock: Clock,
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    turns: Arc<Turns>,
    faults: Arc<FaultLog>,
    writer: Option<JoinHandle<()>>,
}

impl Database {
    /// Opens a database with the default limits, or makes it (mode 0600) where there is none. Blocks; meant for the start of a host.
    ///
    /// # Errors
    /// The file is damaged, was written by a newer Toru, or cannot be read and written, with its path and the remedy. A
    /// damaged file is never reset.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::with_limits(path, KvLimits::default())
    }

    /// As [`Database::open`], with these limits for each namespace.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn with_limits(path: impl Into<PathBuf>, limits: KvLimits) -> Result<Self, StoreError> {
        Self::with_clock(path, limits, Clock::default())
    }

    #[doc(hidden)]
    pub fn with_clock(path: impl Into<PathBuf>, limits: KvLimits, clock: Clock) -> Result<Self, StoreError> {
        let path = path.into();
        let connection = open::writer(&path)?;
        let readers = Arc::new(Readers::open(&path)?);
        let queue = Arc::new(Queue::default());
        let faults = Arc::new(FaultLog::new(&path));
        let writer = Writer::new(
            connection,
            Arc::clone(&queue),
            Arc::clone(&readers),
            Arc::clone(&faults),
            limits,
            clock.clone(),
        );
        let writer =
            thread::Builder::new().name("toru-db".into()).spawn(move || writer.run()).map_err(|error| {
                StoreError::new(format!("the thread of {} cannot be made: {error}", path.display()))
            })?;
        let turns = Arc::new(Turns::default());
        let shared = Shared { path, limits, clock, queue, readers, turns, faults, writer: Some(writer) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The KV store in it.
    #[must_use]
    pub fn kv_store(&self) -> SqliteKvStore {
        SqliteKvStore { database: self.clone() }
    }

    /// The event store in it.
    #[must_use]
    pub fn event_store(&self) -> SqliteEventStore {
        SqliteEventStore { database: self.clone() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Transactions committed since it was opened.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.shared.readers.commits()
    }

    /// Writes that wait for the writer; those of the commit under way are not among them.
    #[must_use]
    pub fn waiting_writes(&self) -> usize {
        self.shared.queue.waiting()
    }

    async fn write(&self, work: Work) -> Result<Done, WriteError> {
        let answer = self.shared.queue.push(work)?;
        // The writer answers each job that it took, unless its thread died.
        answer.await.unwrap_or_else(|_| Err(Fault::closed().into()))
    }

    /// Asks for what may look at many rows, on a thread that may block, once this namespace and a connection are free. Dropped before
    /// that, nothing is asked.
    async fn scan<T: Send + 'static>(
        &self,
        namespace: &str,
        read: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let turn = self.shared.turns.wait(namespace).await;
        let shared = Arc::clone(&self.shared);
        let asked = move || {
            // Whoever asked may have stopped waiting: the turn lasts as long as the work.
            let _turn = turn;
            shared.checked(shared.readers.scan(read))
        };
        tokio::task::spawn_blocking(asked).await.unwrap_or_else(|_| Err(Fault::closed()))
    }
}

impl Shared {
    fn checked<T>(&self, answer: rusqlite::Result<T>) -> Result<T, Fault> {
        answer.map_err(|error| {
            let fault = Fault::of(&error);
            self.faults.report("read", &fault);
            fault
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
        let Some(writer) = self.writer.take() else { return };
        if writer.join().is_err() {
            tracing::error!(path = %self.path.display(), "the writer of the database panicked");
        }
    }
}

/// The [`KvStore`] in SQLite: table `plugin_kv (plugin_id, key, value, …)`.
///
/// A get is answered on the thread that asks: it is a look into pages that are usually in memory, about a microsecond, and
/// a hop to another thread would cost many times that. Where the disk has to be asked, the thread waits for the few pages
/// on the way to one row, a value of at most 512 KiB with them: on a slow disk that holds up the links of this thread, for as long as
/// one such read takes. A list, which may look at many rows, goes to a thread that may block, and waits for its turn: a namespace has one
/// list at a time, and all together have two.
#[derive(Debug, Clone)]
pub struct SqliteKvStore {
    database: Database,
}

impl SqliteKvStore {
    /// The KV store of a database of its own; see [`Database::open`].
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Ok(Database::open(path)?.kv_store())
    }

    /// The database that it is in.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    fn get(&self, namespace: &str, key: &str) -> Result<Option<Bytes>, Fault> {
        let shared = &self.database.shared;
        let now_ms = shared.clock.now_ms();
        shared.checked(shared.readers.get(|connection| namespace::get(connection, namespace, key, now_ms)))
    }
}

#[async_trait]
impl KvStore for SqliteKvStore {
    async fn call(&self, namespace: &str, call: KvCall) -> Result<KvAnswer, KvError> {
        self.database.shared.limits.check(&call)?;
        let answer = match call {
            KvCall::Get { key } => {
                return self.get(namespace, &key).map(KvAnswer::Value).map_err(|fault| fault.for_plugin());
            }
            KvCall::List { prefix, after, limit } => {
                let (id, now_ms) = (namespace.to_owned(), self.database.shared.clock.now_ms());
                let keys = self.database.scan(namespace, move |connection| {
                    namespace::list(connection, &id, &prefix, after.as_deref(), limit, now_ms)
                });
                return keys.await.map_err(|fault| fault.for_plugin());
            }
            write => self.database.write(Work::Kv { namespace: namespace.to_owned(), call: write }).await,
        };
        match answer {
            Ok(Done::Kv(answer)) => Ok(answer),
            Ok(_) => Err(KvError::new(KvErrorCode::Unavailable, "the store answered another question")),
            Err(WriteError::Refused(error)) => Err(error),
            Err(WriteError::Failed(fault)) => Err(fault.for_plugin()),
        }
    }
}

/// The [`EventStore`] in SQLite: table `plugin_events (id, plugin_id, event_type, timestamp, details)`.
#[derive(Debug, Clone)]
pub struct SqliteEventStore {
    database: Database,
}

impl SqliteEventStore {
    fn error(&self, fault: &Fault) -> StoreError {
        StoreError::new(format!("{}: {fault}", self.database.path().display()))
    }

    async fn write(&self, work: Work) -> Result<Done, StoreError> {
        self.database.write(work).await.map_err(|error| match error {
            WriteError::Refused(error) => StoreError::new(error.message),
            WriteError::Failed(fault) => self.error(&fault),
        })
    }
}

#[async_trait]
impl EventStore for SqliteEventStore {
    async fn append(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.write(Work::Append(events)).await.map(|_| ())
    }

    async fn recent(&self, plugin_id: &str, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let plugin_id = plugin_id.to_owned();
        let limit = limit.min(MAX_RECENT);
        self.database
            .scan(HOST, move |connection| events::recent(connection, &plugin_id, limit))
            .await
            .map_err(|fault| self.error(&fault))
    }

    async fn prune(&self, older_than: Duration) -> Result<usize, StoreError> {
        let oldest = self.database.shared.clock.before(older_than);
        let mut pruned = 0;
        loop {
            let Done::Pruned(rows) = self.write(Work::Prune { oldest, limit: PRUNE_CHUNK }).await? else {
                return Err(StoreError::new("the store answered another question"));
            };
            pruned += rows;
            if rows < PRUNE_CHUNK {
                return Ok(pruned);
            }
        }
    }
}
