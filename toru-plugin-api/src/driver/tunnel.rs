//! What an upgraded stream is: raw bytes both ways.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    body::{RecvError, read},
    pump,
    shared::{SendState, Stream, now},
};
use crate::frame::ResetCode;

/// The most bytes that one write copies: a DATA frame while other streams wait for their turn.
const MAX_WRITE: usize = 64 << 10;

/// Raw bytes both ways, after an upgrade was taken: [`AsyncRead`] and [`AsyncWrite`], and beside them chunks without a copy.
///
/// | on this side | at the peer |
/// |---|---|
/// | `shutdown` (a half-close; what the peer sends is still read) | end of stream |
/// | [`close`](Self::close), or dropped after `shutdown` | end of stream; its writes fail |
/// | dropped before `shutdown`, [`reset`](Self::reset), or the link ends | reads and writes fail |
///
/// What is not read stays within the window of the stream and one chunk; one chunk that was written waits here, and a further one
/// is taken when that is on its way. No timer applies.
#[derive(Debug)]
pub struct Tunnel {
    stream: Stream,
    /// Taken from the link, and not yet by who reads.
    chunk: Bytes,
    reads: Reads,
    /// This side sends no more.
    is_finished: bool,
}

/// How far the peer's direction is for who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Open,
    Ended,
    Failed,
}

impl Tunnel {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, chunk: Bytes::new(), reads: Reads::Open, is_finished: false }
    }

    /// The next bytes as they arrived, never empty; `None`: the peer sends no more.
    ///
    /// # Errors
    /// `ConnectionReset`: the peer has cut the stream, or the link has ended.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if !self.chunk.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.chunk))));
        }
        match self.reads {
            Reads::Open => {}
            Reads::Ended => return Poll::Ready(Ok(None)),
            Reads::Failed => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
        Poll::Ready(match ready!(read(&self.stream, cx)) {
            Some(Ok(bytes)) => Ok(Some(bytes)),
            Some(Err(error)) => Err(self.failed(error)),
            None => {
                self.reads = Reads::Ended;
                Ok(None)
            }
        })
    }

    /// As [`poll_chunk`](Self::poll_chunk), but at most so many bytes; none: the peer sends no more.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        let Some(mut chunk) = ready!(self.poll_chunk(cx))? else { return Poll::Ready(Ok(Bytes::new())) };
        let taken = chunk.split_to(chunk.len().min(most));
        self.chunk = chunk;
        Poll::Ready(Ok(taken))
    }

    fn failed(&mut self, error: RecvError) -> io::Error {
        self.reads = Reads::Failed;
        io::Error::new(io::ErrorKind::ConnectionReset, error)
    }

    /// Ready when the next chunk may be sent: the one before it is on its way.
    ///
    /// # Errors
    /// `BrokenPipe`: nothing is sent any more, because the peer does not want it, the stream is cut, or this side has shut down.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_finished {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match self.stream.shared.lock().poll_send(self.stream.key, cx) {
            SendState::Ready => Poll::Ready(Ok(())),
            SendState::Queued => Poll::Pending,
            SendState::Over => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Sends a chunk without copying it. To be called when [`poll_ready`](Self::poll_ready) has said so: each call before that holds
    /// one more chunk in memory. Of a stream that is over the chunk is dropped.
    pub fn send_chunk(&mut self, chunk: Bytes) {
        if !self.is_finished && !chunk.is_empty() {
            pump::send(&self.stream, chunk, false);
        }
    }

    /// Sends the end of this direction after what was written; what the peer sends is still read.
    pub fn finish(&mut self) {
        if !std::mem::replace(&mut self.is_finished, true) {
            pump::finish(&self.stream);
        }
    }

    /// Ready when the peer has cut the stream or the link has ended before the peer's direction has: what was not read is gone. It tells
    /// who cannot read just now, because the bytes that it has are not taken from it. One task at a time is woken.
    pub fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.reads == Reads::Ended {
            return Poll::Pending;
        }
        self.stream.shared.lock().poll_cut(self.stream.key, cx)
    }

    /// Cuts both directions; what was written and is not on its way yet is dropped.
    pub fn reset(mut self, code: ResetCode) {
        self.stream.reset(code);
        (self.is_finished, self.reads) = (true, Reads::Failed);
    }

    /// Ends both directions: what was written arrives, then the end; what the peer sends on is not wanted.
    pub fn close(mut self) {
        self.finish();
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if self.is_finished && self.reads != Reads::Open {
            return;
        }
        let (key, is_finished) = (self.stream.key, self.is_finished);
        self.stream.shared.command(|state| {
            if !is_finished {
                state.reset(key, ResetCode::CANCELLED);
            } else if state.is_live(key) {
                state.connection.hang_up(key.id, now());
            }
        });
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() > 0 {
            buf.put_slice(&ready!(self.get_mut().poll_bytes(cx, buf.remaining()))?);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_ready(cx))?;
        let taken = bytes.len().min(MAX_WRITE);
        this.send_chunk(Bytes::copy_from_slice(&bytes[..taken]));
        Poll::Ready(Ok(taken))
    }

    /// What was written leaves by itself, as credit allows.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().finish();
        Poll::Ready(Ok(()))
    }
}
