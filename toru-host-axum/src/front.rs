//! The first look at every request: is it for this host, may it enter, does it go to a plugin?
//!
//! A plain hyper service, because plugin routes are the hot path and a router before them costs more than they do.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Router, body::Body as OwnBody, response::IntoResponse};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::Either;
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Parts},
};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt::set_socket_linger;
use tokio::net::TcpStream;
use toru_core::{
    PluginService,
    http::{AnswerBody, Caller, Identity, PluginTunnel, UpgradeSupport},
};
use tower_service::Service;

use crate::{
    access::{AllowedHosts, Credential, TrustedProxies, check_origin, strip},
    app::{self, App},
    linger::Lingering,
    page::{self, Entrance},
    problem::{Kind, Problem},
    wire::{Notes, Strict},
};

/// What all connections share.
pub(crate) struct Front {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
    pub(crate) plugins: PluginService,
    /// What plugins are told of who asks: there is one account so far.
    pub(crate) admin: Identity,
    pub(crate) allowed_hosts: Arc<AllowedHosts>,
    pub(crate) proxies: Arc<TrustedProxies>,
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
    /// Who connected.
    caller: Caller,
    /// Its address, where that is a proxy whose word on its clients is taken.
    proxy: Option<IpAddr>,
    place: Place,
    notes: Notes,
    /// What goes on after the last answer, if that was a 101.
    upgraded: Mutex<Option<(OnUpgrade, PluginTunnel)>>,
}

/// A body of a plugin or of the host.
pub(crate) type Body = Either<AnswerBody, OwnBody>;

/// Where a request goes once it may enter.
#[derive(Debug)]
enum Destination {
    Plugin,
    Own,
    /// Of the host's own, what anyone may see: nobody was asked for credentials.
    Public,
}

impl Connection {
    pub(crate) fn new(front: Arc<Front>, local: SocketAddr, peer: SocketAddr, place: Place) -> Self {
        let proxy = Some(peer.ip()).filter(|peer| front.proxies.contains(*peer));
        Self {
            front,
            local,
            caller: Caller::http(peer.ip()),
            proxy,
            place,
            notes: Notes::default(),
            upgraded: Mutex::default(),
        }
    }

    /// What is shared with the reader and writer of the connection's bytes.
    pub(crate) fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let offers_upgrade = request.headers().contains_key(header::UPGRADE);
        // What follows the head is known by its length where there is a body: then the reader makes no offer of it.
        let is_noted = offers_upgrade && request.body().is_end_stream();
        let mut response = self.respond(Lingering::request(request), offers_upgrade).await;
        let is_declined = is_noted && response.status() != StatusCode::SWITCHING_PROTOCOLS;
        if is_declined && !self.notes.decline() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn respond(&self, mut request: Request<Lingering>, offers_upgrade: bool) -> Response<Body> {
        let forwarded =
            self.proxy.map(|proxy| self.front.proxies.read(proxy, request.headers_mut())).transpose();
        let (forwarded, admitted) = match forwarded {
            Ok(forwarded) => (forwarded, self.admit(&request).await),
            Err(problem) => (None, Err(problem)),
        };
        if let (Ok(Destination::Plugin), Place::Common) = (&admitted, self.place) {
            let caller = forwarded.as_ref().map_or(&self.caller, |forwarded| &forwarded.caller);
            return self.ask_plugin(request, caller, offers_upgrade).await.map(Either::Left);
        }
        let entrance = forwarded.map(Entrance::from).unwrap_or_default();
        let is_let_in = matches!(admitted, Ok(Destination::Own | Destination::Plugin));
        let mut response = match admitted {
            Err(problem) => refuse(&request, &entrance, problem),
            Ok(Destination::Plugin) => no_place_for_plugins().into_response(),
            Ok(Destination::Own | Destination::Public) => {
                request.extensions_mut().insert(entrance);
                let Ok(response): Result<_, Infallible> = self.front.router.clone().call(request).await;
                response
            }
        };
        if self.place == Place::Reserved && !is_let_in {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        app::secure(response).map(Either::Right)
    }

    async fn ask_plugin(
        &self,
        mut request: Request<Lingering>,
        caller: &Caller,
        offers_upgrade: bool,
    ) -> Response<AnswerBody> {
        let front = &*self.front;
        self.notes.reach_plugins();
        strip(request.headers_mut(), front.app.access.token());
        match offers_upgrade {
            false => front.plugins.forward_for(request, caller, &front.admin).await,
            true => self.offer_to_plugin(request, caller).await,
        }
    }

    async fn offer_to_plugin(
        &self,
        mut request: Request<Lingering>,
        caller: &Caller,
    ) -> Response<AnswerBody> {
        let client = hyper::upgrade::on(&mut request);
        request.extensions_mut().insert(UpgradeSupport);
        let mut response = self.front.plugins.forward_for(request, caller, &self.front.admin).await;
        if let Some(plugin) = PluginTunnel::take(&mut response) {
            *self.upgraded() = Some((client, plugin));
        }
        response
    }

    /// Carries on with what the connection was upgraded to, until both sides have ended.
    pub(crate) async fn carry_on(&self) {
        let upgraded = self.upgraded().take();
        let Some((client, plugin)) = upgraded else { return };
        if let Err(error) = carry(client, plugin).await {
            tracing::debug!(error = &*error, "an upgraded connection was cut");
        }
    }

    fn upgraded(&self) -> MutexGuard<'_, Option<(OnUpgrade, PluginTunnel)>> {
        // Nothing panics while it is held.
        self.upgraded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request may enter. What is looked at here is what is forwarded later: nothing is decoded or joined.
    async fn admit(&self, request: &Request<Lingering>) -> Result<Destination, Problem> {
        let front = &*self.front;
        let (uri, headers) = (request.uri(), request.headers());
        if uri.path_and_query().is_some_and(|target| target.as_str().len() > front.uri_bytes) {
            let detail = format!("A request's path and query have at most {} bytes.", front.uri_bytes);
            return Err(Problem::new(Kind::UriTooLong, detail));
        }
        if request.method() == Method::CONNECT {
            return Err(Problem::new(Kind::NotImplemented, "This host is no proxy."));
        }
        if !request.body().is_end_stream() && has_foreign_coding(headers) {
            let detail = "A request's body may be sent in chunks, and in no other coding for transfer.";
            return Err(Problem::new(Kind::NotImplemented, detail));
        }
        let authority = front.allowed_hosts.check(uri, headers, self.local)?;
        if app::is_public(uri.path()) {
            // A login changes something too: nobody may be signed in by another site's form.
            check_origin(request.method(), headers, authority, Credential::Token)?;
            return Ok(Destination::Public);
        }
        let credential = front.app.access.authenticate(headers).await?;
        check_origin(request.method(), headers, authority, credential)?;
        let is_plugin = app::is_plugin_route(uri.path());
        Ok(if is_plugin { Destination::Plugin } else { Destination::Own })
    }
}

fn refuse(request: &Request<Lingering>, entrance: &Entrance, problem: Problem) -> Response<OwnBody> {
    if problem.status() == StatusCode::UNAUTHORIZED && wants_page(request) {
        return page::how_to_enter(entrance, problem);
    }
    let mut response = problem.into_response();
    if request.method() == Method::CONNECT {
        // What follows was meant for a tunnel.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Joins both ends. The client's TCP connection is reset unless both have ended well, so that what came does not look whole where the plugin
/// has cut its own end, or the host stops.
async fn carry(
    client: OnUpgrade,
    plugin: PluginTunnel,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let client = client.await?.downcast::<TokioIo<Strict<TcpStream>>>();
    let Parts { io, read_buf, .. } = client.expect("the server serves no other connections");
    let mut client = io.into_inner().into_inner();
    client.set_zero_linger()?;
    plugin.join(&mut client, read_buf).await?;
    Ok(set_socket_linger(&client, None)?)
}

/// Whether a body comes in a coding that would be lost on the way: nobody would undo it (RFC 9112, 6.1).
fn has_foreign_coding(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

fn no_place_for_plugins() -> Problem {
    Problem::new(
        Kind::Unavailable,
        "All connections but those kept for administration are in use. Try again.",
    )
}

/// Whether it is a person's browser that asks.
fn wants_page(request: &Request<Lingering>) -> bool {
    let is_html = |value: &HeaderValue| value.as_bytes().windows(9).any(|part| part == b"text/html");
    request.method().is_safe() && request.headers().get_all(header::ACCEPT).iter().any(is_html)
}
