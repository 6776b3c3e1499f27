//! The CPU time of a process and all that it started, from the scheduler's own counts.

use std::{collections::HashMap, fs, time::Duration};

/// What the threads of `root` and of its descendants have run so far (proc(5), `schedstat`).
///
/// Threads that have ended are not counted: the systems here keep theirs while they are measured.
pub(crate) fn of_tree(root: u32) -> Duration {
    Duration::from_nanos(tree(root).into_iter().map(of_process).sum())
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

fn of_process(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
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
