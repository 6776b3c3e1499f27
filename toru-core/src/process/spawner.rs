//! The one thread that starts processes.
//!
//! PR_SET_PDEATHSIG fires when the *thread* that started a process ends, so all are started by one that outlives
//! them. The same thread reaps what was dropped before it had exited.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc, Weak,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fs::{Mode, OFlags},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, waitpid},
};
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    Launch, Process, SpawnError,
    child::{Leader, Leash, Spawned},
    diagnose, environment,
    sys::{self, Plan},
};

/// How often a program is tried again that another thread's fork still holds open for writing (execve(2), ETXTBSY): such
/// a fork executes within a millisecond or so.
const TEXT_BUSY_TRIES: u32 = 10;
/// The pause before each.
const TEXT_BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The one thread that spawns; cheap to clone. Processes die when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Spawner {
    owner: Arc<Owner>,
}

/// Shared by the clones of a spawner.
#[derive(Debug)]
struct Owner {
    channel: Arc<Channel>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.channel.send(Command::KillAll);
    }
}

/// The way to the thread, for spawners and for the processes that are to be reaped. The thread ends when all are gone.
#[derive(Debug)]
pub(super) struct Channel {
    // Dropped before `wake`, so that the thread finds itself alone when it is woken for the last time.
    commands: Sender<Command>,
    wake: Wake,
}

#[derive(Debug)]
struct Wake(Arc<OwnedFd>);

impl Wake {
    fn wake(&self) {
        // A full counter is readable, which is all that is wanted.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.wake();
    }
}

enum Command {
    Spawn { launch: Launch, channel: Arc<Channel>, reply: oneshot::Sender<Result<Spawned, SpawnError>> },
    Reap(Arc<Leader>),
    KillAll,
}

impl Channel {
    /// The thread lives as long as a channel does, so this always arrives.
    fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.wake.wake();
        }
    }

    pub(super) fn reap(&self, leader: Arc<Leader>) {
        self.send(Command::Reap(leader));
    }
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread or its descriptor cannot be made.
    pub fn new() -> io::Result<Self> {
        let (commands, receiver) = mpsc::channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let thread =
            Thread { commands: receiver, wake: Arc::clone(&wake), live: Vec::new(), orphans: Vec::new() };
        thread::Builder::new().name("toru-spawner".to_owned()).spawn(move || thread.run())?;
        Ok(Self { owner: Arc::new(Owner { channel: Arc::new(Channel { commands, wake: Wake(wake) }) }) })
    }

    /// Starts a process. If the future is dropped, the process is killed.
    ///
    /// # Errors
    /// See [`SpawnError`].
    ///
    /// # Panics
    /// The current tokio runtime was built without its I/O driver (`Builder::enable_io`).
    pub async fn spawn(&self, launch: Launch) -> Result<Process, SpawnError> {
        if Handle::try_current().is_err() {
            return Err(SpawnError::failed(
                "there is no tokio runtime here: call this from a task of a runtime with I/O enabled",
            ));
        }
        let (reply, answer) = oneshot::channel();
        let channel = Arc::clone(&self.owner.channel);
        self.owner.channel.send(Command::Spawn { launch, channel, reply });
        let spawned = answer.await.map_err(|_| {
            SpawnError::failed("the thread that starts processes has ended: restart the host")
        })??;
        Process::register(spawned)
            .map_err(|error| SpawnError::failed(format!("the new process cannot be watched: {error}")))
    }
}

struct Thread {
    commands: Receiver<Command>,
    wake: Arc<OwnedFd>,
    /// What was spawned and is not forgotten yet.
    live: Vec<Weak<Leader>>,
    /// Killed and waiting to be reaped.
    orphans: Vec<Arc<Leader>>,
}

impl Thread {
    fn run(mut self) {
        sys::block_signals();
        let mut connected = true;
        while connected || !self.orphans.is_empty() {
            self.wait(connected);
            self.orphans.retain(|leader| leader.try_reap().is_none());
            connected = self.take_commands();
        }
    }

    /// Until a command arrives or an orphan exits.
    fn wait(&self, connected: bool) {
        let orphans = self.orphans.iter().map(|leader| leader.pidfd().as_fd());
        let wake = connected.then(|| self.wake.as_fd());
        let mut polled: Vec<PollFd<'_>> =
            wake.into_iter().chain(orphans).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => tracing::error!(%error, "the thread that starts processes cannot wait"),
        }
        let mut counter = [0; 8];
        // Not readable when an orphan was what ended the wait.
        let _ = rustix::io::read(&*self.wake, &mut counter);
    }

    /// False once nobody can send any more.
    fn take_commands(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Spawn { launch, channel, reply }) => {
                    if !reply.is_closed() {
                        // Nobody waits any more: the process is killed by the drop of the answer.
                        let _ = reply.send(self.spawn(launch, channel));
                    }
                }
                Ok(Command::Reap(leader)) => self.orphans.push(leader),
                Ok(Command::KillAll) => {
                    self.live.iter().filter_map(Weak::upgrade).for_each(|leader| leader.signal(Signal::KILL));
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn spawn(&mut self, launch: Launch, channel: Arc<Channel>) -> Result<Spawned, SpawnError> {
        let path = program_path(&launch)?;
        let mut launch = launch;
        let inherit = std::mem::take(&mut launch.inherit);
        let started =
            start(&path, &launch, inherit).map_err(|failure| diagnose::explain(&path, &launch, &failure))?;
        let leader = Arc::new(Leader::new(started.pid, started.pidfd));
        self.live.retain(|leader| leader.strong_count() > 0);
        self.live.push(Arc::downgrade(&leader));
        Ok(Spawned { leash: Leash::new(leader, channel), stdout: started.stdout, stderr: started.stderr })
    }
}

/// A bare name is looked up in the PATH that the process will have, at each start, so that a program may be installed later.
fn program_path(launch: &Launch) -> Result<PathBuf, SpawnError> {
    let path = &launch.program.path;
    if path.components().count() > 1 || path.is_absolute() {
        return Ok(path.clone());
    }
    let search_path = environment::search_path(&launch.env);
    environment::look_up(path, search_path).ok_or_else(|| diagnose::not_in_path(path, search_path))
}

struct Started {
    pid: Pid,
    pidfd: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

fn start(path: &std::path::Path, launch: &Launch, inherit: Vec<OwnedFd>) -> Result<Started, sys::Failure> {
    let stdin = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let (stdout, child_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, child_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let stdio = [stdin, child_stdout, child_stderr];
    let plan = Plan::new(path, &launch.program.args, &launch.env, &launch.cwd, stdio, inherit)?;
    let pid = execute(&plan)?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Started { pid, pidfd, stdout, stderr }),
        Err(error) => {
            // Without a pidfd it could not be watched, and it must not run unwatched.
            kill_process_group(pid, Signal::KILL)?;
            waitpid(Some(pid), WaitOptions::empty())?;
            Err(error.into())
        }
    }
}

fn execute(plan: &Plan) -> Result<Pid, sys::Failure> {
    let pause = Timespec::try_from(TEXT_BUSY_PAUSE).expect("a few milliseconds fit");
    for _ in 0..TEXT_BUSY_TRIES {
        match plan.execute() {
            Err(failure) if failure.error.raw_os_error() == Some(Errno::TXTBSY.raw_os_error()) => {
                // Nothing is polled: this is a pause that ends early with no event.
                let _ = poll(&mut [], Some(&pause));
            }
            other => return other,
        }
    }
    plan.execute()
}
