//! A hyper service with its own pages that runs plugins under `/plugins`.
//!
//! Try it: `cargo run -p embed-hyper`, then `curl http://127.0.0.1:3001/plugins/hello-python/json`. It has no access
//! control of its own, so it stays on loopback; authenticate before the `forward` line.

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use toru_core::{Config, PluginService, PluginSupervisor, http::AnswerBody};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let supervisor = PluginSupervisor::builder(Config::new("plugins", "data")).build()?;
    supervisor.initialize().await?;
    let plugins = supervisor.service().at("/plugins");
    let listener = TcpListener::bind("127.0.0.1:3001").await?;
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => TokioIo::new(accepted?.0),
            stop = tokio::signal::ctrl_c() => { stop?; break }
        };
        let plugins = plugins.clone();
        let service = service_fn(move |request| answer(plugins.clone(), request));
        let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(stream, service);
        // Plugins may take WebSockets and other upgrades.
        tokio::spawn(connection.with_upgrades());
    }
    supervisor.shutdown().await;
    Ok(())
}

async fn answer(
    plugins: PluginService,
    request: Request<Incoming>,
) -> Result<Response<Either<AnswerBody, Full<Bytes>>>, Infallible> {
    if request.uri().path().starts_with("/plugins/") {
        return Ok(plugins.forward(request).await.map(Either::Left));
    }
    Ok(Response::new(Either::Right(Full::from("This service existed before its plugins.\n"))))
}
