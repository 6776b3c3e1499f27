//! The rules of HTTP hold for version 1 plugins too.

use serde_json::{Value, json};

use super::{
    v1::{Started, request_of, started},
    *,
};
use crate::http::{Caller, Identity};

/// What a client gets for this request when the plugin answers with this payload, and what the plugin was sent.
async fn exchange(started: &mut Started, request: Request<Full<Bytes>>, payload: Value) -> (Answer, Value) {
    let Started { rig, peer, .. } = started;
    let plugin = async {
        let message = peer.read().await.unwrap();
        peer.write_json(&json!({"type": "http", "request_id": message["request_id"], "payload": payload}))
            .await;
        request_of(&message).clone()
    };
    tokio::join!(rig.send(request), plugin)
}

fn request(method: &str) -> http::request::Builder {
    Request::builder().method(method).uri("/r/x").header("host", "example.org")
}

fn ok() -> Value {
    json!({"status": 200, "headers": {}, "body": ""})
}

#[tokio::test]
async fn a_version_1_plugin_gets_the_hosts_context_and_nothing_of_the_clients_connection() {
    let mut started = started().await;
    let request = request("GET")
        .header("connection", "upgrade, x-private")
        .header("upgrade", "websocket")
        .header("x-private", "1")
        .header("te", "trailers")
        .header("proxy-authorization", "Basic x")
        .header("expect", "100-continue")
        .header("x-toru-user", "root")
        .header("x_forwarded_for", "127.0.0.1")
        .header("forwarded", "for=127.0.0.1")
        .header("authorization", "Bearer secret")
        .header("traceparent", "nonsense")
        .extension(Caller::https("192.0.2.7".parse().unwrap()))
        .extension(Identity::new("ann", ["admin"]).unwrap().by_authorization())
        .body(Full::default())
        .unwrap();
    let (answer, sent) = exchange(&mut started, request, ok()).await;
    assert_eq!(answer.status, 200);
    let headers = sent["headers"].as_object().unwrap();
    let mut names: Vec<&str> = headers.keys().map(String::as_str).collect();
    names.sort_unstable();
    let context = [
        "host",
        "traceparent",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-toru-request-id",
        "x-toru-roles",
        "x-toru-timeout-ms",
        "x-toru-user",
    ];
    assert_eq!(names, context);
    for (name, value) in
        [("x-toru-user", "ann"), ("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https")]
    {
        assert_eq!(headers[name], value);
    }
}

#[tokio::test]
async fn a_version_1_plugin_sets_no_field_of_the_connection_and_no_cookie_of_the_host() {
    let mut started = started().await;
    let headers = json!({
        "connection": "close, x-mine", "x-mine": "1", "keep-alive": "timeout=5", "transfer-encoding": "chunked",
        "upgrade": "h2c", "set-cookie": ["toru_session=evil", "own=1"], "x": "y",
    });
    let payload = json!({"status": 200, "headers": headers, "body": "ok"});
    let (answer, _) = exchange(&mut started, request("GET").body(Full::default()).unwrap(), payload).await;
    let mut fields: Vec<(&str, &str)> =
        answer.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    fields.sort_unstable();
    assert_eq!(fields, [("content-length", "2"), ("set-cookie", "own=1"), ("x", "y")]);
    assert_eq!(started.rig.host.events().await.len(), 2);
}

#[tokio::test]
async fn a_version_1_answer_that_has_no_body_keeps_none() {
    let mut started = started().await;
    for (method, status, length) in [("HEAD", 200, Some("4")), ("GET", 304, Some("4")), ("GET", 204, None)] {
        let payload = json!({"status": status, "headers": {"content-length": "4"}, "body": "body"});
        let (answer, _) =
            exchange(&mut started, request(method).body(Full::default()).unwrap(), payload).await;
        assert_eq!((answer.status, &answer.body[..]), (status, &b""[..]));
        let kept = answer.headers.get("content-length").map(|length| length.to_str().unwrap());
        assert_eq!(kept, length, "{method} {status}");
    }
}

#[tokio::test]
async fn a_version_1_body_has_the_length_that_its_head_names() {
    let mut started = started().await;
    for (length, status) in [("5", 200), ("4", 502), ("6", 502), ("five", 502)] {
        let payload = json!({"status": 200, "headers": {"content-length": length}, "body": "héhe"});
        let (answer, _) =
            exchange(&mut started, request("GET").body(Full::default()).unwrap(), payload).await;
        assert_eq!(answer.status, status, "{length}");
    }
}

#[tokio::test]
async fn a_1xx_of_a_version_1_plugin_is_no_answer() {
    let mut started = started().await;
    for status in [100, 101, 103] {
        let payload = json!({"status": status, "headers": {}, "body": ""});
        let (answer, _) =
            exchange(&mut started, request("GET").body(Full::default()).unwrap(), payload).await;
        assert_eq!((answer.status, answer.problem()), (502, "bad-answer".to_owned()));
    }
}
