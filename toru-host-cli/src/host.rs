//! What `serve` and `dev` share: a host from its start to its end.

use std::{
    io::{self, IsTerminal},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use tokio::sync::oneshot;
use toru_core::{MAX_LANES, PluginSupervisor};
use toru_host_axum::{AdminToken, Server};

use crate::{
    args::Listen,
    descriptors,
    failure::Failure,
    signals::Signals,
    speak::{say, tell},
};

/// Where the operator's own admin token comes from.
pub(crate) const TOKEN_VARIABLE: &str = "TORU_ADMIN_TOKEN";

/// A host that listens but does not serve yet.
pub(crate) struct Host {
    pub(crate) server: Server,
    pub(crate) supervisor: Arc<PluginSupervisor>,
    token_file: Option<PathBuf>,
}

impl Host {
    /// Listens. The supervisor holds the data folder already, so two hosts never make a token at once.
    pub(crate) async fn listen(
        supervisor: PluginSupervisor,
        data: &Path,
        listen: &Listen,
    ) -> Result<Self, Failure> {
        descriptors::make_room();
        let (token, token_file) = admin_token(data)?;
        let supervisor = Arc::new(supervisor);
        let threads = listen.threads.unwrap_or_else(one_for_each_core);
        let mut builder = Server::builder(supervisor.clone(), token).threads(threads);
        for host in &listen.allowed_hosts {
            builder = builder.allow_host(host.clone());
        }
        for network in &listen.trusted_proxies {
            builder = builder.trusted_proxy(*network);
        }
        let server = builder.bind(&*listen.address).await.map_err(Failure::new)?;
        if !server.local_addr().ip().is_loopback() {
            tell(format_args!(
                "toru: warning: {} can be reached by other machines, and without TLS the admin token crosses the network readable; put a TLS proxy in front",
                server.local_addr()
            ));
        }
        Ok(Self { server, supervisor, token_file })
    }

    /// Starts the plugins, serves until a signal, then drains and stops all. `announce` runs as soon as connections
    /// are accepted, beside the server.
    pub(crate) async fn run<A>(
        self,
        mut signals: Signals,
        announce: impl FnOnce(Announcement) -> A,
    ) -> Result<(), Failure>
    where
        A: Future<Output = ()>,
    {
        let announcement = Announcement {
            base: self.server.base_url(),
            login_url: self.server.login_url(),
            token_file: self.token_file,
            supervisor: self.supervisor.clone(),
        };
        let (begin_stop, stop) = oneshot::channel::<()>();
        let server = self.server;
        let life = async {
            self.supervisor.initialize().await.map_err(Failure::new)?;
            say(format_args!("listening on {}", announcement.base));
            let stopped = async {
                // An error means that the sender is gone, which is a reason to stop as well.
                let _ = stop.await;
            };
            let served = server.run_then(stopped, self.supervisor.shutdown());
            let announced = announce(announcement);
            tokio::pin!(served);
            tokio::select! {
                () = &mut served => {}
                () = announced => served.await,
            }
            Ok(())
        };
        let two_signals = async {
            signals.next().await;
            tracing::info!("stopping; a second signal ends at once");
            // Without a receiver the host is past serving already.
            let _ = begin_stop.send(());
            signals.next().await;
        };
        tokio::select! {
            ended = life => ended,
            () = two_signals => Err(Failure::interrupted()),
        }
    }
}

/// What can be told once the host accepts connections.
pub(crate) struct Announcement {
    pub(crate) base: String,
    pub(crate) login_url: String,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) supervisor: Arc<PluginSupervisor>,
}

impl Announcement {
    /// Tells a person how to enter; where nobody reads along, only where the token is, because logs are kept.
    pub(crate) fn tell_how_to_enter(&self) {
        if io::stderr().is_terminal() {
            tell(format_args!("enter by {}", self.login_url));
        } else {
            match &self.token_file {
                Some(file) => tell(format_args!("the admin token is in {}", file.display())),
                None => tell(format_args!("the admin token is the one of {TOKEN_VARIABLE}")),
            }
        }
    }
}

/// As many threads as this process may run on at once, within what there may be.
fn one_for_each_core() -> NonZeroUsize {
    let most = NonZeroUsize::new(MAX_LANES).expect("it is no zero");
    // Where the system does not tell, one is always right.
    thread::available_parallelism().map_or(NonZeroUsize::MIN, |cores| cores.min(most))
}

fn admin_token(data: &Path) -> Result<(AdminToken, Option<PathBuf>), Failure> {
    let Some(text) = std::env::var_os(TOKEN_VARIABLE) else {
        let token = AdminToken::load_or_create(data).map_err(Failure::new)?;
        return Ok((token, Some(AdminToken::file(data))));
    };
    let token =
        text.to_str().ok_or_else(|| Failure::new(format!("{TOKEN_VARIABLE} is not UTF-8"))).and_then(
            |text| AdminToken::new(text).map_err(|error| Failure::new(format!("{TOKEN_VARIABLE}: {error}"))),
        )?;
    if token.is_short() {
        tell(format_args!(
            "toru: warning: the admin token of {TOKEN_VARIABLE} is short enough to be guessed"
        ));
    }
    Ok((token, None))
}
