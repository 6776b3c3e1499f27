//! Plugins that are killed, and what the operator wants of them, over the life of a host.

use std::fs;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    client::{Client, within},
    host::Host,
    place::Place,
    processes,
};

async fn count(client: Client, id: &str) -> String {
    match id {
        "minimal" => client.ask("/minimal").await,
        _ => client.post("/api/plugins/route/hello-python/counter", "").await.json()["count"].to_string(),
    }
}

#[tokio::test]
async fn a_killed_plugin_is_told_with_its_signal_and_comes_back_with_its_values() {
    let place = Place::new();
    place.rust_plugin("minimal", "minimal");
    place.install("hello-plugin-python", "hello-python");
    let mut host = Host::start(&place).await;
    let client = host.client();
    for id in ["minimal", "hello-python"] {
        host.event(id, "ready").await;
        assert_eq!(count(client, id).await, "1");
        let pid = client.pid(id).await;
        processes::kill(pid);
        host.event(id, "crashed (signal 9)").await;
        host.event(id, "ready").await;
        assert_ne!(client.pid(id).await, pid);
        assert_eq!(count(client, id).await, "2", "{id} has lost its value");

        let events = client.events(id).await;
        let told: Vec<_> = events.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
        let crashed = told.iter().position(|kind| *kind == "crashed").unwrap();
        assert_eq!(told[crashed..], ["crashed", "restart_scheduled", "started", "ready"]);
        assert_eq!(events[crashed]["details"], json!({"signal": 9}));
        let scheduled = &events[crashed + 1]["details"];
        assert_eq!((&scheduled["attempt"], &scheduled["delay_ms"]), (&json!(1), &json!(1_000)));
        assert_eq!(client.plugin(id).await["restarts"], 1);
    }
    assert_eq!(host.stop().await.code(), Some(0));
}

/// Fewer than a plugin sees at once.
const IN_FLIGHT: usize = 100;

#[tokio::test]
async fn each_request_in_flight_at_a_killed_plugin_has_one_outcome() {
    let place = Place::new();
    place.rust_plugin("gauge", "gauge");
    let mut host = Host::start(&place).await;
    host.event("gauge", "ready").await;
    let client = host.client();
    let mut answers = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        answers.spawn(client.get("/api/plugins/route/gauge/hold"));
    }
    client.ask(&format!("/gauge/seen?running={IN_FLIGHT}")).await;
    processes::kill(client.pid("gauge").await);
    for answer in within(answers.join_all()).await {
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(answer.json()["type"], "urn:toru:error:plugin-lost");
    }
    host.event("gauge", "crashed (signal 9)").await;
    // A request that comes while it is away waits for it.
    let seen: Value = serde_json::from_str(&client.ask("/gauge/seen").await).unwrap();
    assert_eq!(seen, json!({"running": 0, "most": 0, "left": 0}), "nothing was sent again");
    assert_eq!(host.stop().await.code(), Some(0));
}

#[tokio::test]
async fn enable_and_disable_persist_over_a_host_restart() {
    let place = Place::new();
    place.rust_plugin("minimal", "stays");
    place.rust_plugin("minimal", "goes");
    let mut host = Host::start(&place).await;
    host.event("goes", "ready").await;
    let pid = host.client().pid("goes").await;
    let answer = host.client().post("/api/plugins/goes/disable", "").await;
    assert_eq!(answer.json(), json!({"success": true}));
    host.event("goes", "stopped").await;
    processes::await_end(vec![pid]).await;
    assert_eq!(host.stop().await.code(), Some(0));

    let state = fs::read(place.plugins().join(".metadata/config.json")).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["plugins"]["goes"], false, "{state}");

    let mut host = Host::start(&place).await;
    host.event("stays", "ready").await;
    let client = host.client();
    let entry = client.plugin("goes").await;
    assert_eq!(
        (&entry["enabled"], &entry["state"], &entry["health"], &entry["pid"]),
        (&json!(false), &json!("stopped"), &json!("disabled"), &Value::Null)
    );
    assert_eq!(client.get("/api/plugins/route/goes/").await.status, 404);
    assert_eq!(client.post("/api/plugins/goes/enable", "").await.json(), json!({"success": true}));
    host.event("goes", "ready").await;
    // Not told to stop: the wish was stored when it was answered.
    host.kill().await;

    let mut host = Host::start(&place).await;
    host.event("goes", "ready").await;
    assert_eq!(host.client().ask("/goes").await, "1");
    assert_eq!(host.stop().await.code(), Some(0));
}
