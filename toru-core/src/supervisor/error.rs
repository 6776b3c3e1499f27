//! Why the facade says no.

use std::path::PathBuf;

use crate::store::StoreError;

/// Why a supervisor cannot be built or started: what, where, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// A folder or file.
    #[error("{path}: {message}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// Another host uses the data folder.
    #[error("{path}: {}: end it, or use another data folder", locked_by(*pid))]
    Locked {
        /// The data folder.
        path: PathBuf,
        /// The process that holds it, if it could be read.
        pid: Option<u32>,
    },
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A setting.
    #[error("{0}")]
    Config(String),
    /// It has been shut down, or the runtime that it was built on has ended.
    #[error("the supervisor or its runtime has been shut down: build another one")]
    ShutDown,
}

fn locked_by(pid: Option<u32>) -> String {
    pid.map_or_else(|| "locked by another process".to_owned(), |pid| format!("locked by pid {pid}"))
}

/// Why a command on a plugin failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No plugin has this id.
    #[error("there is no plugin {0:?}")]
    Unknown(String),
    /// The wish could not be stored; nothing has changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The supervisor is shutting down.
    #[error("the supervisor is shutting down")]
    ShuttingDown,
}
