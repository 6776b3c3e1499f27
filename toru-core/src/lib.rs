//! Supervised plugins for any Rust service.

#[cfg(not(target_os = "linux"))]
compile_error!("Toru supports Linux only so far: it needs process groups, pidfds and inherited sockets.");

pub mod config;
pub mod discovery;
pub mod event;
pub mod http;
pub mod instance;
pub mod link;
pub mod log;
pub mod process;
mod routes;
pub mod store;
pub mod supervisor;

pub use config::Config;
pub use http::PluginService;
pub use supervisor::{PluginSupervisor, RestartPolicy, RestartPolicyError, RestartSettings};
pub use toru_plugin_api as api;
