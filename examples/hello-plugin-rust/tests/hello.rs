//! The plugin in memory, against the SDK's test host.

#![allow(
    clippy::unwrap_used,
    reason = "what a test cannot go on without is its failure; clippy knows test functions only, not their helpers"
)]

use std::time::Duration;

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

#[tokio::test(start_paused = true)]
async fn paced_events_come_one_by_one() {
    let host = start().await;
    let begin = tokio::time::Instant::now();
    let mut body = host.get("/events?n=3&ms=10").await.unwrap().into_body();
    for n in 0..3_u64 {
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("data: {n}\n\n"));
        assert_eq!(begin.elapsed(), Duration::from_millis(10 * (n + 1)));
    }
}

#[tokio::test]
async fn a_download_has_as_many_bytes_as_asked() {
    let host = start().await;
    for bytes in [0, 1, 1 << 20] {
        let response = host.get(&format!("/download?bytes={bytes}")).await.unwrap();
        assert_eq!(text(response).await, ".".repeat(bytes));
    }
}

#[tokio::test]
async fn a_body_is_counted_as_it_streams() {
    let host = start().await;
    let (sender, body) = Body::channel();
    let sending = async {
        for _ in 0..100 {
            sender.send(vec![0; 10_000]).await.unwrap();
        }
        drop(sender);
    };
    let answer = host.request(Request::post("/count").body(body).unwrap());
    let (answer, ()) = tokio::join!(answer, sending);
    assert_eq!(text(answer.unwrap()).await, "1000000");
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
        (Request::get("/events?n=3&ms=soon"), StatusCode::BAD_REQUEST),
        (Request::get("/download?bytes=1048577"), StatusCode::BAD_REQUEST),
        (Request::get("/count"), StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let response = host.request(request.body(()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status);
    }
}

#[tokio::test]
async fn plugin_ends_when_the_host_does() {
    assert!(matches!(start().await.cut().await, Err(ServeError::LinkLost)));
}
