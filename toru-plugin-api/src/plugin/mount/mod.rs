//! A web app below a mount prefix: it is told who asks, and what its answers say of its own paths is put under the prefix.

mod paths;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    Body, Caller, PluginContext,
    caller::{X_FORWARDED_PREFIX, base_path},
};
use paths::Mount;

const REFRESH: HeaderName = HeaderName::from_static("refresh");

/// A service that was written to stand alone, behind a host that serves it under a prefix.
#[derive(Debug, Clone)]
pub(super) struct Mounted<S> {
    service: S,
    context: PluginContext,
}

impl<S> Mounted<S> {
    pub(super) fn new(service: S, context: PluginContext) -> Self {
        Self { service, context }
    }
}

impl<S, B> Service<Request<Body>> for Mounted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = MountedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let asked = Asked {
            prefix: request.headers().get(X_FORWARDED_PREFIX).cloned(),
            host: request.headers().get(header::HOST).cloned(),
            is_for_root: request.uri().path() == "/",
        };
        let caller = Caller::from_headers(request.headers());
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(self.context.clone());
        MountedFuture { answer: self.service.call(request), asked }
    }
}

/// What is kept of a request for its answer.
#[derive(Debug)]
struct Asked {
    prefix: Option<HeaderValue>,
    host: Option<HeaderValue>,
    is_for_root: bool,
}

pin_project! {
    /// An answer on its way.
    #[derive(Debug)]
    pub(super) struct MountedFuture<F> {
        #[pin]
        answer: F,
        asked: Asked,
    }
}

impl<F, B, E> Future for MountedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(cx));
        if let Ok(response) = &mut answer {
            put_under(response.headers_mut(), this.asked);
        }
        Poll::Ready(answer)
    }
}

/// Puts the app's own paths in these fields under the prefix; `docs/HTTP.md` has the table.
fn put_under(headers: &mut HeaderMap, asked: &Asked) {
    let prefix = base_path(asked.prefix.as_ref());
    if !prefix.starts_with('/') {
        return;
    }
    let mount = Mount {
        prefix: prefix.as_bytes(),
        authority: asked.host.as_ref().map(HeaderValue::as_bytes),
        is_for_root: asked.is_for_root,
    };
    rewrite(headers, header::LOCATION, |value| mount.reference(value));
    rewrite(headers, header::CONTENT_LOCATION, |value| mount.reference(value));
    rewrite(headers, REFRESH, |value| mount.refresh(value));
    rewrite(headers, header::SET_COOKIE, |value| mount.cookie(value));
}

/// Replaces the values of a field for which there is another.
fn rewrite(headers: &mut HeaderMap, name: HeaderName, other: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let header::Entry::Occupied(mut values) = headers.entry(name) else { return };
    for value in values.iter_mut() {
        if let Some(bytes) = other(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&bytes).expect("it consists of parts of header values");
        }
    }
}
