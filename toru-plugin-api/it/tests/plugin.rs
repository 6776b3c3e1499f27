//! Plugins in memory, against the test host.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Map, json};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::Instant,
};
use toru_plugin_api::{
    Body, HttpRequest, HttpResponse, KvAnswer, KvOp, Level, PluginContext, PluginError, PluginMetadata,
    PluginResult, ServeError, ToruPlugin,
    driver::{self, BoxError, Handle, RequestBody, RequestError},
    frame::ResetCode,
    message::{
        http::RequestHead,
        kv::{KvError, KvErrorCode},
    },
    plugin::BodyUnwanted,
    proto::Settings,
    testing::{MemoryKv, TestHost},
};
use tower_service::Service;

/// A plugin with a path for each thing that a handler may do.
#[derive(Debug, Default)]
struct Many {
    /// Told when a handler of `/hang` begins and when it is dropped.
    hanging: Option<mpsc::UnboundedSender<&'static str>>,
    go: Arc<Notify>,
}

struct TellDrop(mpsc::UnboundedSender<&'static str>);

impl Drop for TellDrop {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

#[derive(Debug, serde::Deserialize)]
struct Config {
    limit: u32,
}

fn metadata() -> PluginMetadata {
    PluginMetadata::new("many", "Many", "1.0.0", "/many").unwrap()
}

#[async_trait::async_trait]
impl ToruPlugin for Many {
    fn metadata(&self) -> PluginMetadata {
        metadata()
    }

    async fn init(&self, context: &PluginContext) -> PluginResult<()> {
        if context.raw_config().contains_key("limit") {
            context.config::<Config>()?;
        }
        if context.raw_config().contains_key("licence") {
            return Err(PluginError::Refused {
                code: "licence".into(),
                message: "the licence has expired".into(),
            });
        }
        let starts = context.kv().get_text("starts").await?.map_or(0, |text| text.parse().unwrap());
        context.kv().set_text("starts", (starts + 1).to_string()).await?;
        Ok(())
    }

    async fn handle_http(&self, context: &PluginContext, request: HttpRequest) -> PluginResult<HttpResponse> {
        match request.path() {
            "/who" => Ok(HttpResponse::text(format!("{} on {}", context.plugin_id(), context.instance_id()))),
            "/limit" => Ok(HttpResponse::text(context.config::<Config>()?.limit.to_string())),
            "/text" => Ok(HttpResponse::text(request.text().await?)),
            "/json" => HttpResponse::json(&request.json::<serde_json::Value>().await?),
            "/small" => Ok(HttpResponse::bytes(request.bytes(10).await?)),
            "/secret" => Err(PluginError::internal("the password is 1234")),
            "/bad" => Err(PluginError::BadRequest("say please".into())),
            "/store" => Err(KvError::new(KvErrorCode::Timeout, "the disk sleeps").into()),
            "/panic" => panic!("a bug"),
            "/sleep" => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(HttpResponse::text("slept"))
            }
            "/hang" => {
                let hanging = self.hanging.clone().expect("the test listens");
                hanging.send("begun").unwrap();
                let _tell = TellDrop(hanging);
                self.go.notified().await;
                Ok(HttpResponse::text("went on"))
            }
            "/tell" => {
                context.log(Level::Warn, "something");
                context.event("seen", Map::from_iter([("n".to_owned(), 1.into())]));
                context.set_degraded("the sensor is away");
                Ok(HttpResponse::text("told"))
            }
            "/fail-late" => {
                let (sender, body) = Body::channel();
                tokio::spawn(async move {
                    sender.send("begin").await?;
                    sender.fail("the disk failed").await
                });
                Ok(HttpResponse::new(StatusCode::OK, body))
            }
            path => Err(PluginError::NotFound(format!("nothing at {path}"))),
        }
    }
}

async fn start() -> TestHost {
    TestHost::start(Many::default()).await.unwrap()
}

async fn hanging() -> (TestHost, mpsc::UnboundedReceiver<&'static str>, Arc<Notify>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let go = Arc::new(Notify::new());
    let plugin = Many { hanging: Some(sender), go: go.clone() };
    (TestHost::start(plugin).await.unwrap(), receiver, go)
}

/// Asks for `/hang` without the test host, which may be ended meanwhile.
async fn hang(link: &Handle) -> Result<driver::Response, RequestError> {
    let head = RequestHead { method: Method::GET, path: "/hang".parse().unwrap(), headers: HeaderMap::new() };
    link.request(head, RequestBody::<Body>::Empty).await
}

async fn text(response: Response<Body>) -> String {
    response.into_body().text().await.unwrap()
}

async fn post(host: &TestHost, path: &str, body: impl Into<Body>) -> Response<Body> {
    host.request(Request::post(path).body(body).unwrap()).await.unwrap()
}

#[tokio::test]
async fn context_knows_its_place() {
    let host = TestHost::builder().instance_id("host-7").start(Many::default()).await.unwrap();
    assert_eq!(text(host.get("/who").await.unwrap()).await, "many on host-7");
}

#[tokio::test]
async fn bodies_are_read_as_text_and_json_within_limits() {
    let host = start().await;
    assert_eq!(text(post(&host, "/text", "héllo").await).await, "héllo");
    assert_eq!(text(post(&host, "/json", r#"{"a": 1}"#).await).await, r#"{"a":1}"#);
    assert_eq!(post(&host, "/text", vec![0xff]).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(post(&host, "/json", "{").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(post(&host, "/small", "1234567890").await.status(), StatusCode::OK);
    let too_large = post(&host, "/small", "12345678901").await;
    assert_eq!(too_large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(text(too_large).await, "the body has more than 10 bytes");
}

#[tokio::test]
async fn failure_is_told_to_the_log_and_not_to_the_client() {
    let host = start().await;
    let response = host.get("/secret").await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text(response).await, "The plugin failed to answer.");
    let logs = host.logs();
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0].level, Level::Error);
    assert_eq!(logs[0].fields["error"], json!("the password is 1234"));
    assert_eq!(logs[0].fields["path"], json!("/secret"));
}

#[tokio::test]
async fn clients_fault_is_told_to_the_client_and_not_to_the_log() {
    let host = start().await;
    let response = host.get("/bad").await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(text(response).await, "say please");
    assert_eq!(host.get("/nothing").await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(host.get("/store").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(host.logs().len(), 1, "only the failed store is logged");
}

#[tokio::test]
async fn panic_costs_one_request_only() {
    let (host, mut told, go) = hanging().await;
    let host = Arc::new(host);
    let other = tokio::spawn({
        let host = host.clone();
        async move { text(host.get("/hang").await.unwrap()).await }
    });
    assert_eq!(told.recv().await, Some("begun"));
    let response = host.get("/panic").await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text(response).await, "The plugin failed to answer.");
    assert_eq!(host.logs()[0].fields["error"], json!("panicked: a bug"));
    go.notify_one();
    assert_eq!(other.await.unwrap(), "went on");
}

#[tokio::test]
async fn answer_that_fails_late_never_looks_whole() {
    let host = start().await;
    let response = host.get("/fail-late").await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn thousand_waiting_requests_wait_at_the_same_time() {
    let host = Arc::new(start().await);
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..1_000 {
        let host = host.clone();
        clients.spawn(async move { text(host.get("/sleep").await.unwrap()).await });
    }
    assert!(clients.join_all().await.iter().all(|body| body == "slept"));
    assert_eq!(begin.elapsed().as_millis(), 100);
}

#[tokio::test]
async fn handler_is_dropped_when_its_client_leaves() {
    let (host, mut told, _go) = hanging().await;
    let host = Arc::new(host);
    let client = tokio::spawn({
        let host = host.clone();
        async move { host.get("/hang").await.map(drop) }
    });
    assert_eq!(told.recv().await, Some("begun"));
    client.abort();
    assert_eq!(told.recv().await, Some("dropped"));
}

#[tokio::test]
async fn shutdown_finishes_what_is_in_flight() {
    let (host, mut told, go) = hanging().await;
    let link = host.link().clone();
    let client = tokio::spawn(async move {
        let response = hang(&link).await.unwrap();
        response.body.collect().await.unwrap().to_bytes()
    });
    assert_eq!(told.recv().await, Some("begun"));
    let shutdown = tokio::spawn(host.shutdown());
    tokio::task::yield_now().await;
    go.notify_one();
    assert_eq!(client.await.unwrap(), "went on");
    shutdown.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_cuts_what_outlasts_its_grace() {
    let (host, mut told, _go) = hanging().await;
    let link = host.link().clone();
    let client = tokio::spawn(async move { hang(&link).await.map(drop) });
    assert_eq!(told.recv().await, Some("begun"));
    let begin = Instant::now();
    host.shutdown().await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    assert!(matches!(client.await.unwrap(), Err(RequestError::LinkLost)));
    assert_eq!(told.recv().await, Some("dropped"));
}

#[tokio::test]
async fn lost_link_ends_the_plugin_and_its_handlers() {
    let (host, mut told, _go) = hanging().await;
    let link = host.link().clone();
    let client = tokio::spawn(async move { hang(&link).await.map(drop) });
    assert_eq!(told.recv().await, Some("begun"));
    assert!(matches!(host.cut().await, Err(ServeError::LinkLost)));
    assert_eq!(told.recv().await, Some("dropped"));
    assert!(client.await.unwrap().is_err());
}

#[tokio::test]
async fn init_may_use_the_store() {
    let kv = MemoryKv::default();
    for starts in ["1", "2"] {
        let host = TestHost::builder().kv(kv.clone()).start(Many::default()).await.unwrap();
        assert_eq!(host.kv().get("starts").unwrap(), starts);
        host.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn wrong_setting_is_a_refusal_that_names_its_key() {
    let refused = TestHost::builder().config("limit", "many").start(Many::default()).await.unwrap_err();
    let ServeError::Refused(failed) = refused else { panic!("{refused}") };
    assert_eq!(failed.code, "config");
    assert_eq!(failed.message, "setting `limit`: invalid type: string \"many\", expected u32");
    let host = TestHost::builder().config("limit", 7).start(Many::default()).await.unwrap();
    assert_eq!(text(host.get("/limit").await.unwrap()).await, "7");
}

#[tokio::test]
async fn refusal_carries_the_plugins_own_code() {
    let refused = TestHost::builder().config("licence", "old").start(Many::default()).await.unwrap_err();
    let ServeError::Refused(failed) = refused else { panic!("{refused}") };
    assert_eq!((failed.code.as_str(), failed.message.as_str()), ("licence", "the licence has expired"));
}

#[tokio::test]
async fn kv_of_the_host_reaches_the_plugins_store_by_default() {
    let host = start().await;
    let key = || "k".to_owned();
    host.plugin_kv(KvOp::Set { key: key(), value: "v".into() }).await.unwrap();
    assert_eq!(host.kv().get("k").unwrap(), "v");
    let got = host.plugin_kv(KvOp::Get { key: key() }).await.unwrap();
    assert_eq!(got, KvAnswer::Value(Some("v".into())));
    assert_eq!(host.plugin_kv(KvOp::Delete { key: key() }).await.unwrap(), KvAnswer::Deleted(true));
    assert_eq!(host.kv().get("k"), None);
}

#[tokio::test(start_paused = true)]
async fn records_events_and_health_reach_the_host() {
    let mut settings = Settings::default();
    settings.ping_interval = Some(Duration::from_secs(1));
    let host = TestHost::builder().settings(settings).start(Many::default()).await.unwrap();
    assert_eq!(text(host.get("/tell").await.unwrap()).await, "told");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((host.logs()[0].level, host.logs()[0].message.as_str()), (Level::Warn, "something"));
    assert_eq!((host.events()[0].name.as_str(), &host.events()[0].details["n"]), ("seen", &json!(1)));
    assert!(host.pong().degraded);
    assert_eq!(host.pong().detail.as_deref(), Some("the sensor is away"));
}

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

#[tokio::test]
async fn sender_of_an_unwanted_body_is_told() {
    let host = start().await;
    let (sender, body) = Body::channel();
    let response = post(&host, "/nothing", body).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(text(response).await, "nothing at /nothing");
    let unwanted = loop {
        if let Err(unwanted) = sender.send("more").await {
            break unwanted;
        }
    };
    assert_eq!(unwanted, BodyUnwanted);
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
