//! The folders that supervision makes: locked, private, and gone when they are no longer needed.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::SupervisorError;

/// The name of the file that is locked, in the data folder.
const LOCK_FILE: &str = "lock";

/// The name of a plugin's socket, in its folder.
const SOCKET_FILE: &str = "plugin.sock";

/// The longest path of a Unix socket, in bytes, without its final NUL (`unix(7)`).
const MAX_SOCKET_PATH: usize = 107;

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

/// A fresh folder for the socket of one process; removed with what is in it when dropped.
#[derive(Debug)]
pub(super) struct SocketFolder {
    path: PathBuf,
}

impl SocketFolder {
    /// Makes it under `XDG_RUNTIME_DIR`, or under /tmp where that is not set, missing or too long for a socket's path.
    pub(super) fn create() -> io::Result<Self> {
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let name = format!("toru-{}", uuid::Uuid::new_v4().simple());
        let path = runtime_dir
            .filter(|dir| dir.is_absolute() && dir.is_dir())
            .map(|dir| dir.join(&name))
            .filter(|path| path.join(SOCKET_FILE).as_os_str().len() <= MAX_SOCKET_PATH)
            .unwrap_or_else(|| Path::new("/tmp").join(&name));
        // Not recursive: a folder that somebody else made before must be an error.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Ok(Self { path })
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

#[cfg(test)]
mod tests {
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
}
