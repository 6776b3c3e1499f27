//! What host and plugin say to each other beside requests.

use std::time::Duration;

use serde_json::json;
use toru_plugin_api::{KvAnswer, KvOp, Level, proto::Settings, testing::TestHost};

use super::{Many, start, text};

#[tokio::test]
async fn kv_of_the_host_reaches_the_plugins_store_by_default() {
    let host = start().await;
    let key = || "k".to_owned();
    host.plugin_kv(KvOp::Set { key: key(), value: "v".into() }).await.unwrap();
    assert_eq!(host.kv().get("k").unwrap(), "v");
    let got = host.plugin_kv(KvOp::Get { key: key() }).await.unwrap();
    assert_eq!(got, KvAnswer::Value(Some("v".into())));
    assert_eq!(host.plugin_kv(KvOp::Delete { key: key() }).await.unwrap(), KvAnswer::Deleted(true));
    assert_eq!(host.kv().get("k"), None);
}

#[tokio::test(start_paused = true)]
async fn records_events_and_health_reach_the_host() {
    let mut settings = Settings::default();
    settings.ping_interval = Some(Duration::from_secs(1));
    let host = TestHost::builder().settings(settings).start(Many::default()).await.unwrap();
    assert_eq!(text(host.get("/tell").await.unwrap()).await, "told");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((host.logs()[0].level, host.logs()[0].message.as_str()), (Level::Warn, "something"));
    assert_eq!((host.events()[0].name.as_str(), &host.events()[0].details["n"]), ("seen", &json!(1)));
    assert!(host.pong().degraded);
    assert_eq!(host.pong().detail.as_deref(), Some("the sensor is away"));
}
