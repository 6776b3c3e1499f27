//! Upgrades, such as to WebSocket.
//!
//! Web frameworks take an upgraded connection from hyper's [`OnUpgrade`], which only hyper can make. So for a request that offers an upgrade,
//! and for no other, a small hyper server reads a fixed head from a [`Wire`], and its `OnUpgrade` goes into the request. When the service
//! answers 101, the server answers it too, into the void, and the wire that hyper gives away then is the tunnel itself: no task, and no pipe between.

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    rt::ReadBufCursor,
    server::conn::http1,
    service::service_fn,
    upgrade::{OnUpgrade, Parts},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Body, HttpRequest, HttpResponse};
use crate::driver::{Responder, Tunnel};

/// What the small server reads: all that makes an `OnUpgrade` of it.
const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: toru\r\nconnection: upgrade\r\nupgrade: toru\r\n\r\n";
/// How the head ends that it writes.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// An upgrade that a request offers, until the answer is there.
pub(super) struct Offer {
    server: Pin<Box<dyn Future<Output = ()> + Send>>,
    desk: Arc<Desk>,
}

/// Where both ends of the small server leave things for each other.
#[derive(Default)]
struct Desk {
    on_upgrade: Mutex<Option<OnUpgrade>>,
    tunnel: Mutex<Option<Tunnel>>,
}

impl Offer {
    /// Puts hyper's `OnUpgrade` into the extensions of a request that offers an upgrade.
    pub(super) fn made_to(request: &mut http::Request<Body>) -> Self {
        let desk = Arc::new(Desk::default());
        let wire = Wire { desk: desk.clone(), state: State::Head(HEAD) };
        let answers = desk.clone();
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            *lock(&answers.on_upgrade) = request.extensions_mut().remove();
            switch_when_taken(answers.clone())
        });
        let server = http1::Builder::new().serve_connection(wire, service).with_upgrades();
        let mut offer = Self {
            // How it ends is seen at the tunnel: whoever waits for an upgrade that does not come is told by hyper.
            server: Box::pin(async move { drop(server.await) }),
            desk,
        };
        offer.run();
        let on_upgrade = lock(&offer.desk.on_upgrade).take();
        request
            .extensions_mut()
            .insert(on_upgrade.expect("hyper has read a whole head that offers an upgrade"));
        offer
    }

    /// Answers 101, and gives the tunnel to whoever waits for the upgrade. When the client has gone, that is told.
    pub(super) async fn accept(mut self, responder: Responder, headers: http::HeaderMap) {
        if let Some(tunnel) = responder.upgrade(headers).await {
            *lock(&self.desk.tunnel) = Some(tunnel);
            self.run();
        }
    }

    /// Everything that the small server waits for is there when this is called, so it needs no task.
    fn run(&mut self) {
        let _ = self.server.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}

/// The answer of the small server, once there is a tunnel.
async fn switch_when_taken(desk: Arc<Desk>) -> Result<http::Response<Empty<Bytes>>, Infallible> {
    poll_fn(|_| if lock(&desk.tunnel).is_some() { Poll::Ready(()) } else { Poll::Pending }).await;
    let mut response = http::Response::new(Empty::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    Ok(response)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the small server speaks HTTP over, and then the tunnel.
struct Wire {
    desk: Arc<Desk>,
    state: State,
}

enum State {
    /// What is left of the request's head. The answer's head is written to nobody.
    Head(&'static [u8]),
    /// Both heads are done.
    Open(Tunnel),
    /// Dropped.
    Closed,
}

impl Wire {
    /// At most so many bytes; none: the host sends no more.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        match &mut self.state {
            // After the head nobody is to be woken: what follows is polled when the answer is there.
            State::Head([]) => Poll::Pending,
            State::Head(head) => {
                let (taken, rest) = head.split_at(most.min(head.len()));
                *head = rest;
                Poll::Ready(Ok(Bytes::from_static(taken)))
            }
            State::Open(tunnel) => tunnel.poll_bytes(cx, most),
            State::Closed => Poll::Ready(Ok(Bytes::new())),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Head(_) => {
                if bytes.ends_with(HEAD_END) {
                    self.state = lock(&self.desk.tunnel).take().map_or(State::Closed, State::Open);
                }
                Poll::Ready(Ok(bytes.len()))
            }
            State::Open(tunnel) => Pin::new(tunnel).poll_write(cx, bytes),
            State::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// hyper does this to a connection that is not upgraded, and the application to one that is.
    fn finish(&mut self) {
        if let State::Open(tunnel) = &mut self.state {
            tunnel.finish();
        }
    }
}

impl Drop for Wire {
    /// As of a socket: what was written arrives. A panic cuts it.
    fn drop(&mut self) {
        if let State::Open(tunnel) = std::mem::replace(&mut self.state, State::Closed) {
            if !std::thread::panicking() {
                tunnel.close();
            }
        }
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = ready!(self.get_mut().poll_bytes(cx, buf.remaining()))?;
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().finish();
        Poll::Ready(Ok(()))
    }
}

impl HttpRequest {
    /// The upgrade that the client offers, to the protocol that the header `upgrade` names; once. `None`: it offers none.
    ///
    /// It is taken by answering with [`HttpResponse::switching_protocols`], and refused by any other answer. So it is awaited in a task of its
    /// own, which outlives the handler:
    ///
    /// ```
    /// use tokio::io::copy;
    /// use toru_plugin_api::{HttpRequest, HttpResponse};
    ///
    /// fn echo(mut request: HttpRequest) -> HttpResponse {
    ///     let Some(upgrade) = request.upgrade() else {
    ///         return HttpResponse::text("Ask for an upgrade to `echo`.").with_status(http::StatusCode::UPGRADE_REQUIRED);
    ///     };
    ///     tokio::spawn(async move {
    ///         let (mut read, mut write) = tokio::io::split(upgrade.await?);
    ///         copy(&mut read, &mut write).await
    ///     });
    ///     HttpResponse::switching_protocols("echo")
    /// }
    /// ```
    pub fn upgrade(&mut self) -> Option<Upgrade> {
        self.extensions_mut().remove().map(Upgrade)
    }
}

impl HttpResponse {
    /// 101: takes the upgrade that a request offers. `protocol` is one that the request's `upgrade` names.
    ///
    /// # Panics
    /// `protocol` cannot be a header's value.
    #[must_use]
    pub fn switching_protocols(protocol: &'static str) -> Self {
        Self::new(StatusCode::SWITCHING_PROTOCOLS, ())
            .with_header(header::CONNECTION, HeaderValue::from_static("upgrade"))
            .with_header(header::UPGRADE, HeaderValue::from_static(protocol))
    }
}

/// Resolves once the upgrade was taken and the client is told.
#[derive(Debug)]
#[must_use = "the connection is had by awaiting this"]
pub struct Upgrade(OnUpgrade);

impl Future for Upgrade {
    type Output = io::Result<Upgraded>;

    /// Fails with `ConnectionAborted` when the answer was no 101, or the client has gone.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let upgraded = ready!(Pin::new(&mut self.0).poll(cx)).map_err(|_| not_upgraded())?;
        let Parts { io, read_buf, .. } = upgraded.downcast::<Wire>().map_err(|_| not_upgraded())?;
        Poll::Ready(Ok(Upgraded { early: read_buf, wire: io }))
    }
}

fn not_upgraded() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, NotUpgraded)
}

/// There was no upgrade after all.
#[derive(Debug)]
struct NotUpgraded;

impl fmt::Display for NotUpgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer was no 101, or the client has gone")
    }
}

impl Error for NotUpgraded {}

/// A client's connection after an upgrade: raw bytes both ways.
///
/// `shutdown` ends this side's direction, and the client's is still read. Dropped, it is closed as a socket is: what was written
/// arrives, and what the client sends on is not wanted. Dropped by a panic, it is cut, so that what arrived does not look whole. A client that is cut off, or
/// a host that goes, makes reads fail with `ConnectionReset` and writes with `BrokenPipe`. No timer applies.
pub struct Upgraded {
    /// What hyper had read.
    early: Bytes,
    wire: Wire,
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let most = buf.remaining();
        if most == 0 {
            return Poll::Ready(Ok(()));
        }
        let bytes = match this.early.len() {
            0 => ready!(this.wire.poll_bytes(cx, most))?,
            early => this.early.split_to(early.min(most)),
        };
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.poll_send(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.finish();
        Poll::Ready(Ok(()))
    }
}
