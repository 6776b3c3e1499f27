//! The socket of a link.

use std::{
    io::{self, IoSlice},
    os::{fd::AsFd, unix::net::UnixStream},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg, shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::unix::pipe::{Receiver, Sender},
};

/// A connected Unix stream socket, which is watched for room to write only while it is full.
///
/// A Unix socket says that there is room each time its peer has read something. `tokio::net::UnixStream` is watched for
/// that as long as it lives, so each message wakes the thread that sent it once more, for nothing: with one message
/// under way at a time that is one wake-up of two.
#[derive(Debug)]
pub struct Socket {
    /// No pipe: this is tokio's one type that reads any descriptor and is watched for nothing else.
    reader: Receiver,
    /// While it is full: the same socket by another number, watched for room.
    full: Option<Sender>,
}

impl Socket {
    /// Registers a connected socket with the current runtime.
    ///
    /// # Errors
    /// The runtime takes no more descriptors, or the socket cannot be made not to block.
    ///
    /// # Panics
    /// There is no current runtime, or it has no I/O driver.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { reader: Receiver::from_owned_fd_unchecked(socket.into())?, full: None })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            if let Some(full) = &mut self.full {
                let sent = ready!(Pin::new(full).poll_write_vectored(cx, pieces));
                self.full = None;
                return Poll::Ready(sent);
            }
            match send(&self.reader, pieces) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let again = self.reader.as_fd().try_clone_to_owned()?;
                    self.full = Some(Sender::from_owned_fd_unchecked(again)?);
                }
                sent => return Poll::Ready(sent),
            }
        }
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
