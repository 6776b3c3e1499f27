//! Looking at processes from outside.

use std::{fs, path::Path};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

use crate::client::HANG;

/// `kill -9`.
pub(crate) fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// SIGSTOP: it does nothing more, and its sockets stay open.
pub(crate) fn freeze(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
}

/// The resident memory of a process from now on.
pub(crate) struct Memory {
    pid: i32,
    before: u64,
}

impl Memory {
    pub(crate) fn of(pid: i32) -> Self {
        // Resets the high-water mark (proc(5)).
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        Self { pid, before: status_kib(pid, "VmRSS:") }
    }

    /// The most that it has ever grown by.
    pub(crate) fn growth_kib(&self) -> u64 {
        status_kib(self.pid, "VmHWM:").saturating_sub(self.before)
    }
}

fn status_kib(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The members of a process group.
pub(crate) fn of_group(group: i32) -> Vec<i32> {
    all().filter(|pid| group_of(*pid) == Some(group)).collect()
}

/// The processes that run a program below this folder.
pub(crate) fn of_programs_below(folder: &Path) -> Vec<i32> {
    all()
        .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(folder)))
        .collect()
}

/// How many descriptors a process has.
pub(crate) fn descriptors_of(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Waits for the end of processes that are nobody's children here. One that ended already has.
pub(crate) async fn await_end(pids: Vec<i32>) {
    let wait = move || {
        for pid in pids {
            let pidfd = match pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) {
                Ok(pidfd) => pidfd,
                Err(Errno::SRCH) => continue,
                Err(error) => panic!("pidfd_open of {pid}: {error}"),
            };
            let limit = Timespec::try_from(HANG).unwrap();
            let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).unwrap();
            assert_eq!(ended, 1, "process {pid} lives on");
        }
    };
    tokio::task::spawn_blocking(wait).await.unwrap();
}

fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn group_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows its last one is state, parent, group (proc(5)).
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}
