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

/// Writes of one namespace that may wait: as many as one link has streams.
const MAX_WAITING_WRITES: usize = 1_024;

/// What those may hold, in bytes: twice what a link lets in, so that the host's own API finds room beside it.
const MAX_WAITING_BYTES: usize = 8 << 20;

/// Writes in one transaction: some ten milliseconds of work at most, which is what a neighbour waits for.
const MAX_BATCH_WRITES: usize = 1_024;

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
        let rows = match self {
            Self::Kv { call: KvCall::Batch { ops }, .. } => ops.len(),
            Self::Kv { .. } => 1,
            Self::Append(events) => events.len(),
            Self::Prune { limit, .. } => *limit,
        };
        ROW * rows + self.bytes() / PAGE
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
    jobs: VecDeque<Job>,
    waiting: HashMap<String, Waiting>,
    is_closed: bool,
    #[cfg(test)]
    pushed: usize,
}

/// What waits of one namespace.
#[derive(Debug, Default)]
struct Waiting {
    writes: usize,
    bytes: usize,
}

impl Queue {
    /// Queues work; the answer comes after its commit.
    pub(super) fn push(&self, work: Work) -> Result<oneshot::Receiver<Result<Done, WriteError>>, WriteError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Fault::closed().into());
        }
        let bytes = work.bytes();
        let waiting = state.waiting.entry(work.namespace().to_owned()).or_default();
        if waiting.writes == MAX_WAITING_WRITES
            || (waiting.bytes > 0 && waiting.bytes + bytes > MAX_WAITING_BYTES)
        {
            let message = "too many writes wait to be stored; wait for their answers, then try again";
            return Err(WriteError::Refused(KvError::new(KvErrorCode::Unavailable, message)));
        }
        waiting.writes += 1;
        waiting.bytes += bytes;
        let (reply, answer) = oneshot::channel();
        state.jobs.push_back(Job { work, reply });
        #[cfg(test)]
        {
            state.pushed += 1;
        }
        drop(state);
        self.changed.notify_one();
        Ok(answer)
    }

    /// Waits for work and takes what one transaction may hold of it, in order; `None` once it is closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Job>> {
        let state = self.lock();
        let mut state = self
            .changed
            .wait_while(state, |state| state.jobs.is_empty() && !state.is_closed)
            .unwrap_or_else(PoisonError::into_inner);
        if state.jobs.is_empty() {
            return None;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(job) = state.jobs.front() {
            bytes += job.work.bytes();
            if batch.len() == MAX_BATCH_WRITES || (bytes > MAX_BATCH_BYTES && !batch.is_empty()) {
                break;
            }
            let job = state.jobs.pop_front().expect("the front was just seen");
            state.leave(&job.work);
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
        state.jobs.clear();
        state.waiting.clear();
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().jobs.len()
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
    fn leave(&mut self, work: &Work) {
        let waiting = self.waiting.get_mut(work.namespace()).expect("what waits was counted when it came");
        waiting.writes -= 1;
        waiting.bytes -= work.bytes();
        if waiting.writes == 0 {
            self.waiting.remove(work.namespace());
        }
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

    #[test]
    fn a_namespace_that_floods_is_refused_and_its_neighbour_is_not() {
        let queue = Queue::default();
        for _ in 0..MAX_WAITING_WRITES {
            queue.push(set("flood", 10)).unwrap();
        }
        assert!(is_refused(&queue, set("flood", 10)));
        assert!(queue.push(set("calm", 10)).is_ok());
        assert_eq!(queue.take().unwrap().len(), MAX_BATCH_WRITES);
        assert!(queue.push(set("flood", 10)).is_ok());
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
        let first: Vec<String> =
            queue.take().unwrap().iter().map(|job| job.work.namespace().to_owned()).collect();
        assert_eq!(first, ["a", "b"]);
        assert_eq!(queue.take().unwrap().len(), 1);
        assert!(queue.lock().waiting.is_empty());
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
