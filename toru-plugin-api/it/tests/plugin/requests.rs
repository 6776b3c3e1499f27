//! What a request meets: bodies, failures, a client that leaves.

use std::sync::Arc;

use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};
use toru_plugin_api::{Body, Level, plugin::BodyUnwanted, testing::TestHost};

use super::{Many, hanging, post, start, text};

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
