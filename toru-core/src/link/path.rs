//! Reaching a plugin that listens on a path, and making sure that it is the one that is meant.

use std::{io, path::PathBuf, time::Duration};

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
    /// Somebody else listens there.
    pub(crate) async fn connect(&self) -> Result<UnixStream, LinkLost> {
        let mut wait = FIRST_RETRY;
        loop {
            // Nothing there yet, a file that nobody listens on yet, a queue that is full: all may pass.
            match UnixStream::connect(&self.path).await {
                Ok(stream) => {
                    self.peer.verify(&stream)?;
                    return Ok(stream);
                }
                Err(_) => tokio::time::sleep(wait).await,
            }
            wait = LAST_RETRY.min(wait * 2);
        }
    }
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
