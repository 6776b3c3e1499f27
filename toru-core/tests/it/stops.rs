//! Plugins that do not want to end, and what they leave behind.

use std::{fs, future::poll_fn, task::Poll, time::Duration};

use http::StatusCode;
use rustix::process::Signal;
use serde_json::json;
use toru_core::{PluginSupervisor, event::EventType, supervisor::StateName};

use crate::scene::{
    Scene, Watched, details_of, get, in_state, kill, no_restarts, running, status_when, within,
};

fn impatient() -> Scene {
    let mut scene = Scene::new();
    scene.config.shutdown_grace = Duration::from_millis(100);
    scene.config.term_grace = Duration::from_millis(100);
    scene
}

/// The plugin's process and the child that it has started.
async fn family(scene: &Scene, supervisor: &PluginSupervisor, id: &str) -> [Watched; 2] {
    let leader = running(supervisor, id).await.pid.unwrap();
    let child = fs::read_to_string(scene.data(&format!("plugins/{id}/child-pid"))).unwrap();
    [leader, child.parse().unwrap()].map(|pid| Watched::of(pid).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_ignores_the_shutdown_is_terminated() {
    let scene = impatient();
    scene.plugin("deaf", "ignore-shutdown");
    let supervisor = scene.start().await;
    running(&supervisor, "deaf").await;
    within(supervisor.disable("deaf")).await.unwrap();
    in_state(&supervisor, "deaf", StateName::Stopped).await;
    assert_eq!(details_of(&supervisor, "deaf", EventType::Stopped).await, [json!({"signal": 15})]);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_ignores_the_shutdown_and_sigterm_is_killed_with_its_whole_group() {
    let scene = impatient();
    scene.plugin("stubborn", "ignore-term");
    let supervisor = scene.start().await;
    let family = family(&scene, &supervisor, "stubborn").await;
    within(supervisor.disable("stubborn")).await.unwrap();
    in_state(&supervisor, "stubborn", StateName::Stopped).await;
    for process in &family {
        process.gone().await;
    }
    assert_eq!(details_of(&supervisor, "stubborn", EventType::Stopped).await, [json!({"signal": 9})]);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_children_of_a_plugin_that_exits_when_asked_are_ended_too() {
    let scene = Scene::new();
    scene.plugin("parent", "fork-child");
    let supervisor = scene.start().await;
    let family = family(&scene, &supervisor, "parent").await;
    within(supervisor.shutdown()).await;
    for process in &family {
        process.gone().await;
    }
    assert_eq!(details_of(&supervisor, "parent", EventType::Stopped).await, [json!({"exit_code": 0})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_is_dropped_kills_all_groups() {
    let scene = Scene::new();
    scene.plugin("stubborn", "ignore-term").plugin("parent", "fork-child");
    let supervisor = scene.start().await;
    let mut families = Vec::new();
    for id in ["stubborn", "parent"] {
        families.extend(family(&scene, &supervisor, id).await);
    }
    drop(supervisor);
    for process in &families {
        process.gone().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disable_during_the_start_ends_it() {
    let scene = impatient();
    scene.plugin("slow", "never-ready");
    let supervisor = scene.start().await;
    let pid = status_when(&supervisor, "slow", |status| status.pid.is_some()).await.pid.unwrap();
    let process = Watched::of(pid).unwrap();
    within(supervisor.disable("slow")).await.unwrap();
    in_state(&supervisor, "slow", StateName::Stopped).await;
    process.gone().await;
    within(supervisor.shutdown()).await;
}

/// Impatient with pings too, and with the answers to requests.
fn watchful() -> Scene {
    let mut scene = impatient();
    scene.config.ping_interval = Duration::from_millis(100);
    scene.config.response_timeout = Duration::from_millis(300);
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_stopped_by_a_signal_is_killed_and_comes_back() {
    let scene = watchful();
    scene.plugin("frozen", "ok");
    let supervisor = scene.start().await;
    let first = running(&supervisor, "frozen").await.pid.unwrap();
    let process = Watched::of(first).unwrap();
    kill(first, Signal::STOP);
    assert_eq!(get(&mut supervisor.service(), "/frozen/").await.0, StatusCode::GATEWAY_TIMEOUT);
    process.gone().await;
    status_when(&supervisor, "frozen", |status| status.running && status.pid != Some(first)).await;
    assert_eq!(get(&mut supervisor.service(), "/frozen/").await.0, StatusCode::OK);
    assert_eq!(details_of(&supervisor, "frozen", EventType::Unhealthy).await, [json!({"missed": 3})]);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_stopped_by_a_signal_can_still_be_disabled() {
    let scene = impatient();
    scene.plugin("frozen", "ok");
    let supervisor = scene.start().await;
    let pid = running(&supervisor, "frozen").await.pid.unwrap();
    let process = Watched::of(pid).unwrap();
    kill(pid, Signal::STOP);
    within(supervisor.disable("frozen")).await.unwrap();
    in_state(&supervisor, "frozen", StateName::Stopped).await;
    process.gone().await;
    assert_eq!(details_of(&supervisor, "frozen", EventType::Stopped).await, [json!({"signal": 9})]);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_holds_the_socket_does_not_hide_the_death_of_its_plugin() {
    let scene = Scene::new();
    scene.plugin("parent", "hold-socket");
    let supervisor = scene.start().await;
    let family = family(&scene, &supervisor, "parent").await;
    let first = supervisor.status("parent").unwrap().pid.unwrap();
    kill(first, Signal::KILL);
    status_when(&supervisor, "parent", |status| status.running && status.pid != Some(first)).await;
    for process in &family {
        process.gone().await;
    }
    assert_eq!(details_of(&supervisor, "parent", EventType::Crashed).await, [json!({"signal": 9})]);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_left_the_group_with_the_socket_keeps_its_plugin_from_nothing() {
    let scene = Scene::new();
    scene.plugin("parent", "escape");
    let supervisor = scene.start().await;
    let first = running(&supervisor, "parent").await.pid.unwrap();
    let child = fs::read_to_string(scene.data("plugins/parent/child-pid")).unwrap().parse().unwrap();
    kill(first, Signal::KILL);
    status_when(&supervisor, "parent", |status| status.running && status.pid != Some(first)).await;
    assert_eq!(get(&mut supervisor.service(), "/parent/").await.0, StatusCode::OK);
    let second = fs::read_to_string(scene.data("plugins/parent/child-pid")).unwrap().parse().unwrap();
    within(supervisor.shutdown()).await;
    // What has left the group is not followed at this level of isolation.
    for escaped in [child, second] {
        kill(escaped, Signal::KILL);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_100_requests_in_flight_at_a_kill_9_each_is_told_502_once() {
    let mut scene = Scene::new();
    scene.config.restart = no_restarts();
    scene.plugin("silent", "silent");
    let supervisor = scene.start().await;
    let pid = running(&supervisor, "silent").await.pid.unwrap();
    let mut answers = Vec::new();
    for _ in 0..100 {
        let mut service = supervisor.service();
        let mut answer = Box::pin(async move { get(&mut service, "/silent/").await.0 });
        // Its first step sends it, since the plugin has room for all of them.
        let asked = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        assert!(asked.is_pending());
        answers.push(answer);
    }
    kill(pid, Signal::KILL);
    for answer in answers {
        assert_eq!(within(answer).await, StatusCode::BAD_GATEWAY);
    }
    in_state(&supervisor, "silent", StateName::Backoff).await;
    assert_eq!(details_of(&supervisor, "silent", EventType::Crashed).await, [json!({"signal": 9})]);
    within(supervisor.shutdown()).await;
}
