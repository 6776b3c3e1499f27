//! Connections that only read. Each sees what was committed when its question began, and none waits for the writer.

use std::{
    fmt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

use rusqlite::Connection;

use super::open;
use crate::store::StoreError;

/// Connections for reading: one for each serving thread of a usual machine. A question takes microseconds, so that more
/// threads than this seldom meet.
const READERS: usize = 4;

pub(super) struct Readers {
    connections: [Mutex<Connection>; READERS],
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connections = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            connections.push(Mutex::new(open::reader(path)?));
        }
        let connections = connections.try_into().expect("as many were pushed as the array holds");
        Ok(Self { connections })
    }

    /// Asks on the first connection that is free, or waits for one.
    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        read(&self.free())
    }

    fn free(&self) -> MutexGuard<'_, Connection> {
        for connection in &self.connections {
            match connection.try_lock() {
                Ok(connection) => return connection,
                // A question that panicked changed nothing.
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        self.connections[0].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}
