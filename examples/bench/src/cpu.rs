//! The CPU time of a process and all that it started, from the kernel's clock of each.

use std::{collections::HashMap, fs, time::Duration};

use nix::{time::clock_getcpuclockid, unistd::Pid};

use crate::Outcome;

/// What `root` and its descendants have run so far, with those of their threads that have ended.
///
/// # Errors
/// One of them has ended: what it ran is lost, and a difference to it would mean nothing.
pub(crate) fn of_tree(root: u32) -> Outcome<Duration> {
    tree(root).into_iter().map(of_process).sum()
}

/// A process, first, and its descendants.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let children = children_by_parent();
    let mut all = vec![root];
    let mut looked_at = 0;
    while let Some(pid) = all.get(looked_at) {
        all.extend(children.get(pid).into_iter().flatten());
        looked_at += 1;
    }
    all
}

fn of_process(pid: u32) -> Outcome<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.try_into()?));
    let time = clock.and_then(|clock| clock.now());
    Ok(time.map_err(|error| format!("the CPU clock of process {pid} cannot be read: {error}"))?.into())
}

fn children_by_parent() -> HashMap<u32, Vec<u32>> {
    let mut children = HashMap::<u32, Vec<u32>>::new();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows its last one is state, then parent.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_ran_counts_after_it_has_ended() {
        const WORK: Duration = Duration::from_millis(50);
        let this = std::process::id();
        let before = of_process(this).unwrap();
        let work = move || while of_process(this).unwrap() - before < WORK {};
        std::thread::spawn(work).join().unwrap();
        assert!(of_process(this).unwrap() - before >= WORK);
    }
}
