//! Tower services as plugins.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;
use toru_plugin_api::{
    Body, PluginContext, PluginError,
    driver::{BoxError, RequestError},
    frame::ResetCode,
    testing::TestHost,
};
use tower_service::Service;

use super::{metadata, post, text};

/// A tower service that is no `ToruPlugin`: it is ready at the second look only, and streams the body back.
#[derive(Debug, Clone, Default)]
struct Echo {
    looked: bool,
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = PluginError;
    type Future = std::future::Ready<Result<Response<Body>, PluginError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PluginError>> {
        if std::mem::replace(&mut self.looked, true) {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(self.looked, "called before it was ready");
        let context = request.extensions().get::<PluginContext>().expect("the context is there");
        std::future::ready(match request.uri().path() {
            "/fail" => Err(PluginError::internal("broken")),
            _ => Ok(Response::builder()
                .header("x-plugin", context.plugin_id())
                .body(request.into_body())
                .expect("the header is valid")),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_service_is_a_plugin() {
    let host = Arc::new(TestHost::builder().start_service(&metadata(), Echo::default()).await.unwrap());
    let mut clients = JoinSet::new();
    for n in 0..100_usize {
        let host = host.clone();
        clients.spawn(async move {
            let sent = Bytes::from(vec![n as u8; n * 3_000]);
            let body = Body::new(http_body_util::Full::new(sent.clone()));
            let response = post(&host, "/", body).await;
            assert_eq!(response.headers()["x-plugin"], "many");
            assert_eq!(response.into_body().bytes(1 << 20).await.unwrap(), sent);
        });
    }
    clients.join_all().await;
    let response = host.get("/fail").await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text(response).await, "The plugin failed to answer.");
}

/// A body that panics when it is asked for bytes.
#[derive(Debug, Clone)]
struct BrokenBody;

impl http_body::Body for BrokenBody {
    type Data = Bytes;
    type Error = BoxError;
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        panic!("a bug in a body")
    }
}

/// Answers everything with a [`BrokenBody`].
#[derive(Debug, Clone)]
struct Broken;

impl Service<Request<Body>> for Broken {
    type Response = Response<BrokenBody>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(Ok(Response::new(BrokenBody)))
    }
}

#[tokio::test]
async fn panic_in_a_body_resets_its_stream() {
    let host = TestHost::builder().start_service(&metadata(), Broken).await.unwrap();
    let error = host.get("/").await.unwrap_err();
    assert!(matches!(error, RequestError::Reset(ResetCode::INTERNAL)), "{error}");
    while host.logs().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(host.logs()[0].fields["error"], json!("panicked: a bug in a body"));
}

#[tokio::test]
async fn answer_to_head_is_sent_without_asking_its_body() {
    let host = TestHost::builder().start_service(&metadata(), Broken).await.unwrap();
    let response = host.request(Request::head("/").body(()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "");
}

/// Cannot be cloned, or cannot be dropped, when it is told so.
#[derive(Debug, Default)]
struct Fragile {
    next_clone_panics: Arc<AtomicBool>,
    is_explosive: bool,
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(!self.next_clone_panics.swap(false, Ordering::Relaxed), "a bug in a clone");
        Self { next_clone_panics: self.next_clone_panics.clone(), is_explosive: false }
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.is_explosive, "a bug in a drop");
    }
}

impl Service<Request<Body>> for Fragile {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.is_explosive = request.uri().path() == "/explode";
        std::future::ready(Ok(Response::new(Body::from("fine"))))
    }
}

#[tokio::test]
async fn a_service_that_panics_when_it_is_cloned_or_dropped_costs_one_request_only() {
    let service = Fragile::default();
    let next_clone_panics = service.next_clone_panics.clone();
    let host = TestHost::builder().start_service(&metadata(), service).await.unwrap();
    next_clone_panics.store(true, Ordering::Relaxed);
    for (path, bug) in [("/", "panicked: a bug in a clone"), ("/explode", "panicked: a bug in a drop")] {
        let response = host.get(path).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(host.logs().pop().unwrap().fields["error"], json!(bug));
        assert_eq!(text(host.get("/").await.unwrap()).await, "fine");
    }
    host.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_panics_when_it_is_dropped_costs_one_request_only() {
    let host = TestHost::builder().start_service(&metadata(), ExplosiveAnswer).await.unwrap();
    for _ in 0..2 {
        let error = host.request(Request::head("/").body(()).unwrap()).await.unwrap_err();
        assert!(matches!(error, RequestError::Reset(ResetCode::INTERNAL)), "{error}");
    }
    host.shutdown().await.unwrap();
}

/// Answers with a body that panics when it is dropped.
#[derive(Debug, Clone)]
struct ExplosiveAnswer;

#[derive(Debug)]
struct ExplosiveBody;

impl Drop for ExplosiveBody {
    fn drop(&mut self) {
        panic!("a bug in a drop");
    }
}

impl http_body::Body for ExplosiveBody {
    type Data = Bytes;
    type Error = BoxError;
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        Poll::Ready(None)
    }
}

impl Service<Request<Body>> for ExplosiveAnswer {
    type Response = Response<ExplosiveBody>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(Ok(Response::new(ExplosiveBody)))
    }
}
