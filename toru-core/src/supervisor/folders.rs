//! The folders that supervision makes: locked, private, and gone when they are no longer needed.

use std::{
    fs::{DirBuilder, DirEntry, File, OpenOptions, Permissions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::SupervisorError;

/// The name of the file that is locked, in the data folder.
const LOCK_FILE: &str = "lock";

/// What the names of the folders of sockets begin with; a UUID in hex digits follows.
const SOCKET_FOLDER: &str = "toru-socket-";

/// The name of the file that is locked, in a socket's folder. No other folder has one.
const SOCKET_LOCK_FILE: &str = "socket-lock";

/// Where they are made if this user has no runtime folder.
const TEMPORARY_DIR: &str = "/tmp";

/// The name of a plugin's socket, in its folder.
const SOCKET_FILE: &str = "plugin.sock";

/// The longest path of a Unix socket, in bytes, without its final NUL (`unix(7)`).
pub(super) const MAX_SOCKET_PATH: usize = 107;

/// Makes a folder, and those above it, that only this user may enter. One that exists is made so.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// The lock on a data folder: two hosts would start each plugin twice. The kernel gives it up when this process ends.
#[derive(Debug)]
pub(super) struct DataLock {
    file: File,
}

impl DataLock {
    pub(super) fn acquire(data_dir: &Path) -> Result<Self, SupervisorError> {
        let path = data_dir.join(LOCK_FILE);
        let io_error = |error: io::Error| SupervisorError::Io {
            path: path.clone(),
            message: format!("cannot be locked: {error}; the data folder must be writable"),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_error)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(SupervisorError::Locked { path: data_dir.to_owned(), pid: holder });
            }
            Err(error) => return Err(io_error(error.into())),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(io_error)?;
        Ok(Self { file })
    }
}

impl Drop for DataLock {
    fn drop(&mut self) {
        // Closing is not enough: a process that was just forked holds the same open file until its exec.
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(%error, "the lock on the data folder could not be given up");
        }
    }
}

/// A fresh folder for the socket of one process; removed with what is in it when dropped, or, when this process is killed,
/// by the next host that [sweeps](sweep_socket_folders).
#[derive(Debug)]
pub(super) struct SocketFolder {
    path: PathBuf,
    /// Locked as long as this host lives.
    _lock: File,
}

impl SocketFolder {
    /// Makes it under `XDG_RUNTIME_DIR`, or under /tmp where that is not set, missing or too long for a socket's path.
    pub(super) fn create() -> io::Result<Self> {
        let name = format!("{SOCKET_FOLDER}{}", uuid::Uuid::new_v4().simple());
        let parent = runtime_dir()
            .filter(|dir| dir.join(&name).join(SOCKET_FILE).as_os_str().len() <= MAX_SOCKET_PATH)
            .unwrap_or_else(|| TEMPORARY_DIR.into());
        let path = parent.join(&name);
        Self::create_at(&parent.join(format!(".{name}")), &path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// It gets its name when it is locked, so that no sweep takes it for left behind.
    fn create_at(unlocked: &Path, path: &Path) -> io::Result<Self> {
        // Not recursive: a folder that somebody else made before must be an error.
        DirBuilder::new().mode(0o700).create(unlocked)?;
        let locked = File::create_new(unlocked.join(SOCKET_LOCK_FILE)).and_then(|lock| {
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            std::fs::rename(unlocked, path)?;
            Ok(Self { path: path.to_owned(), _lock: lock })
        });
        if locked.is_err() {
            // What was wrong is told; an empty folder more or less is not.
            let _ = std::fs::remove_dir_all(unlocked);
        }
        locked
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET_FILE)
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a socket's folder could not be removed");
        }
    }
}

fn runtime_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)?;
    (dir.is_absolute() && dir.is_dir()).then_some(dir)
}

/// Removes the folders of sockets that hosts of this user have left behind when they were killed. Blocking.
pub(super) fn sweep_socket_folders() {
    for parent in runtime_dir().into_iter().chain([TEMPORARY_DIR.into()]) {
        sweep(&parent);
    }
}

/// Removes the two files that it may hold, and it if there is nothing else: a sweep must never take what is not ours.
fn remove_socket_folder(path: &Path) -> io::Result<()> {
    for name in [SOCKET_FILE, SOCKET_LOCK_FILE] {
        match std::fs::remove_file(path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::remove_dir(path)
}

fn sweep(parent: &Path) {
    // A folder that cannot be listed holds nothing that could be removed.
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(SOCKET_FOLDER.as_bytes()) && is_left(&entry) {
            let path = entry.path();
            match remove_socket_folder(&path) {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "a socket's folder of a killed host was removed")
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a socket's folder of a killed host stays")
                }
            }
        }
    }
}

/// Whether it is a folder of this user alone whose lock nobody holds. Its kind and owner are looked at first: in /tmp others
/// can make what has such a name.
fn is_left(entry: &DirEntry) -> bool {
    let is_own = entry.metadata().is_ok_and(|found| {
        let private = found.permissions().mode() & 0o077 == 0;
        found.is_dir() && private && found.uid() == rustix::process::geteuid().as_raw()
    });
    let lock = || File::open(entry.path().join(SOCKET_LOCK_FILE)).ok();
    is_own && lock().is_some_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_second_lock_on_a_data_folder_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataLock::acquire(folder.path()).unwrap();
        let error = DataLock::acquire(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("locked by pid {}", std::process::id())), "{error}");
        drop(first);
        DataLock::acquire(folder.path()).unwrap();
    }

    #[test]
    fn a_private_folder_is_entered_by_its_user_only_even_if_it_was_open_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugins/a");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        make_private(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn a_socket_folder_is_fresh_private_and_removed_with_its_socket() {
        let (first, second) = (SocketFolder::create().unwrap(), SocketFolder::create().unwrap());
        assert_ne!(first.path, second.path);
        assert_eq!(mode(&first.path), 0o700);
        assert!(first.socket().as_os_str().len() <= MAX_SOCKET_PATH);
        let _listener = std::os::unix::net::UnixListener::bind(first.socket()).unwrap();
        let path = first.path.clone();
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn a_sweep_removes_what_killed_hosts_left_and_nothing_that_is_in_use() {
        let parent = tempfile::tempdir().unwrap();
        let create = |name: &str| {
            let path = parent.path().join(format!("{SOCKET_FOLDER}{name}"));
            SocketFolder::create_at(&parent.path().join("unlocked"), &path).unwrap()
        };
        let in_use = create("in-use");
        let SocketFolder { path: left, _lock } = &*ManuallyDrop::new(create("left"));
        flock(_lock, FlockOperation::Unlock).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(left.join(SOCKET_FILE)).unwrap();
        // A data folder that nobody uses now, and one of another program's that looks like ours but holds more.
        let data = parent.path().join("toru-socket-data");
        make_private(&data).unwrap();
        drop(DataLock::acquire(&data).unwrap());
        let SocketFolder { path: fuller, _lock } = &*ManuallyDrop::new(create("fuller"));
        flock(_lock, FlockOperation::Unlock).unwrap();
        std::fs::write(fuller.join("precious"), "").unwrap();
        sweep(parent.path());
        assert!(!left.exists());
        assert!(in_use.path.exists() && data.join(LOCK_FILE).exists() && fuller.join("precious").exists());
    }
}
