//! The REST API.

use std::time::Duration;

use http::{Method, header};
use serde_json::{Value, json};
use toru_core::{
    RestartPolicy, RestartSettings,
    supervisor::{PluginStatus, StateName},
};
use toru_host_axum::Limits;

use crate::host::{TestHost, add_plugin, within};

/// A wait that no test sees the end of.
const HOUR: Duration = Duration::from_secs(3_600);

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
    assert_eq!((&entry["enabled"], &entry["health"]), (&json!(true), &json!("unhealthy")));
    for unknown in ["name", "version", "author", "icon", "route", "pid", "protocol", "next_retry_at"] {
        assert_eq!(entry[unknown], json!(null), "{unknown}");
    }
    let reason = entry["reason"].as_object().unwrap();
    assert_eq!((reason.len(), &reason["code"]), (3, &json!("manifest_invalid")));
    assert!(reason["message"].as_str().unwrap().contains("line 1, column 6"), "{entry}");
    assert_eq!(reason["stderr_tail"], json!(null));
    host.stop().await;
}

/// A host whose plugin `exits` does so with code 3 at each start, once it is in this state.
async fn host_of_a_plugin_that_exits(max_in_a_row: u32, state: StateName) -> (TestHost, Value) {
    let settings =
        RestartSettings { max_in_a_row, first_delay: HOUR, max_delay: HOUR, ..RestartSettings::default() };
    let host =
        TestHost::start_with(RestartPolicy::try_new(settings).unwrap(), Limits::default(), |plugins| {
            add_plugin(plugins, "exits");
            let program = "import sys\nsys.stderr.write('it is broken\\n')\nsys.exit(3)\n";
            std::fs::write(plugins.join("exits/plugin.py"), program).unwrap();
        })
        .await;
    within(host.supervisor.wait_until("exits", |status: &PluginStatus| status.state == state)).await.unwrap();
    let entry = host.get("/api/plugins/exits").await.json();
    (host, entry)
}

#[tokio::test]
async fn a_crashed_plugin_is_listed_with_its_last_words_and_the_next_try() {
    let (host, entry) = host_of_a_plugin_that_exits(10, StateName::Backoff).await;
    assert_eq!((&entry["enabled"], &entry["health"]), (&json!(true), &json!("unhealthy")));
    assert_eq!(entry["reason"]["code"], "exited");
    assert_eq!(entry["reason"]["stderr_tail"], "it is broken");
    let next = entry["next_retry_at"].as_str().unwrap();
    assert!(next.len() > 19 && next.contains('T') && next.ends_with('Z'), "{next} is not of RFC 3339");
    let page = host.get("/").await;
    for part in ["it is broken", "next try at <time", " UTC</time>"] {
        assert!(page.text().contains(part), "{part} is missing in {}", page.text());
    }
    let events = host.get("/api/plugins/exits/events").await.json();
    let crashed = events.as_array().unwrap().iter().find(|event| event["event_type"] == "crashed").unwrap();
    assert_eq!(crashed["details"], json!({"exit_code": 3}));
    host.stop().await;
}

#[tokio::test]
async fn an_auto_disabled_plugin_is_listed_as_disabled_and_its_route_is_404() {
    let (host, entry) = host_of_a_plugin_that_exits(1, StateName::Failed).await;
    assert_eq!((&entry["enabled"], &entry["health"]), (&json!(false), &json!("disabled")));
    assert_eq!((&entry["running"], &entry["next_retry_at"]), (&json!(false), &json!(null)));
    assert_eq!(entry["reason"]["code"], "auto_disabled");
    assert_eq!(host.get("/api/plugins/route/exits/").await.status, 404);
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
async fn logs_come_newest_first_in_pages_from_the_lowest_level_that_is_wanted() {
    let host = TestHost::with_plugin().await;
    // All that it wrote has been captured when it has stopped.
    host.post("/api/plugins/tell/disable", "").await;
    within(host.supervisor.wait_until("tell", |status| status.state == StateName::Stopped)).await.unwrap();
    let page = async |query: &str| host.get(&format!("/api/plugins/tell/logs?{query}")).await.json();
    let told = |page: &Value| {
        let logs = page["logs"].as_array().unwrap();
        logs.iter().map(|record| record["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = page("page=1&page_size=1&level=info").await;
    assert_eq!((&first["page"], &first["page_size"]), (&json!(1), &json!(1)));
    assert_eq!(told(&first), ["ready to tell"]);
    assert_eq!(told(&page("page=2&page_size=1").await), ["a warning"]);
    assert_eq!(told(&page("level=warn").await), ["a warning"]);
    assert_eq!(told(&page("page=9").await), [""; 0]);
    let defaults = page("").await;
    assert_eq!((&defaults["page"], &defaults["page_size"]), (&json!(1), &json!(100)));
    assert_eq!(told(&defaults), ["ready to tell", "a warning", "a detail"]);
    let record = &defaults["logs"][1];
    assert_eq!((&record["level"], &record["plugin"]), (&json!("warn"), &json!("tell")));
    assert!(record["timestamp"].is_string() && record["pid"].is_u64(), "{record}");
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
    let unknown = host.get("/api/plugins/tell/logs?pages=1").await.json();
    assert!(unknown["detail"].as_str().unwrap().starts_with("pages: unknown field"), "{unknown}");
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
