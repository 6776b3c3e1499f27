//! Binding, serving and the end.
//!
//! | file | what |
//! |---|---|
//! | `listen.rs` | the sockets: one, or one for each thread |
//! | `acceptor.rs` | one listener and its connections, on one runtime |
//! | `threads.rs` | threads, each with such a runtime |
//! | `places.rs` | how many connections there may be, over all of them |
//! | `refusals.rs` | what is told of those that are too many |

mod acceptor;
mod listen;
mod places;
mod refusals;
mod threads;

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    pin::pin,
    sync::Arc,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{
    net::{TcpListener, ToSocketAddrs},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use toru_core::{MAX_LANES, PluginService, PluginSupervisor, config::SHUTDOWN_GRACE, http::Identity};

use crate::{
    access::{Access, AdminToken, AllowedHosts, HostName, ProxyNetwork, SESSION_COOKIE, TrustedProxies},
    app::{self, App},
    front::Front,
    limits::Limits,
};
use acceptor::{Acceptor, Course, Stage};
use places::Places;
use threads::ServingThread;

/// What a query's value escapes: all but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Prepares a [`Server`].
#[derive(Debug)]
#[must_use]
pub struct ServerBuilder {
    supervisor: Arc<PluginSupervisor>,
    token: AdminToken,
    allowed_hosts: AllowedHosts,
    proxies: TrustedProxies,
    limits: Limits,
    threads: Option<NonZeroUsize>,
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
    /// Answers for one more name. Without it a host answers for the address that
    /// it is reached at, and on loopback for `localhost`, `127.0.0.1` and `[::1]`; for other names it answers 421.
    pub fn allow_host(mut self, host: HostName) -> Self {
        self.allowed_hosts.add(host);
        self
    }

    /// Takes the word of proxies at these addresses on their clients: `x-forwarded-for`, `x-forwarded-proto`, `x-forwarded-host` and
    /// `x-forwarded-prefix`. From all others these fields are dropped. Whoever has one of these addresses can claim to be any client, so name
    /// the proxy's own and no more.
    pub fn trusted_proxy(mut self, network: ProxyNetwork) -> Self {
        self.proxies.add(network);
        self
    }

    /// Takes these bounds.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves on so many threads of the server's own, each with a current-thread runtime, a listener and a link to each plugin, so
    /// that a request wakes no other thread: the fastest way. What is neither a connection nor a link stays on the
    /// supervisor's runtime. Without it the server runs on the runtime that [`Server::run`] is called on, and shares the
    /// supervisor's links: the way for a service that has a multi-thread runtime anyway.
    ///
    /// At most [`MAX_LANES`]. Plugins that run already have no links for the threads before they are started again, so
    /// [`bind`](Self::bind) before [`PluginSupervisor::initialize`].
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Listens on `address`, `127.0.0.1:0` for example (port 0: any that is free). Connections wait until
    /// [`Server::run`].
    ///
    /// # Errors
    /// The address cannot be resolved or had, or the system cannot give the threads.
    pub async fn bind(self, address: impl ToSocketAddrs + std::fmt::Display) -> Result<Server, BindError> {
        let name = address.to_string();
        self.try_bind(address).await.map_err(|source| BindError { address: name, source })
    }

    async fn try_bind(self, address: impl ToSocketAddrs) -> io::Result<Server> {
        let threads = self.threads.map(NonZeroUsize::get);
        if threads.is_some_and(|threads| threads > MAX_LANES) {
            let what = format!("there may be at most {MAX_LANES} threads");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let (mut listeners, local) = listen::listen(address, threads.unwrap_or(1)).await?;
        let limits = Arc::new(self.limits);
        let app = Arc::new(App::new(self.supervisor.clone(), Access::new(self.token), limits.body_timeout));
        let router = app::router(app.clone());
        let admin = Identity::new("admin", ["admin"]).expect("the names are printable ASCII");
        let (allowed_hosts, proxies) = (Arc::new(self.allowed_hosts), Arc::new(self.proxies));
        let places = Places::new(&limits);
        let acceptor = |listener: TcpListener, plugins: PluginService| {
            let front = Front {
                router: router.clone(),
                plugins: plugins.at(app::PLUGIN_MOUNT).host_cookies([SESSION_COOKIE]),
                app: app.clone(),
                admin: admin.clone(),
                allowed_hosts: allowed_hosts.clone(),
                proxies: proxies.clone(),
                uri_bytes: limits.uri_bytes,
            };
            let (limits, places) = (limits.clone(), places.clone());
            Acceptor { listener, local, front: Arc::new(front), limits, places }
        };
        let serving = match threads {
            None => {
                let listener = TcpListener::from_std(listeners.remove(0))?;
                Serving::Here(Box::new(acceptor(listener, self.supervisor.service())))
            }
            Some(_) => {
                let start = |(number, listener)| {
                    let make = |listener| acceptor(listener, self.supervisor.lane());
                    ServingThread::start(number, listener, make)
                };
                Serving::OnThreads((1..).zip(listeners).map(start).collect::<io::Result<_>>()?)
            }
        };
        Ok(Server { serving, local, app, limits })
    }
}

/// A host that listens. Speaks HTTP/1.1; TLS and HTTP/2 belong to a proxy in front of it.
pub struct Server {
    serving: Serving,
    local: SocketAddr,
    app: Arc<App>,
    limits: Arc<Limits>,
}

/// Who accepts and serves.
enum Serving {
    /// The runtime that the server is run on.
    Here(Box<Acceptor>),
    /// Threads of its own.
    OnThreads(Vec<ServingThread>),
}

impl Serving {
    async fn run(self, course: Course) {
        match self {
            Self::Here(acceptor) => acceptor.run(course).await,
            Self::OnThreads(threads) => {
                let mut all: JoinSet<_> =
                    threads.into_iter().map(|thread| thread.begin(course.clone())).collect();
                drop(course);
                while let Some(ended) = all.join_next().await {
                    if !matches!(ended, Ok(Ok(()))) {
                        tracing::error!("a thread that serves has failed, which is a bug of Toru");
                    }
                }
            }
        }
    }
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
        ServerBuilder {
            supervisor,
            token,
            allowed_hosts: AllowedHosts::default(),
            proxies: TrustedProxies::default(),
            limits: Limits::default(),
            threads: None,
        }
    }

    /// Where it listens, with the port that it was given. For clients there is [`base_url`](Self::base_url).
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The address by which a program on this machine reaches it, without a slash at its end: where it listens on all addresses (`0.0.0.0`, `[::]`),
    /// which are no name of a host, the one of loopback.
    #[must_use]
    pub fn base_url(&self) -> String {
        let ip = match self.local.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, self.local.port()))
    }

    /// The link by which a browser enters. It holds the admin token: show it to the operator only.
    #[must_use]
    pub fn login_url(&self) -> String {
        let token = utf8_percent_encode(self.app.access.token().reveal(), RESERVED);
        format!("{}/login?token={token}", self.base_url())
    }

    /// Serves until `shutdown` resolves, then accepts no more, lets open requests and upgraded connections finish for [`Limits::drain`], cuts
    /// what is left, and resolves. Idle connections close at once. Does not stop the supervisor.
    ///
    /// Dropping the future cuts all connections.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        self.run_then(shutdown, async {}).await;
    }

    /// As [`run`](Self::run), and awaits `last` too, from when no request is open any more, and at the latest from [`SHUTDOWN_GRACE`] before the
    /// drain is over (of a shorter drain, from its begin). Connections may still be open then: so with [`PluginSupervisor::shutdown`] as `last` the plugins are
    /// told while they can still end in order what would not end by itself, and an open WebSocket does not hold the end for the whole drain.
    ///
    /// Dropping the future cuts all connections.
    pub async fn run_then(self, shutdown: impl Future<Output = ()>, last: impl Future<Output = ()>) {
        let (stage, staged) = watch::channel(Stage::Serving);
        let (requests, open) = watch::channel(());
        let alone = self.limits.drain.saturating_sub(SHUTDOWN_GRACE);
        let mut served = pin!(self.serving.run(Course { stage: staged, requests: open }));
        self.app.set_accepts(true);
        let ended = tokio::select! {
            () = shutdown => false,
            () = &mut served => true,
        };
        self.app.set_accepts(false);
        stage.send_replace(Stage::Draining);
        let last = async {
            // An answer that has no end of its own is a request that stays open: past this its plugin could not end it in order.
            let _ = timeout(alone, requests.closed()).await;
            last.await;
        };
        if ended {
            last.await;
        } else {
            tokio::join!(served, last);
        }
    }
}
