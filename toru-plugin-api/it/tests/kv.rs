//! The store of a plugin, against the test host.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use toru_plugin_api::{
    HttpRequest, HttpResponse, PluginContext, PluginKvStore, PluginMetadata, PluginResult, ToruPlugin,
    message::kv::KvErrorCode,
    testing::{MemoryKv, TestHost},
};

/// Gives its store away.
#[derive(Clone, Default)]
struct Lends(Arc<Mutex<Option<PluginKvStore>>>);

#[async_trait::async_trait]
impl ToruPlugin for Lends {
    fn metadata(&self) -> PluginMetadata {
        PluginMetadata::new("lends", "Lends", "1.0.0", "/lends").unwrap()
    }

    async fn init(&self, context: &PluginContext) -> PluginResult<()> {
        *self.0.lock().unwrap() = Some(context.kv().clone());
        Ok(())
    }

    async fn handle_http(&self, _: &PluginContext, _: HttpRequest) -> PluginResult<HttpResponse> {
        Ok(HttpResponse::text(""))
    }
}

async fn store(memory: &MemoryKv) -> (TestHost, PluginKvStore) {
    let plugin = Lends::default();
    let host = TestHost::builder().kv(memory.clone()).start(plugin.clone()).await.unwrap();
    let store = plugin.0.lock().unwrap().clone().unwrap();
    (host, store)
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Todo {
    text: String,
    done: bool,
}

#[tokio::test(start_paused = true)]
async fn json_goes_in_and_comes_out_and_other_json_is_invalid() {
    let memory = MemoryKv::default();
    let (_host, kv) = store(&memory).await;
    let todo = Todo { text: "buy milk".into(), done: false };
    kv.set_json("todo", &todo).await.unwrap();
    assert_eq!(memory.get("todo").unwrap(), r#"{"text":"buy milk","done":false}"#);
    assert_eq!(kv.get_json::<Todo>("todo").await.unwrap(), Some(todo));
    assert_eq!(kv.get_json::<Todo>("other").await.unwrap(), None);
    let error = kv.get_json::<Vec<u8>>("todo").await.unwrap_err();
    assert_eq!(error.code, KvErrorCode::Invalid);
    assert!(error.message.starts_with("the value of `todo` is not the JSON that is expected: "), "{error}");
    let no_json = BTreeMap::from([((1, 2), 3)]);
    assert_eq!(kv.set_json("map", &no_json).await.unwrap_err().code, KvErrorCode::Invalid);
    assert_eq!(memory.get("map"), None);
}

#[tokio::test(start_paused = true)]
async fn what_has_a_time_to_live_is_gone_after_it() {
    let (_host, kv) = store(&MemoryKv::default()).await;
    kv.set_with_ttl("a", "v", Duration::from_millis(1_500)).await.unwrap();
    tokio::time::advance(Duration::from_millis(1_400)).await;
    assert_eq!(kv.get_text("a").await.unwrap().as_deref(), Some("v"));
    tokio::time::advance(Duration::from_millis(200)).await;
    assert_eq!(kv.get("a").await.unwrap(), None);
    // A part of a millisecond is a whole one; no time at all is refused, and so is more than there is.
    kv.set_with_ttl("a", "v", Duration::from_nanos(1)).await.unwrap();
    for ttl in [Duration::ZERO, Duration::MAX] {
        assert_eq!(kv.set_with_ttl("a", "v", ttl).await.unwrap_err().code, KvErrorCode::Invalid);
    }
}

#[tokio::test(start_paused = true)]
async fn one_caller_gets_a_lease_until_it_expires() {
    let (_host, kv) = store(&MemoryKv::default()).await;
    let lease = Duration::from_secs(10);
    assert!(kv.insert_with_ttl("lease", "me", lease).await.unwrap());
    assert!(!kv.insert_with_ttl("lease", "you", lease).await.unwrap());
    assert!(kv.compare_and_set_with_ttl("lease", "me", "me", lease).await.unwrap(), "it is renewed");
    assert!(!kv.compare_and_delete("lease", "you").await.unwrap());
    tokio::time::advance(lease + Duration::from_millis(1)).await;
    assert!(!kv.compare_and_set("lease", "me", "me").await.unwrap(), "it has expired");
    assert!(kv.insert("lease", "you").await.unwrap());
    assert!(kv.compare_and_delete("lease", "you").await.unwrap());
    assert_eq!(kv.get("lease").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_done_whole_or_not_at_all() {
    let memory = MemoryKv::default();
    let (_host, kv) = store(&memory).await;
    kv.set("old", "v").await.unwrap();
    let batch = kv.batch().set("a", "1").set_with_ttl("b", "2", Duration::from_secs(1)).delete("old");
    let batch = batch.set_json("c", &[3]).unwrap();
    assert_eq!(batch.len(), 4);
    batch.commit().await.unwrap();
    assert_eq!(memory.keys(), ["a", "b", "c"]);
    let twice = kv.batch().set("d", "1").delete("d").commit().await;
    assert_eq!(twice.unwrap_err().code, KvErrorCode::Invalid);
    let too_many = (0..101).fold(kv.batch(), |batch, n| batch.set(format!("n{n}"), "v"));
    assert_eq!(too_many.commit().await.unwrap_err().code, KvErrorCode::Invalid);
    assert_eq!(memory.keys(), ["a", "b", "c"]);
    assert!(kv.batch().is_empty());
    kv.batch().commit().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn keys_come_in_order_over_all_pages() {
    let memory = MemoryKv::default();
    let (_host, kv) = store(&memory).await;
    let mut expected: Vec<String> = (0..2_500).map(|n| format!("k/{n}")).collect();
    for key in expected.iter().map(String::as_str).chain(["a", "z"]) {
        memory.set(key, "v");
    }
    expected.sort();
    assert_eq!(kv.keys("k/").collect().await.unwrap(), expected);
    assert_eq!(kv.keys("").collect().await.unwrap().len(), 2_502);
    assert_eq!(kv.keys("none").next().await.unwrap(), None);
    let page = kv.list("k/", Some("k/9"), 5).await.unwrap();
    assert_eq!(page.keys, ["k/90", "k/900", "k/901", "k/902", "k/903"]);
    assert_eq!(page.next.as_deref(), Some("k/903"));
    assert_eq!(kv.list("", None, 0).await.unwrap_err().code, KvErrorCode::Invalid);
    // A key that goes meanwhile is not missed: what comes after it is given all the same.
    let mut keys = kv.keys("k/");
    for _ in 0..1_000 {
        keys.next().await.unwrap();
    }
    let next = keys.next().await.unwrap().unwrap();
    assert_eq!(next, expected[1_000]);
}
