//! Being reached by a path: for a manifest with `transport = "path"`, and for a plugin that a developer starts by hand.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, PermissionsExt},
    },
    path::Path,
    pin::pin,
    task::{Context, Poll},
};

use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream};

use super::{
    engine::{self, Greeted},
    links::Link,
    process::{SOCKET_VARIABLE, Starter},
};
use crate::{
    driver::{Incoming, Socket},
    message::lifecycle::Init,
};

/// The longest path of a Unix socket, in bytes, without its final NUL (unix(7)).
const MAX_PATH: usize = 107;
/// Connections that have said nothing yet and are listened to. One more costs the eldest its place, so that none of them keeps the host out,
/// however many they are; and so many do not come between a host's connect and its first word.
const MAX_GUESTS: usize = 64;
/// The socket of a plugin that was started by hand is its user's alone.
const PRIVATE: u32 = 0o600;

/// Listens there until a host says `init`, and gives back that one link. Whoever connects and does not is let go, and keeps no host out:
/// a program that looks whether somebody listens, one that is no host, one of another user. Cancel safe.
///
/// # Errors
/// The path is too long, or somebody listens there, or there is something else, or its folder cannot be written.
pub(super) async fn await_host(path: &Path, starter: Starter) -> io::Result<Greeted> {
    let by_hand = starter == Starter::Developer;
    let bound = if by_hand { bind_by_hand(path) } else { bind(path) };
    let listener = bound.map_err(|error| {
        io::Error::new(error.kind(), format!("{SOCKET_VARIABLE}={}: {error}", path.display()))
    })?;
    if by_hand {
        eprintln!("waiting for a host to attach at {} (`toru dev --attach`)", path.display());
    }
    let mut guests = Guests::default();
    loop {
        tokio::select! {
            biased;
            host = guests.host() => return Ok(host),
            accepted = listener.accept() => guests.admit(accepted?.0),
        }
        // What guests say is read by tasks of their own: so a crowd that comes at once costs no host its place.
        tokio::task::yield_now().await;
    }
}

/// Those that have connected and said nothing yet, the first comer first.
#[derive(Default)]
struct Guests(VecDeque<(Link, Incoming)>);

impl Guests {
    /// Where there is no place, the one that has been silent for longest is let go.
    fn admit(&mut self, stream: UnixStream) {
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == geteuid().as_raw()) {
            eprintln!("a connection of another user was refused");
            return;
        }
        let socket = match stream.into_std().and_then(Socket::new) {
            Ok(socket) => socket,
            Err(error) => return eprintln!("a connection cannot be served: {error}"),
        };
        if self.0.len() == MAX_GUESTS {
            if let Some((eldest, _)) = self.0.pop_front() {
                eldest.handle().close();
            }
        }
        self.0.push_back(Link::open(socket, engine::settings()));
    }

    /// The first that says `init`. Cancel safe.
    async fn host(&mut self) -> Greeted {
        loop {
            let (place, init) = poll_fn(|cx| self.poll_word(cx)).await;
            let (link, incoming) = self.0.remove(place).expect("it has just been polled");
            match init {
                Some(init) => return Greeted { link, incoming, init },
                // How it ends is told, and not waited for: it may not even read.
                None => drop(tokio::spawn(tell_end(link))),
            }
        }
    }

    /// What the first says who says anything: `init`, or that it has gone or is no host.
    fn poll_word(&mut self, cx: &mut Context<'_>) -> Poll<(usize, Option<Init>)> {
        for (place, (_, incoming)) in self.0.iter_mut().enumerate() {
            if let Poll::Ready(init) = pin!(engine::await_init(incoming)).poll(cx) {
                return Poll::Ready((place, init));
            }
        }
        Poll::Pending
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        for (link, _) in &self.0 {
            link.handle().close();
        }
    }
}

async fn tell_end(link: Link) {
    if let Err(error) = link.lost().await {
        eprintln!("a connection was no host's: {error}");
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_PATH {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "the path has {length} bytes, and a Unix socket's has at most {MAX_PATH}: take a shorter one"
            ),
        ));
    }
    UnixListener::bind(path)
}

/// Where a developer says, there may be something already, and others may come by.
fn bind_by_hand(path: &Path) -> io::Result<UnixListener> {
    remove_left_behind(path)?;
    let listener = bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(PRIVATE))?;
    Ok(listener)
}

/// A plugin that was killed while it waited leaves its socket, on which nobody listens any more.
fn remove_left_behind(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is something else than a socket: name a path that is free",
        )),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
            _ => Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process listens there: end it, or name another path",
            )),
        },
    }
}
