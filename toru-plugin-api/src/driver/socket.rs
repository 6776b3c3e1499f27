//! The socket of a link.

use std::{
    io::{self, IoSlice},
    os::{fd::AsFd, unix::net::UnixStream},
    pin::Pin,
    task::{Context, Poll},
};

use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg, shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{self, unix::pipe::Receiver},
};

/// How many writes in a row find room until it is watched for no more. One that sends a large body is full again after two or three; one
/// that sends messages one by one pays a wake-up for each until then.
const QUIET_WRITES: u32 = 32;

/// A connected Unix stream socket, which is watched for room to write only while it is full, and a little longer.
///
/// A Unix socket says that there is room each time its peer has read something. `tokio::net::UnixStream` is watched for
/// that as long as it lives, so each message wakes the thread that sent it once more, for nothing: with one message
/// under way at a time that is one wake-up of two.
///
/// It holds two descriptors from the first moment on: one that is full would be lost where the process may open no more.
#[derive(Debug)]
pub struct Socket {
    /// No pipe: this is tokio's one type that reads any descriptor and is watched for nothing else.
    reader: Receiver,
    /// The same socket by another number, because epoll(7) takes a number once.
    room: Room,
}

/// Whether a socket is watched for room.
#[derive(Debug)]
enum Room {
    Unwatched(UnixStream),
    /// It was full not long ago.
    Watched {
        socket: net::UnixStream,
        /// The writes since it was full that did not wait.
        quiet: u32,
    },
    /// The runtime could not watch it, or not let it go.
    Lost,
}

impl Socket {
    /// Registers a connected socket with the current runtime.
    ///
    /// # Errors
    /// The process may open no more descriptors, the runtime takes no more, or the socket cannot be made not to block.
    ///
    /// # Panics
    /// There is no current runtime, or it has no I/O driver.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let room = Room::Unwatched(socket.try_clone()?);
        Ok(Self { reader: Receiver::from_owned_fd_unchecked(socket.into())?, room })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.room.rest()?;
        loop {
            let Room::Watched { socket, quiet } = &mut self.room else {
                match send(&self.reader, pieces) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.room.watch()?,
                    sent => return Poll::Ready(sent),
                }
                continue;
            };
            let Poll::Ready(has_room) = socket.poll_write_ready(cx) else {
                *quiet = 0;
                return Poll::Pending;
            };
            has_room?;
            match socket.try_io(Interest::WRITABLE, || send(&*socket, pieces)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => {
                    *quiet += 1;
                    return Poll::Ready(sent);
                }
            }
        }
    }
}

impl Room {
    fn watch(&mut self) -> io::Result<()> {
        if let Self::Unwatched(socket) = std::mem::replace(self, Self::Lost) {
            *self = Self::Watched { socket: net::UnixStream::from_std(socket)?, quiet: 0 };
            return Ok(());
        }
        Err(io::ErrorKind::NotConnected.into())
    }

    /// Watches no more for what has had room for a while.
    fn rest(&mut self) -> io::Result<()> {
        if !matches!(self, Self::Watched { quiet: QUIET_WRITES.., .. }) {
            return Ok(());
        }
        if let Self::Watched { socket, .. } = std::mem::replace(self, Self::Lost) {
            *self = Self::Unwatched(socket.into_std()?);
        }
        Ok(())
    }
}

fn send(socket: impl AsFd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match sendmsg(&socket, pieces, &mut SendAncillaryBuffer::default(), flags) {
            Err(rustix::io::Errno::INTR) => {}
            sent => return Ok(sent?),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().reader).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(shutdown(&self.reader, Shutdown::Write)?))
    }
}
