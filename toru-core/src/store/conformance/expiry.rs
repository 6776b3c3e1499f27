//! Times to live.

use std::time::Duration;

use toru_plugin_api::message::kv::{KvAnswer, KvCall, KvWrite};

use super::{ABSENT, answer, delete, get, keys, list, set, set_for, swap, value};
use crate::store::{Clock, KvStore};

/// A list looks at so many rows at most, and then says where to go on: what has expired costs a look too.
pub async fn kv_list_over_expired(store: &dyn KvStore, clock: &Clock) {
    for hundred in 0..50 {
        let write =
            |n| KvWrite::Set { key: format!("{hundred:02}/{n:02}"), value: "v".into(), ttl_ms: Some(1) };
        answer(store, "a", KvCall::Batch { ops: (0..100).map(write).collect() }).await;
    }
    answer(store, "a", set("last", "v")).await;
    clock.advance(Duration::from_millis(1));
    let first = answer(store, "a", list("", None, 10)).await;
    let KvAnswer::Keys { keys: found, next: Some(next) } = first else {
        panic!("5,000 rows in one list: {first:?}")
    };
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(answer(store, "a", list("", Some(&next), 10)).await, keys(&["last"], None));
}

/// What has expired is absent everywhere.
pub async fn kv_expiry(store: &dyn KvStore, clock: &Clock) {
    answer(store, "a", set_for("k", "v", 1_000)).await;
    clock.advance(Duration::from_millis(999));
    assert_eq!(answer(store, "a", get("k")).await, value("v"));
    clock.advance(Duration::from_millis(1));
    assert_eq!(answer(store, "a", get("k")).await, ABSENT);
    assert_eq!(answer(store, "a", list("", None, 10)).await, keys(&[], None));
    assert_eq!(answer(store, "a", swap("k", Some("v"), Some("w"))).await, KvAnswer::Swapped(false));
    assert_eq!(answer(store, "a", delete("k")).await, KvAnswer::Deleted(false));
    answer(store, "a", set_for("k", "v", 1_000)).await;
    clock.advance(Duration::from_secs(1));
    assert_eq!(answer(store, "a", swap("k", None, Some("w"))).await, KvAnswer::Swapped(true));
    assert_eq!(answer(store, "a", get("k")).await, value("w"));
    // A write without a time to live clears the one that was there.
    answer(store, "a", set_for("k", "v", 1_000)).await;
    answer(store, "a", set("k", "kept")).await;
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(answer(store, "a", get("k")).await, value("kept"));
    // A compare-and-set has a time to live of its own, or clears the one that was there.
    let swap_for = |expected: &str, new: &str, ttl_ms| KvCall::CompareAndSet {
        key: "s".into(),
        expected: Some(expected.to_owned().into()),
        value: Some(new.to_owned().into()),
        ttl_ms,
    };
    answer(store, "a", set("s", "one")).await;
    assert_eq!(answer(store, "a", swap_for("one", "two", Some(1_000))).await, KvAnswer::Swapped(true));
    clock.advance(Duration::from_millis(600));
    assert_eq!(answer(store, "a", swap_for("other", "x", Some(9_000))).await, KvAnswer::Swapped(false));
    assert_eq!(answer(store, "a", swap_for("two", "three", Some(1_000))).await, KvAnswer::Swapped(true));
    clock.advance(Duration::from_millis(600));
    assert_eq!(answer(store, "a", swap_for("three", "four", Some(400))).await, KvAnswer::Swapped(true));
    clock.advance(Duration::from_millis(400));
    assert_eq!(answer(store, "a", swap_for("four", "x", None)).await, KvAnswer::Swapped(false));
    assert_eq!(answer(store, "a", get("s")).await, ABSENT);
    answer(store, "a", set_for("s", "one", 1_000)).await;
    assert_eq!(answer(store, "a", swap_for("one", "kept", None)).await, KvAnswer::Swapped(true));
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(answer(store, "a", get("s")).await, value("kept"));
    // Each write of a batch has its own.
    let write = |key: &str, ttl_ms| KvWrite::Set { key: key.into(), value: "b".into(), ttl_ms };
    answer(store, "a", KvCall::Batch { ops: vec![write("b1", Some(1_000)), write("b2", None)] }).await;
    clock.advance(Duration::from_secs(1));
    assert_eq!(answer(store, "a", get("b1")).await, ABSENT);
    assert_eq!(answer(store, "a", get("b2")).await, value("b"));
    // A list counts what is there, and is not stopped by what is not.
    for n in 0..20 {
        let key = format!("l/{n:02}");
        let call = if n % 2 == 0 { set_for(&key, "v", 1_000) } else { set(&key, "v") };
        answer(store, "a", call).await;
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(answer(store, "a", list("l/", None, 2)).await, keys(&["l/01", "l/03"], Some("l/03")));
    assert_eq!(answer(store, "a", list("l/", Some("l/03"), 2)).await, keys(&["l/05", "l/07"], Some("l/07")));
    assert_eq!(answer(store, "a", list("l/", Some("l/16"), 2)).await, keys(&["l/17", "l/19"], None));
    // The longest time to live does not wrap.
    answer(store, "a", set_for("k", "long", (1 << 53) - 1)).await;
    assert_eq!(answer(store, "a", get("k")).await, value("long"));
}
