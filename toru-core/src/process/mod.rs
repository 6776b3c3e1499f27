//! Spawn, stdio, exit, terminate. Knows nothing of links, plugins or states.

use std::{ffi::OsString, os::fd::OwnedFd, path::PathBuf};

mod sys;

/// What to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The executable: absolute, already looked up.
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
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Descriptors to pass on: the first becomes 3, the next 4, …
    pub inherit: Vec<OwnedFd>,
}

/// The allow-list of section 2 taken from this process's environment.
#[must_use]
#[allow(clippy::todo)]
pub fn clean_environment() -> Vec<(OsString, OsString)> {
    todo!("process")
}

/// The one thread that spawns; cheap to clone. Processes die when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Spawner {}

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

#[allow(clippy::todo, clippy::unused_async)]
impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn new() -> std::io::Result<Self> {
        todo!("process")
    }
    /// Starts a process. If the future is dropped, the process is killed.
    ///
    /// # Errors
    /// See [`SpawnError`].
    pub async fn spawn(&self, launch: Launch) -> Result<Process, SpawnError> {
        let _ = launch;
        todo!("process")
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// A signal to a process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupSignal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// A running process and its group. Dropped, it kills the group and has it reaped.
#[derive(Debug)]
pub struct Process {
    /// What it writes to stdout; taken by whoever captures it.
    pub stdout: Option<tokio::net::unix::pipe::Receiver>,
    /// What it writes to stderr.
    pub stderr: Option<tokio::net::unix::pipe::Receiver>,
}

#[allow(clippy::todo, clippy::unused_async)]
impl Process {
    /// Its number, which is that of its group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        todo!("process")
    }
    /// Signals the group. No effect once the leader was reaped.
    pub fn signal(&self, signal: GroupSignal) {
        let _ = signal;
        todo!("process")
    }
    /// Awaits the leader's exit (by pidfd), kills what is left of the group, then reaps the leader. Cancel safe.
    pub async fn wait(&mut self) -> Exit {
        todo!("process")
    }
}
