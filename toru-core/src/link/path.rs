//! Reaching a plugin that listens on a path, and making sure that it is the one that is meant.

use std::{io, path::PathBuf, time::Duration};

use rustix::io::Errno;
use tokio::net::UnixStream;

use super::LinkLost;

/// The first wait between two tries to connect (protocol section 2).
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(1);
/// The longest: a plugin that is slow to start is not asked a thousand times a second.
pub(super) const LAST_RETRY: Duration = Duration::from_millis(50);

/// How to reach a plugin that listens: version 1, `transport = "path"`, or one that is attached.
#[derive(Debug, Clone)]
pub(crate) struct PathSocket {
    /// Where the plugin listens.
    pub(crate) path: PathBuf,
    /// Who must be at the other end.
    pub(crate) peer: Peer,
}

/// Who may be at the other end. What is looked at are the credentials of who called listen (unix(7), `SO_PEERCRED`), as
/// they were then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A member of the process group that was started, which has its leader's number.
    Group(u32),
    /// Any process of the host's own user: nobody started it, so that no group is known.
    SameUser,
}

impl PathSocket {
    /// Connects as soon as the plugin listens, however long that takes: the caller bounds it. Nothing is said to a stranger.
    /// Cancel safe.
    ///
    /// # Errors
    /// Somebody else listens there, or the path cannot be connected to, now or later.
    pub(crate) async fn connect(&self) -> Result<UnixStream, LinkLost> {
        let mut wait = FIRST_RETRY;
        loop {
            match UnixStream::connect(&self.path).await {
                Ok(stream) => {
                    self.peer.verify(&stream)?;
                    return Ok(stream);
                }
                Err(error) if may_pass(&error) => tokio::time::sleep(wait).await,
                Err(error) => {
                    let message = format!(
                        "{} cannot be connected to: {error}; the host's user has to reach the plugin's socket there",
                        self.path.display()
                    );
                    return Err(LinkLost::Handshake { code: "socket_failed", message });
                }
            }
            wait = LAST_RETRY.min(wait * 2);
        }
    }
}

/// What ends by itself: nothing there yet, a file that nobody listens on yet, a queue that is full (connect(2), unix(7)); or this host has
/// no descriptor or no memory to spare (socket(2)), which is no fault of the plugin.
const PASSING: [Errno; 8] = [
    Errno::NOENT,
    Errno::CONNREFUSED,
    Errno::AGAIN,
    Errno::INTR,
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOBUFS,
    Errno::NOMEM,
];

fn may_pass(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|error| PASSING.contains(&error))
}

impl Peer {
    fn verify(self, stream: &UnixStream) -> Result<(), LinkLost> {
        let found = match self {
            Self::Group(_) => peer_group(stream),
            Self::SameUser => stream.peer_cred().map(|peer| i64::from(peer.uid())),
        };
        let found = found.map_err(|error| stranger(&format!("it cannot be told who listens: {error}")))?;
        match self {
            Self::Group(group) if found == i64::from(group) => Ok(()),
            Self::Group(group) => {
                Err(stranger(&format!("process group {found} listens, not {group}, which was started")))
            }
            Self::SameUser => {
                let own = i64::from(rustix::process::geteuid().as_raw());
                if found == own {
                    return Ok(());
                }
                Err(stranger(&format!("user {found} listens, and this host runs as user {own}")))
            }
        }
    }
}

fn stranger(why: &str) -> LinkLost {
    LinkLost::Handshake {
        code: "stranger",
        message: format!("the plugin's socket is held by a stranger: {why}"),
    }
}

fn peer_group(stream: &UnixStream) -> io::Result<i64> {
    let pid = stream.peer_cred()?.pid().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the kernel names no process"))?;
    let group = rustix::process::getpgid(Some(pid))?;
    Ok(i64::from(group.as_raw_nonzero().get()))
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_path_that_can_never_be_connected_to_is_a_failure_that_says_why() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let socket = PathSocket { path: file.path().join("below-a-file"), peer: Peer::SameUser };
        let Err(LinkLost::Handshake { code: "socket_failed", message }) = socket.connect().await else {
            panic!("it is waited for")
        };
        assert!(message.contains("below-a-file") && message.contains("Not a directory"), "{message}");
    }

    #[test]
    fn a_host_that_is_short_of_descriptors_or_memory_tries_again() {
        for short_of in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(may_pass(&short_of.into()), "{short_of}");
        }
        for lasting in [Errno::ACCESS, Errno::NOTDIR, Errno::LOOP, Errno::PROTOTYPE] {
            assert!(!may_pass(&lasting.into()), "{lasting}");
        }
    }

    #[tokio::test]
    async fn a_path_is_waited_for_until_somebody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = PathSocket { path: path.clone(), peer: Peer::SameUser };
        let connected = tokio::spawn(async move { socket.connect().await });
        // A socket that a killed plugin has left refuses.
        drop(UnixListener::bind(&path).unwrap());
        tokio::task::yield_now().await;
        std::fs::remove_file(&path).unwrap();
        let _listens = UnixListener::bind(&path).unwrap();
        connected.await.unwrap().unwrap();
    }
}
