//! Being reached by a path: for a manifest with `transport = "path"`, and for a plugin that a developer starts by hand.

use std::{
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, PermissionsExt},
    },
    path::Path,
};

use rustix::{
    net::{RecvFlags, recv},
    process::geteuid,
};
use tokio::{
    io::Interest,
    net::{UnixListener, UnixStream},
};

use super::process::{SOCKET_VARIABLE, Starter};

/// The longest path of a Unix socket, in bytes, without its final NUL (unix(7)).
const MAX_PATH: usize = 107;
/// The socket of a plugin that was started by hand is its user's alone.
const PRIVATE: u32 = 0o600;

/// Listens there until a host has connected, and gives back that one connection. Cancel safe.
///
/// # Errors
/// The path is too long, or somebody listens there, or there is something else, or its folder cannot be written.
pub(super) async fn accept(path: &Path, starter: Starter) -> io::Result<UnixStream> {
    let by_hand = starter == Starter::Developer;
    let bound = if by_hand { bind_by_hand(path) } else { bind(path) };
    let listener = bound.map_err(|error| {
        io::Error::new(error.kind(), format!("{SOCKET_VARIABLE}={}: {error}", path.display()))
    })?;
    if by_hand {
        eprintln!("waiting for a host to attach at {} (`toru dev --attach`)", path.display());
    }
    loop {
        let (stream, _) = listener.accept().await?;
        // A host's own folder lets nobody else in. A developer's path may lie anywhere.
        if !by_hand || is_host(&stream).await? {
            return Ok(stream);
        }
    }
}

/// Whether it is of this process's user and says something: who only looks whether somebody listens, is no host.
async fn is_host(stream: &UnixStream) -> io::Result<bool> {
    if stream.peer_cred()?.uid() != geteuid().as_raw() {
        eprintln!("a connection of another user was refused");
        return Ok(false);
    }
    loop {
        stream.readable().await?;
        match stream.try_io(Interest::READABLE, || Ok(recv(stream, &mut [0_u8; 1], RecvFlags::PEEK)?)) {
            Ok((_, length)) => return Ok(length > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Ok(false),
        }
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
