//! What plugins ask of their host, against the test host.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::Notify;
use toru_plugin_api::{
    Body, HostError, HttpRequest, HttpResponse, PluginContext, PluginError, PluginMetadata, PluginResult,
    ToruPlugin, proto::Settings, testing::TestHost,
};
use tower_service::Service;

/// Passes each request on to its host, and its answer back.
struct Passes;

#[async_trait::async_trait]
impl ToruPlugin for Passes {
    fn metadata(&self) -> PluginMetadata {
        PluginMetadata::new("passes", "Passes", "1.0.0", "/passes").unwrap()
    }

    async fn handle_http(&self, context: &PluginContext, request: HttpRequest) -> PluginResult<HttpResponse> {
        match context.host().request(request.into_inner()).await {
            Ok(answer) => Ok(answer.into()),
            Err(error @ HostError::NotOffered) => Err(PluginError::NotFound(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }
}

/// A host that can do some things.
#[derive(Clone, Default)]
struct Able {
    dropped: Arc<Notify>,
    begun: Arc<Notify>,
}

struct TellDrop(Arc<Notify>);

impl Drop for TellDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Service<Request<Body>> for Able {
    type Response = Response<Body>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let able = self.clone();
        Box::pin(async move {
            match request.uri().path() {
                "/echo" => Ok(Response::new(request.into_body())),
                "/size" => Ok(Response::new(format!("{:?}", request.body().size_hint().exact()).into())),
                "/fails" => Err(std::io::Error::other("no paper")),
                "/hangs" => {
                    let _dropped = TellDrop(able.dropped.clone());
                    able.begun.notify_one();
                    std::future::pending().await
                }
                _ => Ok(Response::builder().status(StatusCode::NOT_FOUND).body(Body::empty()).unwrap()),
            }
        })
    }
}

async fn bytes(answer: Response<Body>) -> Bytes {
    answer.into_body().collect().await.unwrap().to_bytes()
}

async fn host() -> TestHost {
    TestHost::builder().host_service(Able::default()).start(Passes).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_to_the_host_and_its_answer_comes_back() {
    let host = host().await;
    let answer = host.request(Request::post("/echo").body("a letter").unwrap()).await.unwrap();
    assert_eq!((answer.status(), &*bytes(answer).await), (StatusCode::OK, &b"a letter"[..]));
    let answer = host.get("/unknown").await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    host.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_streams_through_the_host_and_back() {
    let host = host().await;
    let (sender, body) = Body::channel();
    let pieces = tokio::spawn(async move {
        for _ in 0..64 {
            sender.send(vec![b'x'; 32 << 10]).await.unwrap();
        }
    });
    let answer = host.request(Request::post("/echo").body(body).unwrap()).await.unwrap();
    assert_eq!(bytes(answer).await.len(), 2 << 20);
    pieces.await.unwrap();
    host.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_passed_on_stays_whole_where_it_was() {
    let host = host().await;
    let wrapped_nothing = || Body::new(http_body_util::Empty::new());
    let (_, written) = Body::channel();
    for (body, size) in [
        (Body::empty(), "Some(0)"),
        (wrapped_nothing(), "Some(0)"),
        (Body::from("a letter"), "Some(8)"),
        (written, "Some(0)"),
    ] {
        let answer = host.request(Request::post("/size").body(body).unwrap()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes(answer).await), size);
    }
    let (sender, body) = Body::channel();
    let answer = host.request(Request::post("/size").body(body).unwrap()).await.unwrap();
    assert_eq!(&*bytes(answer).await, b"None", "one that is still written is a stream");
    drop(sender);
    host.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_without_a_service_is_told_of_by_name() {
    let host = TestHost::start(Passes).await.unwrap();
    let answer = host.get("/echo").await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert!(String::from_utf8(bytes(answer).await.to_vec()).unwrap().contains("host_service"));
    host.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_is_a_502_and_another_target_a_404() {
    let host = host().await;
    assert_eq!(host.get("/fails").await.unwrap().status(), StatusCode::BAD_GATEWAY);
    let other = Request::get("/echo").header("host", "other-plugin").body(()).unwrap();
    assert_eq!(host.request(other).await.unwrap().status(), StatusCode::NOT_FOUND);
    host.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_answer_is_given_up_after_30_s() {
    let able = Able::default();
    // The host waits longer for the plugin than the plugin for the host: it is the plugin's timer that is seen.
    let mut settings = Settings::default();
    settings.response_timeout = Duration::from_secs(60);
    let builder = TestHost::builder().settings(settings).host_service(able.clone());
    let host = builder.start(Passes).await.unwrap();
    let began = tokio::time::Instant::now();
    let answer = host.get("/hangs").await.unwrap();
    assert_eq!((answer.status(), began.elapsed().as_secs()), (StatusCode::SERVICE_UNAVAILABLE, 30));
    able.dropped.notified().await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_drops_the_work_of_the_host() {
    let able = Able::default();
    let host = TestHost::builder().host_service(able.clone()).start(Passes).await.unwrap();
    tokio::select! {
        _ = host.get("/hangs") => panic!("it hangs"),
        () = able.begun.notified() => {}
    }
    able.dropped.notified().await;
    host.shutdown().await.unwrap();
}

/// Asks in `init`, where the host takes nothing yet.
struct Early;

#[async_trait::async_trait]
impl ToruPlugin for Early {
    fn metadata(&self) -> PluginMetadata {
        PluginMetadata::new("early", "Early", "1.0.0", "/early").unwrap()
    }

    async fn init(&self, context: &PluginContext) -> PluginResult<()> {
        let asked = context.host().request(Request::get("/echo").body(()).unwrap()).await;
        assert!(matches!(asked, Err(HostError::NotReady)), "{asked:?}");
        Ok(())
    }

    async fn handle_http(&self, context: &PluginContext, _: HttpRequest) -> PluginResult<HttpResponse> {
        let no_path = Request::get("example.org:80").body(()).unwrap();
        assert!(matches!(context.host().request(no_path).await, Err(HostError::NoPath)));
        Ok(HttpResponse::text(context.host().is_offered().to_string()))
    }
}

#[tokio::test(start_paused = true)]
async fn the_host_takes_requests_once_init_has_returned() {
    let host = TestHost::builder().host_service(Able::default()).start(Early).await.unwrap();
    assert_eq!(&*bytes(host.get("/").await.unwrap()).await, b"true");
    host.shutdown().await.unwrap();
}
