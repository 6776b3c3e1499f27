//! What a test lets its plugin ask of the host.

use std::{fmt, future::poll_fn, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use tower_service::Service;

use crate::{
    driver::{BoxError, IncomingRequest},
    message::http::ResponseHead,
    plugin::{Body, HttpResponse},
};

type Answered = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A service of any type. Clones share it.
#[derive(Clone)]
pub(super) struct HostService(Arc<dyn Fn(IncomingRequest) -> Answered + Send + Sync>);

impl HostService {
    pub(super) fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(move |request| Box::pin(answer(service.clone(), request))))
    }

    /// Answers in a task of its own, which ends when the plugin gives up.
    pub(super) fn serve(&self, request: IncomingRequest) {
        tokio::spawn((self.0)(request));
    }
}

impl fmt::Debug for HostService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostService")
    }
}

async fn answer<S, B>(mut service: S, incoming: IncomingRequest)
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let IncomingRequest { head, body, responder } = incoming;
    let is_for_host = head.headers.get(header::HOST).is_some_and(|target| target == "host");
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = head.method;
    *request.uri_mut() = head.path.into();
    *request.headers_mut() = head.headers;
    let answered = async {
        if !is_for_host {
            let text = "a test's host answers for `host` alone";
            return HttpResponse::text(text).with_status(StatusCode::NOT_FOUND).into_inner();
        }
        match call(&mut service, request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                HttpResponse::text(error.to_string()).with_status(StatusCode::BAD_GATEWAY).into_inner()
            }
        }
    };
    let response = tokio::select! {
        response = answered => response,
        () = responder.cancelled() => return,
    };
    let (head, body) = response.into_parts();
    responder.respond(ResponseHead { status: head.status, headers: head.headers }, body).await;
}

async fn call<S: Service<Request<Body>>>(
    service: &mut S,
    request: Request<Body>,
) -> Result<S::Response, BoxError>
where
    S::Error: Into<BoxError>,
{
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
    service.call(request).await.map_err(Into::into)
}
