use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{io::AsyncReadExt, time::timeout};

use super::*;

/// No test here takes a second; this ends one that hangs.
const HANG: Duration = Duration::from_secs(60);

fn shell(script: &str) -> Launch {
    launch(Path::new("/bin/sh"), &["-c", script])
}

fn launch(path: &Path, args: &[&str]) -> Launch {
    Launch {
        program: Program { path: path.to_owned(), args: args.iter().map(OsString::from).collect() },
        cwd: PathBuf::from("/"),
        env: clean_environment(),
        inherit: Vec::new(),
    }
}

async fn refusal(launch: Launch) -> SpawnError {
    Spawner::new().unwrap().spawn(launch).await.expect_err("the program cannot be started")
}

/// All that it writes to stdout.
async fn output(launch: Launch) -> String {
    let spawner = Spawner::new().unwrap();
    let mut process = spawner.spawn(launch).await.unwrap();
    let mut text = String::new();
    let mut stdout = process.stdout.take().unwrap();
    timeout(HANG, stdout.read_to_string(&mut text)).await.unwrap().unwrap();
    assert_eq!(timeout(HANG, process.wait()).await.unwrap(), Exit::Code(0));
    text
}

async fn line(process: &mut Process) -> String {
    let stdout = process.stdout.as_mut().unwrap();
    let mut text = String::new();
    while !text.ends_with('\n') {
        let mut byte = [0];
        timeout(HANG, stdout.read_exact(&mut byte)).await.unwrap().unwrap();
        text.push(char::from(byte[0]));
    }
    text.trim_end().to_owned()
}

/// Blocks until a process that need not be a child has exited.
fn await_exit(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
    let limit = Timespec::try_from(HANG).unwrap();
    assert_eq!(poll(&mut polled, Some(&limit)).unwrap(), 1, "process {pid:?} has not exited");
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn script(folder: &Path, text: &str, mode: u32) -> PathBuf {
    let path = folder.join("program");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[tokio::test]
async fn an_exit_code_is_told_and_told_again() {
    let spawner = Spawner::new().unwrap();
    let mut process = spawner.spawn(shell("exit 3")).await.unwrap();
    assert_eq!(timeout(HANG, process.wait()).await.unwrap(), Exit::Code(3));
    assert_eq!(process.wait().await, Exit::Code(3));
    assert!(!exists(process.pid()), "it was reaped");
}

#[tokio::test]
async fn a_deadly_signal_is_told() {
    let spawner = Spawner::new().unwrap();
    let mut process = spawner.spawn(shell("kill -ILL $$")).await.unwrap();
    assert_eq!(timeout(HANG, process.wait()).await.unwrap(), Exit::Signal(4));
}

#[tokio::test]
async fn terminate_reaches_the_whole_group() {
    let spawner = Spawner::new().unwrap();
    let script = "trap 'echo told; exit 5' TERM; (trap 'exit 0' TERM; while :; do read x; done) & echo ready; wait; wait";
    let mut process = spawner.spawn(shell(script)).await.unwrap();
    assert_eq!(line(&mut process).await, "ready");
    process.signal(GroupSignal::Terminate);
    assert_eq!(line(&mut process).await, "told");
    assert_eq!(timeout(HANG, process.wait()).await.unwrap(), Exit::Code(5));
}

#[tokio::test]
async fn grandchildren_are_killed_when_their_leader_exits() {
    let spawner = Spawner::new().unwrap();
    let mut process = spawner.spawn(shell("tail -f /dev/null & echo $!; exit 0")).await.unwrap();
    let grandchild = line(&mut process).await.parse().unwrap();
    assert_eq!(timeout(HANG, process.wait()).await.unwrap(), Exit::Code(0));
    await_exit(grandchild);
}

#[tokio::test]
async fn a_signal_after_the_reaping_has_no_effect() {
    let spawner = Spawner::new().unwrap();
    let mut process = spawner.spawn(shell("exit 0")).await.unwrap();
    timeout(HANG, process.wait()).await.unwrap();
    process.signal(GroupSignal::Kill);
    assert_eq!(process.wait().await, Exit::Code(0));
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let spawner = Spawner::new().unwrap();
    let mut process = spawner.spawn(shell("read x </dev/stdin; tail -f /dev/null")).await.unwrap();
    assert!(timeout(Duration::from_millis(1), process.wait()).await.is_err());
    process.signal(GroupSignal::Kill);
    assert_eq!(timeout(HANG, process.wait()).await.unwrap(), Exit::Signal(9));
}

#[tokio::test]
async fn a_dropped_process_is_killed_with_its_group_and_reaped() {
    let spawner = Spawner::new().unwrap();
    let mut process = spawner.spawn(shell("tail -f /dev/null & echo $!; wait")).await.unwrap();
    let grandchild = line(&mut process).await.parse().unwrap();
    let leader = process.pid();
    drop(process);
    await_exit(leader);
    await_exit(grandchild);
    // Each time the thread wakes, it first reaps what has exited.
    for _ in 0..10_000 {
        if !exists(leader) {
            return;
        }
        drop(spawner.spawn(shell("exit 0")).await.unwrap());
    }
    panic!("the leader was never reaped");
}

#[tokio::test]
async fn processes_die_with_the_last_spawner() {
    let spawner = Spawner::new().unwrap();
    let clone = spawner.clone();
    let mut process = spawner.spawn(shell("tail -f /dev/null")).await.unwrap();
    drop(spawner);
    let mut other = clone.spawn(shell("exit 0")).await.unwrap();
    assert_eq!(timeout(HANG, other.wait()).await.unwrap(), Exit::Code(0));
    drop(clone);
    assert_eq!(timeout(HANG, process.wait()).await.unwrap(), Exit::Signal(9));
}

#[tokio::test]
async fn a_dropped_spawn_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let spawner = Spawner::new().unwrap();
    {
        let launched = spawner.spawn(shell(&format!("exec tail -f /dev/null 3<>{}", fifo.display())));
        let mut launched = std::pin::pin!(launched);
        // Polled once, so that the thread has the command.
        assert!(futures_poll_once(launched.as_mut()).await);
    }
    // The thread is done with it once it has answered the next one.
    let mut next = spawner.spawn(shell("ls /proc/*/fd -l 2>/dev/null")).await.unwrap();
    let mut listing = String::new();
    next.stdout.take().unwrap().read_to_string(&mut listing).await.unwrap();
    assert!(!listing.contains(fifo.to_str().unwrap()), "a process holds the pipe still");
}

/// True if the future is not ready after one poll.
async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[tokio::test]
async fn the_process_leads_a_group_of_its_own() {
    let text =
        output(shell("ps -o pid=,pgid= -p $$ 2>/dev/null || awk '{print $1, $5}' /proc/$$/stat")).await;
    let mut numbers = text.split_whitespace();
    assert_eq!(numbers.next(), numbers.next());
}

#[tokio::test]
async fn exactly_the_standard_and_the_inherited_descriptors_are_open() {
    // Leaked on purpose: a library's descriptor without FD_CLOEXEC.
    let leak = fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    for count in [0, 1, 5] {
        let ours: Vec<_> = (0..count).map(|_| UnixStream::pair().unwrap()).collect();
        let mut launch = launch(Path::new("/bin/ls"), &["-l", "/proc/self/fd"]);
        launch.inherit = ours.iter().map(|(_, theirs)| theirs.try_clone().unwrap().into()).collect();
        let listing = output(launch).await;
        let names: Vec<_> = listing
            .lines()
            .filter_map(|line| {
                line.split_once(" -> ").map(|(name, target)| (name.rsplit(' ').next().unwrap(), target))
            })
            .collect();
        // `ls` itself opens the folder that it lists.
        let (own, inherited): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|(_, target)| target.contains("/proc/"));
        assert_eq!(own.len(), 1, "{listing}");
        assert_eq!(inherited.len(), 3 + count, "{listing}");
        assert_eq!(inherited[0], ("0", "/dev/null"));
        assert!(inherited[1].1.starts_with("pipe:") && inherited[2].1.starts_with("pipe:"), "{listing}");
        for (number, (name, target)) in (3..).zip(&inherited[3..]) {
            assert_eq!(*name, number.to_string());
            assert!(target.starts_with("socket:"), "{listing}");
        }
    }
    drop(leak);
}

#[tokio::test]
async fn inherited_descriptors_keep_their_order_whatever_their_numbers() {
    let mut pairs: Vec<_> = (0..4).map(|_| UnixStream::pair().unwrap()).collect();
    // Highest number first, so that sources and targets run against each other.
    pairs.reverse();
    let mut launch = shell("for n in 3 4 5 6; do echo $n >&$n; done");
    launch.inherit = pairs.iter().map(|(_, theirs)| theirs.try_clone().unwrap().into()).collect();
    let spawner = Spawner::new().unwrap();
    let mut process = spawner.spawn(launch).await.unwrap();
    assert_eq!(timeout(HANG, process.wait()).await.unwrap(), Exit::Code(0));
    for (number, (ours, theirs)) in (3..).zip(pairs) {
        drop(theirs);
        assert_eq!(std::io::read_to_string(ours).unwrap(), format!("{number}\n"));
    }
}

#[tokio::test]
async fn the_environment_is_exactly_the_given_one() {
    let mut launch = launch(Path::new("/usr/bin/env"), &[]);
    launch.env = vec![("B".into(), "0".into()), ("A".into(), "1".into()), ("B".into(), "x = y".into())];
    assert_eq!(output(launch).await, "A=1\nB=x = y\n");
}

#[tokio::test]
async fn the_working_folder_is_the_given_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut launch = launch(Path::new("/bin/pwd"), &[]);
    launch.cwd = folder.path().canonicalize().unwrap();
    let expected = format!("{}\n", launch.cwd.display());
    assert_eq!(output(launch).await, expected);
}

#[tokio::test]
async fn signals_are_neither_blocked_nor_ignored() {
    let status = output(launch(Path::new("/bin/cat"), &["/proc/self/status"])).await;
    for mask in ["SigBlk", "SigIgn"] {
        let line = status.lines().find(|line| line.starts_with(mask)).unwrap();
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
}

#[tokio::test]
async fn a_start_leaves_the_hosts_own_dispositions_as_they_are() {
    let ignored = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
        u64::from_str_radix(mask, 16).unwrap()
    };
    // Rust's runtime ignores SIGPIPE, whose number is 13.
    assert_ne!(ignored() & 1 << 12, 0);
    output(shell("exit 0")).await;
    assert_ne!(ignored() & 1 << 12, 0);
}

#[tokio::test]
async fn a_refused_start_leaves_neither_a_process_nor_a_descriptor() {
    let folder = tempfile::tempdir().unwrap();
    let path = script(folder.path(), "no program", 0o755);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut launch = launch(&path, &[]);
    launch.inherit = vec![theirs.into()];
    let spawner = Spawner::new().unwrap();
    let error = spawner.spawn(launch).await.unwrap_err();
    assert_eq!(error.code, "exec_format");
    // Every copy of the other end is closed: those of the child, and the host's.
    assert_eq!(std::io::read_to_string(ours).unwrap(), "");
    let path = path.to_str().unwrap();
    let left = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let command = fs::read_to_string(entry.path().join("cmdline"));
        command.is_ok_and(|command| command.contains(path))
    });
    assert!(!left, "a process that was not executed is still there");
}

#[tokio::test]
async fn a_bare_name_is_looked_up_in_the_path_of_the_process() {
    assert_eq!(output(launch(Path::new("echo"), &["found"])).await, "found\n");
    let folder = tempfile::tempdir().unwrap();
    script(folder.path(), "#!/bin/sh\necho mine\n", 0o755);
    let mut launch = launch(Path::new("program"), &[]);
    launch.env = vec![("PATH".into(), folder.path().into())];
    assert_eq!(output(launch).await, "mine\n");
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let error = refusal(launch(Path::new("/nowhere/at-all"), &[])).await;
    assert_eq!(error.code, "exec_missing");
    assert_eq!(error.message, "/nowhere/at-all does not exist: build or install it, or correct `exec`");
    let mut bare = launch(Path::new("no-such-program"), &[]);
    bare.env = vec![("PATH".into(), "/bin".into())];
    let error = refusal(bare).await;
    assert_eq!(error.code, "exec_missing");
    assert_eq!(
        error.message,
        "no program \"no-such-program\" was found in PATH (/bin): install it, or name another in `exec` (a file of \
         the plugin's own folder is \"./no-such-program\")"
    );
}

#[tokio::test]
async fn a_program_without_the_execute_bit_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    let path = script(folder.path(), "#!/bin/sh\n", 0o644);
    let error = refusal(launch(&path, &[])).await;
    assert_eq!(error.code, "exec_denied");
    assert!(error.message.contains("is not executable: run chmod +x"), "{error}");
    let error = refusal(launch(folder.path(), &[])).await;
    assert_eq!(error.code, "exec_denied");
    assert!(error.message.contains("is a folder"), "{error}");
}

#[tokio::test]
async fn a_pipe_in_place_of_a_program_holds_up_no_other_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    let spawner = Spawner::new().unwrap();
    let error = timeout(HANG, spawner.spawn(launch(&path, &[]))).await.unwrap().unwrap_err();
    assert_eq!(error.code, "exec_denied", "{error}");
    timeout(HANG, spawner.spawn(shell("exit"))).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_program_for_another_machine_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let mut elf = fs::read("/bin/ls").unwrap();
    elf.truncate(4_096);
    // s390x, in the byte order that the file names.
    elf[18] = 22;
    elf[19] = 0;
    let path = folder.path().join("program");
    fs::write(&path, &elf).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let error = refusal(launch(&path, &[])).await;
    assert_eq!(error.code, "exec_format");
    assert!(error.message.contains("is built for another machine (s390x)"), "{error}");
}

#[tokio::test]
async fn text_without_an_interpreter_line_is_no_program() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(launch(&script(folder.path(), "echo hello\n", 0o755), &[])).await;
    assert_eq!(error.code, "exec_format");
    assert!(error.message.contains("#!/usr/bin/env python3"), "{error}");
    let error = refusal(launch(&script(folder.path(), "", 0o755), &[])).await;
    assert!(error.message.contains("is empty"), "{error}");
}

#[tokio::test]
async fn a_missing_interpreter_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(launch(&script(folder.path(), "#! /no/python3 -u\n", 0o755), &[])).await;
    assert_eq!(error.code, "exec_interpreter");
    assert!(error.message.contains("names the interpreter \"/no/python3\", which does not exist"), "{error}");
    let error = refusal(launch(&script(folder.path(), "#!/bin/sh\r\n", 0o755), &[])).await;
    assert_eq!(error.code, "exec_interpreter");
    assert!(error.message.contains("Windows line ending"), "{error}");
}

#[tokio::test]
async fn a_missing_working_folder_is_not_taken_for_a_missing_program() {
    let mut launch = shell("exit 0");
    launch.cwd = PathBuf::from("/nowhere");
    let error = refusal(launch).await;
    assert_eq!(error.code, "spawn_failed");
    assert!(error.message.starts_with("the folder /nowhere cannot be entered: No such file"), "{error}");
}

#[tokio::test]
async fn a_nul_byte_is_refused() {
    let error = refusal(shell("echo \0")).await;
    assert_eq!(error.code, "spawn_failed");
    assert!(error.message.contains("an argument holds a NUL byte"), "{error}");
}

#[test]
fn without_a_runtime_the_error_says_so() {
    let spawner = Spawner::new().unwrap();
    let mut launched = std::pin::pin!(spawner.spawn(shell("exit 0")));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = launched.as_mut().poll(&mut context) else {
        panic!("it does not wait")
    };
    assert!(error.message.starts_with("there is no tokio runtime here"), "{error}");
}
