//! Supervised plugins for any Rust service.
//!
//! A plugin is a program in any language that speaks a small protocol over a socket. This library starts it in a process of
//! its own, forwards HTTP to it, keeps its values, captures its output, sees it crash and brings it back. A plugin can
//! crash, hang, leak or flood: the service that embeds this goes on.
//!
//! ```no_run
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Empty;
//! use toru_core::{Config, PluginSupervisor};
//!
//! # async fn embed() -> Result<(), Box<dyn std::error::Error>> {
//! // Inside the tokio runtime that is to drive the plugins' sockets.
//! let supervisor = PluginSupervisor::builder(Config::new("plugins", "data")).build()?;
//! supervisor.initialize().await?;
//!
//! // A tower service, for your router; authenticate before it.
//! let plugins = supervisor.service().at("/plugins");
//! let request = Request::get("/plugins/hello/json?pretty").body(Empty::<Bytes>::new())?;
//! let answer = plugins.forward(request).await;
//! println!("{}", answer.status());
//!
//! for plugin in supervisor.list() {
//!     println!("{}: {:?}", plugin.id, plugin.state);
//! }
//! supervisor.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Bird's-eye view
//!
//! ```text
//!   your router ──▶ http ──▶ routes ──▶ link ──▶ socket ──▶ plugin
//!                              ▲          │                   ▲
//!   list, enable, … ──▶ supervisor        ├──▶ store          │
//!                        one task per     ├──▶ log            │
//!                        plugin ──────────┴──▶ event          │
//!                           └──▶ discovery, process ──────────┘
//! ```
//!
//! | to | see |
//! |---|---|
//! | run plugins, list, enable and disable them | [`PluginSupervisor`] |
//! | set folders, times and bounds | [`Config`], [`RestartPolicy`] |
//! | forward requests, and say who asks | [`PluginService`], [`http::Identity`], [`http::Caller`] |
//! | keep values, events or the enabled state elsewhere | [`store`], [`supervisor::Builder`] |
//! | serve the files of plugins' frontends | [`PluginSupervisor::frontend`] |
//! | be told what happens to plugins | [`event::EventHook`] |
//! | read what plugins have logged | [`PluginSupervisor::logs`], [`log`] |
//! | speak the protocol, or write a plugin | [`api`] |
//!
//! # What holds
//!
//! - A request waits behind no start, no stop and no other plugin: it reads a snapshot of the routes and goes.
//! - One task owns a plugin's process and state. What it decides is a pure step function, tested in simulated time.
//! - Everything is bounded: a bound is a constant with its reason in [`config`], and passing it has one outcome.
//! - A broken plugin is listed with the reason; it is never just absent.
//! - The library speaks through `tracing` alone; it installs no subscriber, no signal handler and no runtime.

#[cfg(not(target_os = "linux"))]
compile_error!("Toru supports Linux only so far: it needs process groups, pidfds and inherited sockets.");

pub mod config;
pub mod discovery;
pub mod event;
mod file_identity;
pub mod frontend;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod instance;
mod lanes;
mod link;
pub mod log;
/// For the tests that need a process of their own; no part of the promise of this crate.
#[doc(hidden)]
pub mod process;
mod routes;
pub mod store;
pub mod supervisor;

pub use config::Config;
pub use http::PluginService;
pub use lanes::MAX_LANES;
pub use supervisor::{PluginSupervisor, RestartPolicy, RestartPolicyError, RestartSettings, SupervisorError};
pub use toru_plugin_api as api;
