//! Connections that only read, on the thread that asks; none waits for the writer.
//!
//! A connection keeps its read transaction open from one question to the next, since beginning and ending one costs more than the
//! look into the pages that it is for (two system calls). What it then sees is as old as its beginning, so it is begun anew once
//! anything was committed since: who was told that a write is done sees it.
//!
//! What may look at many rows has connections of its own, so that no get, which holds up the thread that asks, ever waits for it; see
//! `scans`.
//!
//! An open transaction keeps the write-ahead log from being started over. So the writer ends those that are open whenever it
//! folds the log into the file.

use std::{
    fmt,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::Connection;

use super::{open, scans::SCANS};
use crate::store::StoreError;

/// Connections for reading: one for each serving thread of a usual machine. A question takes microseconds, so that more
/// threads than this seldom meet.
const READERS: usize = 4;

pub(super) struct Readers {
    for_gets: Vec<Mutex<Reader>>,
    for_scans: Vec<Mutex<Reader>>,
    /// Transactions that the writer has committed.
    commits: AtomicU64,
}

struct Reader {
    connection: Connection,
    /// How much was committed when the transaction that is open was begun, at the least.
    since: Option<u64>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let open = |count| {
            let reader = || Ok(Mutex::new(Reader { connection: open::reader(path)?, since: None }));
            (0..count).map(|_| reader()).collect::<Result<Vec<_>, StoreError>>()
        };
        Ok(Self { for_gets: open(READERS)?, for_scans: open(SCANS)?, commits: AtomicU64::new(0) })
    }

    /// Asks for one row on the first connection that is free, or waits for one.
    pub(super) fn get<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.ask(&self.for_gets, read)
    }

    /// Asks for what may look at many rows.
    pub(super) fn scan<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.ask(&self.for_scans, read)
    }

    fn ask<T>(
        &self,
        readers: &[Mutex<Reader>],
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut reader = free(readers);
        // Looked at before the transaction is begun: what is committed in between, it sees too.
        reader.renew(self.commits())?;
        let outcome = read(&reader.connection);
        if outcome.is_err() {
            reader.end()?;
        }
        outcome
    }

    /// Transactions that the writer has committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    /// The writer has committed: to be said before anybody is told that a write is done.
    pub(super) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Release);
    }

    /// Ends the transactions that are open, once their questions are answered.
    pub(super) fn end_all(&self) -> rusqlite::Result<()> {
        self.for_gets.iter().chain(&self.for_scans).try_for_each(|reader| lock(reader).end())
    }
}

fn free(readers: &[Mutex<Reader>]) -> MutexGuard<'_, Reader> {
    for reader in readers {
        match reader.try_lock() {
            Ok(reader) => return reader,
            // A question that panicked changed nothing.
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {}
        }
    }
    lock(&readers[0])
}

fn lock(reader: &Mutex<Reader>) -> MutexGuard<'_, Reader> {
    reader.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    fn renew(&mut self, commits: u64) -> rusqlite::Result<()> {
        if self.since == Some(commits) {
            return Ok(());
        }
        self.end()?;
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        self.since = Some(commits);
        Ok(())
    }

    fn end(&mut self) -> rusqlite::Result<()> {
        // A failed question may have ended it already.
        if self.since.take().is_some() && !self.connection.is_autocommit() {
            self.connection.prepare_cached("ROLLBACK")?.execute([])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}
