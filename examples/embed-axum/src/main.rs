//! An axum application that runs plugins under `/plugins`.
//!
//! Try it: `cargo run -p embed-axum`, then `curl http://127.0.0.1:3002/plugins/hello-python/json`. It has no access
//! control of its own, so it stays on loopback; add yours as a layer.
//!
//! Its runtime has several threads, so it takes `service()`: they share one link to each plugin. A host with a current-thread
//! runtime for each thread takes `lane()` on each of them instead, before `initialize()`.

use std::error::Error;

use axum::{Json, Router, extract::State, routing::get};
use tokio::net::TcpListener;
use toru_core::{Config, PluginSupervisor, supervisor::PluginStatus};

type Shared = std::sync::Arc<PluginSupervisor>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let supervisor = Shared::new(PluginSupervisor::builder(Config::new("plugins", "data")).build()?);
    supervisor.initialize().await?;
    let app = Router::new()
        .route("/", get(|| async { "This application existed before its plugins.\n" }))
        .route("/status", get(status))
        .nest_service("/plugins", supervisor.service().nested_at("/plugins"))
        .with_state(supervisor.clone());
    let listener = TcpListener::bind("127.0.0.1:3002").await?;
    axum::serve(listener, app).with_graceful_shutdown(ctrl_c()).await?;
    supervisor.shutdown().await;
    Ok(())
}

async fn status(State(supervisor): State<Shared>) -> Json<Vec<PluginStatus>> {
    Json(supervisor.list())
}

async fn ctrl_c() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("Ctrl-C cannot be received, stopping: {error}");
    }
}
