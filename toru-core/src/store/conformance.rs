//! What every store must do, whatever it is made of. Each function panics when a store does not.
//!
//! A store is given empty, with default limits unless said otherwise, and on the [`Clock`] where one is asked for.

mod expiry;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, json};
use toru_plugin_api::message::kv::{KvAnswer, KvCall, KvErrorCode, KvWrite};

use super::{Clock, EventStore, KvLimits, KvStore, StateStore};
use crate::event::{Event, EventType};

pub use expiry::{kv_expiry, kv_list_over_expired};

/// The limits that [`kv_quota`] goes by.
#[must_use]
pub fn small_limits() -> KvLimits {
    KvLimits { namespace_bytes: 1_000, namespace_keys: 5, ..KvLimits::default() }
}

fn get(key: &str) -> KvCall {
    KvCall::Get { key: key.into() }
}

fn set(key: &str, value: impl Into<Bytes>) -> KvCall {
    KvCall::Set { key: key.into(), value: value.into(), ttl_ms: None }
}

fn set_for(key: &str, value: &'static str, ttl_ms: u64) -> KvCall {
    KvCall::Set { key: key.into(), value: value.into(), ttl_ms: Some(ttl_ms) }
}

fn delete(key: &str) -> KvCall {
    KvCall::Delete { key: key.into() }
}

fn list(prefix: &str, after: Option<&str>, limit: u32) -> KvCall {
    KvCall::List { prefix: prefix.into(), after: after.map(str::to_owned), limit }
}

fn swap(key: &str, expected: Option<&'static str>, value: Option<&'static str>) -> KvCall {
    let (expected, value) = (expected.map(Bytes::from), value.map(Bytes::from));
    KvCall::CompareAndSet { key: key.into(), expected, value, ttl_ms: None }
}

fn value(value: &'static str) -> KvAnswer {
    KvAnswer::Value(Some(value.into()))
}

const ABSENT: KvAnswer = KvAnswer::Value(None);

async fn answer(store: &dyn KvStore, namespace: &str, call: KvCall) -> KvAnswer {
    let text = format!("{call:?}");
    store.call(namespace, call).await.unwrap_or_else(|error| panic!("{text:.200}: {error}"))
}

async fn refusal(store: &dyn KvStore, namespace: &str, call: KvCall) -> KvErrorCode {
    let text = format!("{call:?}");
    match store.call(namespace, call).await {
        Ok(answer) => panic!("{text:.200} was answered with {answer:?}"),
        Err(error) => error.code,
    }
}

/// Values are bytes, kept by key and namespace.
pub async fn kv_values(store: &dyn KvStore) {
    assert_eq!(answer(store, "a", get("k")).await, ABSENT);
    assert_eq!(answer(store, "a", set("k", "one")).await, KvAnswer::Ok);
    assert_eq!(answer(store, "a", get("k")).await, value("one"));
    assert_eq!(answer(store, "a", set("k", "two")).await, KvAnswer::Ok);
    assert_eq!(answer(store, "a", get("k")).await, value("two"));
    // A namespace sees nothing of another one, even one whose name begins with its own.
    for other in ["b", "a-b", "A", ""] {
        assert_eq!(answer(store, other, get("k")).await, ABSENT);
        assert_eq!(answer(store, other, delete("k")).await, KvAnswer::Deleted(false));
    }
    assert_eq!(answer(store, "b", set("k", "of b")).await, KvAnswer::Ok);
    assert_eq!(answer(store, "a", get("k")).await, value("two"));
    assert_eq!(answer(store, "a", delete("k")).await, KvAnswer::Deleted(true));
    assert_eq!(answer(store, "a", delete("k")).await, KvAnswer::Deleted(false));
    assert_eq!(answer(store, "a", get("k")).await, ABSENT);
    assert_eq!(answer(store, "b", get("k")).await, value("of b"));
    // Any bytes are a value, and the empty value is one too.
    let all_bytes: Bytes = (0..=u8::MAX).collect();
    answer(store, "a", set("bytes", all_bytes.clone())).await;
    answer(store, "a", set("empty", "")).await;
    assert_eq!(answer(store, "a", get("bytes")).await, KvAnswer::Value(Some(all_bytes)));
    assert_eq!(answer(store, "a", get("empty")).await, value(""));
    // Keys are compared byte by byte: neither case, nor accents, nor what follows a zero, are ignored.
    for key in ["key", "KEY", "é", "e\u{301}", "k\0", "k\0a", "%", "_", "'", " "] {
        assert_eq!(answer(store, "a", get(key)).await, ABSENT, "{key:?}");
        answer(store, "a", set(key, key.to_owned())).await;
    }
    assert_eq!(answer(store, "a", get("k\0")).await, value("k\0"));
}

/// A bound that is met is accepted, one that is passed by one is refused.
pub async fn kv_bounds(store: &dyn KvStore) {
    let limits = KvLimits::default();
    let longest = "k".repeat(limits.key_bytes);
    let largest = Bytes::from(vec![7; limits.value_bytes]);
    assert_eq!(answer(store, "a", set(&longest, largest.clone())).await, KvAnswer::Ok);
    assert_eq!(answer(store, "a", get(&longest)).await, KvAnswer::Value(Some(largest.clone())));
    let too_large = Bytes::from(vec![7; limits.value_bytes + 1]);
    assert_eq!(refusal(store, "a", set("k", too_large)).await, KvErrorCode::TooLarge);
    assert_eq!(answer(store, "a", get("k")).await, ABSENT);
    for too_long in [longest.clone() + "k", "é".repeat(limits.key_bytes / 2) + "k"] {
        for call in [get(&too_long), set(&too_long, "v"), delete(&too_long), swap(&too_long, None, Some("v"))]
        {
            assert_eq!(refusal(store, "a", call).await, KvErrorCode::TooLarge);
        }
    }
    for call in [get(""), set("", "v"), delete(""), swap("", None, Some("v"))] {
        assert_eq!(refusal(store, "a", call).await, KvErrorCode::Invalid);
    }
    for call in [
        set_for("k", "v", 0),
        set_for("k", "v", 1 << 53),
        list("", None, 0),
        list("", None, 1_001),
        KvCall::CompareAndSet { key: "k".into(), expected: None, value: None, ttl_ms: Some(1) },
    ] {
        assert_eq!(refusal(store, "a", call).await, KvErrorCode::Invalid);
    }
    // The values of one call count together.
    let half = limits.value_bytes / 2;
    let both = |more: usize| KvCall::CompareAndSet {
        key: "k".into(),
        expected: Some(vec![1; half].into()),
        value: Some(vec![2; half + more].into()),
        ttl_ms: None,
    };
    assert_eq!(answer(store, "a", both(0)).await, KvAnswer::Swapped(false));
    assert_eq!(refusal(store, "a", both(1)).await, KvErrorCode::TooLarge);
}

/// A quota is met exactly, never passed, and what is deleted comes back. On [`small_limits`].
pub async fn kv_quota(store: &dyn KvStore, clock: &Clock) {
    let limits = small_limits();
    let most = usize::try_from(limits.namespace_bytes).expect("the limit is small");
    // Bytes: those of the key and of the value.
    answer(store, "a", set("k", vec![0; most - 1])).await;
    assert_eq!(refusal(store, "a", set("k", vec![0; most])).await, KvErrorCode::QuotaExceeded);
    assert_eq!(refusal(store, "a", set("l", "")).await, KvErrorCode::QuotaExceeded);
    assert_eq!(answer(store, "a", get("k")).await, KvAnswer::Value(Some(vec![0; most - 1].into())));
    answer(store, "b", set("k", "the neighbour has a quota of its own")).await;
    answer(store, "a", set("k", vec![1; most - 2])).await;
    answer(store, "a", set("l", "")).await;
    assert_eq!(answer(store, "a", delete("k")).await, KvAnswer::Deleted(true));
    answer(store, "a", set("l", vec![0; most - 1])).await;
    assert_eq!(answer(store, "a", delete("l")).await, KvAnswer::Deleted(true));
    // Keys.
    for n in 0..limits.namespace_keys {
        answer(store, "a", set(&n.to_string(), "")).await;
    }
    assert_eq!(refusal(store, "a", set("more", "")).await, KvErrorCode::QuotaExceeded);
    assert_eq!(refusal(store, "a", swap("more", None, Some(""))).await, KvErrorCode::QuotaExceeded);
    answer(store, "a", set("0", "a key that is there takes no more room")).await;
    assert_eq!(answer(store, "a", delete("0")).await, KvAnswer::Deleted(true));
    answer(store, "a", set("more", "")).await;
    // All of a batch or nothing, and what it deletes makes room for what it sets.
    let write = |key: &str| KvWrite::Set { key: key.into(), value: "b".into(), ttl_ms: None };
    let batch = KvCall::Batch { ops: vec![write("1"), write("new")] };
    assert_eq!(refusal(store, "a", batch).await, KvErrorCode::QuotaExceeded);
    assert_eq!(answer(store, "a", get("1")).await, value(""));
    let ops = vec![write("new"), KvWrite::Delete { key: "more".into() }];
    assert_eq!(answer(store, "a", KvCall::Batch { ops }).await, KvAnswer::Ok);
    // What has expired takes no room.
    answer(store, "a", set_for("new", "soon gone", 10)).await;
    assert_eq!(refusal(store, "a", set("more", "")).await, KvErrorCode::QuotaExceeded);
    clock.advance(Duration::from_millis(10));
    answer(store, "a", set("more", "")).await;
}

/// Writes that race for the last place of a quota never pass it. On [`small_limits`].
pub async fn kv_quota_raced(store: std::sync::Arc<dyn KvStore>) {
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..50 {
        let store = std::sync::Arc::clone(&store);
        racing.spawn(async move { store.call("a", set(&format!("key {n}"), "v")).await.is_ok() });
    }
    let accepted = racing.join_all().await.into_iter().filter(|is_ok| *is_ok).count() as u64;
    assert_eq!(accepted, small_limits().namespace_keys);
    let KvAnswer::Keys { keys, .. } = answer(&*store, "a", list("", None, 1_000)).await else {
        panic!("a list is answered with keys");
    };
    assert_eq!(keys.len() as u64, accepted);
}

/// Of those that race to insert a key one wins, and of those that race to change a value one does.
pub async fn kv_swaps_raced(store: std::sync::Arc<dyn KvStore>) {
    for (expected, new) in [(None, "first"), (Some("first"), "second")] {
        let mut racing = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let store = std::sync::Arc::clone(&store);
            racing.spawn(async move { store.call("a", swap("k", expected, Some(new))).await });
        }
        let swapped = racing.join_all().await.into_iter();
        assert_eq!(swapped.filter(|answer| *answer == Ok(KvAnswer::Swapped(true))).count(), 1);
    }
    assert_eq!(answer(&*store, "a", get("k")).await, value("second"));
}

fn keys(keys: &[&str], next: Option<&str>) -> KvAnswer {
    KvAnswer::Keys { keys: keys.iter().map(|key| (*key).to_owned()).collect(), next: next.map(str::to_owned) }
}

/// Keys are listed in byte order, by prefix, page by page.
pub async fn kv_list(store: &dyn KvStore) {
    assert_eq!(answer(store, "a", list("", None, 10)).await, keys(&[], None));
    for key in ["b/2", "a", "b/1", "b", "é", "b/10", "Z", "c%", "c_"] {
        answer(store, "a", set(key, "v")).await;
    }
    answer(store, "b", set("b/other", "v")).await;
    let all = ["Z", "a", "b", "b/1", "b/10", "b/2", "c%", "c_", "é"];
    assert_eq!(answer(store, "a", list("", None, 9)).await, keys(&all, None));
    assert_eq!(answer(store, "a", list("", None, 8)).await, keys(&all[..8], Some("c_")));
    assert_eq!(answer(store, "a", list("", Some("c_"), 8)).await, keys(&all[8..], None));
    assert_eq!(answer(store, "a", list("b/", None, 2)).await, keys(&["b/1", "b/10"], Some("b/10")));
    assert_eq!(answer(store, "a", list("b/", Some("b/10"), 2)).await, keys(&["b/2"], None));
    assert_eq!(answer(store, "a", list("b/", Some("a"), 1)).await, keys(&["b/1"], Some("b/1")));
    assert_eq!(answer(store, "a", list("b/", Some("c"), 9)).await, keys(&[], None));
    assert_eq!(answer(store, "a", list("c%", None, 9)).await, keys(&["c%"], None));
    // A page is cut before its keys hold too many bytes, and the pages together hold all keys.
    let long: Vec<String> = (0..200).map(|n| format!("{n:03}{}", "x".repeat(1_000))).collect();
    for key in &long {
        answer(store, "long", set(key, "")).await;
    }
    let (mut listed, mut after, mut pages) = (Vec::new(), None, 0);
    while pages < 200 {
        pages += 1;
        let page = answer(store, "long", list("", after.as_deref(), 1_000)).await;
        let KvAnswer::Keys { keys, next } = page else { panic!("a list is answered with keys") };
        assert!(keys.iter().map(String::len).sum::<usize>() <= (512 << 10) / 6);
        listed.extend(keys);
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert!(pages > 1);
    assert_eq!(listed, long);
}

/// A compare-and-set writes when the value is the expected one, and a batch writes all.
pub async fn kv_swaps_and_batches(store: &dyn KvStore) {
    assert_eq!(answer(store, "a", swap("k", Some("x"), Some("y"))).await, KvAnswer::Swapped(false));
    assert_eq!(answer(store, "a", swap("k", None, Some("one"))).await, KvAnswer::Swapped(true));
    assert_eq!(answer(store, "a", swap("k", None, Some("two"))).await, KvAnswer::Swapped(false));
    assert_eq!(answer(store, "a", swap("k", Some("on"), Some("two"))).await, KvAnswer::Swapped(false));
    assert_eq!(answer(store, "a", get("k")).await, value("one"));
    assert_eq!(answer(store, "a", swap("k", Some("one"), Some("two"))).await, KvAnswer::Swapped(true));
    assert_eq!(answer(store, "a", get("k")).await, value("two"));
    assert_eq!(answer(store, "a", swap("k", Some("two"), None)).await, KvAnswer::Swapped(true));
    assert_eq!(answer(store, "a", get("k")).await, ABSENT);
    assert_eq!(answer(store, "a", swap("k", None, None)).await, KvAnswer::Swapped(true));

    answer(store, "a", set("old", "v")).await;
    let write = |n: usize| KvWrite::Set { key: format!("k{n}"), value: format!("{n}").into(), ttl_ms: None };
    let mut ops: Vec<KvWrite> = (1..100).map(write).collect();
    ops.push(KvWrite::Delete { key: "old".into() });
    assert_eq!(answer(store, "a", KvCall::Batch { ops: ops.clone() }).await, KvAnswer::Ok);
    assert_eq!(answer(store, "a", get("k99")).await, value("99"));
    assert_eq!(answer(store, "a", get("old")).await, ABSENT);
    ops.push(write(100));
    assert_eq!(refusal(store, "a", KvCall::Batch { ops }).await, KvErrorCode::Invalid);
    let twice = vec![write(1), KvWrite::Delete { key: "k1".into() }];
    assert_eq!(refusal(store, "a", KvCall::Batch { ops: twice }).await, KvErrorCode::Invalid);
    assert_eq!(answer(store, "a", get("k1")).await, value("1"));
    assert_eq!(answer(store, "a", KvCall::Batch { ops: Vec::new() }).await, KvAnswer::Ok);
}

/// Events are kept as they are, in order, and told the newest first.
pub async fn events(store: &dyn EventStore) {
    assert!(store.recent("a", 10).await.expect("events are read").is_empty());
    let details = json!({"signal": 9, "text": "é\u{0}\"", "deep": {"list": [1, null, 2.5]}});
    let details = details.as_object().expect("the literal is an object").clone();
    let timestamp: Timestamp = "2026-01-02T03:04:05.678901234Z".parse().expect("the literal is a timestamp");
    let event = |plugin_id: &str, event_type: EventType| Event {
        plugin_id: plugin_id.into(),
        event_type,
        timestamp,
        details: details.clone(),
    };
    let all = vec![
        event("a", EventType::Crashed),
        event("b", EventType::Started),
        event("a", EventType::Plugin("done".into())),
    ];
    store.append(all.clone()).await.expect("events are stored");
    store.append(Vec::new()).await.expect("no events are stored");
    let recent = store.recent("a", 10).await.expect("events are read");
    let read: Vec<Event> = recent.iter().map(|stored| stored.event.clone()).collect();
    assert_eq!(read, [all[2].clone(), all[0].clone()]);
    assert!(recent[0].id > recent[1].id);
    let newest = store.recent("a", 1).await.expect("events are read");
    assert_eq!(newest, recent[..1]);
    assert!(store.recent("a", 0).await.expect("events are read").is_empty());
    assert!(store.recent("c", 10).await.expect("events are read").is_empty());
}

/// What is older is pruned, and a number is never given twice.
pub async fn event_pruning(store: &dyn EventStore, clock: &Clock) {
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    let aged = |age: Duration| Event {
        plugin_id: "a".into(),
        event_type: EventType::Started,
        timestamp: clock.before(age),
        details: Map::new(),
    };
    let hour = Duration::from_secs(60 * 60);
    let ages = [2 * week, week + hour, week - hour, Duration::ZERO];
    store.append(ages.map(aged).to_vec()).await.expect("events are stored");
    assert_eq!(store.prune(week).await.expect("events are pruned"), 2);
    let kept = store.recent("a", 10).await.expect("events are read");
    assert_eq!(kept.len(), 2);
    clock.advance(week + hour);
    assert_eq!(store.prune(week).await.expect("events are pruned"), 2);
    assert_eq!(store.prune(week).await.expect("events are pruned"), 0);
    assert_eq!(store.prune(Duration::MAX).await.expect("events are pruned"), 0);
    store.append(vec![aged(Duration::ZERO)]).await.expect("events are stored");
    assert!(store.recent("a", 1).await.expect("events are read")[0].id > kept[0].id);
}

/// What was set is loaded, and concurrent changes are kept apart.
pub async fn state_store(store: &(impl StateStore + Clone)) {
    assert!(store.load().await.expect("an empty state is loaded").is_empty());
    store.set_enabled("a", true).await.expect("a state is set");
    store.set_enabled("b", false).await.expect("a state is set");
    store.set_enabled("a", false).await.expect("a state is set");
    let expected = BTreeMap::from([("a".to_owned(), false), ("b".to_owned(), false)]);
    assert_eq!(store.load().await.expect("the state is loaded"), expected);
    let mut changes = tokio::task::JoinSet::new();
    for n in 0..100 {
        let store = store.clone();
        changes.spawn(async move { store.set_enabled(&format!("plugin-{n}"), n % 2 == 0).await });
    }
    for change in changes.join_all().await {
        change.expect("a state is set");
    }
    let loaded = store.load().await.expect("the state is loaded");
    assert_eq!(loaded.len(), 102);
    assert!((0..100).all(|n| loaded[&format!("plugin-{n}")] == (n % 2 == 0)));
}
