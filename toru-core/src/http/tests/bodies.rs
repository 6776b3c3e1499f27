//! Request bodies, cancellation, and what a plugin's RESET means.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::{Channel, channel::Sender};
use tokio::sync::Notify;
use toru_plugin_api::{
    driver::{BoxError, RecvBody},
    frame::ResetCode,
    message::lifecycle::Features,
};

use super::*;

pub(super) fn channel() -> (Sender<Bytes, BoxError>, Channel<Bytes, BoxError>) {
    Channel::new(1)
}

pub(super) fn upload<B>(body: B) -> Request<B> {
    Request::post("/r").body(body).unwrap()
}

pub(super) async fn echo(request: IncomingRequest) {
    request.responder.respond(head(200, &[]), request.body).await;
}

async fn collected(body: RecvBody) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

#[tokio::test(start_paused = true)]
async fn a_small_body_comes_whole_and_with_its_length() {
    let rig = rig(|request| async move {
        assert_eq!(request.head.headers["content-length"], "5");
        assert_eq!(http_body::Body::size_hint(&request.body).exact(), Some(5), "inline");
        echo(request).await;
    })
    .await;
    let answer = rig.post("/r", "hello").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_large_body_streams_both_ways() {
    let rig = rig(echo).await;
    let chunk = Bytes::from(vec![b'x'; 100_000]);
    let (mut sender, body) = channel();
    let sent = chunk.clone();
    let sending = tokio::spawn(async move {
        for _ in 0..50 {
            sender.send_data(sent.clone()).await.unwrap();
        }
    });
    let answer = rig.send(upload(body)).await;
    sending.await.unwrap();
    assert_eq!(answer.body.len(), 50 * chunk.len());
    assert!(!answer.headers.contains_key("content-length"));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_holds_the_sender_back() {
    let rig = rig(|request| async move {
        let (mut sender, body) = channel();
        let responding = tokio::spawn(request.responder.respond(head(200, &[]), body));
        let mut sent = 0;
        // The pipe and the window hold a bounded part of an endless body.
        while let Ok(Ok(())) =
            tokio::time::timeout(Duration::from_secs(60), sender.send_data(Bytes::from(vec![0; 16 << 10])))
                .await
        {
            sent += 16 << 10;
            assert!(sent < 1 << 20, "nobody reads, and yet it is sent");
        }
        responding.abort();
    })
    .await;
    let response = rig.service.forward(upload(Empty::<Bytes>::new())).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(response.into_body().collect().await.is_err(), "what was cut does not look whole");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stalls_is_408() {
    let rig = rig(|IncomingRequest { body, responder, .. }| async move {
        assert!(body.collect().await.is_err());
        drop(responder);
    })
    .await;
    for expected_length in [None, Some("10"), Some("100000")] {
        let (mut sender, body) = channel();
        sender.send_data(Bytes::from_static(b"ab")).await.unwrap();
        let mut request = upload(body);
        if let Some(length) = expected_length {
            request.headers_mut().insert("content-length", length.parse().unwrap());
        }
        let answer = rig.send(request).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (408, "body-timeout".to_owned()),
            "{expected_length:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_or_does_not_match_its_length_is_cancelled_at_the_plugin() {
    let cut = Arc::new(AtomicUsize::new(0));
    let seen = cut.clone();
    let rig = rig(move |IncomingRequest { body, responder, .. }| {
        let cut = cut.clone();
        async move {
            if body.collect().await.is_err() {
                cut.fetch_add(1, Ordering::Relaxed);
            }
            drop(responder);
        }
    })
    .await;
    for (length, sent, ending) in [("100000", 99_999, true), ("100000", 100_001, true), ("100000", 10, false)]
    {
        let (mut sender, body) = channel();
        let sending = tokio::spawn(async move {
            // It may be refused before it is whole.
            let _ = sender.send_data(Bytes::from(vec![0; sent])).await;
            if ending { drop(sender) } else { sender.abort("gone".into()) }
        });
        let mut request = upload(body);
        request.headers_mut().insert("content-length", length.parse().unwrap());
        let answer = rig.send(request).await;
        assert_eq!((answer.status, answer.problem()), (400, "body-broken".to_owned()));
        sending.await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(seen.load(Ordering::Relaxed), 3, "the plugin saw no whole body");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_without_streams_gets_bodies_collected_up_to_512_kib() {
    let rig = Rig::new();
    let mut settings = Settings::default();
    settings.features = Features::default();
    rig.start(settings, |request| async move {
        let body = collected(request.body).await;
        request.responder.respond(head(200, &[]), Full::new(Bytes::from(body.len().to_string()))).await;
    })
    .await;
    let (mut sender, body) = channel();
    let sending = tokio::spawn(async move {
        for _ in 0..32 {
            sender.send_data(Bytes::from(vec![b'x'; 16 << 10])).await.unwrap();
        }
    });
    assert_eq!(rig.send(upload(body)).await.body, "524288");
    sending.await.unwrap();
    let answer = rig.post("/r", vec![b'x'; (512 << 10) + 1]).await;
    assert_eq!((answer.status, answer.problem()), (413, "body-too-large".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_head_cancels_the_handler() {
    let cancelled = Arc::new(Notify::new());
    let seen = cancelled.clone();
    let rig = Arc::new(
        rig(move |request| {
            let cancelled = cancelled.clone();
            async move {
                request.responder.cancelled().await;
                cancelled.notify_one();
            }
        })
        .await,
    );
    for body in [Bytes::new(), Bytes::from_static(b"inline"), Bytes::from(vec![0; 1 << 20])] {
        let asking = tokio::spawn({
            let rig = rig.clone();
            async move { rig.post("/r", body).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        asking.abort();
        seen.notified().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_it_downloads_cancels_the_handler() {
    let cancelled = Arc::new(Notify::new());
    let seen = cancelled.clone();
    let rig = rig(move |request| {
        let cancelled = cancelled.clone();
        async move {
            let (sender, body) = channel();
            request.responder.respond(head(200, &[]), body).await;
            drop(sender);
            cancelled.notify_one();
        }
    })
    .await;
    drop(rig.service.forward(upload(Empty::<Bytes>::new())).await);
    seen.notified().await;
}

/// What a client gets of a plugin that resets its stream with this code, and how often the plugin was asked.
async fn reset_with(code: ResetCode, body: impl Into<Bytes>) -> (u16, String, usize) {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = asked.clone();
    let rig = rig(move |request| {
        asked.fetch_add(1, Ordering::Relaxed);
        async move { request.responder.reset(code) }
    })
    .await;
    let answer = rig.post("/r", body).await;
    (answer.status, answer.problem(), seen.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn a_reset_before_the_head_becomes_the_status_of_its_code() {
    for (code, status, problem, asked) in [
        (ResetCode::DONE, 502, "plugin-error", 1),
        (ResetCode::CANCELLED, 502, "plugin-error", 1),
        (ResetCode::TIMED_OUT, 504, "answer-timeout", 1),
        (ResetCode::INTERNAL, 502, "plugin-error", 1),
        (ResetCode::REFUSED, 503, "plugin-unavailable", 2),
        (ResetCode::TOO_LARGE, 413, "body-too-large", 1),
        (ResetCode(77), 502, "plugin-error", 1),
    ] {
        assert_eq!(reset_with(code, "held").await, (status, problem.to_owned(), asked), "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_sent_once_more() {
    let asked = AtomicUsize::new(0);
    let rig = rig(move |request| {
        let is_first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if is_first { request.responder.reset(ResetCode::REFUSED) } else { echo(request).await }
        }
    })
    .await;
    assert_eq!(rig.post("/r", "held").await.body, "held");
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_not_sent_again_when_its_body_is_not_held_whole() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = asked.clone();
    let rig = rig(move |mut request| {
        asked.fetch_add(1, Ordering::Relaxed);
        async move {
            request.body.frame().await.unwrap().unwrap();
            request.responder.reset(ResetCode::REFUSED);
        }
    })
    .await;
    let answer = rig.post("/r", vec![0; 1 << 20]).await;
    assert_eq!((answer.status, answer.problem()), (503, "plugin-unavailable".to_owned()));
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_draining_plugin_does_not_take_goes_to_its_successor() {
    let rig = Rig::new();
    let (plugin, _) = rig.start(Settings::default(), |request| say(request, "old")).await;
    plugin.handle.drain("upgrade");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let rig = Arc::new(rig);
    let asking = tokio::spawn({
        let rig = rig.clone();
        async move { rig.post("/r", vec![0; 1 << 20]).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.start(Settings::default(), |request| async move {
        let body = collected(request.body).await;
        request.responder.respond(head(200, &[]), Full::new(Bytes::from(body.len().to_string()))).await;
    })
    .await;
    assert_eq!(asking.await.unwrap().body, "1048576", "its streamed body was untouched");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_does_not_answer_in_time_is_504_and_cancelled() {
    let cancelled = Arc::new(Notify::new());
    let seen = cancelled.clone();
    let rig = rig(move |request| {
        let cancelled = cancelled.clone();
        async move {
            request.responder.cancelled().await;
            cancelled.notify_one();
        }
    })
    .await;
    let answer = rig.get("/r").await;
    assert_eq!((answer.status, answer.problem()), (504, "answer-timeout".to_owned()));
    seen.notified().await;
}
