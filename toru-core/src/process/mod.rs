//! Spawn, stdio, exit, terminate. Knows nothing of links, plugins or states.

use std::{ffi::OsString, os::fd::OwnedFd, path::PathBuf};

mod child;
mod diagnose;
mod environment;
mod spawner;
mod sys;
#[cfg(test)]
mod tests;

pub use child::Process;
pub use environment::clean_environment;
pub use spawner::Spawner;

/// What to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The executable: absolute, or a bare name that is looked up at each start, in the PATH that the process gets.
    pub path: PathBuf,
    /// Its arguments, without the program.
    pub args: Vec<OsString>,
}

/// All of a process that is to be started. stdin is /dev/null; stdout and stderr are pipes; the process leads a group of
/// its own, has the default signal mask and dispositions, dies with the spawner's thread, and inherits no other descriptor.
#[derive(Debug)]
pub struct Launch {
    /// What to execute.
    pub program: Program,
    /// Where.
    pub cwd: PathBuf,
    /// The whole environment. Of a name that is given twice the last value counts.
    pub env: Vec<(OsString, OsString)>,
    /// Descriptors to pass on: the first becomes 3, the next 4, …
    pub inherit: Vec<OwnedFd>,
}

/// Why a process could not be started: what the operator reads names the path and the cause (missing, not executable, wrong
/// architecture, bad shebang, …).
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SpawnError {
    /// `exec_missing`, `exec_denied`, `exec_format`, `exec_interpreter`, `spawn_failed`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl Exit {
    /// The code of a process whose status was taken by another part of the embedding program; no real one is negative.
    pub const UNKNOWN: i32 = -1;
}

/// A signal to a process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupSignal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}
