//! The service and its settings.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use toru_plugin_api::driver::BoxError;

use super::{AnswerBody, trace::RequestIds};
use crate::{config::Config, lanes::Lease, routes::Routes};

/// A tower service for `http::Request<B>`: sends a request to the plugin whose route its path begins with.
///
/// The path is taken relative to the mount: [`at`](Self::at) strips a prefix, [`nested_at`](Self::nested_at) is for a router that has
/// stripped it. The request extensions [`Caller`](super::Caller) and [`Identity`](super::Identity) become headers for the plugin.
///
/// An upgrade, such as to WebSocket, is offered to the plugin where the client's connection can go on after a 101: by hyper's `OnUpgrade` in the
/// request's extensions (a server `with_upgrades`, as `axum::serve` is; both connections are then joined by a task of the current runtime), or by the embedder
/// itself, which says so by [`UpgradeSupport`](super::UpgradeSupport) and takes the [`PluginTunnel`](super::PluginTunnel) from the answer.
///
/// It never fails and is always ready: what goes wrong is an answer in `application/problem+json`. Dropping the future, or the answer's
/// body, cancels the request at the plugin.
#[derive(Debug, Clone)]
pub struct PluginService {
    pub(super) routes: Arc<Routes>,
    /// Which of a plugin's links is used.
    pub(super) lane: Lease,
    /// Removed from the front of each path.
    pub(super) strip: Arc<str>,
    /// What plugins are told as the front of `x-forwarded-prefix`.
    pub(super) mount: Arc<str>,
    pub(super) host_cookies: Arc<[Box<str>]>,
    pub(super) timeout_ms: HeaderValue,
    pub(super) body_idle: std::time::Duration,
    pub(super) ids: Arc<RequestIds>,
}

impl PluginService {
    /// A service over these routes, whose requests use the links of this lane.
    pub(crate) fn new(routes: Arc<Routes>, lane: Lease, config: &Config) -> Self {
        let millis = u64::try_from(config.response_timeout.as_millis()).unwrap_or(u64::MAX);
        Self {
            routes,
            lane,
            strip: "".into(),
            mount: "".into(),
            host_cookies: Arc::new([]),
            timeout_ms: HeaderValue::from(millis),
            body_idle: config.body_idle_timeout,
            ids: Arc::new(RequestIds::new()),
        }
    }

    /// Strips this prefix (such as `/api/plugins/route`) from each path; a path without it is not found.
    #[must_use]
    pub fn at(self, prefix: &str) -> Self {
        let strip = prefix.trim_end_matches('/').into();
        Self { strip, ..self.nested_at(prefix) }
    }

    /// Tells plugins that they are mounted under this prefix, which a router in front has stripped already.
    #[must_use]
    pub fn nested_at(self, prefix: &str) -> Self {
        Self { mount: prefix.trim_end_matches('/').into(), ..self }
    }

    /// Cookies of the embedder's own, by name: removed from requests, and no plugin can set them.
    #[must_use]
    pub fn host_cookies<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { host_cookies: names.into_iter().map(Box::from).collect(), ..self }
    }
}

impl<B> tower_service::Service<Request<B>> for PluginService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// As [`forward`](PluginService::forward), in a box that the hot path of a host can do without.
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.forward(request).await) })
    }
}
