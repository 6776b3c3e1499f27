//! The one engine: a link on one side, a service on the other.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body_util::Empty;
use serde_json::Map;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::{Handle as Runtime, RuntimeFlavor},
};
use tower_service::Service;

use super::{
    Body, HttpResponse, KvOp, PluginContext, PluginError, PluginResult, ServeError,
    error::{internal_text, with_sources},
    links::{ExtraLinks, Link},
    upgrade::Offer,
};
use crate::{
    driver::{BoxError, Handle, Incoming, IncomingEvent, IncomingKv, IncomingRequest, Responder},
    message::{
        http::{RequestHead, ResponseHead},
        kv::{KvAnswer, KvError, KvErrorCode},
        lifecycle::{Features, Init, Shutdown, feature},
        log::Level,
    },
    proto::Settings,
};

/// What a plugin does beside answering requests.
pub(super) trait Hooks: Send + Sync + 'static {
    fn init(&self, context: &PluginContext) -> impl Future<Output = PluginResult<()>> + Send;
    fn kv(&self, context: &PluginContext, op: KvOp) -> impl Future<Output = PluginResult<KvAnswer>> + Send;
}

/// How a plugin came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The host asked for it.
    Shutdown,
    /// The host closed the link without asking.
    LinkLost,
}

/// What a plugin of this SDK accepts and speaks.
pub(super) fn settings() -> Settings {
    Settings { features: Features::new(feature::ALL), ..Settings::default() }
}

/// A first link, on which a host has said `init`.
pub(super) struct Greeted {
    pub(super) link: Link,
    pub(super) incoming: Incoming,
    pub(super) init: Init,
}

impl Greeted {
    /// Opens the first link, and awaits what its host says.
    ///
    /// # Errors
    /// The link has ended before, or what came is no `init`.
    pub(super) async fn over<IO>(io: IO) -> Result<Self, ServeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (link, mut incoming) = Link::open(io, settings());
        match await_init(&mut incoming).await {
            Some(init) => Ok(Self { link, incoming, init }),
            None => Err(link.lost().await.err().unwrap_or(ServeError::LinkLost)),
        }
    }
}

/// Runs a plugin over the first link until its end, and serves the further ones beside it. The service is made once the context is known.
pub(super) async fn run<IO, S, B, H>(
    first: Greeted,
    extra: Vec<IO>,
    service: impl FnOnce(PluginContext) -> S,
    hooks: H,
) -> Result<End, ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    H: Hooks,
{
    let Greeted { link, mut incoming, init } = first;
    let context = PluginContext::new(init, link.handle().clone());
    let ending = TellEnd(context.clone());
    let early_end = tokio::select! {
        biased;
        outcome = hooks.init(&context) => match outcome {
            Ok(()) => None,
            Err(error) => {
                drop(ending);
                return link.refuse(error).await;
            }
        },
        end = await_end(&mut incoming) => Some(end),
    };
    if let Some(end) = early_end {
        drop(ending);
        return match end {
            Some(shutdown) => link.finish(ExtraLinks::none(), shutdown).await,
            None => link.lost().await,
        };
    }
    link.handle().ready();
    let service = service(context.clone());
    let engine = Arc::new(Engine { service, hooks, context, runs_inline: is_current_thread() });
    let mut extra_links = ExtraLinks::none();
    for io in extra {
        let engine = engine.clone();
        extra_links
            .open(io, settings(), link.handle(), |handle, incoming| engine.serve_extra(handle, incoming));
    }
    let end = engine.serve(&mut incoming).await;
    drop(ending);
    match end {
        Some(shutdown) => link.finish(extra_links, shutdown).await,
        None => extra_links.blame(link.lost().await),
    }
}

/// Tells who waits for the end of the plugin, however that comes: asked for, by a refusal, or because the engine itself is dropped.
struct TellEnd(PluginContext);

impl Drop for TellEnd {
    fn drop(&mut self) {
        self.0.tell_end();
    }
}

pub(super) async fn await_init(incoming: &mut Incoming) -> Option<Init> {
    loop {
        if let IncomingEvent::Init(init) = incoming.next().await? {
            return Some(*init);
        }
    }
}

/// Resolves when the host ends the plugin, or the link.
async fn await_end(incoming: &mut Incoming) -> Option<Shutdown> {
    loop {
        if let IncomingEvent::Shutdown(shutdown) = incoming.next().await? {
            return Some(shutdown);
        }
    }
}

/// On one thread a task of its own gains nothing until the handler waits, and costs a wake-up. On several it may run elsewhere.
fn is_current_thread() -> bool {
    Runtime::current().runtime_flavor() == RuntimeFlavor::CurrentThread
}

struct Engine<S, H> {
    service: S,
    hooks: H,
    context: PluginContext,
    runs_inline: bool,
}

impl<S, B, H> Engine<S, H>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    H: Hooks,
{
    /// Serves a further link until its end; what else the plugin has with its host goes over the first.
    async fn serve_extra(self: Arc<Self>, handle: Handle, mut incoming: Incoming) {
        if await_init(&mut incoming).await.is_some() {
            handle.ready();
            self.serve(&mut incoming).await;
        }
    }

    /// Serves until the host ends the plugin; `None`: the link has ended.
    async fn serve(self: &Arc<Self>, incoming: &mut Incoming) -> Option<Shutdown> {
        loop {
            // Events may come faster than they are served: others on this thread get their turn all the same.
            tokio::task::consume_budget().await;
            match incoming.next().await? {
                IncomingEvent::Request(request) => {
                    self.start(handle_request(self.clone(), request));
                }
                IncomingEvent::Kv(call) => {
                    self.start(handle_kv(self.clone(), call));
                }
                IncomingEvent::Shutdown(shutdown) => return Some(shutdown),
                // What else there is concerns hosts, or is not known here.
                _ => {}
            }
        }
    }

    fn start(&self, handler: impl Future<Output = ()> + Send + 'static) {
        if !self.runs_inline {
            tokio::spawn(handler);
            return;
        }
        let mut handler = Box::pin(handler);
        let poll = || handler.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        // A handler's panics are caught where they are answered. Any other costs its request alone, as in a task.
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Ready(())) => {}
            // The task polls it again at once, and gives it a waker that counts.
            Ok(Poll::Pending) => drop(tokio::spawn(handler)),
            Err(panic) => {
                let failure = format!("panicked: {}", panic_text(&*panic));
                log_failure(&self.context, "a request was given up", failure);
            }
        }
    }
}

/// Answers one request. When the client goes away the handler is dropped where it waits.
async fn handle_request<S, B, H>(engine: Arc<Engine<S, H>>, request: IncomingRequest)
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let context = &engine.context;
    let IncomingRequest { head, body, responder } = request;
    let wants_body = head.method != http::Method::HEAD;
    let request = to_http(head, body.into());
    let answered = tokio::select! {
        biased;
        answered = catch_panic(call(&engine.service, request, responder.offers_upgrade())) => answered,
        () = responder.cancelled() => return,
    };
    let failure = match answered {
        Ok(Ok((response, offer))) => {
            return match offer {
                Some(offer) if response.status() == http::StatusCode::SWITCHING_PROTOCOLS => {
                    offer.accept(responder, response.into_parts().0.headers).await;
                }
                _ if wants_body => respond(context, responder, response).await,
                // The host would only throw the bytes away, and an endless body would never end.
                _ => respond(context, responder, response.map(|_| Empty::<Bytes>::new())).await,
            };
        }
        Ok(Err(error)) => with_sources(&*error),
        Err(panic) => format!("panicked: {panic}"),
    };
    log_failure(context, "a handler failed", failure);
    let response =
        HttpResponse::text(internal_text()).with_status(http::StatusCode::INTERNAL_SERVER_ERROR).into_inner();
    respond(context, responder, response).await;
}

/// The service's answer, and the upgrade that it may take by it.
async fn call<S>(
    service: &S,
    mut request: http::Request<Body>,
    offers_upgrade: bool,
) -> Result<(S::Response, Option<Offer>), BoxError>
where
    S: Service<http::Request<Body>> + Clone,
    S::Error: Into<BoxError>,
{
    let offer = offers_upgrade.then(|| Offer::made_to(&mut request));
    let mut service = service.clone();
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
    let response = service.call(request).await.map_err(Into::into)?;
    Ok((response, offer))
}

fn to_http(head: RequestHead, body: Body) -> http::Request<Body> {
    let mut request = http::Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = head.path.into();
    *request.headers_mut() = head.headers;
    request
}

/// Sends an answer. A body that panics has its stream reset, like one that fails.
async fn respond<B>(context: &PluginContext, responder: Responder, response: http::Response<B>)
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (head, body) = response.into_parts();
    let head = ResponseHead { status: head.status, headers: head.headers };
    if let Err(panic) = catch_panic(responder.respond(head, body)).await {
        log_failure(context, "the body of an answer failed", format!("panicked: {panic}"));
    }
}

async fn handle_kv<S, H: Hooks>(engine: Arc<Engine<S, H>>, incoming: IncomingKv) {
    let context = &engine.context;
    let IncomingKv { call, responder } = incoming;
    let answer = match KvOp::try_from(call) {
        Err(error) => Err(error),
        Ok(op) => match catch_panic(engine.hooks.kv(context, op)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(PluginError::Kv(error))) => Err(error),
            Ok(Err(error)) if error.status().is_client_error() => {
                Err(KvError::new(KvErrorCode::Invalid, error.to_string()))
            }
            Ok(Err(error)) => Err(kv_failure(context, with_sources(&error))),
            Err(panic) => Err(kv_failure(context, format!("panicked: {panic}"))),
        },
    };
    responder.answer(answer);
}

fn kv_failure(context: &PluginContext, failure: String) -> KvError {
    log_failure(context, "handle_kv failed", failure);
    KvError::new(KvErrorCode::Unavailable, "the plugin failed to answer")
}

fn log_failure(context: &PluginContext, message: &str, failure: String) {
    context.log_with(Level::Error, message, Map::from_iter([("error".to_owned(), failure.into())]));
}

/// Runs a handler to its end, or to its panic, whose text is given back.
async fn catch_panic<F: Future>(handler: F) -> Result<F::Output, String> {
    let mut handler = pin!(handler);
    // After a panic the handler is dropped, and nothing that it may have left half done is looked at again.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| Pin::as_mut(&mut handler).poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic_text(&*panic))),
    })
    .await
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "with a value that is no text".to_owned()
    }
}
