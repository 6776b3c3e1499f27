//! The servers among the rivals, which the benchmark starts as processes of its own program.

mod app;
mod embedded;
#[cfg(feature = "rivals")]
mod grpc;
mod proxy;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::Subcommand;
use tokio::net::TcpListener;

use crate::Outcome;

#[derive(Subcommand)]
pub(crate) enum Server {
    /// The application.
    App {
        /// The Unix socket that it listens on; without one a port of the loopback.
        #[arg(long)]
        unix: Option<PathBuf>,
        /// Serving threads.
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
    /// A reverse proxy to the application.
    Proxy {
        /// The application's socket.
        #[arg(long)]
        to: PathBuf,
    },
    /// An axum server that embeds toru-core.
    Embedded {
        #[arg(long)]
        plugins: PathBuf,
        #[arg(long)]
        data: PathBuf,
    },
    /// The plugin of `kv`.
    KvPlugin,
    /// A plugin that speaks gRPC.
    #[cfg(feature = "rivals")]
    GrpcPlugin {
        #[arg(long)]
        unix: PathBuf,
    },
    /// The host of a plugin that speaks gRPC.
    #[cfg(feature = "rivals")]
    GrpcHost {
        /// The plugin's socket.
        #[arg(long)]
        to: PathBuf,
    },
}

pub(crate) fn run(server: Server) -> Outcome<()> {
    match server {
        Server::App { unix: Some(path), threads } => on_threads(threads, app::serve_unix(&path)),
        Server::App { unix: None, threads } => on_threads(threads, app::serve_tcp()),
        Server::Proxy { to } => on_threads(1, proxy::serve(&to)),
        Server::Embedded { plugins, data } => embedded::serve(plugins, data),
        Server::KvPlugin => crate::kv::serve_plugin(),
        #[cfg(feature = "rivals")]
        Server::GrpcPlugin { unix } => on_threads(1, grpc::serve_plugin(&unix)),
        #[cfg(feature = "rivals")]
        Server::GrpcHost { to } => on_threads(1, grpc::serve_host(&to)),
    }
}

/// One serving thread is a runtime on the current one: a runtime for several costs more.
fn on_threads(threads: usize, serve: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    let runtime = match threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        _ => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
    };
    runtime.block_on(serve)
}

/// Listens on a free port of the loopback, and says on which.
async fn listen() -> Outcome<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(listener)
}
