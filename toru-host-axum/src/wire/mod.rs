//! A client's bytes, looked at before the HTTP server reads them.
//!
//! hyper is lenient where RFC 9112 allows it: it takes a bare LF as the end of a line, one of two `content-length` fields that agree, and
//! `transfer-encoding` over `content-length`. A front that reads such a message in the other way sees other requests than this host does, and lets
//! through what it should have stopped (request smuggling). Here these are errors, as the RFC allows too: where a message is ambiguous,
//! [`Scan`] puts a NUL, which no parser takes, and ends the client's bytes, so that hyper answers 400, closes, and tells nobody of the request.

mod scan;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use scan::{Scan, Seen};

/// A connection whose requests can be read in one way only.
#[derive(Debug)]
pub(crate) struct Strict<IO> {
    io: IO,
    scan: Scan,
    offer: UpgradeOffer,
}

/// An upgrade that a client offers, until it is taken or declined. What comes meanwhile may be HTTP or not: it is not looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct UpgradeOffer(Arc<AtomicU8>);

/// The states of an [`UpgradeOffer`]. The connection and its answers are polled by one task, so they need no order among others.
const NONE: u8 = 0;
const OPEN: u8 = 1;
/// And bytes have come since.
const EARLY: u8 = 2;

impl UpgradeOffer {
    /// The answer is no 101. Whether the connection can go on: bytes that came before the answer may belong to the other protocol.
    #[must_use]
    pub(crate) fn decline(&self) -> bool {
        self.0.swap(NONE, Ordering::Relaxed) != EARLY
    }
}

impl<IO> Strict<IO> {
    /// For a server that takes heads of at most this size.
    pub(crate) fn new(io: IO, max_head: usize, offer: UpgradeOffer) -> Self {
        Self { io, scan: Scan::new(max_head), offer }
    }

    /// The connection by itself, for another protocol.
    pub(crate) fn into_inner(self) -> IO {
        self.io
    }

    /// Looks at what was read; how many bytes of it count.
    fn look_at(&mut self, bytes: &mut [u8]) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        if self.offer.0.load(Ordering::Relaxed) != NONE {
            self.offer.0.store(EARLY, Ordering::Relaxed);
            return bytes.len();
        }
        match self.scan.feed(bytes) {
            Seen::All => {}
            Seen::Offered { rest: 0 } => self.offer.0.store(OPEN, Ordering::Relaxed),
            Seen::Offered { .. } => self.offer.0.store(EARLY, Ordering::Relaxed),
            Seen::Refused { kept } => return kept,
        }
        bytes.len()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Strict<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.scan.has_refused() {
            // For who reads, this is the end.
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let kept = self.look_at(&mut buffer.filled_mut()[before..]);
        buffer.set_filled(before + kept);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Strict<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
