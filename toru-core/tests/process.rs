//! What can only be seen from a process of one's own: leaks, and the death of the host.

#![allow(clippy::unwrap_used, reason = "clippy sees the helpers of an integration test as no test code")]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::io::AsyncReadExt;
use toru_core::process::{Exit, Launch, Program, Spawner, clean_environment};

/// Nothing here takes a second; this ends what hangs.
const HANG: Duration = Duration::from_secs(60);
/// Tells this binary, started by itself, that it is the host which dies.
const HOST: &str = "TORU_TEST_HOST";

fn shell(script: &str) -> Launch {
    Launch {
        program: Program { path: PathBuf::from("/bin/sh"), args: vec!["-c".into(), script.into()] },
        cwd: PathBuf::from("/"),
        env: clean_environment(),
        inherit: Vec::new(),
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The processes that this one has to reap, of all its threads.
fn children() -> String {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap()).collect()
}

async fn cycle(spawner: &Spawner) {
    let mut process = spawner.spawn(shell("exit 0")).await.unwrap();
    assert_eq!(process.wait().await, Exit::Code(0));
}

async fn two_hundred_cycles_leave_nothing() {
    let spawner = Spawner::new().unwrap();
    cycle(&spawner).await;
    let before = descriptors();
    for _ in 0..200 {
        cycle(&spawner).await;
    }
    assert_eq!((descriptors(), children().as_str()), (before, ""));
    for _ in 0..200 {
        drop(spawner.spawn(shell("tail -f /dev/null")).await.unwrap());
    }
    // What was dropped is reaped by the spawner's thread, which every cycle wakes once more.
    for _ in 0..10_000 {
        if children().is_empty() {
            break;
        }
        cycle(&spawner).await;
    }
    cycle(&spawner).await;
    assert_eq!((descriptors(), children().as_str()), (before, ""));
    for _ in 0..100 {
        spawner.spawn(Launch { cwd: "/nowhere".into(), ..shell("exit 0") }).await.unwrap_err();
    }
    assert_eq!((descriptors(), children().as_str()), (before, ""));
}

/// The host: starts a process, tells its number, and waits to be killed.
async fn host() {
    let spawner = Spawner::new().unwrap();
    let mut process = spawner.spawn(shell("echo ready; exec tail -f /dev/null")).await.unwrap();
    process.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).await.unwrap();
    println!("\n{}", process.pid());
    process.wait().await;
}

fn a_killed_host_takes_its_processes_along() {
    let mut host = Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_process_layer_leaks_nothing_and_outlives_nobody", "--nocapture"])
        .env(HOST, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(host.stdout.take().unwrap());
    let pid = stdout.lines().find_map(|line| line.unwrap().parse::<i32>().ok()).unwrap();
    let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    let limit = Timespec::try_from(HANG).unwrap();
    let exited = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(exited, 1, "process {pid} lives on");
}

/// One test, because the counts are those of the whole process.
#[tokio::test]
async fn the_process_layer_leaks_nothing_and_outlives_nobody() {
    if env::var_os(HOST).is_some() {
        return host().await;
    }
    two_hundred_cycles_leave_nothing().await;
    tokio::task::spawn_blocking(a_killed_host_takes_its_processes_along).await.unwrap();
}
