//! Bodies that are streamed, both ways.

use tokio::sync::mpsc;

use super::*;
use toru_plugin_api::{driver::RecvError, frame::ResetCode};

/// A body that is written by the test.
struct Channel(mpsc::Receiver<Result<Bytes, BoxError>>);

fn channel() -> (mpsc::Sender<Result<Bytes, BoxError>>, Channel) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Channel(receiver))
}

impl http_body::Body for Channel {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx).map_ok(Frame::data)
    }
}

#[tokio::test]
async fn large_bodies_pass_whole_both_ways() {
    let (host, plugin) = pair().await;
    plugin.serve(|request| request.responder.respond(ok(), request.body));
    let (body, _) = Counted::new(300, 10_000);
    let answer = host.handle.request(request_head("/"), RequestBody::Stream(body)).await.unwrap();
    let echo = collect(answer.body).await;
    assert_eq!(echo.len(), 3_000_000);
    assert!(echo.chunks(10_000).enumerate().all(|(n, chunk)| chunk.iter().all(|&b| b == (n % 251) as u8)));
}

#[tokio::test]
async fn chunks_pass_as_they_come() {
    let (host, mut plugin) = pair().await;
    let (sender, body) = channel();
    let asking = host.spawn_request("/", RequestBody::Stream(body));
    let request = plugin.accept().await;
    let answering = tokio::spawn(request.responder.respond(ok(), request.body));
    let mut echo = asking.await.unwrap().unwrap().body;
    for chunk in ["one", "two", "three"] {
        sender.send(Ok(chunk.into())).await.unwrap();
        assert_eq!(echo.frame().await.unwrap().unwrap().into_data().unwrap(), chunk);
    }
    drop(sender);
    assert!(echo.frame().await.is_none());
    answering.await.unwrap();
    host.handle.idle().await;
}

#[tokio::test(start_paused = true)]
async fn source_is_not_read_ahead_of_its_reader() {
    let (host, mut plugin) = pair().await;
    let chunk = 1_000;
    let (body, taken) = Counted::new(10_000, chunk);
    let _asking = host.spawn_request("/", RequestBody::Stream(body));
    let mut request = plugin.accept().await;
    settle().await;
    let window = Limits::DEFAULT.window as usize;
    let most = window + 2 * chunk;
    assert!(taken.load(Ordering::Relaxed) * chunk <= most, "{taken:?} chunks were taken");
    assert!(taken.load(Ordering::Relaxed) * chunk >= window, "the window is used: {taken:?}");
    let mut read = 0;
    while let Some(frame) = request.body.frame().await {
        read += frame.unwrap().into_data().unwrap().len();
        let ahead = taken.load(Ordering::Relaxed) * chunk - read;
        // A reader that is fast may have its window raised to 256 KiB.
        assert!(ahead <= (256 << 10) + 2 * chunk, "{ahead} bytes ahead");
    }
    assert_eq!(read, 10_000 * chunk);
}

#[tokio::test(start_paused = true)]
async fn answer_is_not_produced_ahead_of_its_reader() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    let request = plugin.accept().await;
    let (body, taken) = Counted::new(1_000, 10_000);
    let answering = tokio::spawn(request.responder.respond(ok(), body));
    let answer = asking.await.unwrap().unwrap();
    settle().await;
    assert!(taken.load(Ordering::Relaxed) * 10_000 <= Limits::DEFAULT.window as usize + 20_000);
    assert_eq!(collect(answer.body).await.len(), 10_000_000);
    answering.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reader_that_stops_blocks_nobody_else() {
    let (host, mut plugin) = pair().await;
    let mut stopped = Vec::new();
    for _ in 0..20 {
        let asking = host.spawn_get("/large");
        let request = plugin.accept().await;
        tokio::spawn(request.responder.respond(ok(), Counted::new(100, 10_000).0));
        stopped.push(asking.await.unwrap().unwrap());
    }
    settle().await;
    plugin.serve(|request| request.responder.respond(ok(), full("answer")));
    for _ in 0..100 {
        assert_eq!(collect(host.get("/").await.unwrap().body).await, "answer");
    }
    for answer in stopped {
        assert_eq!(collect(answer.body).await.len(), 1_000_000);
    }
}

#[tokio::test]
async fn dropped_answer_body_cancels_its_producer() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    let request = plugin.accept().await;
    let (sender, body) = channel();
    let answering = tokio::spawn(request.responder.respond(ok(), body));
    let answer = asking.await.unwrap().unwrap();
    drop(answer);
    answering.await.unwrap();
    sender.closed().await;
    host.handle.idle().await;
}

#[tokio::test]
async fn dropped_request_body_lets_the_answer_go_on() {
    let (host, mut plugin) = pair().await;
    let (body, taken) = Counted::new(100, 10_000);
    let asking = host.spawn_request("/", RequestBody::Stream(body));
    let request = plugin.accept().await;
    drop(request.body);
    while taken.load(Ordering::Relaxed) < 100 {
        tokio::task::yield_now().await;
    }
    request.responder.respond(ok(), full("answer")).await;
    assert_eq!(collect(asking.await.unwrap().unwrap().body).await, "answer");
    host.handle.idle().await;
}

#[tokio::test]
async fn early_answer_stops_the_request_body() {
    let (host, mut plugin) = pair().await;
    let (sender, body) = channel();
    let asking = host.spawn_request("/", RequestBody::Stream(body));
    let request = plugin.accept().await;
    request.responder.respond(ok(), full("enough")).await;
    assert_eq!(collect(asking.await.unwrap().unwrap().body).await, "enough");
    sender.closed().await;
    drop(request.body);
    host.handle.idle().await;
    plugin.handle.idle().await;
}

#[tokio::test]
async fn failing_request_body_is_told_to_both_sides() {
    let (host, mut plugin) = pair().await;
    let (sender, body) = channel();
    let asking = host.spawn_request("/", RequestBody::Stream(body));
    let mut request = plugin.accept().await;
    sender.send(Ok("begin".into())).await.unwrap();
    assert_eq!(request.body.frame().await.unwrap().unwrap().into_data().unwrap(), "begin");
    sender.send(Err("the client has gone".into())).await.unwrap();
    let error = asking.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, RequestError::Body(cause) if cause.to_string() == "the client has gone"),
        "{error}"
    );
    let error = request.body.frame().await.unwrap().unwrap_err();
    assert!(matches!(error, RecvError::Reset(ResetCode::CANCELLED)), "{error}");
    request.responder.cancelled().await;
}

#[tokio::test]
async fn failing_answer_body_never_looks_whole() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    let request = plugin.accept().await;
    let (sender, body) = channel();
    let answering = tokio::spawn(request.responder.respond(ok(), body));
    sender.send(Ok("begin".into())).await.unwrap();
    let mut answer = asking.await.unwrap().unwrap();
    assert_eq!(answer.body.frame().await.unwrap().unwrap().into_data().unwrap(), "begin");
    sender.send(Err("the disk failed".into())).await.unwrap();
    let error = answer.body.frame().await.unwrap().unwrap_err();
    assert!(matches!(error, RecvError::Reset(ResetCode::INTERNAL)), "{error}");
    answering.await.unwrap();
}

#[tokio::test]
async fn dropped_respond_future_resets_the_stream() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    let request = plugin.accept().await;
    let (_sender, body) = channel();
    let answering = tokio::spawn(request.responder.respond(ok(), body));
    let mut answer = asking.await.unwrap().unwrap();
    answering.abort();
    let error = answer.body.frame().await.unwrap().unwrap_err();
    assert!(matches!(error, RecvError::Reset(ResetCode::INTERNAL)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn stalled_client_body_is_the_clients_fault() {
    let (host, mut plugin) = pair().await;
    let (_sender, body) = channel();
    let asking = host.spawn_request("/", RequestBody::Stream(body));
    let _request = plugin.accept().await;
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, RequestError::Body(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn answer_that_cannot_be_sent_ends_its_producer() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    let request = plugin.accept().await;
    let mut head = ok();
    head.headers.insert("x-huge", "x".repeat(2 << 20).parse().unwrap());
    let (_producer, body) = channel();
    tokio::time::timeout(Duration::from_secs(1), request.responder.respond(head, body)).await.unwrap();
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, RequestError::Reset(ResetCode::INTERNAL)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn answer_for_a_host_without_streams_is_collected_up_to_512_kib() {
    let mut without_streams = settings();
    without_streams.features = Features::default();
    let (host, plugin) = pair_with(without_streams, settings()).await;
    let _plugin = plugin.serve(|request| async move {
        let chunks = if request.head.path == "/fits" { 8 } else { 9 };
        request.responder.respond(ok(), Counted::new(chunks, 64 << 10).0).await;
    });
    let answer = host.get("/fits").await.unwrap();
    assert_eq!(collect(answer.body).await.len(), 512 << 10);
    let error = host.get("/too-large").await.unwrap_err();
    assert!(matches!(error, RequestError::Reset(ResetCode::INTERNAL)), "{error}");
}
