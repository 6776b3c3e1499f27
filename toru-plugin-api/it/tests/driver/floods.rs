//! What a plugin sends faster than its host takes it.

use serde_json::Map;
use toru_plugin_api::message::{
    lifecycle::Pong,
    log::{Level, LogMessage},
};

use super::*;

#[tokio::test(start_paused = true)]
async fn records_that_nobody_takes_hold_at_most_4_mib() {
    let (mut host, plugin) = pair().await;
    let sent = 100;
    for _ in 0..sent {
        let log = LogMessage { level: Level::Info, message: "x".repeat(100 << 10), fields: Map::new() };
        assert!(plugin.handle.log(&log));
        settle().await;
    }
    let mut taken = 0;
    let dropped = loop {
        match host.incoming.next().await {
            Some(IncomingEvent::Log(_)) => taken += 1,
            Some(IncomingEvent::Dropped(dropped)) => break dropped,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(taken, (4 << 20) / (100 << 10));
    assert_eq!(taken + dropped, sent);
    assert!(plugin.handle.log(&LogMessage { level: Level::Info, message: "on".into(), fields: Map::new() }));
    let told = host.incoming.next().await;
    assert!(matches!(told, Some(IncomingEvent::Log(_))), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn of_pongs_that_nobody_takes_only_the_latest_is_told() {
    let mut pinging = settings();
    pinging.ping_interval = Some(Duration::from_secs(10));
    let (mut host, plugin) = pair_with(pinging, settings()).await;
    for n in 0..3 {
        plugin.handle.set_pong(Pong { degraded: true, detail: Some(n.to_string()) });
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    settle().await;
    match host.incoming.next().await {
        Some(IncomingEvent::Pong(pong)) => assert_eq!(pong.detail.as_deref(), Some("2")),
        other => panic!("{other:?}"),
    }
    let next = tokio::time::timeout(Duration::from_secs(1), host.incoming.next()).await;
    assert!(next.is_err(), "{next:?}");
}
