//! After a 101: the plugin's end, and how it is joined to the client's connection.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
};
use toru_plugin_api::driver::Tunnel;

/// What is read of a client at once: little while little comes, since each idle connection holds so much.
const MIN_READ: usize = 2 << 10;
/// And at most: a DATA frame while others wait for their turn.
const MAX_READ: usize = 64 << 10;

/// The plugin's end of an upgraded connection: raw bytes both ways, with half-close, close and back-pressure. Dropped before it is
/// joined, or while it is, it cuts the plugin's connection.
#[derive(Debug)]
pub struct PluginTunnel(Tunnel);

/// An upgraded connection did not end in order.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelError {
    /// The client's connection failed; the plugin has been told.
    #[error("the client's connection failed")]
    Client(#[source] io::Error),
    /// The plugin cut the connection, or has gone. The client's is to be cut (by a reset, where it is TCP), so that what came does not look whole.
    #[error("the plugin cut the connection")]
    Plugin,
}

/// Where a 101 carries the plugin's end. Extensions have to be cloneable, which a connection is not.
#[derive(Clone)]
struct Carried(Arc<Mutex<Option<PluginTunnel>>>);

impl PluginTunnel {
    pub(super) fn new(tunnel: Tunnel) -> Self {
        Self(tunnel)
    }

    pub(super) fn leave_in<B>(self, response: &mut Response<B>) {
        response.extensions_mut().insert(Carried(Arc::new(Mutex::new(Some(self)))));
    }

    /// Takes the plugin's end out of a 101, once: for embedders that have set [`UpgradeSupport`](super::UpgradeSupport).
    pub fn take<B>(response: &mut Response<B>) -> Option<Self> {
        let carried = response.extensions_mut().remove::<Carried>()?;
        // Nothing panics while it is held.
        carried.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The plugin's end by itself.
    #[must_use]
    pub fn into_inner(self) -> Tunnel {
        self.0
    }

    /// Joins it to the connection that hyper gives once the client has the 101. A client's TCP connection is reset when the plugin has cut its own.
    ///
    /// Resolves when both directions have ended. Dropping the future cuts both connections.
    ///
    /// # Errors
    /// One side was cut, or the client had gone before it was told.
    pub async fn carry(self, client: OnUpgrade) -> Result<(), TunnelError> {
        let upgraded = client.await.map_err(|error| TunnelError::Client(io::Error::other(error)))?;
        match tcp(upgraded) {
            Ok((mut client, early)) => {
                let ended = self.join(&mut client, early).await;
                if matches!(ended, Err(TunnelError::Plugin)) {
                    // Should it fail, the client sees an end: there is no other way to tell it more.
                    let _ = client.set_zero_linger();
                }
                ended
            }
            Err(upgraded) => self.join(&mut TokioIo::new(upgraded), Bytes::new()).await,
        }
    }

    /// Copies both ways until both directions have ended: an end of one side ends that direction at the other. `early`: what was read of
    /// the client behind its head. At most one read of the client and one chunk of the plugin are held. The client's connection is left open.
    ///
    /// Dropping the future cuts the plugin's connection.
    ///
    /// # Errors
    /// One side was cut; so is the plugin's then, and the client's is the caller's to cut.
    pub async fn join<IO>(self, client: &mut IO, early: Bytes) -> Result<(), TunnelError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut joint = Joint {
            tunnel: self.0,
            client,
            up: Up { early, buffer: BytesMut::new(), read_size: MIN_READ, is_done: false },
            down: Down { chunk: Bytes::new(), owes_flush: false, phase: Phase::Open },
        };
        poll_fn(|cx| joint.poll(cx)).await
    }
}

/// The client's socket, where it is TCP, and what was read of it already: of hyper's own server, and of the one that looks for HTTP/2
/// first, as `axum::serve` does.
fn tcp(upgraded: Upgraded) -> Result<(TcpStream, Bytes), Upgraded> {
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => Ok((parts.io.into_inner(), parts.read_buf)),
        Err(upgraded) => auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded)
            .map(|parts| (parts.io.into_inner(), parts.read_buf)),
    }
}

/// Two connections that are one.
struct Joint<'io, IO> {
    tunnel: Tunnel,
    client: &'io mut IO,
    up: Up,
    down: Down,
}

/// From the client to the plugin.
struct Up {
    early: Bytes,
    buffer: BytesMut,
    /// What is read next: doubled by a read that filled it, halved by one that used little of it.
    read_size: usize,
    is_done: bool,
}

/// From the plugin to the client.
struct Down {
    chunk: Bytes,
    owes_flush: bool,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The plugin sends no more, and the client is to be told.
    Ending,
    Done,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Joint<'_, IO> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TunnelError>> {
        let down = self.poll_down(cx)?;
        let up = self.poll_up(cx).map_err(TunnelError::Client)?;
        if down.is_ready() && up.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.up.is_done {
            if ready!(self.tunnel.poll_ready(cx)).is_err() {
                // The plugin wants no more; whether that is in order is seen in the other direction.
                self.up.is_done = true;
                break;
            }
            if !self.up.early.is_empty() {
                self.tunnel.send_chunk(std::mem::take(&mut self.up.early));
                continue;
            }
            let chunk = ready!(self.up.poll_read(self.client, cx))?;
            if chunk.is_empty() {
                self.tunnel.finish();
                self.up.is_done = true;
            } else {
                self.tunnel.send_chunk(chunk);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TunnelError>> {
        loop {
            match self.down.phase {
                Phase::Done => return Poll::Ready(Ok(())),
                Phase::Ending => {
                    ready!(Pin::new(&mut *self.client).poll_shutdown(cx)).map_err(TunnelError::Client)?;
                    self.down.phase = Phase::Done;
                }
                Phase::Open if self.down.chunk.is_empty() => match self.tunnel.poll_chunk(cx) {
                    Poll::Ready(Ok(Some(chunk))) => self.down.chunk = chunk,
                    Poll::Ready(Ok(None)) => self.down.phase = Phase::Ending,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(TunnelError::Plugin)),
                    Poll::Pending => {
                        ready!(self.down.poll_flush(self.client, cx)).map_err(TunnelError::Client)?;
                        return Poll::Pending;
                    }
                },
                Phase::Open => match self.down.poll_write(self.client, cx) {
                    Poll::Ready(written) => written.map_err(TunnelError::Client)?,
                    // A client that does not read has to learn of the cut too.
                    Poll::Pending => return self.tunnel.poll_cut(cx).map(|()| Err(TunnelError::Plugin)),
                },
            }
        }
    }
}

impl Up {
    /// The next bytes of the client; none: it sends no more.
    fn poll_read<IO>(&mut self, client: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>>
    where
        IO: AsyncRead + Unpin,
    {
        if self.buffer.capacity() < MIN_READ {
            self.buffer.reserve(self.read_size);
        }
        let space = self.buffer.capacity();
        let Poll::Ready(read) = pin!(client.read_buf(&mut self.buffer)).poll(cx) else {
            // Most connections are idle most of the time: none keeps the block that a large message took.
            if space > MIN_READ {
                self.buffer = BytesMut::new();
                self.read_size = (self.read_size / 2).max(MIN_READ);
            }
            return Poll::Pending;
        };
        let read = read?;
        self.read_size = match read {
            _ if read == space => self.read_size * 2,
            _ if read < self.read_size / 4 => self.read_size / 2,
            _ => self.read_size,
        }
        .clamp(MIN_READ, MAX_READ);
        Poll::Ready(Ok(self.buffer.split().freeze()))
    }
}

impl Down {
    fn poll_write<IO>(&mut self, client: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        IO: AsyncWrite + Unpin,
    {
        let written = ready!(Pin::new(client).poll_write(cx, &self.chunk))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.chunk.advance(written);
        self.owes_flush = true;
        Poll::Ready(Ok(()))
    }

    fn poll_flush<IO>(&mut self, client: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        IO: AsyncWrite + Unpin,
    {
        if self.owes_flush {
            ready!(Pin::new(client).poll_flush(cx))?;
            self.owes_flush = false;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn an_idle_client_keeps_no_more_than_the_least_read() {
        let (mut far, mut client) = tokio::io::duplex(2 * MAX_READ);
        let mut up = Up { early: Bytes::new(), buffer: BytesMut::new(), read_size: MIN_READ, is_done: false };
        far.write_all(&vec![1; 2 * MAX_READ]).await.unwrap();
        let mut read = 0;
        while read < 2 * MAX_READ {
            read += poll_fn(|cx| up.poll_read(&mut client, cx)).await.unwrap().len();
        }
        assert!(up.read_size > 2 * MIN_READ, "large reads are for who sends much");
        for _ in 0..10 {
            assert!(poll_fn(|cx| Poll::Ready(up.poll_read(&mut client, cx).is_pending())).await);
            assert!(up.buffer.capacity() <= MIN_READ);
        }
    }
}
