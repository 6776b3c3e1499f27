//! The other direction (protocol section 4, feature `http-out`): what plugins ask of the embedder's own service.
//!
//! | file | what it decides |
//! |---|---|
//! | `mod` | who may ask what, how many at once, and what a plugin is told when there is no answer |
//! | `service` | the embedder's service, of whatever type |
//! | `body` | the body of a plugin's request, as the service reads it |

mod body;
mod service;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::Semaphore;
use toru_plugin_api::{
    driver::{BoxError, IncomingRequest},
    message::http::ResponseHead,
};

use super::headers;
use crate::{link, routes::Routes};

pub use body::{RequestBody, RequestBodyError};
use service::{CallService, OutBody};

/// Requests of one link whose answer's head the service still owes; more wait. As many as go the other way: a plugin that asks
/// without end has this much of the embedder's work, and no more.
const MAX_IN_WORK: usize = 128;

/// The target that names the embedder's service.
const HOST: &str = "host";

/// Which plugin sends a request: in the extensions of every request that the embedder's service gets. It comes from the connection, and
/// nothing that a plugin writes changes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PluginId(Arc<str>);

impl PluginId {
    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The embedder's service, of which every link has a clone of its own.
pub(crate) struct HostService {
    service: Mutex<Box<dyn CallService>>,
    routes: Arc<Routes>,
}

impl HostService {
    pub(crate) fn new<S, B>(service: S, routes: Arc<Routes>) -> Self
    where
        S: tower_service::Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self { service: Mutex::new(service::erase(service)), routes }
    }
}

impl fmt::Debug for HostService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostService").finish_non_exhaustive()
    }
}

impl link::HostService for HostService {
    fn for_plugin(&self, id: &Arc<str>) -> Box<dyn link::AnswersRequests> {
        // Held for a clone, once for each link; a panic in it left the service as it was.
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone_box();
        Box::new(OutService {
            plugin: PluginId(id.clone()),
            service: Mutex::new(service),
            routes: self.routes.clone(),
            places: Arc::new(Semaphore::new(MAX_IN_WORK)),
        })
    }
}

/// Answers the requests of one link.
struct OutService {
    plugin: PluginId,
    /// In a mutex that nobody contends for, since an embedder's service need not be `Sync`.
    service: Mutex<Box<dyn CallService>>,
    routes: Arc<Routes>,
    places: Arc<Semaphore>,
}

impl fmt::Debug for OutService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutService").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

impl link::AnswersRequests for OutService {
    fn answer(&mut self, request: IncomingRequest) {
        let IncomingRequest { head, body, responder } = request;
        let is_head = head.method == Method::HEAD;
        let mut request = Request::new(RequestBody::new(body));
        *request.method_mut() = head.method;
        *request.uri_mut() = head.path.into();
        *request.headers_mut() = head.headers;
        let refusal = self.refusal(request.headers());
        headers::remove_foreign(request.headers_mut());
        request.extensions_mut().insert(self.plugin.clone());
        let service = self.service.get_mut().unwrap_or_else(PoisonError::into_inner).clone_box();
        let (plugin, places) = (self.plugin.clone(), self.places.clone());
        tokio::spawn(async move {
            let answered = async {
                match refusal {
                    Some(problem) => problem.into_response(),
                    None => {
                        let _place = places.acquire().await.expect("the semaphore is never closed");
                        ask(service, request, &plugin).await
                    }
                }
            };
            // The plugin that gives up, or dies, has the work dropped where it waits.
            let response = tokio::select! {
                biased;
                response = answered => response,
                () = responder.cancelled() => return,
            };
            let (mut head, body) = response.into_parts();
            headers::remove_hop_by_hop(&mut head.headers);
            let head = ResponseHead { status: head.status, headers: head.headers };
            if is_head {
                responder.respond(head, Empty::<Bytes>::new()).await;
            } else {
                responder.respond(head, body).await;
            }
        });
    }
}

impl OutService {
    fn refusal(&self, headers: &HeaderMap) -> Option<Problem> {
        let mut targets = headers.get_all(header::HOST).iter();
        let (Some(target), None) = (targets.next(), targets.next()) else { return Some(Problem::NoTarget) };
        match target.to_str() {
            Ok(target) if target.eq_ignore_ascii_case(HOST) => None,
            Ok(target) if self.routes.has(target) => Some(Problem::OtherPlugin),
            _ => Some(Problem::UnknownTarget),
        }
    }
}

/// Asks the service. An error, a panic and an answer that is none are all the embedder's, and a 502 for the plugin.
async fn ask(
    mut service: Box<dyn CallService>,
    request: Request<RequestBody>,
    plugin: &PluginId,
) -> Response<OutBody> {
    let failure = match catch_panic(async move { service.call(request).await }).await {
        Ok(Ok(response)) if response.status().is_informational() => {
            format!("it answered {}, which is no final status", response.status())
        }
        Ok(Ok(response)) => return response,
        Ok(Err(error)) => error.to_string(),
        Err(Panicked) => "it panicked".to_owned(),
    };
    tracing::error!(plugin = plugin.as_str(), failure, "the service for plugins failed to answer");
    Problem::ServiceFailed.into_response()
}

struct Panicked;

async fn catch_panic<F: Future>(work: F) -> Result<F::Output, Panicked> {
    let mut work = pin!(work);
    // After a panic the work is dropped, and nothing that it may have left half done is looked at again.
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| Pin::as_mut(&mut work).poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

/// Why a plugin's request does not reach a service, or got no answer of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    NoTarget,
    UnknownTarget,
    OtherPlugin,
    ServiceFailed,
}

impl Problem {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoTarget => (
                StatusCode::BAD_REQUEST,
                "no-target",
                "The request must have one host header: `host`, for the service of the host.",
            ),
            Self::UnknownTarget => (
                StatusCode::NOT_FOUND,
                "unknown-target",
                "The host header names nothing that is known here. The service of the host is `host`.",
            ),
            Self::OtherPlugin => {
                (StatusCode::FORBIDDEN, "other-plugin", "This host lets no plugin send requests to a plugin.")
            }
            Self::ServiceFailed => (
                StatusCode::BAD_GATEWAY,
                "service-failed",
                "The service of the host failed; it may have acted on the request.",
            ),
        }
    }

    fn into_response(self) -> Response<OutBody> {
        let (status, name, detail) = self.parts();
        let title = status.canonical_reason().expect("only registered statuses are used");
        let text = format!(
            r#"{{"type":"urn:toru:error:{name}","title":"{title}","status":{},"detail":"{detail}"}}"#,
            status.as_u16()
        );
        let body: OutBody = Box::pin(Full::new(Bytes::from(text)).map_err(|never| match never {}));
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
