//! The embedder's service, of whatever type.

use std::{future::poll_fn, pin::Pin};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use toru_plugin_api::driver::BoxError;

use super::RequestBody;

/// The body of an answer, of whatever type.
pub(super) type OutBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<OutBody>, BoxError>> + Send + 'a>>;

/// A service without its type.
pub(super) trait CallService: Send {
    /// A clone, for one more request or link.
    fn clone_box(&self) -> Box<dyn CallService>;
    /// Waits until the service is ready, then calls it.
    fn call(&mut self, request: Request<RequestBody>) -> Answer<'_>;
}

pub(super) fn erase<S, B>(service: S) -> Box<dyn CallService>
where
    S: tower_service::Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Box::new(Typed(service))
}

struct Typed<S>(S);

impl<S, B> CallService for Typed<S>
where
    S: tower_service::Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn clone_box(&self) -> Box<dyn CallService> {
        Box::new(Self(self.0.clone()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Answer<'_> {
        Box::pin(async move {
            poll_fn(|cx| self.0.poll_ready(cx)).await.map_err(Into::into)?;
            let response = self.0.call(request).await.map_err(Into::into)?;
            Ok(response.map(|body| Box::pin(body.map_err(Into::into)) as OutBody))
        })
    }
}
