//! One listener, and the connections that it has accepted, on one runtime.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use super::{
    places::{Places, Taken},
    refusals::Refusals,
};
use crate::{
    front::{Connection, Front},
    limits::Limits,
    wire::{HeadTimer, Strict},
};

/// What hyper may hold of one connection in each direction: a head, and some chunks of a body. Its own default is 400 KiB.
const CONNECTION_BUFFER: usize = 64 << 10;
/// After a failed accept that is not one client's fault (no descriptors left), so that it is not tried in a loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The whole answer to a connection that is one too many; it fits any socket's buffer.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How far a server is. When the sender is dropped, what is left is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Serving,
    /// No more connections; open requests finish.
    Draining,
}

/// What an acceptor hears of the server's end, and tells for its part.
#[derive(Debug, Clone)]
pub(super) struct Course {
    pub(super) stage: watch::Receiver<Stage>,
    /// Held until no request is open any more.
    pub(super) requests: watch::Receiver<()>,
}

/// Accepts connections and serves them, all on the runtime that it is run on.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) local: SocketAddr,
    pub(super) front: Arc<Front>,
    pub(super) limits: Arc<Limits>,
    pub(super) places: Arc<Places>,
}

impl Acceptor {
    /// Serves until the stage changes, and then lets open requests finish for [`Limits::drain`].
    pub(super) async fn run(self, course: Course) {
        let Course { mut stage, requests } = course;
        let mut connections = JoinSet::new();
        let mut refusals = Refusals::default();
        // Told on this runtime alone: connections of other threads have no part in its lock.
        let (drain, draining) = watch::channel(());
        loop {
            let accepted = tokio::select! {
                () = is_over(&mut stage) => break,
                accepted = self.listener.accept() => accepted,
            };
            reap(&mut connections);
            match accepted {
                Ok((stream, peer)) => match self.places.take() {
                    Some(taken) => self.admit(stream, peer, taken, &mut connections, &draining),
                    None => {
                        if let Some(refused) = refusals.note() {
                            tracing::warn!(%peer, refused, open = self.limits.connections, "too many connections");
                        }
                        turn_away(stream);
                    }
                },
                Err(error) if is_of_one_client(&error) => {
                    tracing::debug!(%error, "a client was gone before it was accepted")
                }
                Err(error) => {
                    tracing::error!(%error, "no connection can be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop((self.listener, draining));
        drain.send_replace(());
        let finish = async {
            // A connection listens until it has ended or is upgraded.
            drain.closed().await;
            drop(requests);
            while connections.join_next().await.is_some() {}
        };
        tokio::select! {
            () = finish => return,
            () = sleep(self.limits.drain) => {
                tracing::warn!(connections = connections.len(), "cutting the connections that have not finished");
            }
            () = is_abandoned(&mut stage) => {}
        }
        connections.shutdown().await;
    }

    fn admit(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        taken: Taken,
        connections: &mut JoinSet<()>,
        draining: &watch::Receiver<()>,
    ) {
        let local = stream.local_addr().unwrap_or(self.local);
        let connection = Arc::new(Connection::new(self.front.clone(), local, peer, taken.place));
        let served = serve(stream, connection, self.limits.clone(), draining.clone());
        connections.spawn(async move {
            served.await;
            drop(taken);
        });
    }
}

/// Resolves when no more connections are to be accepted.
async fn is_over(stage: &mut watch::Receiver<Stage>) {
    // An error says that the server was dropped.
    let _ = stage.wait_for(|stage| *stage != Stage::Serving).await;
}

/// Resolves when nobody waits for the end any more.
async fn is_abandoned(stage: &mut watch::Receiver<Stage>) {
    while stage.changed().await.is_ok() {}
}

/// Answers a connection that is one too many. Best effort: a client that cannot be told at once is not waited for.
fn turn_away(stream: TcpStream) {
    // Straight to the socket: its buffer is empty, but the runtime does not know yet that it may be written.
    let told = stream.into_std().and_then(|mut socket| io::Write::write(&mut socket, FULL));
    if let Err(error) = told {
        tracing::debug!(%error, "a client was turned away without an answer");
    }
}

/// Forgets the connections that have ended.
fn reap(connections: &mut JoinSet<()>) {
    while let Some(ended) = connections.try_join_next() {
        if let Err(error) = ended {
            tracing::error!(%error, "a connection's task failed");
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn serve(
    stream: TcpStream,
    connection: Arc<Connection>,
    limits: Arc<Limits>,
    mut draining: watch::Receiver<()>,
) {
    // An answer is written whole, so waiting for more to send would only delay it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
    let stream = Strict::new(stream, limits.head_bytes, limits.send_timeout, connection.notes());
    let requests = connection.clone();
    let service = service_fn(move |request| {
        let connection = requests.clone();
        async move { Ok::<_, std::convert::Infallible>(connection.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    // A hundred headers is hyper's own limit; to state it would cost an allocation per request.
    http.timer(HeadTimer::new(limits.head_timeout, connection.notes()))
        .header_read_timeout(limits.head_timeout)
        .max_header_size(limits.head_bytes)
        .max_buf_size(CONNECTION_BUFFER.max(limits.head_bytes));
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        ended = &mut served => ended,
        _ = draining.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    match ended {
        // Still the same connection: it counts as open, and is cut at the end of the drain.
        Ok(()) => {
            drop(draining);
            connection.carry_on().await;
        }
        Err(error) => tracing::debug!(%error, "a connection ended"),
    }
}
