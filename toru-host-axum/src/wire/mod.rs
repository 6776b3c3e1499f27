//! A client's bytes, looked at before the HTTP server reads them.
//!
//! hyper is lenient where RFC 9112 allows it: it takes a bare LF as the end of a line, one of two `content-length` fields that agree, and
//! `transfer-encoding` over `content-length`. A front that reads such a message in the other way sees other requests than this host does, and lets
//! through what it should have stopped (request smuggling). Here these are errors, as the RFC allows too: where a message is ambiguous,
//! [`Scan`] puts a NUL, which no parser takes, and ends the client's bytes, so that hyper answers 400, closes, and tells nobody of the request.

mod head_timer;
mod scan;
mod stall;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) use head_timer::HeadTimer;
use scan::{Scan, Seen};
use stall::Stall;

/// A connection whose requests can be read in one way only, and whose client takes the answers that it asked for.
#[derive(Debug)]
pub(crate) struct Strict<IO> {
    io: IO,
    scan: Scan,
    stall: Stall,
    notes: Notes,
}

/// What a connection's bytes and its answers tell each other. One task polls both, so they need no order among others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Noted>);

#[derive(Debug, Default)]
struct Noted {
    offer: AtomicU8,
    has_reached_plugins: AtomicBool,
    write_waits: AtomicBool,
}

/// The states of an upgrade that a client offers, until it is taken or declined. What comes meanwhile may be HTTP or not: it is not looked at.
const NONE: u8 = 0;
const OPEN: u8 = 1;
/// And bytes have come since.
const EARLY: u8 = 2;

impl Notes {
    /// The answer to an offer is no 101. Whether the connection can go on: bytes that came before the answer may belong to the other protocol.
    #[must_use]
    pub(crate) fn decline(&self) -> bool {
        self.0.offer.swap(NONE, Ordering::Relaxed) != EARLY
    }

    /// What is written from now on may be a plugin's answer, which a client may take as slowly as it likes.
    pub(crate) fn reach_plugins(&self) {
        self.0.has_reached_plugins.store(true, Ordering::Relaxed);
    }

    /// Whether a client has yet to take what is before it can be sent more.
    fn write_waits(&self) -> bool {
        self.0.write_waits.load(Ordering::Relaxed)
    }

    fn set_write_waits(&self, waits: bool) {
        self.0.write_waits.store(waits, Ordering::Relaxed);
    }

    fn offer(&self) -> u8 {
        self.0.offer.load(Ordering::Relaxed)
    }

    fn set_offer(&self, state: u8) {
        self.0.offer.store(state, Ordering::Relaxed);
    }

    fn has_reached_plugins(&self) -> bool {
        self.0.has_reached_plugins.load(Ordering::Relaxed)
    }
}

impl<IO> Strict<IO> {
    /// For a server that takes heads of at most this size, and waits so long for a client that takes nothing of its own answers.
    pub(crate) fn new(io: IO, max_head: usize, send_timeout: Duration, notes: Notes) -> Self {
        Self { io, scan: Scan::new(max_head), stall: Stall::new(send_timeout), notes }
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
        if self.notes.offer() != NONE {
            self.notes.set_offer(EARLY);
            return bytes.len();
        }
        match self.scan.feed(bytes) {
            Seen::All => {}
            Seen::Offered { rest: 0 } => self.notes.set_offer(OPEN),
            Seen::Offered { .. } => self.notes.set_offer(EARLY),
            Seen::Refused { kept } => return kept,
        }
        bytes.len()
    }

    /// Notes whether a write waits, and fails one that has waited for too long for a client that only ever got answers of the host's own.
    fn give_up_on_stall(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.notes.set_write_waits(written.is_pending());
        if written.is_ready() || self.notes.has_reached_plugins() {
            self.stall.clear();
            return written;
        }
        ready!(self.stall.poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
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
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.give_up_on_stall(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.give_up_on_stall(cx, written)
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        time::{Instant, timeout},
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn full(notes: &Notes) -> (Strict<DuplexStream>, DuplexStream) {
        let (io, client) = tokio::io::duplex(1);
        (Strict::new(io, 1_024, LIMIT, notes.clone()), client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_byte_in_time_is_waited_for_and_then_no_longer() {
        let (mut strict, mut client) = full(&Notes::default());
        let reads = async {
            for _ in 0..3 {
                tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
                client.read_u8().await.unwrap();
            }
            std::future::pending::<()>().await
        };
        let begin = Instant::now();
        let written = tokio::select! {
            written = strict.write_all(b"answer") => written,
            () = reads => unreachable!(),
        };
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed().as_secs(), 3 * 29 + 30);
    }

    #[tokio::test(start_paused = true)]
    async fn once_a_plugin_was_asked_a_client_may_take_as_long_as_it_likes() {
        let notes = Notes::default();
        let (mut strict, _client) = full(&notes);
        notes.reach_plugins();
        assert!(timeout(1_000 * LIMIT, strict.write_all(b"answer")).await.is_err());
    }
}
