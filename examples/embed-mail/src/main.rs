//! An axum application that sends mail for its plugins: what a plugin may ask of its host is the host's own service.
//!
//! Try it: `cargo build -p embed-mail && cargo run -p embed-mail`, then
//! `curl -d '{"address": "ann@example.org"}' http://127.0.0.1:3004/plugins/newsletter/subscribers`, and look into
//! `embed-mail-example/outbox`. The plugin `newsletter` has no mail server and no password of one; it asks the host.
//!
//! `embed-mail [FOLDER [ADDRESS]]`. It has no access control of its own, so it stays on loopback; add yours as a layer.

mod mail;

use std::{error::Error, fs, path::Path};

use axum::Router;
use tokio::net::TcpListener;
use toru_core::{Config, PluginSupervisor};

/// Where everything is kept unless the command line says otherwise.
const FOLDER: &str = "embed-mail-example";
const ADDRESS: &str = "127.0.0.1:3004";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| FOLDER.to_owned());
    let address = arguments.next().unwrap_or_else(|| ADDRESS.to_owned());
    let folder = Path::new(&folder);
    install_newsletter(&folder.join("plugins"))?;

    let config = Config::new(folder.join("plugins"), folder.join("data"));
    let supervisor = PluginSupervisor::builder(config)
        .host_service(mail::service(folder.join("outbox")).await?)
        .build()?;
    supervisor.initialize().await?;

    let app = Router::new().nest_service("/plugins", supervisor.service().nested_at("/plugins"));
    let listener = TcpListener::bind(&address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(ctrl_c()).await?;
    supervisor.shutdown().await;
    Ok(())
}

/// Puts the example's plugin, which is built beside this program, into the plugins folder.
fn install_newsletter(plugins: &Path) -> Result<(), Box<dyn Error>> {
    let folder = plugins.join("newsletter");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("plugin.toml"), include_str!("../newsletter/plugin.toml"))?;
    let program = std::env::current_exe()?.with_file_name("newsletter");
    fs::copy(&program, folder.join("newsletter")).map_err(|error| {
        format!("{} cannot be installed: {error}; run `cargo build -p embed-mail`", program.display())
    })?;
    Ok(())
}

async fn ctrl_c() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("Ctrl-C cannot be received, stopping: {error}");
    }
}
