//! A plugin's namespace over HTTP.

use bytes::Bytes;
use http::{Method, header};
use serde_json::{Value, json};
use toru_core::api::message::kv::KvCall;

use crate::host::{Answer, TestHost, within};

const KV: &str = "/api/plugins/tell/kv";

async fn call(host: &TestHost, call: Value) -> Answer {
    host.post(KV, call.to_string()).await
}

#[tokio::test]
async fn values_are_set_read_and_deleted_whether_or_not_the_plugin_runs() {
    let host = TestHost::with_plugin().await;
    for runs in [true, false] {
        if !runs {
            host.post("/api/plugins/tell/disable", "").await;
            within(host.supervisor.wait_until("tell", |status| status.pid.is_none())).await.unwrap();
        }
        let key = format!("key of {runs} ☃");
        assert_eq!(call(&host, json!({"action": "get", "key": key})).await.json(), json!({"value": null}));
        let value = "a\u{0}b ☃ \"".repeat(1_000);
        assert_eq!(
            call(&host, json!({"action": "set", "key": key, "value": value})).await.json(),
            json!({"value": null})
        );
        assert_eq!(call(&host, json!({"action": "Get", "key": key})).await.json(), json!({"value": value}));
        assert_eq!(call(&host, json!({"action": "delete", "key": key})).await.json(), json!({"value": null}));
        assert_eq!(call(&host, json!({"action": "get", "key": key})).await.json(), json!({"value": null}));
    }
    host.stop().await;
}

#[tokio::test]
async fn a_malformed_call_is_told_apart_by_its_status() {
    let host = TestHost::with_plugin().await;
    for (body, status, kind) in [
        (&b""[..], 400, "not-json"),
        (b"{", 400, "not-json"),
        (b"action=get&key=k", 400, "not-json"),
        (b"{\"action\":\"get\",\"key\":\"\xff\"}", 400, "not-json"),
        (b"null", 422, "invalid-call"),
        (b"[]", 422, "invalid-call"),
        (b"{}", 422, "invalid-call"),
        (br#"{"action":"get"}"#, 422, "invalid-call"),
        (br#"{"action":"get","key":7}"#, 422, "invalid-call"),
        (br#"{"action":"get","key":""}"#, 422, "invalid-call"),
        (br#"{"action":"get","key":"k","value":"v"}"#, 422, "invalid-call"),
        (br#"{"action":"get","key":"k","extra":1}"#, 422, "invalid-call"),
        (br#"{"action":"set","key":"k"}"#, 422, "invalid-call"),
        (br#"{"action":"set","key":"k","value":{}}"#, 422, "invalid-call"),
        (br#"{"action":"list","key":"k"}"#, 422, "invalid-call"),
    ] {
        let answer = host.post(KV, Bytes::from_static(body)).await;
        answer.assert_problem(status, kind);
    }
    host.stop().await;
}

#[tokio::test]
async fn a_value_that_is_not_text_cannot_be_read_here() {
    let host = TestHost::with_plugin().await;
    let set = KvCall::Set { key: "k".into(), value: Bytes::from_static(b"\xff"), ttl_ms: None };
    host.supervisor.kv_store().call("tell", set).await.unwrap();
    call(&host, json!({"action": "get", "key": "k"})).await.assert_problem(422, "value-not-text");
    host.stop().await;
}

#[tokio::test]
async fn the_largest_value_passes_and_a_larger_one_does_not() {
    let host = TestHost::with_plugin().await;
    let largest = "\u{0}".repeat(512 << 10);
    let set = |value: &str| json!({"action": "set", "key": "k", "value": value});
    assert_eq!(call(&host, set(&largest)).await.status, 200);
    assert_eq!(call(&host, json!({"action": "get", "key": "k"})).await.json()["value"], largest);
    call(&host, set(&"x".repeat((512 << 10) + 1))).await.assert_problem(413, "too-large");
    host.stop().await;
}

#[tokio::test]
async fn a_body_past_all_bounds_is_413() {
    let host = TestHost::with_plugin().await;
    host.post(KV, vec![b' '; 4 << 20]).await.assert_problem(413, "too-large");
    host.stop().await;
}

#[tokio::test]
async fn a_page_of_another_site_cannot_call() {
    let host = TestHost::with_plugin().await;
    let mut request = host.request(Method::POST, KV).map(|_| r#"{"action":"get","key":"k"}"#.into());
    request.headers_mut().insert(header::ORIGIN, "http://evil.example".parse().unwrap());
    host.send(request).await.assert_problem(403, "foreign-origin");
    host.stop().await;
}
