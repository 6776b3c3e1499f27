//! Bodies that a plugin gets whole, and the room that they take meanwhile.

use std::{sync::Arc, time::Duration};

use http_body_util::channel::Sender;
use tokio::{task::JoinHandle, time::Instant};
use toru_plugin_api::{driver::BoxError, message::lifecycle::Features};

use super::{
    bodies::{channel, echo, upload},
    *,
};

/// A plugin that takes one request at a time, and no streams.
async fn simple() -> Arc<Rig> {
    let rig = Rig::new();
    let mut settings = Settings::default();
    settings.limits.max_streams = 1;
    settings.features = Features::default();
    rig.start(settings, echo).await;
    Arc::new(rig)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_drips_its_body_takes_no_place_of_a_plugin_that_has_one() {
    let rig = simple().await;
    let (mut sender, body) = channel();
    let slow = tokio::spawn({
        let rig = rig.clone();
        async move { rig.send(upload(body)).await }
    });
    for _ in 0..8 {
        sender.send_data(Bytes::from_static(b"x")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(rig.get("/r").await.status, 200);
        assert_eq!(rig.post("/r", vec![b'y'; 400_000]).await.body.len(), 400_000);
    }
    drop(sender);
    assert_eq!(slow.await.unwrap().body, "xxxxxxxx");
}

/// Clients that have begun a body and send no more of it.
fn begun(rig: &Arc<Rig>, count: usize, begin: usize) -> Vec<(Sender<Bytes, BoxError>, JoinHandle<Answer>)> {
    let drip = |_| {
        let (mut sender, body) = channel();
        sender.try_send(http_body::Frame::data(Bytes::from(vec![b'x'; begin]))).unwrap();
        let rig = rig.clone();
        (sender, tokio::spawn(async move { rig.send(upload(body)).await }))
    };
    (0..count).map(drip).collect()
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_collected_hold_so_much_together_and_the_rest_waits() {
    let rig = simple().await;
    let dripping = begun(&rig, 1_024, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = rig.send(upload(channel().1)).await;
    assert_eq!((late.status, late.problem()), (503, "plugin-unavailable".to_owned()));
    assert_eq!(rig.post("/r", "small").await.body, "small");
    for (sender, slow) in dripping {
        drop(sender);
        assert_eq!(slow.await.unwrap().status, 200);
    }
    assert_eq!(rig.post("/r", vec![b'y'; 400_000]).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_takes_room_for_what_has_come_and_is_503_where_there_is_no_more() {
    let rig = simple().await;
    // 127 of 128 parts of all the room; and a quarter of the last.
    let mut dripping = begun(&rig, 127, 500_000);
    dripping.extend(begun(&rig, 1, 100_000));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.post("/r", vec![b'y'; 390_000]).await.status, 200, "the rest of it");
    let began = Instant::now();
    let late = rig.post("/r", vec![b'y'; 400_000]).await;
    assert_eq!((late.status, late.problem()), (503, "plugin-busy".to_owned()));
    assert_eq!(began.elapsed(), Duration::ZERO);
    for (sender, slow) in dripping {
        drop(sender);
        assert_eq!(slow.await.unwrap().status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_by_its_own_word_is_413_at_once() {
    let rig = simple().await;
    let _dripping = begun(&rig, 1_024, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut request = upload(channel().1);
    request.headers_mut().insert("content-length", "524289".parse().unwrap());
    let began = Instant::now();
    let answer = rig.send(request).await;
    assert_eq!((answer.status, answer.problem()), (413, "body-too-large".to_owned()));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_wait_for_room_take_nothing_of_the_queue_for_a_place() {
    let rig = Rig::over(TestHost::new(), |settings| settings.queue_len = 1);
    let mut settings = Settings::default();
    settings.limits.max_streams = 1;
    settings.features = Features::default();
    rig.start(settings, |request| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        echo(request).await;
    })
    .await;
    let rig = Arc::new(rig);
    let _dripping = begun(&rig, 1_024, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _waits_for_room = begun(&rig, 1, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let busy = rig.send(upload(channel().1)).await;
    assert_eq!((busy.status, busy.problem()), (503, "plugin-busy".to_owned()));
    let (first, second) = tokio::join!(rig.get("/r"), rig.get("/r"));
    assert_eq!((first.status, second.status), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn a_streamed_body_is_collected_for_a_successor_that_takes_no_streams() {
    let rig = Rig::new();
    let (plugin, _) = rig.start(Settings::default(), |request| say(request, "old")).await;
    plugin.handle.drain("downgrade");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let rig = Arc::new(rig);
    let asking = tokio::spawn({
        let rig = rig.clone();
        async move { rig.post("/r", vec![b'x'; 400_000]).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut settings = Settings::default();
    settings.features = Features::default();
    rig.start(settings, |request| async move {
        let body = request.body.collect().await.unwrap().to_bytes();
        request.responder.respond(head(200, &[]), Full::new(Bytes::from(body.len().to_string()))).await;
    })
    .await;
    assert_eq!(asking.await.unwrap().body, "400000");
}
