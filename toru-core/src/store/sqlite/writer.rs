//! The one thread that writes.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use toru_plugin_api::message::kv::KvAnswer;

use super::{
    events,
    fault::{Fault, FaultKind, FaultLog, WriteError},
    namespace::Namespace,
    queue::{Job, Queue, Work},
};
use crate::store::{
    Clock, KvLimits,
    apply::{Failure, apply},
    limits::Usage,
};

/// What was written.
#[derive(Debug)]
pub(super) enum Done {
    Kv(KvAnswer),
    Appended,
    Pruned(usize),
}

pub(super) struct Writer {
    connection: Connection,
    queue: Arc<Queue>,
    faults: Arc<FaultLog>,
    limits: KvLimits,
    clock: Clock,
    /// What the namespaces hold, of those written to since the start or the last rollback: one count each, kept up to
    /// date, since nobody else writes.
    usages: HashMap<String, Usage>,
}

/// A transaction that was rolled back.
struct Lost {
    fault: Fault,
    /// Whether a transaction of one job alone may succeed.
    retry_alone: bool,
}

impl From<rusqlite::Error> for Lost {
    fn from(error: rusqlite::Error) -> Self {
        let fault = Fault::of(&error);
        // A lock that is held by another program is held for each of them.
        let retry_alone = fault.kind != FaultKind::Busy;
        Self { fault, retry_alone }
    }
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        queue: Arc<Queue>,
        faults: Arc<FaultLog>,
        limits: KvLimits,
        clock: Clock,
    ) -> Self {
        Self { connection, queue, faults, limits, clock, usages: HashMap::new() }
    }

    /// Writes until the queue is closed and empty, then folds the write-ahead log into the file.
    pub(super) fn run(mut self) {
        // Whoever waits is answered even if this thread panics.
        let _abandon = AbandonOnDrop(Arc::clone(&self.queue));
        while let Some(jobs) = self.queue.take() {
            self.write(jobs);
        }
        let folded = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = folded {
            // No loss: the log is read at the next start.
            tracing::warn!(%error, "the write-ahead log could not be folded into the database");
        }
    }

    /// Does these jobs and answers each.
    pub(super) fn write(&mut self, jobs: Vec<Job>) {
        match self.transact(&jobs) {
            Ok(answers) => {
                for (job, answer) in jobs.into_iter().zip(answers) {
                    // Whoever asked may have stopped waiting.
                    let _ = job.reply.send(answer);
                }
            }
            // One write that cannot be done must not take its neighbours with it.
            Err(lost) if lost.retry_alone && jobs.len() > 1 => {
                tracing::debug!(writes = jobs.len(), fault = %lost.fault, "a shared commit failed: each write is tried alone");
                jobs.into_iter().for_each(|job| self.write(vec![job]));
            }
            Err(lost) => {
                self.faults.report("written", &lost.fault);
                for job in jobs {
                    let _ = job.reply.send(Err(lost.fault.clone().into()));
                }
            }
        }
    }

    /// Does all jobs in one transaction and syncs it. Nothing is answered before that.
    fn transact(&mut self, jobs: &[Job]) -> Result<Vec<Result<Done, WriteError>>, Lost> {
        let answers = self.commit(jobs);
        if answers.is_err() {
            // The counts may be those of rows that were rolled back.
            self.usages.clear();
        }
        answers
    }

    fn commit(&mut self, jobs: &[Job]) -> Result<Vec<Result<Done, WriteError>>, Lost> {
        let now_ms = self.clock.now_ms();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(match &job.work {
                Work::Kv { namespace, call } => {
                    let mut rows = Namespace::new(&transaction, namespace, &mut self.usages);
                    match apply(&mut rows, &self.limits, call, now_ms) {
                        Ok(answer) => Ok(Done::Kv(answer)),
                        Err(Failure::Refused(error)) => Err(WriteError::Refused(error)),
                        Err(Failure::Backend(error)) => return Err(error.into()),
                    }
                }
                Work::Append(events) => {
                    append(&transaction, events)?;
                    Ok(Done::Appended)
                }
                Work::Prune { oldest, limit } => {
                    Ok(Done::Pruned(events::prune(&transaction, *oldest, *limit)?))
                }
            });
        }
        transaction.commit()?;
        self.queue.commits.fetch_add(1, Ordering::Relaxed);
        Ok(answers)
    }
}

fn append(transaction: &Transaction<'_>, events: &[crate::event::Event]) -> rusqlite::Result<()> {
    events.iter().try_for_each(|event| events::insert(transaction, event))
}

struct AbandonOnDrop(Arc<Queue>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
