//! Processes that the benchmark starts, and ends with all that they started.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::Outcome;

/// From SIGTERM to SIGKILL: `toru serve` gives its plugins 7 s.
const GRACE: Duration = Duration::from_secs(10);
/// How long a server that says nothing may take until it accepts.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a process that is starting or ending.
const LOOK: Duration = Duration::from_millis(5);

/// A process in a group of its own, which ends when this is dropped: SIGTERM first, then SIGKILL.
pub(crate) struct Guard(Child);

impl Guard {
    pub(crate) fn spawn(command: &mut Command) -> Outcome<Self> {
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = child.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        Ok(Self(child))
    }

    /// Starts a process and reads the line by which it says that it accepts.
    pub(crate) fn spawn_until_it_speaks(command: &mut Command) -> Outcome<(Self, String)> {
        let mut guard = Self::spawn(command.stdout(Stdio::piped()))?;
        let stdout = guard.0.stdout.take().ok_or("stdout is not a pipe")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            return Err(format!("{} ended before it accepted", command.get_program().display()).into());
        }
        Ok((guard, line.trim().to_owned()))
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
            std::thread::park_timeout(LOOK);
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    fn signal(&self, signal: Signal) {
        // An error says that the group has gone already.
        let _ = kill_process_group(Pid::from_child(&self.0), signal);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let told = Instant::now();
        self.signal(Signal::TERM);
        while !self.has_ended() && told.elapsed() < GRACE {
            std::thread::park_timeout(LOOK);
        }
        self.signal(Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Whether a program is installed.
pub(crate) fn is_installed(program: &str, harmless: &str) -> bool {
    Command::new(program).arg(harmless).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
