//! The first look at every request: is it for this host, may it enter, does it go to a plugin?
//!
//! A plain hyper service, because plugin routes are the hot path and a router before them costs more than they do.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body as OwnBody, response::IntoResponse};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Either};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tokio::time::timeout;
use toru_core::{
    PluginService,
    http::{AnswerBody, Caller, Identity, PluginTunnel, UpgradeSupport},
};
use tower_service::Service;

use crate::{
    access::{AllowedHosts, Credential, check_origin, strip},
    app::{self, App},
    page,
    problem::{Kind, Problem},
};

/// What is read on of a body after its request was refused: what a client has sent before it can see the answer.
const LINGER_BYTES: usize = 1 << 20;
/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// What all connections share.
pub(crate) struct Front {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
    pub(crate) plugins: PluginService,
    /// What plugins are told of who asks: there is one account so far.
    pub(crate) admin: Identity,
    pub(crate) allowed_hosts: AllowedHosts,
    pub(crate) uri_bytes: usize,
}

/// Which connections a connection is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Open to all requests.
    Common,
    /// One of the last, kept for administration.
    Reserved,
}

/// One connection, as its requests see it.
pub(crate) struct Connection {
    front: Arc<Front>,
    local: SocketAddr,
    caller: Caller,
    place: Place,
    /// What goes on after the last answer, if that was a 101.
    upgraded: Mutex<Option<(OnUpgrade, PluginTunnel)>>,
}

/// A body of a plugin or of the host.
pub(crate) type Body = Either<AnswerBody, OwnBody>;

/// Where a request goes once it may enter.
enum Destination {
    Plugin,
    Own,
}

impl Connection {
    pub(crate) fn new(front: Arc<Front>, local: SocketAddr, peer: SocketAddr, place: Place) -> Self {
        Self { front, local, caller: Caller::http(peer.ip()), place, upgraded: Mutex::default() }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        let front = &*self.front;
        match self.admit(&request).await {
            Ok(Destination::Plugin) => {
                strip(request.headers_mut(), front.app.access.token());
                request.extensions_mut().insert(self.caller.clone());
                request.extensions_mut().insert(front.admin.clone());
                self.forward(request).await.map(Either::Left)
            }
            Ok(Destination::Own) => {
                let Ok(response): Result<_, Infallible> = front.router.clone().call(request).await;
                app::secure(response).map(Either::Right)
            }
            Err(problem) => {
                let response = app::secure(self.refuse(&request, problem)).map(Either::Right);
                if !request.body().is_end_stream() {
                    tokio::spawn(linger(request.into_body()));
                }
                response
            }
        }
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Response<AnswerBody> {
        let plugins = &self.front.plugins;
        if !request.headers().contains_key(header::UPGRADE) {
            return plugins.forward(request).await;
        }
        let client = hyper::upgrade::on(&mut request);
        request.extensions_mut().insert(UpgradeSupport);
        let mut response = plugins.forward(request).await;
        if let Some(plugin) = PluginTunnel::take(&mut response) {
            *self.upgraded() = Some((client, plugin));
        }
        response
    }

    /// Carries on with what the connection was upgraded to, until both sides have ended.
    pub(crate) async fn carry_on(&self) {
        let upgraded = self.upgraded().take();
        let Some((client, plugin)) = upgraded else { return };
        if let Err(error) = plugin.carry(client).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "an upgraded connection was cut");
        }
    }

    fn upgraded(&self) -> MutexGuard<'_, Option<(OnUpgrade, PluginTunnel)>> {
        // Nothing panics while it is held.
        self.upgraded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request may enter. What is looked at here is what is forwarded later: nothing is decoded or joined.
    async fn admit(&self, request: &Request<Incoming>) -> Result<Destination, Problem> {
        let front = &*self.front;
        let (uri, headers) = (request.uri(), request.headers());
        if uri.path_and_query().is_some_and(|target| target.as_str().len() > front.uri_bytes) {
            let detail = format!("A request's path and query have at most {} bytes.", front.uri_bytes);
            return Err(Problem::new(Kind::UriTooLong, detail));
        }
        if request.method() == Method::CONNECT {
            return Err(Problem::new(Kind::NotImplemented, "This host is no proxy."));
        }
        let authority = front.allowed_hosts.check(uri, headers, self.local)?;
        if app::is_public(uri.path()) {
            // A login changes something too: nobody may be signed in by another site's form.
            check_origin(request.method(), headers, authority, Credential::Token)?;
            return Ok(Destination::Own);
        }
        let credential = front.app.access.authenticate(headers).await?;
        check_origin(request.method(), headers, authority, credential)?;
        if !app::is_plugin_route(uri.path()) {
            return Ok(Destination::Own);
        }
        match self.place {
            Place::Common => Ok(Destination::Plugin),
            Place::Reserved => Err(no_place_for_plugins()),
        }
    }

    fn refuse(&self, request: &Request<Incoming>, problem: Problem) -> Response<OwnBody> {
        if problem.status() != StatusCode::UNAUTHORIZED {
            return problem.into_response();
        }
        let mut response =
            if wants_page(request) { page::how_to_enter(problem) } else { problem.into_response() };
        if self.place == Place::Reserved {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Reads on for a while, because a connection that closes on unread bytes is reset, and with it the answer is lost.
async fn linger(mut body: Incoming) {
    let mut left = LINGER_BYTES;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Past the time the rest is left unread: the client had its chance.
    let _ = timeout(LINGER_TIME, read).await;
}

fn no_place_for_plugins() -> Problem {
    Problem::new(
        Kind::Unavailable,
        "All connections but those kept for administration are in use. Try again.",
    )
}

/// Whether it is a person's browser that asks.
fn wants_page(request: &Request<Incoming>) -> bool {
    let is_html = |value: &HeaderValue| value.as_bytes().windows(9).any(|part| part == b"text/html");
    request.method().is_safe() && request.headers().get_all(header::ACCEPT).iter().any(is_html)
}
