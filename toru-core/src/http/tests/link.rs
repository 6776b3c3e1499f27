//! What a version 2 plugin starts by itself, and what supervision is told of its link.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use toru_plugin_api::message::{
    event::EventMessage,
    kv::{KvAnswer, KvCall, KvError, KvErrorCode},
    log::{Level, LogMessage},
};

use super::*;
use crate::{link::LinkLost, store::KvStore};

fn get(key: &str) -> KvCall {
    KvCall::Get { key: key.to_owned() }
}

fn set(key: &str, value: &'static str) -> KvCall {
    KvCall::Set { key: key.to_owned(), value: value.into(), ttl_ms: None }
}

async fn quiet(request: IncomingRequest) {
    drop(request);
}

#[tokio::test]
async fn kv_calls_reach_the_store_in_the_namespace_of_the_connection() {
    let rig = Rig::new();
    let (plugin, _link) = rig.start(Settings::default(), quiet).await;
    assert_eq!(plugin.handle.call_kv(set("k", "v")).await, Ok(KvAnswer::Ok));
    assert_eq!(plugin.handle.call_kv(get("k")).await, Ok(KvAnswer::Value(Some("v".into()))));
    assert_eq!(rig.host.stored("k").await, Some("v".into()));
}

#[tokio::test]
async fn a_list_is_cut_for_the_least_message_that_a_plugin_may_accept() {
    let rig = Rig::new();
    let mut settings = Settings::default();
    settings.limits.max_message = 64 << 10;
    let (plugin, _link) = rig.start(settings, quiet).await;
    // Each byte but those of the number is escaped as six.
    let all: Vec<String> = (0..40).map(|n| format!("{n:02}{}", "\u{1}".repeat(1_000))).collect();
    for key in &all {
        assert_eq!(plugin.handle.call_kv(set(key, "v")).await, Ok(KvAnswer::Ok));
    }
    let (mut listed, mut after) = (Vec::new(), None);
    while listed.len() < all.len() {
        let list = KvCall::List { prefix: String::new(), after, limit: 1_000 };
        let Ok(KvAnswer::Keys { keys, next }) = plugin.handle.call_kv(list).await else { panic!("no page") };
        assert!((1..=5).contains(&keys.len()), "{} keys of 6 KiB in 32 KiB", keys.len());
        listed.extend(keys);
        after = next;
    }
    assert_eq!((listed, after), (all, None));
}

#[tokio::test]
async fn kv_operations_of_the_host_reach_the_plugin() {
    let rig = Rig::new();
    let (_plugin, link) = rig.start(Settings::default(), quiet).await;
    assert_eq!(link.kv(get("k")).await, Ok(KvAnswer::Value(Some("plugin's".into()))));
}

/// A store that answers for one key only.
#[derive(Debug)]
struct Stuck;

#[async_trait]
impl KvStore for Stuck {
    async fn call(&self, _: &str, call: KvCall) -> Result<KvAnswer, KvError> {
        match call {
            KvCall::Get { key } if key == "fast" => Ok(KvAnswer::Value(None)),
            _ => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_stuck_is_a_timeout_and_holds_no_other_call() {
    let host = TestHost::new();
    let mut patient = Settings::default();
    patient.kv_timeout = Duration::from_secs(60);
    let (plugin, io) = FakeV2::new(patient, quiet);
    let mut setup = crate::link::LinkSetup { kv: Arc::new(Stuck), ..host.setup(2) };
    // Patience with a plugin at a breakpoint is none with the store.
    setup.settings.kv_timeout = Duration::from_secs(30 * 24 * 60 * 60);
    let (_link, mut news) = Link::over(io, setup);
    assert!(matches!(next_news(&mut news).await, LinkNews::Ready { .. }));
    let began = tokio::time::Instant::now();
    let stuck = plugin.handle.call_kv(set("slow", "v"));
    let fast = async {
        let answer = plugin.handle.call_kv(get("fast")).await;
        (answer, began.elapsed())
    };
    let (stuck, (fast, after)) = tokio::join!(stuck, fast);
    assert_eq!((fast, after), (Ok(KvAnswer::Value(None)), Duration::ZERO));
    assert_eq!(stuck.unwrap_err().code, KvErrorCode::Timeout);
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn records_of_a_plugin_are_in_its_log() {
    let rig = Rig::new();
    let (plugin, _link) = rig.start(Settings::default(), quiet).await;
    let fields = Map::from_iter([("n".to_owned(), json!(1))]);
    assert!(plugin.handle.log(&LogMessage { level: Level::Error, message: "broken".to_owned(), fields }));
    // What came before an answer was served before it.
    plugin.handle.call_kv(get("k")).await.unwrap();
    let records = rig.host.records().await;
    assert_eq!(
        (records[0].level, &*records[0].message, &records[0].fields["n"]),
        (Level::Error, "broken", &json!(1))
    );
}

#[tokio::test(start_paused = true)]
async fn events_of_a_plugin_carry_its_prefix_and_past_ten_a_second_are_counted() {
    let rig = Rig::new();
    let (plugin, _link) = rig.start(Settings::default(), quiet).await;
    let event = |name: &str| EventMessage {
        name: name.to_owned(),
        details: Map::from_iter([("n".to_owned(), json!(1))]),
    };
    for _ in 0..25 {
        assert!(plugin.handle.event(&event("import.done")));
    }
    plugin.handle.call_kv(get("k")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(plugin.handle.event(&event("later")));
    plugin.handle.call_kv(get("k")).await.unwrap();
    let events = rig.host.events().await;
    assert_eq!(events.len(), 11);
    assert_eq!(events[0], ("plugin.import.done".to_owned(), json!({"n": 1})));
    assert_eq!(events[10].0, "plugin.later");
    let records = rig.host.records().await;
    assert_eq!(records[0].fields["dropped"], 15);
}

/// What supervision hears when a plugin answers `init` with this.
async fn news_after(payload: &Value) -> LinkNews {
    let host = TestHost::new();
    let (mut plugin, io) = RawV2::new();
    let (_link, mut news) = Link::over(io, host.setup(2));
    plugin.read().await;
    plugin.write_json(&json!({"type": "lifecycle", "payload": payload})).await;
    next_news(&mut news).await
}

#[tokio::test]
async fn each_way_to_fail_the_handshake_has_its_own_reason() {
    let LinkNews::Lost(wrong) = news_after(&json!({"action": "ready", "protocol": 3})).await else {
        panic!("ready")
    };
    assert!(matches!(wrong, LinkLost::Handshake { code: "incompatible", .. }), "{wrong:?}");
    let LinkNews::Lost(early) = news_after(&json!({"action": "pong"})).await else { panic!("ready") };
    assert!(matches!(early, LinkLost::Handshake { code: "handshake", .. }), "{early:?}");
    let refused = json!({"action": "failed", "code": "licence", "message": "expired"});
    let LinkNews::Refused(failed) = news_after(&refused).await else { panic!("ready") };
    assert_eq!((&*failed.code, &*failed.message), ("licence", "expired"));
}

#[tokio::test]
async fn garbage_is_a_protocol_error_that_names_its_cause() {
    let rig = Rig::new();
    let (mut plugin, _link, mut news) = rig.start_raw().await;
    plugin.write(b"\x7fnonsense").await;
    let LinkNews::Lost(LinkLost::Protocol { cause, excerpt, .. }) = next_news(&mut news).await else {
        panic!("not lost")
    };
    assert_eq!(cause, "unknown_kind");
    assert!(excerpt.contains("\\x7fnonsense"), "{excerpt}");
    assert!(news.recv().await.is_none(), "nothing comes after it");
}

#[tokio::test]
async fn draining_is_told_and_the_end_after_it_is_the_links_end() {
    let rig = Rig::new();
    let (mut plugin, _link, mut news) = rig.start_raw().await;
    plugin
        .write_json(&json!({"type": "lifecycle", "payload": {"action": "draining", "reason": "upgrade"}}))
        .await;
    let LinkNews::Draining { reason } = next_news(&mut news).await else { panic!("not draining") };
    assert_eq!(reason, "upgrade");
    drop(plugin);
    assert!(matches!(next_news(&mut news).await, LinkNews::Lost(LinkLost::Closed)));
}

#[tokio::test]
async fn what_a_plugin_says_of_itself_is_cut_at_2_kib() {
    let long = format!("x{}", "é".repeat(100_000));
    let whole = "é".repeat(1_024);
    let is_cut = |words: &str| words.ends_with("é […cut]") && words.len() < 2_100 && words.starts_with("xé");
    let refused = json!({"action": "failed", "code": long, "message": long});
    let LinkNews::Refused(failed) = news_after(&refused).await else { panic!("not refused") };
    assert!(is_cut(&failed.code) && is_cut(&failed.message), "{failed:?}");
    let refused = json!({"action": "failed", "code": "licence", "message": whole});
    let LinkNews::Refused(failed) = news_after(&refused).await else { panic!("not refused") };
    assert_eq!(failed.message, whole);
    let rig = Rig::new();
    let (mut plugin, _link, mut news) = rig.start_raw().await;
    plugin.write_json(&json!({"type": "lifecycle", "payload": {"action": "draining", "reason": long}})).await;
    let LinkNews::Draining { reason } = next_news(&mut news).await else { panic!("not draining") };
    assert!(is_cut(&reason), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn missed_pings_are_told_one_by_one_and_so_is_the_recovery() {
    let rig = Rig::new();
    let (mut plugin, _link, mut news) = rig.start_raw().await;
    for missed in 1..=3 {
        assert!(matches!(next_news(&mut news).await, LinkNews::PingsMissed(n) if n == missed));
    }
    plugin.write_json(&json!({"type": "lifecycle", "payload": {"action": "pong"}})).await;
    assert!(matches!(next_news(&mut news).await, LinkNews::PingsMissed(0)));
}

#[tokio::test]
async fn shutdown_reaches_the_plugin_with_its_grace() {
    let rig = Rig::new();
    let (mut plugin, link, _news) = rig.start_raw().await;
    link.shutdown(Duration::from_secs(5));
    let message = plugin.read().await;
    assert_eq!(message["payload"]["action"], "shutdown");
    assert_eq!(message["payload"]["grace_ms"], 5_000);
}

#[tokio::test]
async fn a_socket_pair_carries_a_link_on_the_runtime_that_was_named() {
    let host = TestHost::new();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let runtime = tokio::runtime::Handle::current();
    let (_link, mut news) = Link::open_v2(ours, host.setup(2), &runtime, &runtime).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let io = tokio::net::UnixStream::from_std(theirs).unwrap();
    let now = tokio::time::Instant::now().into_std();
    let (handle, mut incoming, driver) = toru_plugin_api::driver::drive(
        io,
        toru_plugin_api::proto::Connection::plugin(Settings::default(), now),
    );
    tokio::spawn(driver);
    assert!(matches!(incoming.next().await, Some(toru_plugin_api::driver::IncomingEvent::Init(_))));
    handle.ready();
    assert!(matches!(next_news(&mut news).await, LinkNews::Ready { protocol: 2 }));
    handle.close();
    assert!(matches!(next_news(&mut news).await, LinkNews::Lost(LinkLost::Closed)));
}
