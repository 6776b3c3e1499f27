//! The plugin in memory, against the SDK's test host.

#![allow(
    clippy::unwrap_used,
    reason = "what a test cannot go on without is its failure; clippy knows test functions only, not their helpers"
)]

use hello_plugin_rust::{Hello, JSON};
use http_body_util::BodyExt;
use toru_plugin_api::{
    Body, ServeError,
    http::{Request, Response, StatusCode},
    testing::{MemoryKv, TestHost},
};

async fn start() -> TestHost {
    TestHost::start(Hello::default()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    response.into_body().text().await.unwrap()
}

async fn count(host: &TestHost) -> String {
    text(host.request(Request::post("/counter").body(()).unwrap()).await.unwrap()).await
}

#[tokio::test]
async fn json_has_100_bytes() {
    let host = start().await;
    let response = host.get("/json").await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = text(response).await;
    assert_eq!((body.len(), body.as_str()), (100, JSON));
}

#[tokio::test]
async fn greeting_comes_from_the_settings() {
    let default = start().await;
    assert_eq!(text(default.get("/").await.unwrap()).await, "Hello from Rust!");
    let host = TestHost::builder().config("greeting", "Salve").start(Hello::default()).await.unwrap();
    assert_eq!(text(host.get("/").await.unwrap()).await, "Salve");
}

#[tokio::test]
async fn counter_is_kept_in_the_store() {
    let kv = MemoryKv::default();
    let host = TestHost::builder().kv(kv.clone()).start(Hello::default()).await.unwrap();
    assert_eq!(count(&host).await, "1");
    assert_eq!(count(&host).await, "2");
    host.shutdown().await.unwrap();

    let host = TestHost::builder().kv(kv.clone()).start(Hello::default()).await.unwrap();
    assert_eq!(text(host.get("/counter").await.unwrap()).await, "2");
    assert_eq!(kv.get("counter").as_deref(), Some(b"2".as_slice()));
}

#[tokio::test]
async fn concurrent_increments_are_all_counted() {
    let host = std::sync::Arc::new(start().await);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let host = host.clone();
        clients.spawn(async move { count(&host).await });
    }
    clients.join_all().await;
    assert_eq!(text(host.get("/counter").await.unwrap()).await, "50");
}

#[tokio::test]
async fn echo_streams_the_body_back() {
    let host = start().await;
    let (sender, body) = Body::channel();
    let request = Request::post("/echo").header("content-type", "text/x-parts").body(body).unwrap();
    let response = host.request(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/x-parts");
    let mut echo = response.into_body();
    for part in ["one", "two", "three"] {
        // Each part comes back before the next is sent: nothing is collected on the way.
        sender.send(part).await.unwrap();
        let frame = echo.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), part);
    }
    drop(sender);
    assert!(echo.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn wait_answers_after_its_time() {
    let host = start().await;
    let begin = tokio::time::Instant::now();
    assert_eq!(text(host.get("/wait?ms=100").await.unwrap()).await, "waited 100 ms");
    assert_eq!(begin.elapsed().as_millis(), 100);
}

#[tokio::test]
async fn events_come_in_order() {
    let host = start().await;
    let body = text(host.get("/events?n=3").await.unwrap()).await;
    assert_eq!(body, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
}

#[tokio::test]
async fn wrong_requests_get_clear_answers() {
    let host = start().await;
    for (request, status) in [
        (Request::get("/nothing"), StatusCode::NOT_FOUND),
        (Request::delete("/counter"), StatusCode::METHOD_NOT_ALLOWED),
        (Request::get("/wait?ms=soon"), StatusCode::BAD_REQUEST),
        (Request::get("/wait?ms=60001"), StatusCode::BAD_REQUEST),
        (Request::get("/events"), StatusCode::BAD_REQUEST),
    ] {
        let response = host.request(request.body(()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status);
    }
}

#[tokio::test]
async fn plugin_ends_when_the_host_does() {
    assert!(matches!(start().await.cut().await, Err(ServeError::LinkLost)));
}
