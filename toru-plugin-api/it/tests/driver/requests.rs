//! Requests, answers, KV calls: who gets what, and what waits.

use http_body::Body;
use tokio::task::JoinSet;

use super::*;
use toru_plugin_api::{
    frame::ResetCode,
    message::{
        kv::{KvAnswer, KvCall, KvErrorCode},
        log::{Level, LogMessage},
    },
    proto::OpenError,
};

fn get_key(key: &str) -> KvCall {
    KvCall::Get { key: key.into() }
}

#[tokio::test]
async fn inline_bodies_know_their_length() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_request("/a?b=c", RequestBody::<Full<Bytes>>::Full("question".into()));
    let request = plugin.accept().await;
    assert_eq!(request.head.path, "/a?b=c");
    assert_eq!(request.body.size_hint().exact(), Some(8));
    assert!(!request.body.is_end_stream());
    assert_eq!(collect(request.body).await, "question");
    request.responder.respond(ok(), full("answer")).await;
    let answer = asking.await.unwrap().unwrap();
    assert_eq!(answer.body.size_hint().exact(), Some(6));
    assert_eq!(collect(answer.body).await, "answer");
    assert_eq!(host.handle.open_streams(), 0);
}

#[tokio::test]
async fn absent_bodies_are_at_their_end() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    let request = plugin.accept().await;
    assert!(request.body.is_end_stream());
    request.responder.respond(ok(), Empty::<Bytes>::new()).await;
    assert!(asking.await.unwrap().unwrap().body.is_end_stream());
}

#[tokio::test]
async fn dropped_request_future_resets_the_stream() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    let request = plugin.accept().await;
    asking.abort();
    request.responder.cancelled().await;
    drop(request);
    host.handle.idle().await;
    plugin.handle.idle().await;
}

#[tokio::test]
async fn request_that_left_before_it_was_taken_is_never_handed_out() {
    let (host, mut plugin) = pair().await;
    let gone = host.spawn_get("/gone");
    while plugin.handle.open_streams() == 0 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    plugin.handle.idle().await;
    let _asking = host.spawn_get("/next");
    assert_eq!(plugin.accept().await.head.path, "/next");
}

#[tokio::test]
async fn dropped_responder_resets_the_stream_as_internal() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    drop(plugin.accept().await);
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, RequestError::Reset(ResetCode::INTERNAL)), "{error}");
}

#[tokio::test]
async fn dropped_incoming_refuses_requests() {
    let (host, plugin) = pair().await;
    let before = host.spawn_get("/");
    while plugin.handle.open_streams() == 0 {
        tokio::task::yield_now().await;
    }
    drop(plugin.incoming);
    for error in [before.await.unwrap().unwrap_err(), host.get("/").await.unwrap_err()] {
        assert!(matches!(error, RequestError::Reset(ResetCode::REFUSED)), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn silent_plugin_times_out() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    let request = plugin.accept().await;
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, RequestError::TimedOut), "{error}");
    request.responder.cancelled().await;
}

#[tokio::test]
async fn thousand_requests_in_flight_all_get_their_own_answer() {
    let (host, mut plugin) = pair().await;
    let mut asking = JoinSet::new();
    for n in 0..1_000 {
        let handle = host.handle.clone();
        asking.spawn(async move {
            let body = RequestBody::<Full<Bytes>>::Full(n.to_string().into());
            let answer = handle.request(request_head("/"), body).await.unwrap();
            assert_eq!(collect(answer.body).await, n.to_string());
        });
    }
    let mut requests = Vec::new();
    for _ in 0..1_000 {
        requests.push(plugin.accept().await);
    }
    assert_eq!(host.handle.open_streams(), 1_000);
    for request in requests.into_iter().rev() {
        let body = collect(request.body).await;
        request.responder.respond(ok(), full(body)).await;
    }
    asking.join_all().await;
    assert_eq!(host.handle.open_streams(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unix_sockets_and_threads_carry_requests() {
    let (host_io, plugin_io) = tokio::net::UnixStream::pair().unwrap();
    let (host, plugin) = pair_over(host_io, plugin_io, settings(), settings()).await;
    plugin.serve(|request| async move {
        let body = collect(request.body).await;
        request.responder.respond(ok(), full(body)).await;
    });
    let mut asking = JoinSet::new();
    for n in 0..200_usize {
        let handle = host.handle.clone();
        asking.spawn(async move {
            for size in [1, 1_000, 100_000] {
                let body = Bytes::from(vec![n as u8; size]);
                let answer =
                    handle.request(request_head("/"), RequestBody::Stream(full(body.clone()))).await.unwrap();
                assert_eq!(collect(answer.body).await, body);
            }
        });
    }
    asking.join_all().await;
}

#[tokio::test]
async fn requests_past_max_streams_wait_for_their_turn() {
    let mut few = settings();
    few.limits.max_streams = 2;
    let (host, mut plugin) = pair_with(settings(), few).await;
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        let handle = host.handle.clone();
        asking.spawn(async move {
            handle.request(request_head("/"), RequestBody::<Empty<Bytes>>::Empty).await.unwrap();
        });
    }
    for _ in 0..20 {
        let request = plugin.accept().await;
        assert!(plugin.handle.open_streams() <= 2);
        request.responder.respond(ok(), full("answer")).await;
    }
    asking.join_all().await;
}

#[tokio::test]
async fn draining_plugin_takes_no_new_streams() {
    let (mut host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    let request = plugin.accept().await;
    plugin.handle.drain("a new version is there");
    assert!(matches!(host.incoming.next().await, Some(IncomingEvent::Draining(_))));
    let error = host.get("/").await.unwrap_err();
    assert!(matches!(error, RequestError::Open(OpenError::Draining)), "{error}");
    request.responder.respond(ok(), full("answer")).await;
    assert_eq!(collect(asking.await.unwrap().unwrap().body).await, "answer");
}

#[tokio::test]
async fn kv_calls_get_their_answers() {
    let (mut host, plugin) = pair().await;
    let handle = plugin.handle.clone();
    let asking = tokio::spawn(async move { handle.call_kv(get_key("k")).await });
    let Some(IncomingEvent::Kv(incoming)) = host.incoming.next().await else { panic!("no call") };
    assert_eq!(incoming.call, get_key("k"));
    incoming.responder.room().await;
    incoming.responder.answer(Ok(KvAnswer::Value(Some("v".into()))));
    assert_eq!(asking.await.unwrap(), Ok(KvAnswer::Value(Some("v".into()))));
}

#[tokio::test]
async fn dropped_kv_responder_answers_unavailable() {
    let (mut host, plugin) = pair().await;
    let handle = plugin.handle.clone();
    let asking = tokio::spawn(async move { handle.call_kv(get_key("k")).await });
    drop(host.incoming.next().await);
    assert_eq!(asking.await.unwrap().unwrap_err().code, KvErrorCode::Unavailable);
}

#[tokio::test]
async fn kv_answers_that_find_no_room_are_kept_until_there_is() {
    let (mut host, plugin) = pair().await;
    let value = Bytes::from(vec![b'v'; 400 << 10]);
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        let handle = plugin.handle.clone();
        asking.spawn(async move { handle.call_kv(get_key("k")).await });
    }
    let mut calls = Vec::new();
    for _ in 0..20 {
        let Some(IncomingEvent::Kv(call)) = host.incoming.next().await else { panic!("no call") };
        calls.push(call);
    }
    for call in calls {
        call.responder.answer(Ok(KvAnswer::Value(Some(value.clone()))));
    }
    for answer in asking.join_all().await {
        assert_eq!(answer, Ok(KvAnswer::Value(Some(value.clone()))));
    }
}

#[tokio::test(start_paused = true)]
async fn log_records_that_nobody_takes_are_dropped_and_counted() {
    let (mut host, plugin) = pair().await;
    let sent = 3_000;
    for n in 0..sent {
        let log = LogMessage { level: Level::Info, message: n.to_string(), fields: serde_json::Map::new() };
        assert!(plugin.handle.log(&log));
        if n % 100 == 0 {
            settle().await;
        }
    }
    settle().await;
    let mut taken = 0;
    let dropped = loop {
        match host.incoming.next().await {
            Some(IncomingEvent::Log(log)) => {
                assert_eq!(log.message, taken.to_string());
                taken += 1;
            }
            Some(IncomingEvent::Dropped(dropped)) => break dropped,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(taken + dropped, sent);
    assert_eq!(taken, 1_024);
}
