//! Processes that the benchmark starts, and ends with all that they started.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::signal::unix::{SignalKind, signal};

use crate::Outcome;

/// From SIGTERM to SIGKILL: `toru serve` gives its plugins 7 s.
const GRACE: Duration = Duration::from_secs(10);
/// How long a server may take until it accepts.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a process that is starting or ending.
const LOOK: Duration = Duration::from_millis(5);
/// As a shell tells that a signal ended a program.
const INTERRUPTED: i32 = 130;

/// The leaders of all groups that run. One is taken out before it is reaped: until then no other process can have its number.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A process in a group of its own, which ends when this is dropped: SIGTERM first, then SIGKILL.
pub(crate) struct Guard(Child);

impl Guard {
    pub(crate) fn spawn(command: &mut Command) -> Outcome<Self> {
        // Held until the child is known, so that a signal finds it.
        let mut groups = groups();
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = child.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        groups.push(Pid::from_child(&child));
        Ok(Self(child))
    }

    /// Starts a process and reads the line by which it says that it accepts.
    pub(crate) fn spawn_until_it_speaks(command: &mut Command) -> Outcome<(Self, String)> {
        let mut guard = Self::spawn(command.stdout(Stdio::piped()))?;
        let stdout = guard.0.stdout.take().ok_or("stdout is not a pipe")?;
        let (sender, receiver) = mpsc::channel();
        // Ends with the process at the latest, since it reads of no other.
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // Nobody waits for it after the time is up.
            let _ = sender.send(read.map(|_| line));
        });
        let program = command.get_program().display();
        match receiver.recv_timeout(PATIENCE) {
            Ok(line) => match line?.trim() {
                "" => Err(format!("{program} ended before it accepted").into()),
                line => Ok((guard, line.to_owned())),
            },
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("{program} does not say within {PATIENCE:?} that it accepts").into())
            }
            Err(RecvTimeoutError::Disconnected) => Err("the thread that reads has panicked".into()),
        }
    }

    /// Waits for a process that does not say when it accepts.
    pub(crate) fn wait_until(&mut self, accepts: impl Fn() -> bool) -> Outcome<()> {
        let started = Instant::now();
        while !accepts() {
            if self.has_ended() {
                return Err("it ended before it accepted".into());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("it does not accept within {PATIENCE:?}").into());
            }
            thread::park_timeout(LOOK);
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    fn has_ended(&self) -> bool {
        has_ended(Pid::from_child(&self.0))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let leader = Pid::from_child(&self.0);
        signal_group(leader, Signal::TERM);
        let told = Instant::now();
        while !self.has_ended() && told.elapsed() < GRACE {
            thread::park_timeout(LOOK);
        }
        signal_group(leader, Signal::KILL);
        groups().retain(|group| *group != leader);
        let _ = self.0.wait();
    }
}

/// Whether a child has ended. It is not reaped, so that its number stays its own.
fn has_ended(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(child), options), Ok(None))
}

fn signal_group(leader: Pid, signal: Signal) {
    // An error says that the group has gone already.
    let _ = kill_process_group(leader, signal);
}

fn groups() -> MutexGuard<'static, Vec<Pid>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on SIGINT, SIGTERM and SIGHUP end all groups, and then this process: a terminal and a runner of jobs know only this one.
pub(crate) fn end_with_signals() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(entered);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        end_all();
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}

/// Ends all groups; none is started or reaped meanwhile.
fn end_all() {
    let groups = groups();
    let tell = |signal| groups.iter().for_each(|leader| signal_group(*leader, signal));
    tell(Signal::TERM);
    let told = Instant::now();
    while !groups.iter().all(|leader| has_ended(*leader)) && told.elapsed() < GRACE {
        thread::park_timeout(LOOK);
    }
    tell(Signal::KILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_keeps_its_number_until_its_guard_is_dropped() {
        let mut guard = Guard::spawn(Command::new("sh").args(["-c", "exit 0"])).unwrap();
        assert!(guard.wait_until(|| false).is_err());
        assert!(guard.has_ended());
        assert!(rustix::process::test_kill_process_group(Pid::from_child(&guard.0)).is_ok());
    }

    #[test]
    fn what_a_process_prints_first_is_how_it_says_that_it_accepts() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo listening; exec sleep 600"]);
        let (guard, line) = Guard::spawn_until_it_speaks(&mut command).unwrap();
        assert_eq!(line, "listening");
        assert!(!guard.has_ended());
        let silent = Guard::spawn_until_it_speaks(Command::new("sh").args(["-c", "exit 0"]));
        assert_eq!(silent.err().unwrap().to_string(), "sh ended before it accepted");
    }
}
