//! Serves the app: as a plugin where a host has started this program, else on an address of its own.

use std::{env, error::Error};

use toru_plugin_api::{PluginMetadata, serve_service};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = todo_axum::app();
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [option, address] = &arguments[..]
        && option == "--listen"
    {
        let listener = tokio::net::TcpListener::bind(address).await?;
        println!("listening on http://{}", listener.local_addr()?);
        axum::serve(listener, app).await?;
        return Ok(());
    }
    if env::var_os("TORU_PLUGIN_FD").is_none() && arguments.is_empty() {
        eprintln!("to run it alone: todo-axum --listen 127.0.0.1:8080");
    }
    let metadata = PluginMetadata::from_manifest(include_str!("../plugin.toml"))?;
    serve_service(metadata, app).await?;
    Ok(())
}
