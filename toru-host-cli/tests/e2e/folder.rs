//! One folder with plugins of every kind, good and bad.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use serde_json::{Value, json};

use crate::{
    client::Client,
    host::Host,
    place::{Place, built, version_1_plugin},
};

/// Those that run.
const GOOD: [&str; 7] =
    ["hello-python", "hello-v1", "hello-v1-wrapped", "minimal", "rust-folder", "simple-python", "twin-a"];
/// Those that do not, and why.
const BAD: [(&str, &str); 5] = [
    ("hangs", "metadata_timeout"),
    ("leads-out", "symlink_escapes"),
    ("leads-out-too", "symlink_escapes"),
    ("no-json", "metadata_invalid"),
    ("twin-b", "route_taken"),
];

fn fill(place: &Place) {
    place.install("hello-plugin-python", "hello-python");
    place.install("simple-plugin-python", "simple-python");
    place.rust_plugin("minimal", "rust-folder");
    fs::copy(built("minimal"), place.plugins().join("minimal.binary")).unwrap();

    let bare = version_1_plugin();
    place.binary("hello-v1", &bare);
    let wrapped = bare
        .replace("hello-v1\"", "hello-v1-wrapped\"")
        .replace("get(\"HELLO_V1_SHAPE\")", "get(\"HELLO_V1_SHAPE\", \"wrapped\")");
    assert_eq!(
        wrapped.matches("wrapped\"").count() - bare.matches("wrapped\"").count(),
        4,
        "the example has changed"
    );
    place.binary("hello-v1-wrapped", &wrapped);

    place.binary("no-json", "#!/bin/sh\necho 'Hello, I am a plugin'\n");
    place.binary("hangs", "#!/bin/sh\nexec tail -f /dev/null\n");
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("program"), &bare).unwrap();
    fs::set_permissions(outside.join("program"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink(&outside, place.plugins().join("leads-out")).unwrap();
    symlink(outside.join("program"), place.plugins().join("leads-out-too.binary")).unwrap();
    for twin in ["twin-a", "twin-b"] {
        let folder = place.folder(twin, "route = \"/twins\"\nexec = [\"./minimal\"]\n");
        fs::copy(built("minimal"), folder.join("minimal")).unwrap();
    }
}

async fn assert_that_the_good_ones_answer(client: Client) {
    for route in ["/minimal", "/rust-folder", "/twins"] {
        assert_eq!(client.ask(route).await, "1");
        assert_eq!(client.ask(route).await, "2", "{route} counts in the store");
    }
    assert_eq!(client.ask("/hello-python").await, "Hello from Python\n");
    for count in 1..=2 {
        let answer = client.post("/api/plugins/route/hello-python/counter", "").await;
        assert_eq!(answer.json(), json!({"count": count}));
    }
    assert_eq!(client.ask("/simple-python/").await, "Hello from a simple plugin\n");
    for id in ["hello-v1", "hello-v1-wrapped"] {
        assert_eq!(client.ask(&format!("/{id}")).await, "Hello from version 1\n");
        let echoed = client.post(&format!("/api/plugins/route/{id}/echo"), "a \"text\" ☃").await;
        assert_eq!((echoed.status.as_u16(), echoed.text()), (200, "a \"text\" ☃"));
        assert_eq!(echoed.headers["content-type"], "text/plain");
    }
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect()
}

fn entry<'a>(list: &'a Value, id: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|entry| entry["id"] == id).unwrap()
}

#[tokio::test]
async fn good_plugins_answer_and_bad_ones_are_listed_with_their_reason() {
    let place = Place::new();
    fill(&place);
    let mut host = Host::start(&place).await;
    let client = host.client();

    let mut all: Vec<&str> = GOOD.into_iter().chain(BAD.map(|(id, _)| id)).collect();
    all.sort_unstable();
    let first = client.get("/api/plugins").await.json();
    assert_eq!(ids(&first), all, "every candidate is listed from the first moment");
    // Its own task may not have begun: then it is still stopped, and enabled.
    let hangs = entry(&first, "hangs");
    assert!(hangs["state"] == "starting" || hangs["state"] == "stopped", "{first}");
    assert_eq!(hangs["enabled"], true, "{first}");

    for id in GOOD {
        host.event(id, "ready").await;
    }
    let pids = client.get("/api/plugins").await.json();
    assert_that_the_good_ones_answer(client).await;
    for (id, code) in BAD {
        host.event(id, &format!("failed (code {code})")).await;
    }
    assert_that_bad_ones_say_why(client).await;

    let last = client.get("/api/plugins").await.json();
    for id in GOOD {
        let now = entry(&last, id);
        assert_eq!(now["pid"], entry(&pids, id)["pid"], "no bad plugin has disturbed it: {now}");
        assert_eq!(
            (&now["state"], &now["health"], &now["reason"]),
            (&json!("running"), &json!("healthy"), &Value::Null)
        );
        assert_eq!((&now["running"], &now["restarts"]), (&json!(true), &json!(0)));
        assert_eq!(now["protocol"], if id.starts_with("hello-v1") { 1 } else { 2 }, "{now}");
    }
    assert_eq!(host.stop().await.code(), Some(0));
}

async fn assert_that_bad_ones_say_why(client: Client) {
    let list = client.get("/api/plugins").await.json();
    for (id, code) in BAD {
        let entry = entry(&list, id);
        assert_eq!(entry["reason"]["code"], code, "{entry}");
        assert!(!entry["reason"]["message"].as_str().unwrap().is_empty(), "{entry}");
        assert_eq!((&entry["state"], &entry["health"]), (&json!("failed"), &json!("unhealthy")), "{entry}");
        assert_eq!(
            (&entry["enabled"], &entry["running"], &entry["pid"]),
            (&json!(true), &json!(false), &Value::Null)
        );
        let events = client.events(id).await;
        assert_eq!(events.last().unwrap()["event_type"], "failed", "{events:?}");
        assert!(events.iter().all(|event| event["event_type"] != "started"), "{events:?}");
    }
    // What has no route answers as if it were not there; the twin that lost the route does not answer for the other.
    assert_eq!(client.get("/api/plugins/route/no-json/").await.status, 404);
    assert_eq!(client.get("/api/plugins/route/leads-out/").await.status, 404);
}
