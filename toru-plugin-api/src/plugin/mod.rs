//! The SDK: a plugin in ten lines.

use crate::metadata::PluginMetadata;

pub mod testing {
    //! A plugin in memory, against a host side.
}

/// A body of a request or an answer.
#[derive(Debug)]
pub struct Body {}
/// A request.
#[derive(Debug)]
pub struct HttpRequest {}
/// An answer.
#[derive(Debug)]
pub struct HttpResponse {}
/// A KV operation that the host asks of the plugin.
#[derive(Debug)]
pub enum KvOp {}
/// What a plugin knows of its place.
#[derive(Debug, Clone)]
pub struct PluginContext {}
/// Why a handler failed.
#[derive(Debug)]
pub struct PluginError {}
/// The store of a plugin, on its host.
#[derive(Debug, Clone)]
pub struct PluginKvStore {}
/// What a handler gives.
pub type PluginResult<T> = Result<T, PluginError>;
/// Why a plugin could not serve.
#[derive(Debug)]
pub struct ServeError {}

/// A plugin.
#[async_trait::async_trait]
pub trait ToruPlugin: Send + Sync + 'static {
    /// What it says of itself.
    fn metadata(&self) -> PluginMetadata;
}

/// Serves a plugin until the host ends it.
///
/// # Errors
/// See [`ServeError`].
#[allow(clippy::todo, clippy::unused_async)]
pub async fn serve<P: ToruPlugin>(plugin: P) -> Result<(), ServeError> {
    let _ = plugin;
    todo!("sdk")
}

/// Serves any tower service as a plugin until the host ends it.
///
/// # Errors
/// See [`ServeError`].
#[allow(clippy::todo, clippy::unused_async)]
pub async fn serve_service<S>(metadata: PluginMetadata, service: S) -> Result<(), ServeError> {
    let _ = (metadata, service);
    todo!("sdk")
}
