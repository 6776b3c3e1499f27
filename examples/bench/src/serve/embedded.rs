//! toru-core inside an axum application on a multi-thread runtime, as in `examples/embed-axum`.

use std::path::PathBuf;

use axum::Router;
use toru_core::{Config, PluginSupervisor};

use super::listen;
use crate::Outcome;

pub(super) fn serve(plugins: PathBuf, data: PathBuf) -> Outcome<()> {
    // As `#[tokio::main]` makes it.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let supervisor = PluginSupervisor::builder(Config::new(plugins, data)).build()?;
        supervisor.initialize().await?;
        let app = Router::new().nest_service("/plugins", supervisor.service().nested_at("/plugins"));
        Ok(axum::serve(listen().await?, app).await?)
    })
}
