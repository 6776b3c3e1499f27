//! A plugin that is started by hand and attached: `Builder::attach`.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use http::StatusCode;
use rustix::process::Signal;
use serde_json::json;
use toru_core::{
    PluginSupervisor,
    event::EventType,
    supervisor::{PluginStatus, StateName},
};

use crate::scene::{Scene, details_of, events, get, in_state, kill, misbehave, running, status_when, within};

/// A plugin of the plugins folder that is never spawned, because it is attached; and where it is to listen.
fn scene() -> (Scene, PathBuf) {
    let mut scene = Scene::new();
    scene.config.start_timeout = Duration::from_millis(200);
    scene.config.response_timeout = Duration::from_millis(200);
    scene.config.ping_interval = Duration::from_millis(100);
    scene.config.shutdown_grace = Duration::from_secs(1);
    scene.config.term_grace = Duration::from_millis(100);
    scene.plugin("ok", "exit-at-once");
    let path = scene.config.plugins_dir.join("../ok.sock");
    (scene, path)
}

async fn attaching(scene: &Scene, path: &Path) -> PluginSupervisor {
    let supervisor = scene.builder().attach("ok", path).build().unwrap();
    supervisor.initialize().await.unwrap();
    supervisor
}

/// Started by hand. Dropped, it is killed.
struct ByHand(Child);

impl ByHand {
    fn start(path: &Path, mode: &str) -> Self {
        let mut command = Command::new(misbehave());
        command.args(mode.split(' ')).env("TORU_PLUGIN_SOCKET", path).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }

    async fn exit_code(mut self) -> Option<i32> {
        within(tokio::task::spawn_blocking(move || self.0.wait().unwrap().code())).await.unwrap()
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        // It has usually ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_waited_for_attached_asked_and_stopped() {
    let (scene, path) = scene();
    let supervisor = attaching(&scene, &path).await;
    in_state(&supervisor, "ok", StateName::Starting).await;
    let plugin = ByHand::start(&path, "ok");
    let status = running(&supervisor, "ok").await;
    assert_eq!((status.pid, status.protocol), (Some(plugin.0.id()), Some(2)));
    assert!(!path.exists(), "its path stays until the next one");
    assert_eq!(get(&mut supervisor.service(), "/ok/x").await, (StatusCode::OK, "GET /x".to_owned()));
    within(supervisor.shutdown()).await;
    assert_eq!(plugin.exit_code().await, Some(0));
    let told: Vec<EventType> = events(&supervisor, "ok").await.into_iter().map(|(event, _)| event).collect();
    assert_eq!(
        told,
        [EventType::Discovered, EventType::Attached, EventType::Ready, EventType::Detached],
        "nothing was spawned"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_of_no_timeout_for_none_runs() {
    let (scene, path) = scene();
    scene.plugin("started", "ok");
    let supervisor = attaching(&scene, &path).await;
    let _plugin = ByHand::start(&path, "ok");
    for (id, told) in [("started", "Some(\"200\")"), ("ok", "None")] {
        running(&supervisor, id).await;
        let answer = get(&mut supervisor.service(), &format!("/{id}/timeout")).await;
        assert_eq!(answer, (StatusCode::OK, told.to_owned()), "{id}");
    }
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_it_goes_the_next_one_is_attached() {
    let (scene, path) = scene();
    let supervisor = attaching(&scene, &path).await;
    for _ in 0..3 {
        let plugin = ByHand::start(&path, "ok");
        let pid = plugin.0.id();
        status_when(&supervisor, "ok", |status| status.running && status.pid == Some(pid)).await;
        kill(pid, Signal::KILL);
        let gone = status_when(&supervisor, "ok", |status| !status.running).await;
        assert_eq!(gone.reason.unwrap().code, "detached");
    }
    within(supervisor.shutdown()).await;
    assert_eq!(details_of(&supervisor, "ok", EventType::Detached).await, [json!({}), json!({}), json!({})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_at_a_breakpoint_is_neither_killed_nor_timed_out() {
    let (scene, path) = scene();
    // The same silence of one that the host has started tells when all timers have run.
    scene.plugin("silent", "silent");
    let supervisor = attaching(&scene, &path).await;
    let plugin = ByHand::start(&path, "ok");
    let pid = plugin.0.id();
    running(&supervisor, "ok").await;
    kill(pid, Signal::STOP);
    let mut service = supervisor.service();
    let asked = tokio::spawn(async move { get(&mut service, "/ok/x").await });
    within(supervisor.disable("silent")).await.unwrap();
    within(supervisor.enable("silent")).await.unwrap();
    running(&supervisor, "silent").await;
    assert!(get(&mut supervisor.service(), "/silent/x").await.0.is_server_error());
    let is_unresponsive =
        |status: &PluginStatus| status.reason.as_ref().is_some_and(|reason| reason.code == "unresponsive");
    status_when(&supervisor, "silent", is_unresponsive).await;
    assert!(supervisor.status("ok").unwrap().running, "it was given up");
    assert!(!asked.is_finished(), "its request was given up");
    kill(pid, Signal::CONT);
    assert_eq!(within(asked).await.unwrap(), (StatusCode::OK, "GET /x".to_owned()));
    within(supervisor.shutdown()).await;
    assert_eq!(plugin.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_hear_the_shutdown_is_let_go_of_alive() {
    let (scene, path) = scene();
    let supervisor = attaching(&scene, &path).await;
    let mut plugin = ByHand::start(&path, "stop-reading");
    running(&supervisor, "ok").await;
    within(supervisor.shutdown()).await;
    assert!(plugin.0.try_wait().unwrap().is_none(), "it was killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_long_to_be_ready_is_waited_for() {
    let (scene, path) = scene();
    let supervisor = attaching(&scene, &path).await;
    let _plugin = ByHand::start(&path, "slow-start 500");
    running(&supervisor, "ok").await;
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disabling_ends_the_wait_and_enabling_begins_it_again() {
    let (scene, path) = scene();
    let supervisor = attaching(&scene, &path).await;
    within(supervisor.disable("ok")).await.unwrap();
    in_state(&supervisor, "ok", StateName::Stopped).await;
    within(supervisor.enable("ok")).await.unwrap();
    let _plugin = ByHand::start(&path, "ok");
    running(&supervisor, "ok").await;
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_cannot_be_a_sockets_and_a_plugin_of_version_1_are_refused() {
    let (scene, path) = scene();
    let long = path.with_file_name("x".repeat(108));
    let error = scene.builder().attach("ok", long).build().unwrap_err().to_string();
    assert!(error.contains("\"ok\"") && error.contains("at most 107"), "{error}");
    scene.manifest(
        "old",
        "id = \"old\"\nname = \"o\"\nversion = \"1\"\nroute = \"/old\"\nexec = [\"python3\", \"main.py\"]\n",
    );
    let supervisor = scene.builder().attach("old", &path).build().unwrap();
    supervisor.initialize().await.unwrap();
    let reason = in_state(&supervisor, "old", StateName::Failed).await.reason.unwrap();
    assert_eq!(reason.code, "attach_unsupported");
    within(supervisor.shutdown()).await;
}

#[tokio::test]
async fn an_id_that_no_plugin_has_or_that_is_named_twice_is_refused() {
    let (scene, path) = scene();
    let twice = scene.builder().attach("ok", &path).attach("ok", path.with_extension("other")).build();
    let refused = twice.unwrap_err().to_string();
    assert!(refused.contains("\"ok\"") && refused.contains("named twice"), "{refused}");
    let supervisor = scene.builder().attach("okay", &path).build().unwrap();
    let refused = supervisor.initialize().await.unwrap_err().to_string();
    assert!(refused.contains("\"okay\"") && refused.contains("(ok)"), "{refused}");
    assert_eq!(supervisor.list(), []);
    within(supervisor.shutdown()).await;
}
