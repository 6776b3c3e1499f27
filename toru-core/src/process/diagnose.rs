//! From an errno to a sentence that tells the operator what to do.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::io::Errno;

use super::{
    Launch, SpawnError,
    sys::{Failure, Stage},
};

/// Enough of a file for a `#!` line (the kernel reads 256 bytes) and for the head of an ELF file.
const HEAD: u64 = 256;

impl SpawnError {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { code: "spawn_failed", message: message.into() }
    }

    fn new(code: &'static str, message: String) -> Self {
        Self { code, message }
    }
}

/// A bare name that PATH does not have.
pub(super) fn not_in_path(name: &Path, search_path: &std::ffi::OsStr) -> SpawnError {
    let message = format!(
        "no program {:?} was found in PATH ({}): install it, or name another in `exec` (a file of the plugin's own \
         folder is {:?})",
        name.display(),
        Path::new(search_path).display(),
        Path::new(".").join(name).display()
    );
    SpawnError::new("exec_missing", message)
}

/// Why the child of this launch was not executed.
pub(super) fn explain(path: &Path, launch: &Launch, failure: &Failure) -> SpawnError {
    let Failure { stage, error } = failure;
    match stage {
        Stage::Execute => explain_exec(path, error),
        Stage::Directory => {
            let cwd = launch.cwd.display();
            SpawnError::failed(format!("the folder {cwd} cannot be entered: {error}"))
        }
        Stage::Prepare => {
            SpawnError::failed(format!("{} could not be started by the host: {error}", path.display()))
        }
    }
}

fn explain_exec(path: &Path, error: &io::Error) -> SpawnError {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => explain_missing(path),
        Some(Errno::ACCESS | Errno::PERM) => explain_denied(path, error),
        Some(Errno::NOEXEC | Errno::LIBBAD) => explain_format(path),
        Some(Errno::TXTBSY) => {
            let path = path.display();
            SpawnError::failed(format!(
                "{path} is still being written: finish writing it, then start the plugin"
            ))
        }
        _ => SpawnError::failed(format!("{} could not be executed: {error}", path.display())),
    }
}

fn explain_missing(path: &Path) -> SpawnError {
    let shown = path.display();
    if path.symlink_metadata().is_err() {
        let message = format!("{shown} does not exist: build or install it, or correct `exec`");
        return SpawnError::new("exec_missing", message);
    }
    if path.metadata().is_err() {
        let message = format!("{shown} is a symbolic link to nothing: build or install its target");
        return SpawnError::new("exec_missing", message);
    }
    let message = match interpreter(&head(path)) {
        Some(interpreter) if interpreter.ends_with('\r') => format!(
            "the first line of {shown} names {interpreter:?}, which does not exist because of its Windows line ending: save the file with Unix line endings"
        ),
        Some(interpreter) => format!(
            "the first line of {shown} names the interpreter {interpreter:?}, which does not exist: install it, or correct the line"
        ),
        None => format!(
            "{shown} needs a dynamic loader that this machine does not have: build it for this machine's C library"
        ),
    };
    SpawnError::new("exec_interpreter", message)
}

fn explain_denied(path: &Path, error: &io::Error) -> SpawnError {
    let shown = path.display();
    let message = match path.metadata() {
        Ok(found) if found.is_dir() => format!("{shown} is a folder: name a program in `exec`"),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            format!("{shown} is not executable: run chmod +x {shown}")
        }
        _ => {
            if let Some(interpreter) = interpreter(&head(path)) {
                let message = format!(
                    "the first line of {shown} names the interpreter {interpreter:?}, which may not be executed ({error}): correct the line or its permissions"
                );
                return SpawnError::new("exec_interpreter", message);
            }
            format!(
                "{shown} may not be executed ({error}): check its permissions and its file system's mount options"
            )
        }
    };
    SpawnError::new("exec_denied", message)
}

fn explain_format(path: &Path) -> SpawnError {
    let shown = path.display();
    let head = head(path);
    let message = match head.as_slice() {
        [] => format!("{shown} is empty: build it again"),
        [0x7F, b'E', b'L', b'F', ..] => {
            let built_for = elf_machine(&head).map_or_else(String::new, |machine| format!(" ({machine})"));
            let here = std::env::consts::ARCH;
            format!(
                "{shown} is built for another machine{built_for} than this one ({here}): build it for this one"
            )
        }
        [b'M', b'Z', ..] => format!("{shown} is a Windows program: build it for Linux"),
        _ => format!(
            "{shown} is no program that this machine can execute: build it, or begin a script with a line such as #!/usr/bin/env python3"
        ),
    };
    SpawnError::new("exec_format", message)
}

/// An unreadable file has no head to explain anything by. Never blocks on a pipe of that name, for all plugins are started by
/// this thread.
fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    if file.and_then(|file| file.take(HEAD).read_to_end(&mut head)).is_err() {
        head.clear();
    }
    head
}

/// The interpreter of a `#!` line (execve(2)).
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let line = line.trim_start_matches([' ', '\t']);
    Some(line.split([' ', '\t']).next()?.to_owned())
}

/// `e_machine` of an ELF file (elf(5)), where it has a well-known name.
fn elf_machine(head: &[u8]) -> Option<&'static str> {
    let bytes = [*head.get(18)?, *head.get(19)?];
    let big_endian = head[5] == 2;
    match if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) } {
        3 => Some("x86"),
        8 => Some("mips"),
        20 => Some("powerpc"),
        21 => Some("powerpc64"),
        22 => Some("s390x"),
        40 => Some("arm"),
        62 => Some("x86_64"),
        183 => Some("aarch64"),
        243 => Some("riscv"),
        _ => None,
    }
}
