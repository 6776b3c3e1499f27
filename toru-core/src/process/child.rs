//! A running process and its group.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid},
};
use tokio::{io::unix::AsyncFd, net::unix::pipe::Receiver};

use super::{Exit, GroupSignal, spawner::Channel, sys};

/// The leader of a process group, from its start until it is reaped. As long as it is not reaped, neither its number nor
/// that of its group can be given to another process; afterwards neither is ever used again.
#[derive(Debug)]
pub(super) struct Leader {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
    ended: Mutex<Option<Exit>>,
}

impl Leader {
    pub(super) fn new(pid: Pid, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd: Arc::new(pidfd), ended: Mutex::new(None) }
    }

    pub(super) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Signals the group, unless its leader was reaped.
    pub(super) fn signal(&self, signal: Signal) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_none() {
            self.signal_group(signal);
        }
    }

    /// Only before the leader is reaped.
    fn signal_group(&self, signal: Signal) {
        match kill_process_group(self.pid, signal) {
            // Every member has ended already.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => {
                let pid = self.pid.as_raw_nonzero();
                tracing::warn!(pid, %error, "a plugin's process group could not be signalled");
            }
        }
    }

    /// If the leader has exited: kills what is left of its group, then reaps it.
    pub(super) fn try_reap(&self) -> Option<Exit> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_none() {
            *ended = self.peek().map(|exit| {
                if let Seen::Exited = exit {
                    self.signal_group(Signal::KILL);
                }
                self.reap()
            });
        }
        *ended
    }

    fn peek(&self) -> Option<Seen> {
        match self.wait(WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT) {
            Ok(Some(_)) => Some(Seen::Exited),
            Ok(None) => None,
            Err(_) => Some(Seen::Stolen),
        }
    }

    fn reap(&self) -> Exit {
        match self.wait(WaitIdOptions::EXITED) {
            Ok(Some(status)) => exit_of(&status),
            Ok(None) | Err(_) => {
                // Only ECHILD is left: SIGCHLD is ignored in this process, or something in it waits for any child.
                let pid = self.pid.as_raw_nonzero();
                tracing::error!(
                    pid,
                    "the exit status of a plugin was taken by another part of this program: let nothing ignore SIGCHLD or call waitpid(-1)"
                );
                Exit::Code(Exit::UNKNOWN)
            }
        }
    }

    fn wait(&self, options: WaitIdOptions) -> rustix::io::Result<Option<WaitIdStatus>> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }
}

/// What a look at a process that is a child of this one can find.
enum Seen {
    /// It exited and can be reaped.
    Exited,
    /// Somebody else reaped it; its number may be another's by now.
    Stolen,
}

fn exit_of(status: &WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => unreachable!("waitid was asked for exits only"),
    }
}

/// Kills and has reaped what is still there when it is dropped.
#[derive(Debug)]
pub(super) struct Leash {
    pub(super) leader: Arc<Leader>,
    channel: Arc<Channel>,
}

impl Leash {
    pub(super) fn new(leader: Arc<Leader>, channel: Arc<Channel>) -> Self {
        Self { leader, channel }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.leader.signal(Signal::KILL);
        if self.leader.try_reap().is_none() {
            self.channel.reap(Arc::clone(&self.leader));
        }
    }
}

/// A process that was just started, before a runtime knows it.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) leash: Leash,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// A running process and its group. Dropped, it kills the group and has it reaped.
#[derive(Debug)]
pub struct Process {
    /// What it writes to stdout; taken by whoever captures it.
    pub stdout: Option<Receiver>,
    /// What it writes to stderr.
    pub stderr: Option<Receiver>,
    /// Readable once the process has exited (pidfd_open(2)).
    exited: AsyncFd<Arc<OwnedFd>>,
    leash: Leash,
}

impl Process {
    /// Registers a process with the current runtime.
    pub(super) fn register(spawned: Spawned) -> io::Result<Self> {
        let Spawned { leash, stdout, stderr } = spawned;
        Ok(Self {
            stdout: Some(Receiver::from_owned_fd(stdout)?),
            stderr: Some(Receiver::from_owned_fd(stderr)?),
            exited: sys::watch(Arc::clone(&leash.leader.pidfd))?,
            leash,
        })
    }

    /// Its number, which is that of its group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.leash.leader.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Signals the group. No effect once the leader was reaped.
    pub fn signal(&self, signal: GroupSignal) {
        self.leash.leader.signal(match signal {
            GroupSignal::Terminate => Signal::TERM,
            GroupSignal::Kill => Signal::KILL,
        });
    }

    /// Awaits the leader's exit (by pidfd), kills what is left of the group, then reaps the leader. Later calls give the
    /// same answer. Cancel safe.
    ///
    /// # Panics
    /// The runtime that the process was spawned on has ended.
    pub async fn wait(&mut self) -> Exit {
        loop {
            if let Some(exit) = self.leash.leader.try_reap() {
                return exit;
            }
            let mut ready = self.exited.readable().await.expect("the runtime of this process is running");
            if let Some(exit) = self.leash.leader.try_reap() {
                return exit;
            }
            ready.clear_ready();
        }
    }
}
