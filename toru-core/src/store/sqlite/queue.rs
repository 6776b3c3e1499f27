//! The writes that wait for the writer's thread. Bounded for each namespace, so that a plugin that floods is told so and its
//! neighbours wait behind a known amount at most.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::oneshot;
use toru_plugin_api::message::kv::{KvCall, KvError, KvErrorCode, KvWrite};

use super::{
    HOST,
    fault::{Fault, WriteError},
    writer::Done,
};
use crate::event::Event;

/// Rows that the waiting work of one namespace may write: some ten commits, a hundred full batches.
const MAX_WAITING_ROWS: usize = 10_240;

/// What those may hold, in bytes: twice what a link lets in, so that the host's own API finds room beside it.
const MAX_WAITING_BYTES: usize = 8 << 20;

/// Rows written by one transaction, unless one job alone writes more: some ten milliseconds of work at most, which is what a
/// neighbour waits for.
const MAX_BATCH_ROWS: usize = 1_024;

/// What those may hold, in bytes: it bounds how far one commit makes the write-ahead log grow.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// What is to be written.
#[derive(Debug)]
pub(super) enum Work {
    /// A call that writes.
    Kv { namespace: String, call: KvCall },
    /// Events.
    Append(Vec<Event>),
    /// Deletes events before this moment, so many at most.
    Prune { oldest: Timestamp, limit: usize },
}

impl Work {
    fn namespace(&self) -> &str {
        match self {
            Self::Kv { namespace, .. } => namespace,
            Self::Append(_) | Self::Prune { .. } => HOST,
        }
    }

    /// About the pages of the database that it changes, rather too many than too few.
    pub(super) fn pages(&self) -> usize {
        // A row stands in the table and in its index.
        const ROW: usize = 2;
        const PAGE: usize = 4 << 10;
        ROW * self.rows() + self.bytes() / PAGE
    }

    /// The rows that it writes, at most; one at least, because what writes none is a job like any other.
    fn rows(&self) -> usize {
        let rows = match self {
            Self::Kv { call: KvCall::Batch { ops }, .. } => ops.len(),
            Self::Kv { .. } => 1,
            Self::Append(events) => events.len(),
            Self::Prune { limit, .. } => *limit,
        };
        rows.max(1)
    }

    /// About the bytes that it holds in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Kv { call: KvCall::Set { key, value, .. }, .. } => key.len() + value.len(),
            Self::Kv { call: KvCall::CompareAndSet { key, expected, value, .. }, .. } => {
                let len = |value: &Option<bytes::Bytes>| value.as_ref().map_or(0, |value| value.len());
                key.len() + len(expected) + len(value)
            }
            Self::Kv { call: KvCall::Batch { ops }, .. } => ops
                .iter()
                .map(|op| match op {
                    KvWrite::Set { key, value, .. } => key.len() + value.len(),
                    KvWrite::Delete { key } => key.len(),
                })
                .sum(),
            _ => 0,
        }
    }
}

/// Work, and whom to answer.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Done, WriteError>>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    namespaces: HashMap<String, Waiting>,
    /// The namespaces of which something waits, in the order of their turns.
    turns: VecDeque<String>,
    is_closed: bool,
    #[cfg(test)]
    pushed: usize,
}

/// What waits of one namespace, in order.
#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    rows: usize,
    bytes: usize,
}

impl Queue {
    /// Queues work; the answer comes after its commit.
    pub(super) fn push(&self, work: Work) -> Result<oneshot::Receiver<Result<Done, WriteError>>, WriteError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Fault::closed().into());
        }
        let State { namespaces, turns, .. } = &mut *state;
        let waiting = match namespaces.get_mut(work.namespace()) {
            Some(waiting) => waiting,
            None => {
                turns.push_back(work.namespace().to_owned());
                namespaces.entry(work.namespace().to_owned()).or_default()
            }
        };
        let (rows, bytes) = (waiting.rows + work.rows(), waiting.bytes + work.bytes());
        if !waiting.jobs.is_empty() && (rows > MAX_WAITING_ROWS || bytes > MAX_WAITING_BYTES) {
            let message = "too many writes wait to be stored; wait for their answers, then try again";
            return Err(WriteError::Refused(KvError::new(KvErrorCode::Unavailable, message)));
        }
        (waiting.rows, waiting.bytes) = (rows, bytes);
        let (reply, answer) = oneshot::channel();
        waiting.jobs.push_back(Job { work, reply });
        #[cfg(test)]
        {
            state.pushed += 1;
        }
        drop(state);
        self.changed.notify_one();
        Ok(answer)
    }

    /// Waits for work and takes what one transaction may hold of it: a job of each namespace in turn, those of one in order. `None`
    /// once it is closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Job>> {
        let state = self.lock();
        let mut state = self
            .changed
            .wait_while(state, |state| state.turns.is_empty() && !state.is_closed)
            .unwrap_or_else(PoisonError::into_inner);
        let mut batch = vec![state.next(|_| true)?];
        let (mut rows, mut bytes) = (batch[0].work.rows(), batch[0].work.bytes());
        while let Some(job) = state.next(|work| {
            rows += work.rows();
            bytes += work.bytes();
            rows <= MAX_BATCH_ROWS && bytes <= MAX_BATCH_BYTES
        }) {
            batch.push(job);
        }
        Some(batch)
    }

    /// Takes no more work. What is queued is still written.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Closes it and answers no one any more: the writer has ended.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.turns.clear();
        state.namespaces.clear();
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().namespaces.values().map(|waiting| waiting.jobs.len()).sum()
    }

    /// Work that was ever queued: what a test waits for.
    #[cfg(test)]
    pub(super) fn pushed(&self) -> usize {
        self.lock().pushed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first job of the namespace whose turn it is, if it fits.
    fn next(&mut self, fits: impl FnOnce(&Work) -> bool) -> Option<Job> {
        let namespace = self.turns.front()?;
        let waiting = self.namespaces.get_mut(namespace).expect("who has a turn has work");
        if !fits(&waiting.jobs.front().expect("who has a turn has work").work) {
            return None;
        }
        let job = waiting.jobs.pop_front().expect("the front was just seen");
        waiting.rows -= job.work.rows();
        waiting.bytes -= job.work.bytes();
        if waiting.jobs.is_empty() {
            self.namespaces.remove(namespace);
            self.turns.pop_front();
        } else {
            self.turns.rotate_left(1);
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn set(namespace: &str, bytes: usize) -> Work {
        let value = Bytes::from(vec![0; bytes - 1]);
        Work::Kv { namespace: namespace.into(), call: KvCall::Set { key: "k".into(), value, ttl_ms: None } }
    }

    fn is_refused(queue: &Queue, work: Work) -> bool {
        matches!(queue.push(work), Err(WriteError::Refused(error)) if error.code == KvErrorCode::Unavailable)
    }

    fn batch(namespace: &str) -> Work {
        let delete = |n| KvWrite::Delete { key: format!("{n}") };
        Work::Kv { namespace: namespace.into(), call: KvCall::Batch { ops: (0..100).map(delete).collect() } }
    }

    fn namespaces(jobs: &[Job]) -> Vec<&str> {
        jobs.iter().map(|job| job.work.namespace()).collect()
    }

    #[test]
    fn a_namespace_that_floods_is_refused_and_its_neighbour_is_not() {
        let queue = Queue::default();
        for _ in 0..MAX_WAITING_ROWS {
            queue.push(set("flood", 10)).unwrap();
        }
        assert!(is_refused(&queue, set("flood", 10)));
        assert!(queue.push(set("calm", 10)).is_ok());
        assert_eq!(queue.take().unwrap().len(), MAX_BATCH_ROWS);
        assert!(queue.push(set("flood", 10)).is_ok());
    }

    #[test]
    fn a_batch_counts_as_the_writes_that_it_holds() {
        let queue = Queue::default();
        for _ in 0..MAX_WAITING_ROWS / 100 {
            queue.push(batch("flood")).unwrap();
        }
        assert!(is_refused(&queue, batch("flood")));
        assert_eq!(queue.take().unwrap().len(), MAX_BATCH_ROWS / 100);
    }

    #[test]
    fn work_that_writes_nothing_is_bounded_like_any_other() {
        let nothing: [fn() -> Work; 3] = [
            || Work::Kv { namespace: HOST.into(), call: KvCall::Batch { ops: Vec::new() } },
            || Work::Append(Vec::new()),
            || Work::Prune { oldest: Timestamp::UNIX_EPOCH, limit: 0 },
        ];
        for work in nothing {
            let queue = Queue::default();
            for _ in 0..MAX_WAITING_ROWS {
                queue.push(work()).unwrap();
            }
            assert!(is_refused(&queue, work()));
            assert_eq!(queue.take().unwrap().len(), MAX_BATCH_ROWS);
        }
    }

    #[test]
    fn namespaces_take_turns_and_each_keeps_its_order() {
        let queue = Queue::default();
        for bytes in [1, 2, 3] {
            queue.push(set("flood", bytes)).unwrap();
        }
        for _ in 0..20 {
            queue.push(batch("flood")).unwrap();
        }
        queue.push(set("calm", 1)).unwrap();
        let taken = queue.take().unwrap();
        assert_eq!(namespaces(&taken)[..4], ["flood", "calm", "flood", "flood"]);
        let sizes: Vec<usize> = [0, 2, 3].map(|n| taken[n].work.bytes()).into();
        assert_eq!(sizes, [1, 2, 3]);
    }

    #[test]
    fn work_that_is_too_large_for_a_transaction_has_one_of_its_own() {
        let queue = Queue::default();
        queue.push(set("a", 1)).unwrap();
        queue.push(Work::Prune { oldest: Timestamp::UNIX_EPOCH, limit: 2 * MAX_BATCH_ROWS }).unwrap();
        queue.push(set("a", 1)).unwrap();
        let taken: Vec<Vec<Job>> = (0..3).map(|_| queue.take().unwrap()).collect();
        assert_eq!(taken.iter().map(|jobs| namespaces(jobs)).collect::<Vec<_>>(), [["a"], [HOST], ["a"]]);
    }

    #[test]
    fn waiting_bytes_are_bounded() {
        let queue = Queue::default();
        let half = MAX_WAITING_BYTES / 2;
        assert!(queue.push(set("a", half)).is_ok());
        assert!(queue.push(set("a", half)).is_ok());
        assert!(is_refused(&queue, set("a", 1)));
    }

    #[test]
    fn a_transaction_takes_a_bounded_part_in_order() {
        let queue = Queue::default();
        for namespace in ["a", "b", "c"] {
            queue.push(set(namespace, MAX_BATCH_BYTES / 2)).unwrap();
        }
        assert_eq!(namespaces(&queue.take().unwrap()), ["a", "b"]);
        assert_eq!(queue.take().unwrap().len(), 1);
        assert!(queue.lock().namespaces.is_empty() && queue.lock().turns.is_empty());
    }

    #[test]
    fn a_closed_queue_gives_what_it_holds_and_takes_nothing() {
        let queue = Queue::default();
        queue.push(set("a", 1)).unwrap();
        queue.close();
        assert!(
            matches!(queue.push(set("a", 1)), Err(WriteError::Failed(fault)) if fault == Fault::closed())
        );
        assert_eq!(queue.take().unwrap().len(), 1);
        assert!(queue.take().is_none());
    }
}
