//! The wire protocol of Toru and the SDK for plugins written in Rust.
//!
//! A whole plugin:
//!
//! ```no_run
//! use toru_plugin_api::{HttpRequest, HttpResponse, PluginContext, PluginMetadata, PluginResult};
//! use toru_plugin_api::{ServeError, ToruPlugin, async_trait, serve};
//!
//! struct Hello;
//!
//! #[async_trait]
//! impl ToruPlugin for Hello {
//!     fn metadata(&self) -> PluginMetadata {
//!         PluginMetadata::new("hello", "Hello", "1.0.0", "/hello").expect("these keep the rules")
//!     }
//!     async fn handle_http(&self, _: &PluginContext, _: HttpRequest) -> PluginResult<HttpResponse> {
//!         Ok(HttpResponse::text("Hello!"))
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), ServeError> {
//!     serve(Hello).await
//! }
//! ```
//!
//! | module | what is there | needs |
//! |---|---|---|
//! | [`metadata`] | `plugin.toml`: parsed once, valid ever after | nothing |
//! | [`frame`] | bytes to frames and back | nothing |
//! | [`message`] | the JSON messages of both protocol versions | nothing |
//! | [`proto`] | [`proto::Connection`]: streams, credit, timers; no I/O and no clock | nothing |
//! | [`driver`] | a `Connection` over a tokio socket | feature `driver` |
//! | [`plugin`] | [`ToruPlugin`], [`serve`], [`serve_service`] | feature `plugin` (default) |

#[cfg(not(target_os = "linux"))]
compile_error!("Toru supports Linux only so far: it adopts inherited sockets and signals process groups.");

pub mod frame;
pub mod message;
pub mod metadata;
pub mod proto;

#[cfg(feature = "driver")]
pub mod driver;
#[cfg(feature = "plugin")]
pub mod plugin;
#[cfg(feature = "plugin")]
mod sys;

#[cfg(feature = "plugin")]
pub use async_trait::async_trait;
/// The types of requests and answers, in the version that this crate uses.
pub use http;
pub use message::v1::{LifecycleInitPayload, Message, MessagePayload, PluginProtocol};
#[cfg(feature = "plugin")]
pub use message::{kv::KvAnswer, log::Level};
pub use metadata::{Manifest, PluginMetadata};
#[cfg(feature = "plugin")]
pub use plugin::testing;
#[cfg(feature = "plugin")]
pub use plugin::{
    Body, BodySender, Caller, HostClient, HostError, HttpRequest, HttpResponse, KvBatch, KvKeys, KvOp,
    KvPage, PluginContext, PluginError, PluginKvStore, PluginResult, ServeError, ToruPlugin, Upgrade,
    Upgraded, serve, serve_service,
};
