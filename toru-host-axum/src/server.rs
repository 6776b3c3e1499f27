//! Binding, accepting, timeouts and the end.

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use toru_core::{PluginSupervisor, http::Identity};

use crate::{
    access::{Access, AdminToken, AllowedHosts, SESSION_COOKIE},
    app::{self, App},
    front::{Connection, Front, Place},
    limits::Limits,
    wire::Strict,
};

/// What hyper may hold of one connection in each direction: a head, and some chunks of a body. Its own default is 400 KiB.
const CONNECTION_BUFFER: usize = 64 << 10;
/// After a failed accept that is not one client's fault (no descriptors left), so that it is not tried in a loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The whole answer to a connection that is one too many; it fits any socket's buffer.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What a query's value escapes: all but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Prepares a [`Server`].
#[derive(Debug)]
#[must_use]
pub struct ServerBuilder {
    supervisor: Arc<PluginSupervisor>,
    token: AdminToken,
    allowed_hosts: AllowedHosts,
    limits: Limits,
}

/// The host could not listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", explain(.source))]
pub struct BindError {
    /// Where.
    pub address: String,
    /// Why.
    pub source: io::Error,
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there; stop it or choose another address".into(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; choose a higher one".into(),
        _ => error.to_string(),
    }
}

impl ServerBuilder {
    /// Answers for one more name: `name` with any port, or `name:port`. Without it a host answers for the address that
    /// it is reached at, and on loopback for `localhost`, `127.0.0.1` and `[::1]`; for other names it answers 421.
    pub fn allow_host(mut self, host: &str) -> Self {
        self.allowed_hosts.add(host);
        self
    }

    /// Takes these bounds.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Listens on `address`, `127.0.0.1:0` for example (port 0: any that is free). Connections wait until
    /// [`Server::run`].
    ///
    /// # Errors
    /// The address cannot be resolved or had.
    pub async fn bind(self, address: impl ToSocketAddrs + std::fmt::Display) -> Result<Server, BindError> {
        let name = address.to_string();
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let local = listener.local_addr()?;
            Ok((listener, local))
        };
        let (listener, local) = bound.await.map_err(|source| BindError { address: name, source })?;
        let access = Access::new(self.token);
        let plugins = self.supervisor.service().at(app::PLUGIN_MOUNT).host_cookies([SESSION_COOKIE]);
        let app = Arc::new(App::new(self.supervisor, access, self.limits.body_timeout));
        let front = Arc::new(Front {
            router: app::router(app.clone()),
            plugins,
            app,
            admin: Identity::new("admin", ["admin"]).expect("the names are printable ASCII"),
            allowed_hosts: self.allowed_hosts,
            uri_bytes: self.limits.uri_bytes,
        });
        Ok(Server { listener, local, front, limits: self.limits })
    }
}

/// A host that listens. Speaks HTTP/1.1; TLS and HTTP/2 belong to a proxy in front of it.
pub struct Server {
    listener: TcpListener,
    local: SocketAddr,
    front: Arc<Front>,
    limits: Limits,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("local", &self.local)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server for this supervisor's plugins, opened by this token.
    pub fn builder(supervisor: Arc<PluginSupervisor>, token: AdminToken) -> ServerBuilder {
        ServerBuilder { supervisor, token, allowed_hosts: AllowedHosts::default(), limits: Limits::default() }
    }

    /// Where it listens, with the port that it was given.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The link by which a browser enters. It holds the admin token: show it to the operator only.
    #[must_use]
    pub fn login_url(&self) -> String {
        let token = utf8_percent_encode(self.front.app.access.token().reveal(), RESERVED);
        format!("http://{}/login?token={token}", self.local)
    }

    /// Serves until `shutdown` resolves, then accepts no more, lets open requests finish for [`Limits::drain`], cuts
    /// what is left, and resolves. Idle connections close at once. Does not stop the supervisor.
    ///
    /// Dropping the future cuts all connections.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut connections = JoinSet::new();
        let (drain, draining) = watch::channel(());
        self.front.app.set_accepts(true);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = self.listener.accept() => accepted,
            };
            reap(&mut connections);
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, &mut connections, &draining),
                Err(error) if is_of_one_client(&error) => {
                    tracing::debug!(%error, "a client was gone before it was accepted")
                }
                Err(error) => {
                    tracing::error!(%error, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        self.front.app.set_accepts(false);
        drop(self.listener);
        drop(draining);
        drop(drain);
        let drained = timeout(self.limits.drain, async { while connections.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!(connections = connections.len(), "cutting the connections that have not finished");
            connections.shutdown().await;
        }
    }

    fn admit(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        connections: &mut JoinSet<()>,
        draining: &watch::Receiver<()>,
    ) {
        let open = connections.len();
        if open >= self.limits.connections {
            tracing::warn!(%peer, open, "too many connections");
            turn_away(stream);
            return;
        }
        let common = self.limits.connections.saturating_sub(self.limits.reserved_connections);
        let place = if open < common { Place::Common } else { Place::Reserved };
        let local = stream.local_addr().unwrap_or(self.local);
        let connection = Arc::new(Connection::new(self.front.clone(), local, peer, place));
        connections.spawn(serve(stream, connection, self.limits.clone(), draining.clone()));
    }
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
    limits: Limits,
    mut draining: watch::Receiver<()>,
) {
    // An answer is written whole, so waiting for more to send would only delay it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
    let stream = Strict::new(stream, connection.upgrade_offer());
    let requests = connection.clone();
    let service = service_fn(move |request| {
        let connection = requests.clone();
        async move { Ok::<_, std::convert::Infallible>(connection.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    // A hundred headers is hyper's own limit; to state it would cost an allocation per request.
    http.timer(TokioTimer::new())
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
        Ok(()) => connection.carry_on().await,
        Err(error) => tracing::debug!(%error, "a connection ended"),
    }
}
