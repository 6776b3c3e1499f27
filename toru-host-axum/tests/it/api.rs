//! The REST API.

use http::{Method, header};
use serde_json::json;
use toru_host_axum::Limits;

use crate::host::{TestHost, within};

#[tokio::test]
async fn plugins_are_listed_as_a_bare_array_of_whole_entries() {
    let host = TestHost::with_plugin().await;
    let list = host.get("/api/plugins").await;
    assert_eq!(list.header("content-type"), "application/json");
    let list = list.json();
    let [entry] = list.as_array().unwrap().as_slice() else { panic!("{list}") };
    let mut keys: Vec<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = [
        "author",
        "enabled",
        "health",
        "icon",
        "id",
        "name",
        "next_retry_at",
        "pid",
        "protocol",
        "reason",
        "restarts",
        "route",
        "running",
        "state",
        "version",
    ];
    assert_eq!(keys, expected);
    assert_eq!(entry["state"], "running");
    assert_eq!(entry["health"], "healthy");
    assert_eq!(entry["protocol"], 2);
    assert_eq!(entry["route"], "/tell");
    assert!(entry["pid"].as_u64().is_some());
    assert_eq!(host.get("/api/plugins/tell").await.json(), *entry);
    host.stop().await;
}

#[tokio::test]
async fn a_broken_plugin_is_listed_as_failed_with_its_reason() {
    let host = TestHost::start(Limits::default(), |plugins| {
        std::fs::create_dir(plugins.join("broken")).unwrap();
        std::fs::write(plugins.join("broken/plugin.toml"), "id = \n").unwrap();
    })
    .await;
    within(host.supervisor.wait_until("broken", |status| status.reason.is_some())).await.unwrap();
    let entry = host.get("/api/plugins/broken").await.json();
    assert_eq!(entry["state"], "failed");
    assert_eq!(entry["running"], false);
    assert_eq!(entry["name"], json!(null));
    assert!(!entry["reason"]["code"].as_str().unwrap().is_empty(), "{entry}");
    assert!(!entry["reason"]["message"].as_str().unwrap().is_empty(), "{entry}");
    host.stop().await;
}

#[tokio::test]
async fn disable_and_enable_take_the_route_away_and_bring_it_back() {
    let host = TestHost::with_plugin().await;
    assert_eq!(host.post("/api/plugins/tell/disable", "").await.json(), json!({ "success": true }));
    within(host.supervisor.wait_until("tell", |status| status.pid.is_none())).await.unwrap();
    let entry = host.get("/api/plugins/tell").await.json();
    assert_eq!(
        (&entry["enabled"], &entry["state"], &entry["health"]),
        (&json!(false), &json!("stopped"), &json!("disabled"))
    );
    assert_eq!(host.get("/api/plugins/route/tell/").await.status, 404);
    assert_eq!(host.post("/api/plugins/tell/enable", "").await.json(), json!({ "success": true }));
    within(host.supervisor.wait_until("tell", |status| status.running)).await.unwrap();
    assert_eq!(host.get("/api/plugins/route/tell/").await.status, 200);
    host.stop().await;
}

#[tokio::test]
async fn logs_come_newest_first_in_pages() {
    let host = TestHost::with_plugin().await;
    let answer = host.get("/api/plugins/tell/logs?page=1&page_size=5&level=info").await.json();
    assert_eq!((&answer["page"], &answer["page_size"]), (&json!(1), &json!(5)));
    let logs = answer["logs"].as_array().unwrap();
    assert!(logs.iter().any(|record| record["message"] == "ready to tell"), "{answer}");
    let defaults = host.get("/api/plugins/tell/logs").await.json();
    assert_eq!((&defaults["page"], &defaults["page_size"]), (&json!(1), &json!(100)));
    assert_eq!(host.get("/api/plugins/tell/logs?page=9").await.json()["logs"], json!([]));
    host.stop().await;
}

#[tokio::test]
async fn events_come_newest_first_with_details_as_objects() {
    let host = TestHost::with_plugin().await;
    host.post("/api/plugins/tell/disable", "").await;
    within(host.supervisor.wait_until("tell", |status| status.pid.is_none())).await.unwrap();
    host.post("/api/plugins/tell/enable", "").await;
    let events = host.get("/api/plugins/tell/events").await.json();
    let events = events.as_array().unwrap();
    let ids: Vec<_> = events.iter().map(|event| event["id"].as_i64().unwrap()).collect();
    assert!(ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
    assert!(events.iter().any(|event| event["event_type"] == "disabled"), "{events:?}");
    for event in events {
        assert_eq!(event["plugin_id"], "tell");
        assert!(
            event["details"].is_object() && event["timestamp"].as_str().unwrap().ends_with('Z'),
            "{event}"
        );
    }
    let newest = host.get("/api/plugins/tell/events?limit=1").await.json();
    assert_eq!(newest.as_array().unwrap().len(), 1);
    host.stop().await;
}

#[tokio::test]
async fn a_bundle_is_sent_as_a_script_or_said_to_be_missing() {
    let host = TestHost::with_plugin().await;
    let bundle = host.get("/api/plugins/tell/bundle.js").await;
    assert_eq!(bundle.text(), "window.ToruPlugins = {};\n");
    assert_eq!(bundle.header("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(bundle.header("x-content-type-options"), "nosniff");
    std::fs::remove_file(host.folder.path().join("plugins/tell/bundle.js")).unwrap();
    host.get("/api/plugins/tell/bundle.js").await.assert_problem(404, "no-bundle");
    host.stop().await;
}

#[tokio::test]
async fn an_unknown_plugin_is_404_everywhere() {
    let host = TestHost::empty(Limits::default()).await;
    for id in ["nobody", "..%2f..%2fetc", "%00", "%F0%9F%8E%89", "a%20b"] {
        for rest in ["", "/logs", "/events", "/bundle.js"] {
            host.get(&format!("/api/plugins/{id}{rest}")).await.assert_problem(404, "unknown-plugin");
        }
        for rest in ["/enable", "/disable", "/kv"] {
            host.post(&format!("/api/plugins/{id}{rest}"), "{}").await.assert_problem(404, "unknown-plugin");
        }
    }
    host.get("/api/plugins/%ff").await.assert_problem(400, "bad-request");
    host.stop().await;
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_400_with_the_reason() {
    let host = TestHost::with_plugin().await;
    for query in [
        "page=0",
        "page=-1",
        "page=x",
        "page=",
        "page=99999999999",
        "page_size=0",
        "page_size=1001",
        "level=loud",
        "level=",
        "pages=1",
        "page=1&page=2",
    ] {
        host.get(&format!("/api/plugins/tell/logs?{query}")).await.assert_problem(400, "bad-query");
    }
    for query in ["limit=0", "limit=1001", "limit=x", "page=1"] {
        host.get(&format!("/api/plugins/tell/events?{query}")).await.assert_problem(400, "bad-query");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_method_that_an_endpoint_does_not_have_is_405_with_allow() {
    let host = TestHost::empty(Limits::default()).await;
    for (method, path, allow) in [
        (Method::POST, "/api/plugins", "GET,HEAD"),
        (Method::DELETE, "/api/plugins/tell", "GET,HEAD"),
        (Method::GET, "/api/plugins/tell/enable", "POST"),
        (Method::PUT, "/api/plugins/tell/kv", "POST"),
        (Method::POST, "/", "GET,HEAD"),
        (Method::DELETE, "/login", "GET,HEAD,POST"),
        (Method::GET, "/logout", "POST"),
    ] {
        let answer = host.send(host.request(method, path)).await;
        answer.assert_problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    host.get("/api/nothing").await.assert_problem(404, "not-found");
    host.stop().await;
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let host = TestHost::empty(Limits::default()).await;
    for path in ["/", "/api/plugins", "/healthz", "/style.css"] {
        let head = host.send(host.request(Method::HEAD, path)).await;
        let get = host.get(path).await;
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty(), "{path}");
        assert_eq!(head.headers.get(header::CONTENT_TYPE), get.headers.get(header::CONTENT_TYPE), "{path}");
        assert_eq!(
            head.headers.get(header::CONTENT_LENGTH),
            get.headers.get(header::CONTENT_LENGTH),
            "{path}"
        );
    }
    host.stop().await;
}
