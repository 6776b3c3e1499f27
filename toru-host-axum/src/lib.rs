//! The reference HTTP host of Toru: a REST API over a [`PluginSupervisor`](toru_core::PluginSupervisor), its plugins' routes, access control and a
//! page that lists the plugins.
//!
//! ```text
//!  connection ─▶ server (limits, timeouts, drain) ─▶ front (authority, credentials, origin)
//!                                                      ├─ /api/plugins/route/… ─▶ PluginService ─▶ plugin
//!                                                      └─ anything else ─▶ app (axum router) ─▶ api, page
//! ```
//!
//! [`Server`] binds and serves; it prints nothing, reads no environment and speaks through `tracing`. On one runtime, or on threads of its
//! own ([`ServerBuilder::threads`]), each with a listener and a link to each plugin.
//!
//! ```no_run
//! use std::sync::Arc;
//! use toru_core::{Config, PluginSupervisor};
//! use toru_host_axum::{AdminToken, Server};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let supervisor = Arc::new(PluginSupervisor::builder(Config::new("plugins", "data")).build()?);
//! let token = AdminToken::load_or_create("data".as_ref())?;
//! let server = Server::builder(supervisor.clone(), token).bind("127.0.0.1:0").await?;
//! supervisor.initialize().await?;
//! println!("listening on http://{}", server.local_addr());
//! server.run_then(async { /* until this resolves */ }, supervisor.shutdown()).await;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod access;
mod api;
mod app;
mod front;
mod limits;
mod linger;
mod page;
mod problem;
mod server;
mod upload;
mod wire;

pub use access::{AdminToken, HostName, HostNameError, NetworkError, ProxyNetwork, TokenError};
pub use limits::Limits;
pub use server::{BindError, Server, ServerBuilder};
