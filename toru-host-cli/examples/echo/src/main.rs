//! A web app with a WebSocket, as a plugin: the one of the documents.

use axum::{Router, extract::ws::WebSocketUpgrade, routing::get};
use toru_plugin_api::{PluginMetadata, ServeError, serve_service};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    let echo = async |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async |mut socket| {
            while let Some(Ok(message)) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        })
    };
    let metadata =
        PluginMetadata::from_manifest(include_str!("../plugin.toml")).expect("plugin.toml is valid");
    serve_service(metadata, Router::new().route("/ws", get(echo))).await
}
