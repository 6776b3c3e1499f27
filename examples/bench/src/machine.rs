//! What a figure depends on beside the program: when, where, and how busy it was there.

use std::{fs, process::Command, thread};

/// The paragraph that a run begins with.
pub(crate) fn describe(quick: bool) -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    let note = if quick {
        "\n\n**A quick run: it shows that everything runs; its figures mean nothing.**"
    } else {
        ""
    };
    format!(
        "Run: {date}, commit {commit}, {cores} cores ({processor}), Linux {kernel}, load {load} before.{note}\n\n",
        date = first_line(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
        commit = commit(),
        processor = processor(),
        kernel = read("/proc/sys/kernel/osrelease").trim(),
    )
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        first_line(Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")))
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    git(&["rev-parse", "--short", "HEAD"]) + if changed.is_empty() { "" } else { " with changes" }
}

fn processor() -> String {
    let names = read("/proc/cpuinfo");
    let name = names.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown", |(_, name)| name.trim()).to_owned()
}

/// A part of the description that cannot be had is left out.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned()
}
