//! A plugin that a developer starts by hand, under a debugger perhaps: it is waited for and connected to, not spawned. It is
//! nobody's child: no signal is sent to it, no clock runs against it, and its link's end is all that is known of its own.

use std::{
    io,
    os::unix::{ffi::OsStrExt, fs::FileTypeExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    folders::MAX_SOCKET_PATH,
    host::{Host, absolute},
    launch::{Live, link_setup},
    prepare::Prepared,
    state::Failure,
};
use crate::link::{LinkLost, LinkSetup, PathSocket, Peer};

/// How long an answer of an attached plugin is waited for: somebody looks at it step by step. The timers of the protocol have to
/// end some day, and a month is longer than any look.
const PATIENCE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Whether a plugin can be attached at a path: the path as it is told to the developer, who may be in another folder.
///
/// # Errors
/// One sentence: the path is too long for a socket's, its folder is not there, or something else is.
pub(super) fn check_path(path: &Path) -> Result<PathBuf, String> {
    let path = absolute(path);
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH {
        return Err(format!(
            "{} has {length} bytes, and a Unix socket's path has at most {MAX_SOCKET_PATH}: take a shorter one, in /tmp for example",
            path.display()
        ));
    }
    if !path.parent().is_some_and(Path::is_dir) {
        return Err(format!("{}: there is no such folder: make it, or name another path", path.display()));
    }
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => {
            Err(format!("{} is there already and is no socket: name a path that is free", path.display()))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("{} cannot be looked at: {error}", path.display()))
        }
        _ => Ok(path),
    }
}

/// Waits until the plugin listens, for as long as that takes, and opens its one link. Dropping the future ends the wait.
pub(super) async fn attach(
    host: Arc<Host>,
    prepared: Box<Prepared>,
    path: PathBuf,
) -> Result<Box<Live>, Failure> {
    let socket = PathSocket { path, peer: Peer::SameUser };
    let stream = socket.connect().await.map_err(|lost| match lost {
        LinkLost::Handshake { code, message } => Failure::new(code, message),
        other => Failure::new("socket_failed", other.to_string()),
    })?;
    let driven =
        |error: io::Error| Failure::new("socket_failed", format!("its socket cannot be driven: {error}"));
    let pid = stream.peer_cred().map_err(driven)?.pid().and_then(|pid| u32::try_from(pid).ok());
    let mut setup = link_setup(
        &host,
        &prepared,
        socket.path.to_string_lossy().into_owned(),
        prepared.definition.metadata.id().into(),
    );
    be_patient(&mut setup);
    let live = Live::attached(stream.into_std().map_err(driven)?, pid, &host.lanes, setup).map_err(driven)?;
    // Not before: one that could not be served here waits for the next try at its path.
    remove(&socket.path);
    Ok(Box::new(live))
}

/// A handler may stand at a breakpoint: neither a ping nor an answer is expected at any time. The host's own store has as long as ever.
fn be_patient(setup: &mut LinkSetup) {
    setup.settings.ping_interval = None;
    setup.settings.response_timeout = PATIENCE;
    setup.settings.kv_timeout = PATIENCE;
}

/// One connection, and the path is free for the next process (protocol section 2).
fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "an attached plugin's socket could not be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_no_socket_can_have_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| check_path(path).unwrap_err();
        let long = folder.path().join("x".repeat(108));
        assert!(refused(&long).contains("at most 107"), "{}", refused(&long));
        assert!(refused(&folder.path().join("no/socket")).contains("no such folder"));
        let file = folder.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        assert!(refused(&file).contains("is no socket"));
        assert!(refused(folder.path()).contains("is no socket"));
    }

    #[test]
    fn a_free_path_and_one_that_a_killed_plugin_left_are_taken_as_absolute() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugin.sock");
        assert_eq!(check_path(&path).unwrap(), path);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert_eq!(check_path(&path).unwrap(), path);
        assert!(check_path(Path::new("plugin.sock")).unwrap().is_absolute());
    }
}
