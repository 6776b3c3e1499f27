//! What of a plugin's answer reaches the client.

use std::time::Duration;

use http_body_util::Channel;
use serde_json::json;
use toru_plugin_api::driver::BoxError;

use super::*;

/// A plugin that answers everything with this head and text.
async fn answering(status: u16, fields: &'static [(&'static str, &'static str)], body: &'static str) -> Rig {
    rig(move |request| async move {
        request.responder.respond(head(status, fields), Full::new(Bytes::from(body))).await
    })
    .await
}

/// A plugin that streams these chunks under this head.
async fn streaming(fields: &'static [(&'static str, &'static str)], chunks: &'static [&'static str]) -> Rig {
    rig(move |request| async move {
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
        let responding = tokio::spawn(request.responder.respond(head(200, fields), body));
        for chunk in chunks {
            // Who was cut is not there any more.
            let _ = sender.send_data(Bytes::from(*chunk)).await;
        }
        drop(sender);
        responding.await.unwrap();
    })
    .await
}

async fn ask(rig: &Rig, method: &str) -> Answer {
    rig.send(Request::builder().method(method).uri("/r").body(Empty::new()).unwrap()).await
}

#[tokio::test]
async fn status_fields_and_body_pass_and_duplicates_stay() {
    let rig = answering(
        418,
        &[("set-cookie", "a=1"), ("x-a", "1"), ("set-cookie", "b=2"), ("content-type", "text/plain")],
        "teapot",
    )
    .await;
    let answer = rig.get("/r").await;
    assert_eq!((answer.status, &answer.body[..]), (418, &b"teapot"[..]));
    assert_eq!(answer.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!(answer.headers["content-length"], "6", "set by the host");
    assert!(rig.host.events().await.is_empty());
}

#[tokio::test]
async fn hop_by_hop_fields_and_cookies_of_the_host_are_stripped_with_an_event_for_the_first() {
    let rig = answering(
        200,
        &[
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "toru_session=evil; Path=/"),
            ("set-cookie", "own=1"),
        ],
        "ok",
    )
    .await;
    for _ in 0..3 {
        let answer = rig.get("/r").await;
        for name in ["connection", "x-private", "transfer-encoding"] {
            assert!(!answer.headers.contains_key(name), "{name}");
        }
        assert_eq!(answer.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["own=1"]);
        assert_eq!(answer.body, "ok");
    }
    let events = rig.host.events().await;
    assert!(events.iter().all(|(event_type, _)| event_type == "bad_answer"));
    assert_eq!(events.len(), 2, "{events:?}");
}

#[tokio::test]
async fn a_body_that_does_not_match_its_content_length_is_never_passed_off_as_whole() {
    for (length, body) in [("5", "four"), ("3", "four"), ("-4", "four"), ("4, 4", "four"), ("", "four")] {
        let rig = Rig::new();
        let (mut plugin, _link, _news) = rig.start_raw().await;
        let answering = async {
            let request = plugin.read().await;
            let payload = json!({"action": "response", "status": 200, "headers": [["content-length", length]], "body": body});
            plugin.respond(&request, &payload).await;
        };
        let (answer, ()) = tokio::join!(rig.get("/r"), answering);
        assert_eq!((answer.status, answer.problem()), (502, "bad-answer".to_owned()), "{length:?}");
        assert_eq!(rig.host.events().await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_streamed_body_is_cut_where_it_does_not_match_its_content_length() {
    let whole_body = streaming(&[("content-length", "4")], &["ab", "cd"]).await;
    let answer = whole_body.get("/r").await;
    assert_eq!((&answer.headers["content-length"], &answer.body[..]), (&"4".parse().unwrap(), &b"abcd"[..]));
    for chunks in [&["ab"][..], &["ab", "cde"], &["abcde"]] {
        let rig = streaming(&[("content-length", "4")], chunks).await;
        let response = rig.service.forward(Request::get("/r").body(Empty::<Bytes>::new()).unwrap()).await;
        let mut body = response.into_body();
        let mut passed = 0;
        let error = loop {
            match body.frame().await.expect("it does not end as if it were whole") {
                Ok(frame) => passed += frame.data_ref().map_or(0, Bytes::len),
                Err(error) => break error,
            }
        };
        assert!(passed < 4, "{chunks:?}: {passed} bytes would look whole ({error})");
    }
}

#[tokio::test]
async fn an_answer_to_head_and_304_keep_their_length_and_have_no_body() {
    let rig = answering(200, &[("content-length", "100")], "").await;
    let answer = ask(&rig, "HEAD").await;
    assert_eq!((answer.status, &answer.headers["content-length"]), (200, &"100".parse().unwrap()));
    assert!(answer.body.is_empty());
    let rig = answering(304, &[("content-length", "100"), ("etag", "x")], "").await;
    let answer = rig.get("/r").await;
    assert_eq!((answer.status, &answer.headers["content-length"]), (304, &"100".parse().unwrap()));
}

#[tokio::test]
async fn a_204_has_neither_body_nor_length() {
    let rig = answering(204, &[("content-length", "0")], "").await;
    let answer = rig.get("/r").await;
    assert_eq!(answer.status, 204);
    assert!(!answer.headers.contains_key("content-length") && answer.body.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_body_that_a_plugin_sends_to_head_is_discarded_and_the_link_goes_on() {
    let rig = Rig::new();
    let (mut plugin, link, _news) = rig.start_raw().await;
    for _ in 0..3 {
        let answering = async {
            let request = plugin.read().await;
            plugin
                .respond(
                    &request,
                    &json!({"action": "response", "status": 200, "headers": [], "body": "inline"}),
                )
                .await;
        };
        let (answer, ()) = tokio::join!(ask(&rig, "HEAD"), answering);
        assert_eq!(answer.status, 200);
        assert!(answer.body.is_empty());
    }
    assert_eq!(link.open_streams(), 0);
}

#[tokio::test]
async fn heads_that_are_none_are_502_with_an_event_and_the_link_goes_on() {
    let rig = Rig::new();
    let (mut plugin, _link, _news) = rig.start_raw().await;
    for payload in [
        json!({"action": "response", "status": 99, "headers": []}),
        json!({"action": "response", "status": 600, "headers": []}),
        json!({"action": "response", "status": 100, "headers": []}),
        json!({"action": "response", "status": 101, "headers": [["upgrade", "x"]]}),
        json!({"action": "response", "status": 200, "headers": [["x", "a\r\nset-cookie: b"]]}),
        json!({"action": "response", "status": 200, "headers": [["x y", "a"]]}),
        json!({"action": "response", "status": 200, "headers": [["x", "\u{100}"]]}),
    ] {
        let answering = async {
            let request = plugin.read().await;
            plugin.respond(&request, &payload).await;
            // RESET 3, of the stream that the plugin had ended.
            assert_eq!(plugin.read_frame().await[..2], [3, 3], "{payload}");
        };
        let (answer, ()) = tokio::join!(rig.get("/r"), answering);
        assert_eq!((answer.status, answer.problem()), (502, "bad-answer".to_owned()), "{payload}");
    }
    assert_eq!(rig.host.events().await[0].0, "bad_answer");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_fails_inside_its_body_cuts_the_client() {
    let rig = rig(|request| async move {
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
        let responding = tokio::spawn(request.responder.respond(head(200, &[]), body));
        sender.send_data(Bytes::from_static(b"half")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        sender.abort("disk".into());
        responding.await.unwrap();
    })
    .await;
    let response = rig.service.forward(Request::get("/r").body(Empty::<Bytes>::new()).unwrap()).await;
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn no_timer_covers_an_answer_after_its_head() {
    let rig = rig(|request| async move {
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
        let responding = tokio::spawn(request.responder.respond(head(200, &[]), body));
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            sender.send_data(Bytes::from_static(b"event\n")).await.unwrap();
        }
        drop(sender);
        responding.await.unwrap();
    })
    .await;
    assert_eq!(rig.get("/r").await.body, "event\nevent\nevent\n");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_lost_is_502_before_the_head_and_a_cut_after_it() {
    let rig = Rig::new();
    let (mut plugin, _link, mut news) = rig.start_raw().await;
    let get = || Request::get("/r").body(Empty::<Bytes>::new()).unwrap();
    let dying = async {
        let first = plugin.read().await;
        plugin.read().await;
        let payload = json!({"action": "response", "status": 200, "headers": [], "body_stream": true});
        plugin.respond(&first, &payload).await;
        drop(plugin);
    };
    let (first, second, ()) = tokio::join!(rig.service.forward(get()), rig.service.forward(get()), dying);
    assert_eq!(first.status(), 200);
    assert!(first.into_body().collect().await.is_err());
    assert_eq!(whole(second).await.problem(), "plugin-lost");
    assert!(matches!(next_news(&mut news).await, LinkNews::Lost(crate::link::LinkLost::Closed)));
}
