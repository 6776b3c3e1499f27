//! Clone, exec and the watching of a descriptor: the only unsafe code of this crate.
//!
//! `std::process::Command` reports a failed exec through a descriptor whose number it does not tell, so that one could not
//! place inherited descriptors at 3, 4, … without the risk of overwriting it, and it forks where it is given anything to do
//! in the child. A fork copies the page tables of the whole host, and has its other threads fault on every page that they
//! write next. Here the child borrows the memory of the calling thread, which stands still until the child executes
//! (clone(2), CLONE_VM and CLONE_VFORK): a start costs the same whatever the host holds.

use std::{
    cell::Cell,
    collections::BTreeMap,
    ffi::{CString, OsStr, OsString, c_char, c_int, c_void},
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr,
    sync::Arc,
};

use rustix::{
    io::fcntl_dupfd_cloexec,
    process::{Pid, WaitOptions, waitpid},
};
use tokio::io::{Interest, unix::AsyncFd};

/// The first number of an inherited descriptor; 0, 1 and 2 are the standard ones.
const FIRST_INHERITED: RawFd = 3;
/// The highest signal number of Linux (`_NSIG`).
const LAST_SIGNAL: c_int = 64;
/// The bytes of the kernel's signal set: one bit a signal.
const KERNEL_SIGSET: usize = LAST_SIGNAL as usize / 8;
/// The child's stack, in words of 16 bytes, to which every machine aligns it: 64 KiB, twice what the C library's own
/// posix_spawn takes, for a few system calls.
const STACK_WORDS: usize = 4_096;
/// What a child that was never executed exits with; nobody reads it.
const NOT_EXECUTED: c_int = 127;

/// What a child was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Preparing in the parent, or anything that is not one of the others.
    Prepare,
    /// Entering its folder.
    Directory,
    /// Executing the program.
    Execute,
}

/// A child that was not executed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) stage: Stage,
    pub(super) error: io::Error,
}

impl<E: Into<io::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { stage: Stage::Prepare, error: error.into() }
    }
}

/// All that a child needs, made before it, because another thread may hold the lock of the allocator that they share.
pub(super) struct Plan {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    stdio: [OwnedFd; 3],
    inherit: Vec<OwnedFd>,
    floor: RawFd,
}

/// The text itself stays out of the error: it may be an environment's.
fn c_string(what: &str, text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{what} holds a NUL byte")))
}

/// Moves a descriptor out of the numbers that the child fills.
fn lift(fd: OwnedFd, floor: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= floor {
        return Ok(fd);
    }
    Ok(fcntl_dupfd_cloexec(&fd, floor)?)
}

impl Plan {
    /// `stdio` becomes 0, 1 and 2, `inherit` 3, 4, …
    pub(super) fn new(
        path: &Path,
        args: &[OsString],
        env: &[(OsString, OsString)],
        cwd: &Path,
        stdio: [OwnedFd; 3],
        inherit: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let count = RawFd::try_from(inherit.len()).map_err(io::Error::other)?;
        let floor = FIRST_INHERITED + count;
        let [stdin, stdout, stderr] = stdio;
        // Of two equal names getenv(3) would see the first, but what is added later is meant to win.
        let env: BTreeMap<_, _> = env.iter().map(|(name, value)| (name, value)).collect();
        let variable = |(name, value): (&OsString, &OsString)| {
            let mut text = name.clone();
            text.push("=");
            text.push(value);
            c_string("a variable", &text)
        };
        let path = c_string("its path", path.as_os_str())?;
        let args = args.iter().map(|arg| c_string("an argument", arg));
        Ok(Self {
            args: std::iter::once(Ok(path.clone())).chain(args).collect::<io::Result<_>>()?,
            env: env.into_iter().map(variable).collect::<io::Result<_>>()?,
            cwd: c_string("its folder", cwd.as_os_str())?,
            stdio: [lift(stdin, floor)?, lift(stdout, floor)?, lift(stderr, floor)?],
            inherit: inherit.into_iter().map(|fd| lift(fd, floor)).collect::<io::Result<_>>()?,
            path,
            floor,
        })
    }

    /// Starts a process and executes. When this returns a number, the program runs, leads its own group, and is to be reaped
    /// by the caller. It dies with the calling thread (prctl(2), PR_SET_PDEATHSIG), which must have its signals blocked.
    pub(super) fn execute(&self) -> Result<Pid, Failure> {
        let sources: Vec<RawFd> = self.stdio.iter().chain(&self.inherit).map(AsRawFd::as_raw_fd).collect();
        let child = Child {
            path: self.path.as_ptr(),
            argv: &pointers(&self.args),
            envp: &pointers(&self.env),
            cwd: self.cwd.as_ptr(),
            sources: &sources,
            floor: self.floor,
            // SAFETY: getpid has no preconditions.
            parent: unsafe { libc::getpid() },
            // SAFETY: sysconf has no preconditions.
            open_max: unsafe { libc::sysconf(libc::_SC_OPEN_MAX) },
            failed: Cell::new(None),
        };
        let mut stack = Box::<[u128]>::new_uninit_slice(STACK_WORDS);
        // Stacks grow downwards on every machine that Rust's standard library knows.
        let stack_top = stack.as_mut_ptr_range().end;
        // The child is another process with its own descriptors, folder and dispositions; only the memory is shared.
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: this thread stands still until the child has executed or exited, so that the stack and all that `child` points
        // to live longer than the child uses them, and nobody else uses them meanwhile. The child calls `Child::run` only, which
        // makes async-signal-safe calls and neither allocates, locks nor unwinds. The signals of this thread are blocked, so
        // no handler runs in the child before their dispositions are the default ones.
        let number = unsafe {
            libc::clone(run_child, stack_top.cast(), flags, ptr::from_ref(&child).cast_mut().cast())
        };
        if number == -1 {
            return Err(io::Error::last_os_error().into());
        }
        let pid = Pid::from_raw(number).expect("clone gives a positive number to the parent");
        match child.failed.take() {
            None => Ok(pid),
            Some((stage, errno)) => {
                waitpid(Some(pid), WaitOptions::empty())?;
                Err(Failure { stage, error: io::Error::from_raw_os_error(errno) })
            }
        }
    }
}

/// Where the child begins.
extern "C" fn run_child(child: *mut c_void) -> c_int {
    // SAFETY: `execute` passes a valid `Child` here, and nowhere else is this function called.
    unsafe { (*child.cast::<Child<'_>>()).run() }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// What the child does until it executes, on borrowed memory only.
struct Child<'a> {
    path: *const c_char,
    argv: &'a [*const c_char],
    envp: &'a [*const c_char],
    cwd: *const c_char,
    /// In the order of the numbers that they get: 0, 1, 2, 3, …; all at or above `floor`.
    sources: &'a [RawFd],
    floor: RawFd,
    parent: libc::pid_t,
    open_max: libc::c_long,
    /// What failed and the errno of it, for the thread whose memory this is.
    failed: Cell<Option<(Stage, c_int)>>,
}

impl Child<'_> {
    /// # Safety
    /// Only in the child, and with valid pointers.
    unsafe fn run(&self) -> ! {
        // SAFETY: the pointers are valid by the contract of this function.
        let stage = unsafe { self.prepare_and_execute() };
        // SAFETY: errno is that of the thread that stands still.
        self.failed.set(Some((stage, unsafe { *libc::__errno_location() })));
        // SAFETY: `_exit` has no preconditions.
        unsafe { libc::_exit(NOT_EXECUTED) }
    }

    /// Returns what failed, with errno set.
    ///
    /// # Safety
    /// Only in the child, and with valid pointers.
    unsafe fn prepare_and_execute(&self) -> Stage {
        // SAFETY: all of these are async-signal-safe (signal-safety(7)) or plain system calls, and read only memory
        // that the caller vouches for.
        unsafe {
            if libc::setpgid(0, 0) != 0 || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Stage::Prepare;
            }
            if libc::getppid() != self.parent {
                // The parent died before the line above, so that no signal will come.
                libc::_exit(NOT_EXECUTED);
            }
            if libc::chdir(self.cwd) != 0 {
                return Stage::Directory;
            }
            for (target, &source) in (0..).zip(self.sources) {
                // Source and target differ always, so that the copy loses FD_CLOEXEC.
                if libc::dup2(source, target) == -1 {
                    return Stage::Prepare;
                }
            }
            self.close_the_rest_on_exec();
            default_signals();
            libc::execve(self.path, self.argv.as_ptr(), self.envp.as_ptr());
            Stage::Execute
        }
    }

    /// The host's own descriptors are CLOEXEC by rule, but those of the libraries it uses may not be.
    ///
    /// # Safety
    /// Only in the child.
    unsafe fn close_the_rest_on_exec(&self) {
        // SAFETY: these change flags of this process's descriptors only.
        unsafe {
            let flags = libc::CLOSE_RANGE_CLOEXEC as c_int;
            if libc::syscall(libc::SYS_close_range, self.floor, c_int::MAX, flags) == 0 {
                return;
            }
            // A kernel before 5.11, or a filter that does not know the call.
            let last = RawFd::try_from(self.open_max).unwrap_or(RawFd::MAX);
            for fd in self.floor..last {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// exec keeps what is ignored and what is blocked; a program expects neither (execve(2)).
///
/// # Safety
/// Only in the child.
unsafe fn default_signals() {
    // The C library's sigaction leaves out the signals that it keeps for itself, which a careless parent may have ignored.
    // All zeroes is SIG_DFL, no flags and an empty mask in the kernel's structure too, which is at most this large.
    let default = [0_u64; 8];
    // SAFETY: the kernel reads the structure only; numbers that may not be changed are refused without effect.
    unsafe {
        for signal in 1..=LAST_SIGNAL {
            let no_old = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), no_old, KERNEL_SIGSET);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

/// Blocks every signal in the calling thread, for good: no handler of the host may run in a child that shares its memory.
pub(super) fn block_signals() {
    // SAFETY: the set is initialised by sigfillset before it is read.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, ptr::null_mut());
    }
}

/// Registers a descriptor with the current runtime, to await that it is readable.
///
/// # Panics
/// There is no current runtime, or it has no I/O driver.
pub(super) fn watch(fd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the `Arc` keeps its descriptor open, unchanged and the same for as long as the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::process::WaitStatus;

    use super::*;

    fn plan(script: &str) -> Plan {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let args = ["-c", script].map(OsString::from);
        let stdio = [null(), null(), null()];
        Plan::new(Path::new("/bin/sh"), &args, &[], Path::new("/"), stdio, Vec::new()).unwrap()
    }

    fn end_of(pid: Pid) -> WaitStatus {
        waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1
    }

    #[test]
    fn a_process_dies_with_the_thread_that_started_it() {
        let starter = thread::spawn(|| {
            block_signals();
            plan("exec /bin/sleep 60").execute().unwrap()
        });
        let ended = end_of(starter.join().unwrap());
        assert_eq!(ended.terminating_signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn a_failure_is_told_with_its_stage_and_its_errno() {
        let started = |plan: Plan| {
            thread::spawn(move || {
                block_signals();
                plan.execute().map(end_of).unwrap_err()
            })
            .join()
            .unwrap()
        };
        let mut nowhere = plan("exit");
        nowhere.cwd = c"/nowhere".to_owned();
        let failure = started(nowhere);
        assert_eq!((failure.stage, failure.error.raw_os_error()), (Stage::Directory, Some(libc::ENOENT)));
        let mut denied = plan("exit");
        denied.path = c"/dev/null".to_owned();
        let failure = started(denied);
        assert_eq!((failure.stage, failure.error.raw_os_error()), (Stage::Execute, Some(libc::EACCES)));
    }
}
