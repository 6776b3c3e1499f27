//! How a link ends, and who is told.

use super::*;
use toru_plugin_api::{driver::RecvError, message::kv::KvCall, message::kv::KvErrorCode};

#[tokio::test]
async fn link_loss_wakes_everyone() {
    let (host, mut plugin) = pair().await;
    let unanswered = host.spawn_get("/unanswered");
    let _unanswered = plugin.accept().await;
    let reading = host.spawn_get("/reading");
    let request = plugin.accept().await;
    let sending = tokio::spawn(request.responder.respond(ok(), Counted::new(1_000, 10_000).0));
    let mut answer = reading.await.unwrap().unwrap();
    let handle = host.handle.clone();
    let calling = tokio::spawn(async move { handle.call_kv(KvCall::Get { key: "k".into() }).await });
    let End { handle, mut incoming, driver } = host;
    let told = tokio::spawn(async move { incoming.next().await.is_none() });
    let closed = tokio::spawn({
        let handle = handle.clone();
        async move { handle.closed().await }
    });
    plugin.driver.abort();
    sending.await.unwrap();
    let error = unanswered.await.unwrap().unwrap_err();
    assert!(matches!(error, RequestError::LinkLost), "{error}");
    let end = loop {
        match answer.body.frame().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(end, RecvError::LinkLost), "{end}");
    assert_eq!(calling.await.unwrap().unwrap_err().code, KvErrorCode::Unavailable);
    assert!(told.await.unwrap());
    closed.await.unwrap();
    handle.idle().await;
    assert!(handle.is_closed());
    // A pipe that is cut may end inside a frame, which is an error of its own.
    let _ = driver.await.unwrap();
    let error = handle.request(request_head("/"), RequestBody::<Empty<Bytes>>::Empty).await.unwrap_err();
    assert!(matches!(error, RequestError::Open(_)), "{error}");
}

#[tokio::test]
async fn waiting_for_room_ends_with_the_link() {
    let mut one = settings();
    one.limits.max_streams = 1;
    let (host, mut plugin) = pair_with(settings(), one).await;
    let first = host.spawn_get("/first");
    let _request = plugin.accept().await;
    let second = host.spawn_get("/second");
    tokio::task::yield_now().await;
    host.handle.close();
    assert!(matches!(first.await.unwrap().unwrap_err(), RequestError::LinkLost));
    assert!(matches!(second.await.unwrap().unwrap_err(), RequestError::Open(_)));
    assert!(host.driver.await.unwrap().is_ok());
}

#[tokio::test]
async fn close_writes_what_is_queued() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    let request = plugin.accept().await;
    request.responder.respond(ok(), full(vec![b'x'; 30_000])).await;
    plugin.handle.close();
    assert_eq!(collect(asking.await.unwrap().unwrap().body).await.len(), 30_000);
    assert!(host.driver.await.unwrap().is_ok());
    assert!(plugin.driver.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_no_peer_that_does_not_read() {
    let (host_io, plugin_io) = pipe();
    let mut long = init();
    long.data_dir = "x".repeat(4 * PIPE);
    let host = run(host_io, Connection::host(settings(), long, now()));
    settle().await;
    host.handle.close();
    assert!(host.driver.await.unwrap().is_ok());
    drop(plugin_io);
}

#[tokio::test]
async fn answer_that_came_whole_before_the_end_is_read_whole() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    let request = plugin.accept().await;
    let (body, _) = Counted::new(6, 10_000);
    request.responder.respond(ok(), body).await;
    let answer = asking.await.unwrap().unwrap();
    plugin.handle.close();
    assert!(host.driver.await.unwrap().is_ok());
    assert_eq!(collect(answer.body).await.len(), 60_000);
}

#[tokio::test]
async fn garbage_ends_the_link_with_a_protocol_error() {
    use tokio::io::AsyncWriteExt;
    let (host_io, mut plugin_io) = pipe();
    let host = run(host_io, Connection::host(settings(), init(), now()));
    plugin_io.write_all(&[0, 0, 0, 1, b'?']).await.unwrap();
    let error = host.driver.await.unwrap().unwrap_err();
    assert!(matches!(error, DriveError::Protocol(_)), "{error}");
    assert!(host.handle.is_closed());
}

#[tokio::test]
async fn dropped_driver_ends_the_link() {
    let (host, _plugin) = pair().await;
    let asking = host.spawn_get("/");
    tokio::task::yield_now().await;
    host.driver.abort();
    assert!(matches!(asking.await.unwrap().unwrap_err(), RequestError::LinkLost));
    host.handle.closed().await;
}

#[tokio::test]
async fn shutdown_lets_open_streams_finish() {
    let (host, mut plugin) = pair().await;
    let asking = host.spawn_get("/");
    let request = plugin.accept().await;
    host.handle.shutdown(Duration::from_secs(5));
    let Some(IncomingEvent::Shutdown(shutdown)) = plugin.incoming.next().await else { panic!("no shutdown") };
    assert_eq!(shutdown.grace, Duration::from_secs(5));
    let idle = tokio::spawn({
        let handle = plugin.handle.clone();
        async move { handle.idle().await }
    });
    request.responder.respond(ok(), full("answer")).await;
    idle.await.unwrap();
    plugin.handle.close();
    assert_eq!(collect(asking.await.unwrap().unwrap().body).await, "answer");
    assert!(host.driver.await.unwrap().is_ok());
}
