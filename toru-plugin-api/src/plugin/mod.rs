//! The SDK: a plugin in ten lines.
//!
//! | for | take |
//! |---|---|
//! | a plugin written for Toru | [`ToruPlugin`] and [`serve`] |
//! | a web app that exists: an axum `Router` or any tower service | [`serve_service`] |
//! | WebSockets and other upgrades: the framework's own in a tower service; else | [`HttpRequest::upgrade`] |
//! | a test of either, without a host or a socket | [`testing::TestHost`] |
//!
//! One engine drives both. It reads and writes the link in one task, runs a handler where the request came in
//! until it first waits, and then as a task of its own; it drops the handler when the client goes away. A
//! current-thread runtime takes about half the CPU of a multi-thread one.

mod body;
mod caller;
mod context;
mod engine;
mod error;
mod host;
mod http;
mod kv;
mod links;
mod listen;
mod mount;
mod process;
pub mod testing;
mod upgrade;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::http::uri::PathAndQuery;
use serde_json::Map;
use tower_service::Service;

pub use self::http::{HttpRequest, HttpResponse};
pub use crate::message::kv::KvOp;
pub use body::{Body, BodySender, BodyUnwanted, DEFAULT_BODY_LIMIT};
pub use caller::Caller;
pub use context::PluginContext;
pub use error::{PluginError, PluginResult, ServeError};
pub use host::{HostClient, HostError};
pub use kv::{KvBatch, KvKeys, KvPage, PluginKvStore};
pub use upgrade::{Upgrade, Upgraded};

use crate::{
    driver::BoxError,
    message::{kv::KvAnswer, log::Level},
    metadata::PluginMetadata,
};
use engine::Hooks;
use mount::Mounted;

/// A plugin.
///
/// All methods take `&self` and run side by side. A handler is dropped at its next `await` when the client goes away.
#[async_trait::async_trait]
pub trait ToruPlugin: Send + Sync + 'static {
    /// What it says of itself; printed for `--metadata`. `PluginMetadata::from_manifest(include_str!("../plugin.toml"))` states it
    /// once.
    fn metadata(&self) -> PluginMetadata;

    /// Runs before the first request; the store is there already. The start timeout of the host (10 s) bounds it.
    ///
    /// # Errors
    /// The plugin refuses to run: the operator reads why, and it is not started again by itself.
    async fn init(&self, context: &PluginContext) -> PluginResult<()> {
        let _ = context;
        Ok(())
    }

    /// Answers a request.
    ///
    /// # Errors
    /// Becomes an answer with [`PluginError::status`] and [`PluginError::client_text`]; the log has the details.
    async fn handle_http(&self, context: &PluginContext, request: HttpRequest) -> PluginResult<HttpResponse>;

    /// Answers a KV operation that the host asks of the plugin. The default passes it on to the plugin's store.
    ///
    /// # Errors
    /// The operation failed; a [`PluginError::Kv`] goes back as it is.
    async fn handle_kv(&self, context: &PluginContext, op: KvOp) -> PluginResult<KvAnswer> {
        Ok(context.kv().call(op.into()).await?)
    }
}

/// Serves a plugin until the host ends it.
///
/// It owns the process: `--metadata` prints the metadata and exits with 0; without a host it says what to do and exits with 2;
/// and when the host dies, so that nobody could stop this plugin any more, it kills its own process group.
///
/// It adopts the socket that the host passed on, or listens where `TORU_PLUGIN_SOCKET` says (`transport = "path"`). A developer
/// who starts it by hand with that variable alone can have it attached by `toru dev --attach`: it then serves one host, of the same
/// user, returns when that has gone, and kills nothing.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve<P: ToruPlugin>(plugin: P) -> Result<(), ServeError> {
    let plugin = Arc::new(plugin);
    let metadata = plugin.metadata();
    process::serve(&metadata, PluginService::of(plugin.clone()), PluginHooks(plugin)).await
}

/// Serves any tower service (such as an axum `Router`) as a plugin until the host ends it.
///
/// A clone of the service answers each request; a [`PluginContext`] and the [`Caller`] are in the request's extensions. The service sees the
/// paths behind the plugin's mount, as if it stood alone, and what its answers say of its own paths is put under the mount:
/// `Location`, `Content-Location`, `Refresh`, and the `Path` of cookies (`docs/HTTP.md` has the table). A [`ToruPlugin`] knows that it is mounted,
/// so [`serve`] changes nothing of its answers. The process is treated as by [`serve`].
///
/// # Errors
/// See [`ServeError`].
pub async fn serve_service<S, B>(metadata: PluginMetadata, service: S) -> Result<(), ServeError>
where
    S: Service<::http::Request<Body>, Response = ::http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    process::serve(&metadata, |context| Mounted::new(service, context), NoHooks).await
}

/// The hooks of a service that has none.
#[derive(Debug)]
struct NoHooks;

impl Hooks for NoHooks {
    async fn init(&self, _: &PluginContext) -> PluginResult<()> {
        Ok(())
    }

    async fn kv(&self, context: &PluginContext, op: KvOp) -> PluginResult<KvAnswer> {
        Ok(context.kv().call(op.into()).await?)
    }
}

/// The hooks of a [`ToruPlugin`].
struct PluginHooks<P>(Arc<P>);

impl<P: ToruPlugin> Hooks for PluginHooks<P> {
    async fn init(&self, context: &PluginContext) -> PluginResult<()> {
        self.0.init(context).await
    }

    async fn kv(&self, context: &PluginContext, op: KvOp) -> PluginResult<KvAnswer> {
        self.0.handle_kv(context, op).await
    }
}

/// A [`ToruPlugin`] as a service.
struct PluginService<P>(Arc<Served<P>>);

/// A plugin, and what it knows of its place.
struct Served<P> {
    plugin: Arc<P>,
    context: PluginContext,
}

impl<P> PluginService<P> {
    fn of(plugin: Arc<P>) -> impl FnOnce(PluginContext) -> Self {
        |context| Self(Arc::new(Served { plugin, context }))
    }
}

impl<P> Clone for PluginService<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: ToruPlugin> Service<::http::Request<Body>> for PluginService<P> {
    type Response = ::http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ::http::Request<Body>) -> Self::Future {
        let served = self.0.clone();
        Box::pin(async move {
            let Served { plugin, context } = &*served;
            let path = request.uri().path_and_query().cloned();
            match plugin.handle_http(context, request.into()).await {
                Ok(response) => Ok(response.into_inner()),
                Err(error) => {
                    let path = path.as_ref().map_or("", PathAndQuery::path);
                    Ok(answer_failure(context, path, &error))
                }
            }
        })
    }
}

/// What a client gets for a failed handler; the host's log gets what it must not see.
fn answer_failure(context: &PluginContext, path: &str, error: &PluginError) -> ::http::Response<Body> {
    let status = error.status();
    if status.is_server_error() {
        let fields = Map::from_iter([
            ("path".to_owned(), path.into()),
            ("status".to_owned(), status.as_u16().into()),
            ("error".to_owned(), error::with_sources(error).into()),
        ]);
        context.log_with(Level::Error, "a handler failed", fields);
    }
    HttpResponse::text(error.client_text()).with_status(status).into_inner()
}
