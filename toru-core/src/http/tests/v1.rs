//! Version 1 plugins, on real Unix sockets.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{runtime::Handle, sync::mpsc};
use toru_plugin_api::message::kv::{KvAnswer, KvCall, KvErrorCode};

use super::*;
use crate::link::{
    LinkLost, Peer,
    testing::{FakeV1, V1Peer},
};

/// A plugin that has taken `init`.
pub(super) struct Started {
    pub(super) rig: Rig,
    plugin: FakeV1,
    pub(super) peer: V1Peer,
    link: Link,
    news: mpsc::Receiver<LinkNews>,
}

pub(super) async fn started() -> Started {
    started_on(TestHost::new()).await
}

async fn started_on(host: TestHost) -> Started {
    let rig = Rig::over(host, |_| {});
    let plugin = rig.host.listen();
    let (link, mut news) = Link::open_v1(rig.host.socket(), rig.host.setup(1), &Handle::current());
    let peer = plugin.start().await;
    assert!(matches!(next_news(&mut news).await, LinkNews::Ready { protocol: 1 }));
    rig.ready(&link);
    Started { rig, plugin, peer, link, news }
}

/// A host that gives up on answers after a moment: a test of this is over when the answer is there, not after a time.
fn impatient() -> TestHost {
    let mut host = TestHost::new();
    host.config.response_timeout = Duration::from_millis(50);
    host.config.kv_timeout = Duration::from_millis(50);
    host
}

pub(super) fn request_of(message: &Value) -> &Value {
    assert_eq!(message["type"], "http");
    assert_eq!(message["payload"]["request_id"], message["request_id"]);
    &message["payload"]["payload"]
}

#[tokio::test]
async fn a_request_reaches_a_version_1_plugin_and_its_answer_comes_back() {
    let Started { rig, mut peer, .. } = started().await;
    let request = Request::post("/r/x?y=%2F")
        .header("host", "h")
        .header("accept", "a")
        .header("accept", "b")
        .header("cookie", "a=1")
        .header("cookie", "b=2; toru_session=s")
        .body(Full::new(Bytes::from("hé")))
        .unwrap();
    let plugin = async {
        let message = peer.read().await.unwrap();
        let request = request_of(&message);
        assert!(message["timestamp"].is_string());
        assert_eq!(request["method"], "POST");
        assert_eq!(request["path"], "/x?y=%2F");
        assert_eq!(request["body"], "hé");
        let headers = &request["headers"];
        assert_eq!(headers["accept"], "a, b");
        assert_eq!(headers["cookie"], "a=1; b=2");
        assert_eq!(headers["content-length"], "3");
        assert_eq!(headers["x-forwarded-prefix"], "/r");
        let payload =
            json!({"status": 201, "headers": {"set-cookie": ["a=1", "b=2"], "x": "y"}, "body": "ö"});
        peer.write_json(&json!({"type": "http", "request_id": message["request_id"], "payload": payload}))
            .await;
    };
    let (answer, ()) = tokio::join!(rig.send(request), plugin);
    assert_eq!(answer.status, 201);
    assert_eq!(answer.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!(answer.headers["content-length"], "2");
    assert_eq!(answer.body, "ö");
}

#[tokio::test]
async fn the_nested_answer_shape_means_the_same() {
    let Started { rig, mut peer, .. } = started().await;
    let plugin = async {
        let message = peer.read().await.unwrap();
        let inner = json!({"status": 202, "headers": {"x": "y"}, "body": "z"}).to_string();
        let payload = json!({"method": "RESPONSE", "path": "", "headers": {}, "body": inner});
        let id = &message["request_id"];
        peer.write_json(
            &json!({"type": "http", "payload": {"type": "http", "request_id": id, "payload": payload}}),
        )
        .await;
    };
    let (answer, ()) = tokio::join!(rig.get("/r"), plugin);
    assert_eq!(
        (answer.status, &answer.headers["x"], &answer.body[..]),
        (202, &"y".parse().unwrap(), &b"z"[..])
    );
}

#[tokio::test]
async fn an_answer_without_id_belongs_to_the_one_outstanding_and_one_with_another_id_is_dropped() {
    let Started { rig, mut peer, .. } = started().await;
    let plugin = async {
        peer.read().await.unwrap();
        peer.answer(&json!({"request_id": "other"}), "wrong").await;
        peer.write_json(&json!({"type": "http", "payload": {"status": 200, "headers": {}, "body": "right"}}))
            .await;
    };
    let (answer, ()) = tokio::join!(rig.get("/r"), plugin);
    assert_eq!(answer.body, "right");
}

#[tokio::test]
async fn requests_come_one_at_a_time_and_in_order() {
    let Started { rig, mut peer, link, .. } = started().await;
    let paths = ["/r/0", "/r/1", "/r/2"];
    let plugin = async {
        for path in ["/0", "/1", "/2"] {
            let message = peer.read().await.unwrap();
            assert_eq!(request_of(&message)["path"], path);
            assert_eq!(link.open_streams(), 1, "no other was given to the link");
            peer.answer(&message, path).await;
        }
    };
    let (a, b, c, ()) = tokio::join!(rig.get(paths[0]), rig.get(paths[1]), rig.get(paths[2]), plugin);
    assert_eq!([&a.body[..], &b.body, &c.body], [b"/0", b"/1", b"/2"]);
}

#[tokio::test]
async fn the_host_connects_as_soon_as_the_plugin_listens() {
    let rig = Rig::new();
    let (_link, mut news) = Link::open_v1(rig.host.socket(), rig.host.setup(1), &Handle::current());
    tokio::task::yield_now().await;
    let plugin = rig.host.listen();
    plugin.start().await;
    assert!(matches!(next_news(&mut news).await, LinkNews::Ready { .. }));
}

#[tokio::test]
async fn a_stranger_on_the_socket_is_told_nothing() {
    let rig = Rig::new();
    let plugin = rig.host.listen();
    let mut socket = rig.host.socket();
    let Peer::Group(group) = socket.peer else { panic!("{socket:?}") };
    socket.peer = Peer::Group(group + 1);
    let (_link, mut news) = Link::open_v1(socket, rig.host.setup(1), &Handle::current());
    assert_eq!(plugin.accept().await.read().await, None);
    let LinkNews::Lost(lost) = next_news(&mut news).await else { panic!("not lost") };
    assert!(matches!(lost, LinkLost::Handshake { code: "stranger", .. }), "{lost:?}");
    assert!(news.recv().await.is_none());
}

#[tokio::test]
async fn a_plugin_that_closes_after_each_answer_is_connected_again_without_init() {
    let Started { rig, plugin, mut peer, mut news, .. } = started().await;
    let serving = async {
        for _ in 0..5 {
            let message = peer.read().await.unwrap();
            assert_eq!(message["type"], "http", "init is not repeated");
            peer.answer(&message, "ok").await;
            drop(peer);
            peer = plugin.accept().await;
        }
    };
    let asking = async {
        for _ in 0..5 {
            assert_eq!(rig.get("/r").await.status, 200);
        }
    };
    tokio::join!(serving, asking);
    assert!(news.try_recv().is_err(), "a closed connection alone is no news");
}

#[tokio::test]
async fn a_connection_that_closes_after_the_request_was_written_is_502() {
    let Started { rig, plugin, mut peer, .. } = started().await;
    let serving = async {
        peer.read().await.unwrap();
        drop(peer);
        plugin.accept().await
    };
    let (answer, mut peer) = tokio::join!(rig.get("/r"), serving);
    assert_eq!((answer.status, answer.problem()), (502, "plugin-lost".to_owned()));
    let next = async {
        let message = peer.read().await.unwrap();
        peer.answer(&message, "again").await;
    };
    let (answer, ()) = tokio::join!(rig.get("/r"), next);
    assert_eq!(answer.body, "again", "the plugin goes on over its new connection");
}

#[tokio::test]
async fn a_plugin_that_takes_too_long_is_504_and_gets_a_new_connection() {
    let Started { rig, plugin, mut peer, .. } = started_on(impatient()).await;
    let (answer, message) = tokio::join!(rig.get("/r"), peer.read());
    assert!(message.is_some());
    assert_eq!((answer.status, answer.problem()), (504, "answer-timeout".to_owned()));
    assert_eq!(peer.read().await, None, "the host has closed");
    let mut peer = plugin.accept().await;
    let serving = async {
        let message = peer.read().await.unwrap();
        peer.answer(&message, "again").await;
    };
    let (answer, ()) = tokio::join!(rig.get("/r"), serving);
    assert_eq!(answer.body, "again");
}

#[tokio::test]
async fn a_plugin_that_cannot_be_connected_again_is_lost() {
    let Started { rig, plugin, peer, mut news, link } = started().await;
    rig.host.unlisten(plugin);
    drop(peer);
    assert!(matches!(next_news(&mut news).await, LinkNews::Lost(LinkLost::Closed)));
    assert!(news.recv().await.is_none(), "nothing comes after it");
    let error = link.kv(KvCall::Get { key: "k".to_owned() }).await.unwrap_err();
    assert_eq!(error.code, KvErrorCode::Unavailable);
}

#[tokio::test]
async fn a_request_on_a_lost_link_waits_for_the_next_one() {
    let Started { rig, plugin, peer, mut news, .. } = started().await;
    rig.host.unlisten(plugin);
    drop(peer);
    assert!(matches!(next_news(&mut news).await, LinkNews::Lost(LinkLost::Closed)));
    // Supervision has not told the endpoint yet.
    let plugin = rig.host.listen();
    let successor = async {
        let (link, mut news) = Link::open_v1(rig.host.socket(), rig.host.setup(1), &Handle::current());
        let mut peer = plugin.start().await;
        assert!(matches!(next_news(&mut news).await, LinkNews::Ready { .. }));
        rig.ready(&link);
        let message = peer.read().await.unwrap();
        peer.answer(&message, "successor").await;
    };
    let (answer, ()) = tokio::join!(rig.get("/r"), successor);
    assert_eq!(answer.body, "successor");
}

#[tokio::test]
async fn a_client_that_left_costs_the_plugin_nothing_before_and_its_answer_nothing_after_the_writing() {
    let Started { rig, mut peer, link, .. } = started().await;
    let rig = std::sync::Arc::new(rig);
    let ask = |path: &'static str| {
        let rig = rig.clone();
        tokio::spawn(async move { rig.get(path).await })
    };
    let written = ask("/r/written");
    let first = peer.read().await.unwrap();
    let queued = ask("/r/queued");
    tokio::task::yield_now().await;
    written.abort();
    queued.abort();
    assert!(written.await.unwrap_err().is_cancelled() && queued.await.unwrap_err().is_cancelled());
    assert_eq!(link.open_streams(), 1, "the written one is awaited");
    let third = ask("/r/third");
    peer.answer(&first, "for nobody").await;
    let message = peer.read().await.unwrap();
    assert_eq!(request_of(&message)["path"], "/third", "the queued one was dropped");
    peer.answer(&message, "third").await;
    assert_eq!(third.await.unwrap().body, "third");
}

#[tokio::test]
async fn a_body_that_is_not_utf_8_is_415() {
    let Started { rig, .. } = started().await;
    let answer = rig.post("/r", &b"\xff\xfe"[..]).await;
    assert_eq!((answer.status, answer.problem()), (415, "body-not-text".to_owned()));
}

#[tokio::test]
async fn a_body_whose_message_would_pass_16_mib_is_413() {
    let Started { rig, .. } = started().await;
    // In JSON each of these bytes takes six.
    let answer = rig.post("/r", vec![1; 3 << 20]).await;
    assert_eq!((answer.status, answer.problem()), (413, "body-too-large".to_owned()));
    let answer = rig.post("/r", vec![b'a'; (16 << 20) + 1]).await;
    assert_eq!((answer.status, answer.problem()), (413, "body-too-large".to_owned()));
}

#[tokio::test]
async fn a_large_text_passes_whole() {
    let Started { rig, mut peer, .. } = started().await;
    let text = "x".repeat(4 << 20);
    let plugin = async {
        let message = peer.read().await.unwrap();
        let body = request_of(&message)["body"].as_str().unwrap().to_owned();
        peer.answer(&message, &body).await;
    };
    let (answer, ()) = tokio::join!(rig.post("/r", text.clone()), plugin);
    assert_eq!(answer.body, text);
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_502_with_an_event_and_the_plugin_goes_on() {
    let Started { rig, mut peer, .. } = started().await;
    for payload in [
        json!({"status": 99, "headers": {}, "body": ""}),
        json!({"status": 200, "headers": {"x": "a\r\nb: c"}, "body": ""}),
        json!({"nonsense": true}),
    ] {
        let plugin = async {
            let message = peer.read().await.unwrap();
            peer.write_json(
                &json!({"type": "http", "request_id": message["request_id"], "payload": payload}),
            )
            .await;
        };
        let (answer, ()) = tokio::join!(rig.get("/r"), plugin);
        assert_eq!((answer.status, answer.problem()), (502, "bad-answer".to_owned()));
    }
    let events = rig.host.events().await;
    assert_eq!(events.len(), 1, "one for each kind: {events:?}");
    assert_eq!(events[0].0, "bad_answer");
}

#[tokio::test]
async fn an_answer_that_is_no_json_ends_the_link() {
    let Started { rig, mut peer, mut news, .. } = started().await;
    let plugin = async {
        peer.read().await.unwrap();
        peer.write(b"{nonsense\x01").await;
    };
    let (answer, ()) = tokio::join!(rig.get("/r"), plugin);
    assert_eq!((answer.status, answer.problem()), (502, "plugin-lost".to_owned()));
    let LinkNews::Lost(LinkLost::Protocol { cause, excerpt, .. }) = next_news(&mut news).await else {
        panic!("not lost")
    };
    assert_eq!((&*cause, &*excerpt), ("not_json", "{nonsense\\x01"));
}

#[tokio::test]
async fn kv_operations_reach_the_plugin_in_turn() {
    let Started { mut peer, link, .. } = started().await;
    let plugin = async {
        for (action, value) in [("get", json!("v")), ("set", json!(null)), ("delete", json!(null))] {
            let message = peer.read().await.unwrap();
            assert_eq!(message["payload"]["action"], action);
            assert_eq!(message["payload"]["key"], "k");
            peer.write_json(
                &json!({"type": "kv", "request_id": message["request_id"], "payload": {"value": value}}),
            )
            .await;
        }
    };
    let key = || "k".to_owned();
    let asking = async {
        assert_eq!(link.kv(KvCall::Get { key: key() }).await, Ok(KvAnswer::Value(Some("v".into()))));
        let set = KvCall::Set { key: key(), value: "w".into(), ttl_ms: None };
        assert_eq!(link.kv(set).await, Ok(KvAnswer::Ok));
        assert_eq!(link.kv(KvCall::Delete { key: key() }).await, Ok(KvAnswer::Deleted(true)));
        let list = KvCall::List { prefix: String::new(), after: None, limit: 1 };
        assert_eq!(link.kv(list).await.unwrap_err().code, KvErrorCode::Invalid);
    };
    tokio::join!(plugin, asking);
}

#[tokio::test]
async fn a_kv_operation_that_takes_too_long_is_a_timeout() {
    let Started { mut peer, link, .. } = started_on(impatient()).await;
    let (answer, message) = tokio::join!(link.kv(KvCall::Get { key: "k".to_owned() }), peer.read());
    assert!(message.is_some());
    assert_eq!(answer.unwrap_err().code, KvErrorCode::Timeout);
}

#[tokio::test]
async fn shutdown_goes_on_the_current_connection_and_the_end_is_no_loss() {
    let Started { rig, plugin, mut peer, link, mut news } = started().await;
    let serving = async {
        let message = peer.read().await.unwrap();
        link.shutdown(Duration::from_secs(5));
        assert_eq!(peer.read().await.unwrap()["payload"]["action"], "shutdown");
        peer.answer(&message, "finished").await;
        drop(peer);
    };
    let (answer, ()) = tokio::join!(rig.get("/r"), serving);
    assert_eq!(answer.body, "finished");
    assert!(matches!(next_news(&mut news).await, LinkNews::Lost(LinkLost::Closed)));
    drop(plugin);
}

#[tokio::test]
async fn shutdown_goes_on_a_new_connection_when_there_is_none() {
    let Started { rig: _rig, plugin, peer, link, .. } = started().await;
    drop(peer);
    link.shutdown(Duration::from_secs(5));
    // Whether the loss or the wish was seen first, the message arrives.
    let mut peer = plugin.accept().await;
    let message = match peer.read().await {
        Some(message) => message,
        None => plugin.accept().await.read().await.unwrap(),
    };
    assert_eq!(message["payload"]["action"], "shutdown");
}

#[tokio::test]
async fn close_ends_the_link_and_what_waits_on_it() {
    let Started { rig, mut peer, link, mut news, .. } = started().await;
    let closing = async {
        peer.read().await.unwrap();
        link.close();
        assert_eq!(peer.read().await, None);
    };
    let (answer, ()) = tokio::join!(rig.get("/r"), closing);
    assert_eq!(answer.status, 502);
    assert!(matches!(next_news(&mut news).await, LinkNews::Lost(LinkLost::Closed)));
}
