//! Plugins that cannot be started, or do not stay.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use http::StatusCode;
use serde_json::json;
use tokio::sync::Barrier;
use toru_core::{
    event::{Event, EventType},
    store::{EventStore, MemoryStateStore, StateStore, StoreError, StoredEvent},
    supervisor::{Health, StateName},
};

use crate::scene::{
    Scene, details_of, failed, get, in_state, misbehave, no_restarts, running, status_when, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_always_exits_is_disabled_at_the_tenth_time_and_stays_so() {
    let scene = Scene::new();
    scene.plugin("bad", "exit-at-once");
    let supervisor = scene.start().await;
    let status = in_state(&supervisor, "bad", StateName::Failed).await;
    let reason = status.reason.unwrap();
    assert_eq!(
        (status.enabled, status.health, reason.code.as_str()),
        (false, Health::Disabled, "auto_disabled")
    );
    assert!(reason.stderr_tail.unwrap().contains("it hurts too much to start"));
    assert_eq!(details_of(&supervisor, "bad", EventType::Crashed).await, vec![json!({"exit_code": 3}); 10]);
    let delays = details_of(&supervisor, "bad", EventType::RestartScheduled).await;
    let delays: Vec<u64> = delays.iter().map(|details| details["delay_ms"].as_u64().unwrap()).collect();
    assert_eq!(delays, [1, 2, 4, 8, 16, 16, 16, 16, 16]);
    assert_eq!(details_of(&supervisor, "bad", EventType::AutoDisabled).await.len(), 1);
    assert_eq!(get(&mut supervisor.service(), "/bad/").await.0, StatusCode::NOT_FOUND);
    within(supervisor.shutdown()).await;
    drop(supervisor);

    let supervisor = scene.start().await;
    let status = in_state(&supervisor, "bad", StateName::Failed).await;
    let reason = status.reason.unwrap();
    assert_eq!(
        (status.enabled, status.health, reason.code.as_str()),
        (false, Health::Disabled, "auto_disabled"),
        "as before the host was started again"
    );
    assert_eq!(get(&mut supervisor.service(), "/bad/").await.0, StatusCode::NOT_FOUND);
    within(supervisor.enable("bad")).await.unwrap();
    status_when(&supervisor, "bad", |status| !status.enabled && status.restarts > 0).await;
    assert_eq!(details_of(&supervisor, "bad", EventType::Crashed).await.len(), 20);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_shown_and_not_retried() {
    let scene = Scene::new();
    scene.plugin("refuses", "refuse");
    let supervisor = scene.start().await;
    let (code, message) = failed(&supervisor, "refuses").await;
    assert_eq!((code.as_str(), message.contains("the licence has expired")), ("refused", true), "{message}");
    assert_eq!(
        details_of(&supervisor, "refuses", EventType::Refused).await,
        [json!({"code": "licence", "message": "the licence has expired"})]
    );
    assert_eq!(details_of(&supervisor, "refuses", EventType::Started).await.len(), 1);
    assert_eq!(get(&mut supervisor.service(), "/refuses/").await.0, StatusCode::SERVICE_UNAVAILABLE);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_than_the_one_offered_is_incompatible_and_not_retried() {
    let scene = Scene::new();
    scene.plugin("newer", "wrong-version");
    let supervisor = scene.start().await;
    assert_eq!(failed(&supervisor, "newer").await.0, "incompatible");
    assert_eq!(details_of(&supervisor, "newer", EventType::Started).await.len(), 1);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_do_not_meet_are_named_and_nothing_is_started() {
    let scene = Scene::new();
    scene.manifest(
        "future",
        "id = \"future\"\nname = \"f\"\nversion = \"1\"\nroute = \"/f\"\nprotocol = 9\nprotocol_min = 8\nexec = [\"sh\"]\n",
    );
    let supervisor = scene.start().await;
    let (code, message) = failed(&supervisor, "future").await;
    assert_eq!(code, "incompatible");
    assert!(message.contains("8 to 9") && message.contains("1 to 2"), "{message}");
    assert_eq!(details_of(&supervisor, "future", EventType::Started).await.len(), 0);
    within(supervisor.shutdown()).await;
}

/// A start or run that fails in the first second, and the code of its reason.
async fn fails_with(mode: &str, code: &str) {
    let mut scene = Scene::new();
    scene.config.restart = no_restarts();
    scene.config.start_timeout = Duration::from_millis(500);
    scene.config.ping_interval = Duration::from_millis(50);
    scene.plugin("bad", mode);
    let supervisor = scene.start().await;
    let status = in_state(&supervisor, "bad", StateName::Backoff).await;
    assert_eq!(status.reason.unwrap().code, code);
    assert_eq!((status.pid, status.enabled), (None, true));
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_never_ready_fails_at_the_start_timeout() {
    fails_with("never-ready", "start_timeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_answers_garbage_breaks_the_protocol() {
    fails_with("garbage", "protocol_error").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_broke_the_protocol_is_an_event_with_its_cause_and_an_excerpt() {
    let mut scene = Scene::new();
    scene.config.restart = no_restarts();
    scene.plugin("bad", "garbage");
    let supervisor = scene.start().await;
    in_state(&supervisor, "bad", StateName::Backoff).await;
    let details = details_of(&supervisor, "bad", EventType::ProtocolError).await;
    assert_eq!(details[0]["cause"], "unknown_kind");
    assert!(details[0]["excerpt"].as_str().unwrap().contains("hello"), "{details:?}");
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_exits_once_it_is_ready_has_crashed() {
    fails_with("exit-after-ready", "exited").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_closes_its_socket_but_lives_on_is_killed() {
    fails_with("close-socket", "link_closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_answers_no_pings_is_killed() {
    fails_with("silent", "unresponsive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_stops_reading_is_killed() {
    fails_with("stop-reading", "unresponsive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unanswered_pings_are_shown_before_they_are_a_failure() {
    let mut scene = Scene::new();
    scene.config.ping_interval = Duration::from_millis(20);
    scene.config.ping_dead = 1_000_000;
    scene.plugin("silent", "silent");
    let supervisor = scene.start().await;
    let status =
        status_when(&supervisor, "silent", |status| status.running && status.health == Health::Unhealthy)
            .await;
    assert_eq!(status.reason, None);
    assert_eq!(details_of(&supervisor, "silent", EventType::Unhealthy).await, [json!({"missed": 3})]);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_a_plugin_that_starts_slowly() {
    let scene = Scene::new();
    scene.plugin("slow", "slow-start 300");
    let supervisor = scene.start().await;
    in_state(&supervisor, "slow", StateName::Starting).await;
    assert_eq!(get(&mut supervisor.service(), "/slow/").await, (StatusCode::OK, "GET /".to_owned()));
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_on_stdout_is_drained_and_the_plugin_serves() {
    let scene = Scene::new();
    scene.plugin("floods", "flood-stdout 64");
    let supervisor = scene.start().await;
    assert_eq!(get(&mut supervisor.service(), "/floods/").await.0, StatusCode::OK);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_candidate_is_listed_with_its_reason_and_disturbs_nobody() {
    let mut scene = Scene::new();
    scene.config.metadata_timeout = Duration::from_millis(200);
    scene.plugin("ok", "ok").plugin("no-config", "ok").plugin_at("route", "/r", "ok");
    scene.manifest("no-toml", "id = = 3");
    scene.manifest(
        "no-program",
        "id = \"no-program\"\nname = \"n\"\nversion = \"1\"\nroute = \"/n\"\nprotocol = 2\nexec = [\"./absent\"]\n",
    );
    script(&scene, "no-json", "echo this is no JSON");
    script(&scene, "hangs", "exec sleep 1000");
    let operator = scene.data("config");
    fs::create_dir_all(&operator).unwrap();
    fs::write(operator.join("no-config.toml"), "a = 1\nb = = 2\n").unwrap();
    scene.config.restart = no_restarts();
    let supervisor = scene.start().await;
    assert_eq!(supervisor.list().len(), 7);
    running(&supervisor, "ok").await;
    assert_eq!(failed(&supervisor, "route").await.0, "id_reserved");
    let (code, message) = failed(&supervisor, "no-toml").await;
    assert_eq!((code.as_str(), message.contains("line 1")), ("manifest_invalid", true), "{message}");
    let (code, message) = failed(&supervisor, "no-config").await;
    assert_eq!(code, "config_invalid");
    assert!(message.contains("no-config.toml") && message.contains("line 2"), "{message}");
    assert_eq!(failed(&supervisor, "no-json").await.0, "metadata_invalid");
    assert_eq!(failed(&supervisor, "hangs").await.0, "metadata_timeout");
    let waiting = in_state(&supervisor, "no-program", StateName::Backoff).await;
    assert_eq!(waiting.reason.unwrap().code, "exec_missing");
    assert_eq!(get(&mut supervisor.service(), "/ok/").await.0, StatusCode::OK);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_was_put_right_is_read_anew_when_it_is_enabled() {
    let scene = Scene::new();
    scene.manifest("later", "no = manifest");
    let supervisor = scene.start().await;
    failed(&supervisor, "later").await;
    scene.plugin_at("later", "/elsewhere", "ok");
    within(supervisor.enable("later")).await.unwrap();
    assert_eq!(running(&supervisor, "later").await.route.as_deref(), Some("/elsewhere"));
    assert_eq!(get(&mut supervisor.service(), "/elsewhere/").await.0, StatusCode::OK);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_is_asked_for_its_metadata_and_then_runs() {
    let scene = Scene::new();
    let misbehave = misbehave();
    let metadata =
        r#"{"id": "single", "name": "Single", "version": "1.0.0", "route": "/single", "protocol": 2}"#;
    script(
        &scene,
        "single",
        &format!(
            "[ \"$1\" = --metadata ] && echo '{metadata}' && exit\nexec '{}' ok 0<&3 3<&-",
            misbehave.display()
        ),
    );
    let supervisor = scene.start().await;
    assert_eq!(running(&supervisor, "single").await.name.as_deref(), Some("Single"));
    assert_eq!(get(&mut supervisor.service(), "/single/").await.0, StatusCode::OK);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_a_plugin_whose_settings_are_broken_are_told_so_at_once() {
    let mut scene = Scene::new();
    // Whoever waited in the queue would be told nothing within the test.
    scene.config.queue_wait = Duration::from_secs(3_600);
    let metadata = r#"{"id": "single", "name": "S", "version": "1", "route": "/single", "protocol": 2}"#;
    script(&scene, "single", &format!("echo '{metadata}'"));
    let operator = scene.data("config");
    fs::create_dir_all(&operator).unwrap();
    fs::write(operator.join("single.toml"), "a = = 1\n").unwrap();
    let supervisor = scene.start().await;
    assert_eq!(failed(&supervisor, "single").await.0, "config_invalid");
    assert_eq!(get(&mut supervisor.service(), "/single/").await.0, StatusCode::SERVICE_UNAVAILABLE);
    within(supervisor.shutdown()).await;
}

/// A version 1 plugin, as an author of the original protocol would write it.
const VERSION_1: &str = r#"
import json, os, socket, struct
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ["TORU_PLUGIN_SOCKET"])
listener.listen()
connection, _ = listener.accept()
stream = connection.makefile("rwb")
while prefix := stream.read(4):
    message = json.loads(stream.read(struct.unpack(">I", prefix)[0]))
    if message["type"] == "lifecycle" and message["payload"]["action"] == "shutdown":
        break
    if message["type"] == "http":
        request = message["payload"]["payload"]
        body = request["method"] + " " + request["path"]
        message["payload"] = {"status": 200, "headers": {}, "body": body}
        answer = json.dumps(message).encode()
        stream.write(struct.pack(">I", len(answer)) + answer)
        stream.flush()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_version_1_plugin_is_reached_by_its_path_and_stops_when_asked() {
    let scene = Scene::new();
    scene.manifest(
        "old",
        "id = \"old\"\nname = \"o\"\nversion = \"1\"\nroute = \"/old\"\nexec = [\"python3\", \"main.py\"]\n",
    );
    fs::write(scene.config.plugins_dir.join("old/main.py"), VERSION_1).unwrap();
    let supervisor = scene.start().await;
    assert_eq!(running(&supervisor, "old").await.protocol, Some(1));
    assert_eq!(get(&mut supervisor.service(), "/old/x?y").await, (StatusCode::OK, "GET /x?y".to_owned()));
    within(supervisor.disable("old")).await.unwrap();
    in_state(&supervisor, "old", StateName::Stopped).await;
    assert_eq!(details_of(&supervisor, "old", EventType::Stopped).await, [json!({"exit_code": 0})]);
    within(supervisor.shutdown()).await;
}

/// `<id>.binary`, a shell script.
fn script(scene: &Scene, id: &str, text: &str) {
    let path = scene.config.plugins_dir.join(format!("{id}.binary"));
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Answers once it is asked for all plugins: each was given up.
#[derive(Debug)]
struct AnswersAllAtOnce(Barrier);

#[async_trait::async_trait]
impl EventStore for AnswersAllAtOnce {
    async fn append(&self, _: Vec<Event>) -> Result<(), StoreError> {
        Ok(())
    }
    async fn recent(&self, id: &str, _: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.0.wait().await;
        let timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let (plugin_id, event_type, details) =
            (id.to_owned(), EventType::AutoDisabled, serde_json::Map::new());
        Ok(vec![StoredEvent { id: 1, event: Event { plugin_id, event_type, timestamp, details } }])
    }
    async fn prune(&self, _: Duration) -> Result<usize, StoreError> {
        Ok(0)
    }
}

#[tokio::test]
async fn who_disabled_the_plugins_is_asked_for_all_at_once() {
    let (scene, states) = (Scene::new(), MemoryStateStore::default());
    let ids = ["a", "b", "c", "d"];
    for id in ids {
        scene.plugin(id, "ok");
        states.set_enabled(id, false).await.unwrap();
    }
    let events = Arc::new(AnswersAllAtOnce(Barrier::new(ids.len())));
    let supervisor = scene.builder().state_store(Arc::new(states)).event_store(events).build().unwrap();
    supervisor.initialize().await.unwrap();
    for id in ids {
        assert_eq!(supervisor.status(id).unwrap().reason.unwrap().code, "auto_disabled");
    }
    within(supervisor.shutdown()).await;
}

#[tokio::test]
async fn two_source_folders_of_one_plugin_are_refused_with_both() {
    let mut scene = Scene::new();
    scene.plugin("twin", "ok");
    let sources = scene.config.plugins_dir.clone();
    fs::create_dir(sources.with_file_name("other")).unwrap();
    fs::rename(sources.join("twin"), sources.with_file_name("other").join("copy")).unwrap();
    scene.plugin("twin", "ok");
    let first = sources.with_file_name("other").join("copy");
    scene.config.plugins_dir = sources.with_file_name("empty");
    let builder = scene.builder().source_dir(&first).source_dir(sources.join("twin"));
    let supervisor = builder.build().unwrap();
    let refused = supervisor.initialize().await.unwrap_err().to_string();
    assert!(refused.contains("other/copy") && refused.contains("both the plugin \"twin\""), "{refused}");
    within(supervisor.shutdown()).await;
}
