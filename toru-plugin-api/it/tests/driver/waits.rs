//! Who waits for the link is woken, however quickly what it waits for comes and goes.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use serde_json::Map;
use toru_plugin_api::message::log::{Level, LogMessage};

use crate::{full, ok, pair, settle};

#[tokio::test(start_paused = true)]
async fn answer_that_finds_no_room_leaves_once_there_is_some() {
    let (host, mut plugin) = pair().await;
    let request = host.spawn_get("/");
    let asked = plugin.accept().await;
    settle().await;
    let record = LogMessage { level: Level::Info, message: "x".repeat(60 << 10), fields: Map::new() };
    while plugin.handle.log(&record) {}
    asked.responder.respond(ok(), full("late")).await;
    assert!(request.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn link_that_was_busy_for_one_turn_only_tells_that_it_is_idle() {
    let (host, mut plugin) = pair().await;
    // As a task it runs between two turns of the driver, so the driver never sees the stream open.
    let answered = tokio::spawn(async move {
        let asked = plugin.accept().await;
        let mut idle = pin!(plugin.handle.idle());
        assert!(poll_fn(|cx| Poll::Ready(idle.as_mut().poll(cx))).await.is_pending());
        asked.responder.respond(ok(), full("")).await;
        tokio::time::timeout(Duration::from_secs(5), idle).await.expect("the link is idle");
    });
    assert!(host.get("/").await.is_ok());
    answered.await.unwrap();
}
