//! Requests of a plugin to its host.

use http::{HeaderValue, Request, Response, header, uri::PathAndQuery};

use super::{Body, PluginError};
use crate::{
    driver::{BoxError, Handle, RequestError},
    frame::ResetCode,
    message::{http::HeadError, http::RequestHead, lifecycle::feature},
    proto::OpenError,
};

/// The target of a request that names none: the service that the embedder registered.
const HOST: HeaderValue = HeaderValue::from_static("host");

/// The host as a server: what its embedder lets plugins ask for, such as "send this mail". Cheap to clone.
///
/// ```
/// # use toru_plugin_api::{PluginContext, PluginResult, http::Request};
/// # async fn ask(context: &PluginContext) -> PluginResult<()> {
/// let request = Request::post("/mail").body(r#"{"to": "ann@example.org"}"#)?;
/// let answer = context.host().request(request).await?;
/// println!("{}: {}", answer.status(), answer.into_body().text().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct HostClient {
    handle: Handle,
}

/// Why a request to the host got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The host has nothing for plugins; nothing was sent.
    #[error("the host offers its plugins no service: who embeds it has to register one (`host_service`)")]
    NotOffered,
    /// `init` still runs; nothing was sent.
    #[error("the host takes requests once `init` has returned")]
    NotReady,
    /// The URI has no path; nothing was sent.
    #[error("the URI of a request to the host must have a path, such as `/mail`")]
    NoPath,
    /// The head, or a body that must go in one piece, is larger than the host accepts; nothing was sent.
    #[error("the request is larger than the host accepts")]
    TooLarge,
    /// The host works on as many requests of this plugin as it may; nothing was done, and it may be asked again.
    #[error("the host has too many requests of this plugin in work: nothing was done, try again")]
    Refused,
    /// No answer came within 30 s after the request was sent; it may have been acted on.
    #[error("the host did not answer in time; it may have acted on the request")]
    TimedOut,
    /// The host gave up, with this code of the protocol; it may have acted on the request.
    #[error("the host gave up on the request with code {0}; it may have acted on it")]
    GaveUp(u8),
    /// The answer is not HTTP.
    #[error("the host's answer is not HTTP")]
    BadAnswer(#[source] HeadError),
    /// The body of the request failed.
    #[error("the body of the request failed")]
    Body(#[source] BoxError),
    /// The link has ended; the request may have been acted on.
    #[error("the link to the host ended before the answer")]
    LinkLost,
}

impl HostClient {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Whether the host offers a service at all. Before `init` has returned it is not known, and this says no.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.handle.features().has(feature::HTTP_OUT)
    }

    /// Sends a request to the service of the host, and awaits the head of its answer. Dropping the future cancels the request, and
    /// dropping the answer's body the rest of it.
    ///
    /// The path is the service's own. A URI with an authority, or else the header `host`, names another target; no host lets a
    /// plugin ask another plugin so far. The host says who asks; context headers (`x-toru-*`, `x-forwarded-*`) do
    /// not reach the service.
    ///
    /// Waits while as many requests and KV calls of this plugin are open as the host takes (1,024).
    ///
    /// # Errors
    /// See [`HostError`]. A status of 400 or more is an answer: 404 and 403 for another target, 502 when the service failed.
    pub async fn request<B: Into<Body>>(&self, request: Request<B>) -> Result<Response<Body>, HostError> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.host()).ok());
        let path: PathAndQuery = parts.uri.path_and_query().cloned().ok_or(HostError::NoPath)?;
        let mut head = RequestHead { method: parts.method, path, headers: parts.headers };
        match target {
            Some(target) => {
                head.headers.insert(header::HOST, target);
            }
            None => {
                head.headers.entry(header::HOST).or_insert(HOST);
            }
        }
        match self.handle.request(head, body.into().into_request_body()).await {
            Ok(answer) => Ok(Body::response(answer)),
            Err(RequestError::Open(OpenError::NotOpen)) if !self.handle.is_closed() => {
                Err(HostError::NotReady)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl From<RequestError> for HostError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Open(OpenError::NotOffered) => Self::NotOffered,
            RequestError::Open(OpenError::TooLarge | OpenError::NoStreams) => Self::TooLarge,
            RequestError::Reset(ResetCode::REFUSED) => Self::Refused,
            RequestError::Reset(ResetCode(code)) => Self::GaveUp(code),
            RequestError::TimedOut => Self::TimedOut,
            RequestError::Head(error) => Self::BadAnswer(error),
            RequestError::Body(error) => Self::Body(error),
            RequestError::Open(_) | RequestError::LinkLost => Self::LinkLost,
        }
    }
}

impl From<HostError> for PluginError {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Refused | HostError::TimedOut | HostError::LinkLost => {
                Self::Unavailable(error.to_string())
            }
            error => Self::internal(error),
        }
    }
}
