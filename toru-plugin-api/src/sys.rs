//! The only unsafe code of this crate: adopting the sockets that the host passed on.

use std::{
    io,
    os::{
        fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{Mutex, PoisonError},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{AddressFamily, SocketType, getpeername, sockopt},
};

/// A descriptor has one owner: a number in the environment is adopted once in the life of a process.
static ADOPTED: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// The first number that is no standard stream.
const FIRST_FD: RawFd = 3;

/// Takes over the connected Unix stream socket that has this number, each number once in the life of a process.
///
/// It is closed in programs that this one starts, and does not block.
///
/// # Errors
/// The number was adopted before, is a standard stream's, is not open, or is no connected Unix stream socket.
pub(crate) fn adopt_socket(number: RawFd) -> io::Result<UnixStream> {
    if number < FIRST_FD {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the number is that of a standard stream"));
    }
    let mut adopted = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner);
    if adopted.contains(&number) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the socket has been adopted before"));
    }
    // SAFETY: the number is not -1, and the borrow ends before this function does. Whether it names an open
    // descriptor is what the first system call finds out.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    if sockopt::socket_domain(fd)? != AddressFamily::UNIX || sockopt::socket_type(fd)? != SocketType::STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is no Unix stream socket"));
    }
    getpeername(fd)?;
    adopted.push(number);
    // SAFETY: the descriptor is open, as the calls above showed, the host passed it to this process for this
    // purpose alone (protocol section 2), and the list, which is still locked, lets nobody adopt it twice.
    let socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(number) });
    socket.set_nonblocking(true)?;
    Ok(socket)
}
