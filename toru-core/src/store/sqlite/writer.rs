//! The one thread that writes.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use toru_plugin_api::message::kv::KvAnswer;

use super::{
    events,
    fault::{Fault, FaultKind, FaultLog, WriteError},
    namespace::Namespace,
    queue::{Job, Queue, Work},
    readers::Readers,
};
use crate::store::{
    Clock, KvLimits,
    apply::{Failure, apply},
    limits::Usage,
};

/// The pages in the write-ahead log from which on it is folded into the file: what SQLite itself takes, about 4 MB.
const LOG_PAGES: usize = 1_000;

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
    readers: Arc<Readers>,
    faults: Arc<FaultLog>,
    limits: KvLimits,
    clock: Clock,
    /// The pages in the write-ahead log that are not in the file yet, at most.
    log_pages: usize,
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
        readers: Arc<Readers>,
        faults: Arc<FaultLog>,
        limits: KvLimits,
        clock: Clock,
    ) -> Self {
        Self { connection, queue, readers, faults, limits, clock, log_pages: 0, usages: HashMap::new() }
    }

    /// Writes until the queue is closed and empty, then folds the write-ahead log into the file.
    pub(super) fn run(mut self) {
        // Whoever waits is answered even if this thread panics.
        let _abandon = AbandonOnDrop(Arc::clone(&self.queue));
        while let Some(jobs) = self.queue.take() {
            self.write(jobs);
            if self.log_pages >= LOG_PAGES {
                let folded = self.fold();
                self.report_fold(folded);
            }
        }
        let folded = self.readers.end_all().and_then(|()| checkpoint(&self.connection, "TRUNCATE"));
        self.report_fold(folded.map(|_| ()));
    }

    /// Folds the log into the file, and has it started over: for that, nobody may read from it. Questions that come meanwhile are
    /// answered all the same.
    fn fold(&mut self) -> rusqlite::Result<()> {
        // What was counted is a guess that is too high.
        self.log_pages = checkpoint(&self.connection, "NOOP")?;
        if self.log_pages < LOG_PAGES {
            return Ok(());
        }
        self.readers.end_all()?;
        // Another program that reads may hold it up, which is tried again when as much more is written.
        self.log_pages = checkpoint(&self.connection, "PASSIVE")?.min(LOG_PAGES / 2);
        self.readers.end_all()
    }

    fn report_fold(&self, folded: rusqlite::Result<()>) {
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
        self.readers.committed();
        self.log_pages += jobs.iter().map(|job| job.work.pages()).sum::<usize>();
        Ok(answers)
    }
}

/// Has SQLite look at the write-ahead log, in this mode; the pages that are in it and not in the file.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<usize> {
    let (log, folded): (i64, i64) =
        connection
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    Ok(usize::try_from(log - folded).unwrap_or(0))
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
